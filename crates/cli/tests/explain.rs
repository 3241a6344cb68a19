//! Explaining photos by the model inside whycam.

mod common;

use common::{With, files, floats, folder, json, photo, read_floats, small_model, stderr, stdout, whycam};
use serde_json::{Value, json};
use snapbox::str;

#[test]
fn a_photo_becomes_a_sheet_overlays_arrays_and_numbers() {
    let at = folder();
    let chelsea = at.path().join("chelsea.jpg");
    std::fs::copy(photo("chelsea.jpg"), &chelsea).expect("copied");
    let run = whycam(
        at.path(),
        &[
            "explain",
            "chelsea.jpg",
            "--target",
            "top1",
            "--target",
            "class:TABBY",
            "--method",
            "grad-cam,guided-backprop",
            "--raw",
            "--threads",
            "2",
        ],
    );
    let run = run.success().stdout_eq(str![[r#"
chelsea.jpg
   [..]%   282  tiger cat
   [..]%   285  Egyptian cat
   [..]%   281  tabby
    [..]%  [..]
    [..]%  [..]
  → whycam-out/chelsea.sheet.png
  → whycam-out/chelsea.grad-cam.head.relu6.top1.png
  → whycam-out/chelsea.grad-cam.head.relu6.top1.npy
  → whycam-out/chelsea.guided-backprop.input.top1.png
  → whycam-out/chelsea.guided-backprop.input.top1.npy
  → whycam-out/chelsea.grad-cam.head.relu6.class-TABBY.png
  → whycam-out/chelsea.grad-cam.head.relu6.class-TABBY.npy
  → whycam-out/chelsea.guided-backprop.input.class-TABBY.png
  → whycam-out/chelsea.guided-backprop.input.class-TABBY.npy
  → whycam-out/chelsea.json

"#]]);
    run.stderr_eq(str![[r#"
model  embedded, rten [..], 2 threads
layer  head.relu6 (automatic)

"#]]);

    let out = at.path().join("whycam-out");
    assert_eq!(files(&out).len(), 10);
    let record = json(&out.join("chelsea.json"));
    assert_eq!(record["whycam"], env!("CARGO_PKG_VERSION"));
    assert_eq!(record["model"]["path"], "embedded");
    assert_eq!(record["model"]["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(record["engine"]["name"], "rten");
    assert_eq!(record["engine"]["threads"], 2);
    assert!(record["engine"]["version"].is_string());
    assert_eq!(record["input"]["path"], "chelsea.jpg");
    assert_eq!(record["input"]["sha256"], "07c5a883d3ac0679d979dd166565360e82ecdfcfb2eb959f8b3df24681bbbc24",);
    assert_eq!((&record["input"]["width"], &record["input"]["height"]), (&json!(451), &json!(300)));
    assert_eq!(record["input"].get("row"), None);
    assert_eq!(record["prep"], "efficientnet-lite");
    assert_eq!(record["top"].as_array().map(Vec::len), Some(5));
    assert_eq!((&record["top"][0]["class"], &record["top"][0]["label"]), (&json!(282), &json!("tiger cat")));

    let maps = record["maps"].as_array().expect("maps");
    assert_eq!(maps.len(), 4);
    let keys: Vec<&str> = maps[0].as_object().expect("a map").keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "method",
            "layer",
            "receptive_field",
            "target",
            "class",
            "label",
            "score",
            "probability",
            "score_kind",
            "shape",
            "min",
            "max",
            "sum",
            "pre_relu_min",
            "pre_relu_max",
            "verdict",
            "notes",
            "resize",
            "milliseconds",
            "options",
            "files",
        ]
    );
    let tabby = &maps[2];
    assert_eq!(
        (&tabby["target"], &tabby["label"], &tabby["class"]),
        (&json!("class:TABBY"), &json!("tabby"), &json!(281))
    );
    assert_eq!((&tabby["verdict"], &tabby["resize"]), (&json!("ok"), &json!("half-pixel")));
    let raw = out.join(tabby["files"]["raw"].as_str().expect("a name"));
    let (shape, values) = read_floats(&raw);
    assert_eq!(shape, [7, 7]);
    let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
    assert!(
        (sum - tabby["sum"].as_f64().expect("a number")).abs() < 1e-6,
        "the array is the map that was judged"
    );
    let guided = out.join(maps[1]["files"]["raw"].as_str().expect("a name"));
    assert_eq!(read_floats(&guided).0, [3, 224, 224]);
    // The cat's face fills the middle of the photo: evidence is there, not in the corners.
    let most = values.iter().copied().fold(f32::MIN, f32::max);
    assert!([0, 6, 42, 48].iter().all(|&corner| values[corner] < 0.7 * most), "{values:?}");
    for name in files(&out).iter().filter(|name| name.ends_with(".png")) {
        let picture = whycam::image::Photo::decode(&std::fs::read(out.join(name)).expect("readable"))
            .expect("a picture");
        let whole = (picture.width(), picture.height()) == (451, 300);
        assert!(whole != name.ends_with(".sheet.png"), "{name}");
    }

    another_method_is_added(at.path(), maps);
}

/// The second run of the same test, because runs of the large model take long.
fn another_method_is_added(at: &std::path::Path, before: &[Value]) {
    let run =
        whycam(at, &["explain", "chelsea.jpg", "--method", "gradient", "--target", "class:281", "--json"])
            .success();
    let printed = stdout(&run);
    assert_eq!(printed.lines().count(), 1, "one line of JSON and nothing else: {printed}");
    let record = json(&at.join("whycam-out/chelsea.json"));
    assert_eq!(serde_json::from_str::<Value>(&printed).expect("JSON"), record);
    let maps = record["maps"].as_array().expect("maps");
    assert_eq!((&maps[..4], maps.len()), (before, 5));
    assert_eq!((&maps[4]["method"], &maps[4]["layer"]), (&json!("gradient"), &json!("input")));
    assert_eq!(maps[4]["files"].get("raw"), None);
    assert!(stderr(&run).starts_with("model  embedded"), "no layer is read, so none is chosen");
}

#[test]
fn sizes_that_depend_on_the_image_are_held() {
    let at = folder();
    small_model(&at.path().join("found.onnx"), With::Found);
    let image: Vec<f32> = (0..192).map(|i| 0.01 * i as f32 - 0.3).collect();
    std::fs::write(at.path().join("x.npy"), floats(&[1, 3, 8, 8], &image)).expect("written");
    let ask = |inputs: &[&str]| {
        let options =
            ["--model", "found.onnx", "--target", "output:found[0]", "--method", "gradient", "--raw"];
        whycam(at.path(), &[&["explain"], inputs, &options[..]].concat())
    };
    ask(&["x.npy"]).success();
    let record = json(&at.path().join("whycam-out/x.json"));
    let raw = record["maps"][0]["files"]["raw"].as_str().expect("an array");
    let (shape, gradient) = read_floats(&at.path().join("whycam-out").join(raw));
    assert_eq!(shape, [3, 8, 8]);
    // The first element of the layer that is not zero, and the weights of its channel there.
    let layer = |cell: usize| image[cell] + 0.5 * image[64 + cell] + 0.2 * image[128 + cell];
    let first = (0..64).find(|&cell| layer(cell) > 0.0).expect("one is");
    for (i, g) in gradient.into_iter().enumerate() {
        assert_eq!(g, if i % 64 == first { [1.0, 0.5, 0.2][i / 64] } else { 0.0 }, "{i}");
    }
    let error = stderr(&ask(&["x.npy", "found.onnx"]).failure());
    assert!(error.contains("hint: explain one image at a time"), "{error}");
}
