//! `--sanity`: curves, numbers and a sentence.

mod common;

use common::{With, files, folder, json, small_model, small_png, stdout, whycam};

#[test]
fn every_map_gets_curves_numbers_and_a_sentence() {
    let at = folder();
    small_model(&at.path().join("small.onnx"), With::Nothing);
    small_png(&at.path().join("x.png"), 200);
    let ask = ["explain", "x.png", "--model", "small.onnx", "--out", "out", "--target", "top:2"];
    let with = ["--method", "hires-cam:relu=off,guided-backprop", "--sanity"];
    let told = stdout(&whycam(at.path(), &[&ask[..], &with].concat()).success());
    assert!(files(&at.path().join("out")).contains(&"x.sanity.png".to_owned()));
    assert!(told.contains("→ out/x.sanity.png"), "{told}");
    let record = json(&at.path().join("out/x.json"));
    let maps = record["maps"].as_array().expect("maps");
    assert_eq!(maps.len(), 4);
    for map in maps {
        let sanity = &map["sanity"];
        for key in ["method", "layer", "target", "class"] {
            assert_eq!(sanity[key], map[key], "the check of this map, not of another");
        }
        // A convolution and a linear layer.
        let cascade = sanity["cascade"].as_array().expect("steps");
        let layers: Vec<_> = cascade.iter().map(|step| step["layers"].as_u64()).collect();
        assert_eq!(layers, [Some(1), Some(2)]);
        assert!(cascade.iter().all(|step| step["ssim"].is_number() && step["spearman"].is_number()));
        assert_ne!(sanity["random_class"]["class"], map["class"]);
        let sentence = sanity["sentence"].as_str().expect("a sentence");
        assert!(told.contains(sentence), "{told}");
        assert_eq!(sanity["known_to_fail"], map["method"] == "guided-backprop");
    }
    // The next run without it says nothing of it.
    whycam(at.path(), &ask).success();
    assert!(json(&at.path().join("out/x.json"))["maps"][4].get("sanity").is_none());
}
