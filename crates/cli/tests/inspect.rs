//! What `whycam inspect` tells of a model.

mod common;

use std::path::Path;

use common::{With, folder, imageless_model, small_model, stdout, whycam};
use serde_json::{Value, json};
use snapbox::str;

#[test]
fn the_model_inside() {
    let text = stdout(&whycam(folder().path(), &["inspect"]).success());
    // Its linear bottlenecks are signed, where excitation backprop is not defined.
    let signed = ["mwp", "c-mwp"];
    let all: Vec<&str> =
        whycam::METHODS.iter().map(|m| m.name).filter(|name| !signed.contains(name)).collect();
    assert!(
        text.contains("refused      mwp, c-mwp: excitation backprop is not defined here: node \"head\""),
        "{text}"
    );
    for line in [
        "score        logits: 1000 classes, logit",
        "labels       1000",
        "prep         efficientnet-lite",
        &format!("methods      {}", all.join(", ")),
        "layer        1280×7×7          head.relu6, sees 851×851 every 32  (automatic)",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
}

#[test]
fn a_small_model() {
    let at = folder();
    small_model(&at.path().join("small.onnx"), With::Nothing);
    whycam(at.path(), &["inspect", "small.onnx"]).success().stdout_eq(str![[r#"
model        small.onnx
sha256       [..]
onnx         opset 17, 5 nodes
input        image: f32[1,3,8,8]
output       scores: f32[1,4]
  target     class:0…3
  target     log-prob:0…3
  target     output:scores[0…3]
  target     similar:FILE.npy (4 numbers)
image        image: 3×8×8, NCHW
score        scores: 4 classes, logit
labels       none
prep         imagenet (a guess)
activations  1 of the ReLU family, 0 others
methods      grad-cam, guided-grad-cam, guided-backprop, gradient, deconvnet, [..]
layer        4×8×8             features, sees 1×1 every 1
layer        4×8×8             layer, sees 1×1 every 1  (automatic)

"#]]);
    let report: Value =
        serde_json::from_str(&stdout(&whycam(at.path(), &["inspect", "small.onnx", "--json"]).success()))
            .expect("JSON");
    let sees = json!({"window": {"size": [1, 1], "stride": [1.0, 1.0]}});
    assert_eq!(report["layers"][0]["receptive_field"], sees);
    whycam(at.path(), &["inspect", "small.onnx", "--graph"]).success().stdout_eq(str![[r#"
input image: f32[1,3,8,8]
const [..]
const [..]
features: f32[1,4,8,8] = Conv(image, [..]
layer: f32[1,4,8,8] = Relu(features)
pooled: f32[1,4,1,1] = GlobalAveragePool(layer)
flat: f32[1,4] = Flatten(pooled) axis=1
scores: f32[1,4] = Gemm(flat, [..]
output scores: f32[1,4]

"#]]);
}

/// A model in half precision is explained in float32, but what it takes and gives is told as the file has it.
#[test]
fn inputs_and_outputs_have_the_types_of_the_file() {
    for (file, dtype) in [
        ("torch_half", "f16"),
        ("torch_bfloat16", "bf16"),
        ("converted", "f16"),
        ("converted_keep_io", "f32"),
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/half");
        let model = format!("{file}.onnx");
        let text = stdout(&whycam(&folder, &["inspect", &model]).success());
        for line in
            [format!("input        x: {dtype}[N,3,16,16]"), format!("output       scores: {dtype}[N,5]")]
        {
            assert!(text.lines().any(|l| l == line), "{file}: {line}: {text}");
        }
        let report: Value =
            serde_json::from_str(&stdout(&whycam(&folder, &["inspect", &model, "--json"]).success()))
                .expect("JSON");
        for port in ["inputs", "outputs"] {
            assert_eq!(report[port][0]["dtype"], json!(dtype), "{file}");
        }
    }
}

#[test]
fn what_is_not_known_and_whether_it_matters() {
    let at = folder();
    small_model(&at.path().join("odd.onnx"), With::Unknown);
    let text = stdout(&whycam(at.path(), &["inspect", "odd.onnx"]).success());
    assert!(
        text.contains(
            "not known    node \"odd\" (Mystery), between the image and what is asked: it stops gradients\n"
        ),
        "{text}"
    );
    assert!(text.contains("methods      grad-cam, cam, "), "{text}");
    assert!(text.contains("refused      guided-grad-cam, guided-backprop, gradient, deconvnet, "), "{text}");
    assert!(text.contains(": cannot differentiate through node \"odd\" (Mystery)"), "{text}");
    let report: Value =
        serde_json::from_str(&stdout(&whycam(at.path(), &["inspect", "odd.onnx", "--json"]).success()))
            .expect("JSON");
    assert_eq!(report["opaque"], json!([{"node": "node \"odd\" (Mystery)", "on_path": true}]));
    assert_eq!(report["methods"][0], json!({"method": "grad-cam", "error": null}));
    assert!(report["methods"][3]["error"].as_str().is_some_and(|e| e.contains("Mystery")));
    // Where the cells of an opaque node's result came from is not known, so it is no layer.
    let layers: Vec<_> =
        report["layers"].as_array().expect("layers").iter().map(|l| (&l["name"], &l["automatic"])).collect();
    assert_eq!(layers, [(&json!("features"), &json!(false)), (&json!("layer"), &json!(true))]);
    // Nor what they see.
    assert_eq!(report["layers"][0]["receptive_field"], json!("unknown"));
    assert_eq!(report["activations"], json!({"relu": 1, "other": 0, "others": {}}));
    assert_eq!(
        report["image"],
        json!({"input": "image", "channels": 3, "height": 8, "width": 8, "layout": "NCHW"})
    );
}

#[test]
fn a_model_without_an_image_is_told_all_the_same() {
    let at = folder();
    imageless_model(&at.path().join("flat.onnx"));
    let text = stdout(&whycam(at.path(), &["inspect", "flat.onnx"]).success());
    assert!(text.contains("input        vector: f32[1,4]"), "{text}");
    assert!(
        text.contains("problem      the model has no image input (four axes)\n             hint: "),
        "{text}"
    );
}

#[test]
fn a_model_without_class_scores_has_targets_and_layers() {
    let at = folder();
    small_model(&at.path().join("maps.onnx"), With::Unscored);
    let text = stdout(&whycam(at.path(), &["inspect", "maps.onnx"]).success());
    for line in [
        "output       layer: f32[1,4,8,8]",
        "  target     segment:0…3 (8×8 cells)",
        "  target     output:layer[0…3,0…7,0…7]",
        "asked        segment:0, for which the methods and layers below are",
        "layer        4×8×8             features, sees 1×1 every 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
    let report: Value =
        serde_json::from_str(&stdout(&whycam(at.path(), &["inspect", "maps.onnx", "--json"]).success()))
            .expect("JSON");
    assert_eq!(report["asked"], json!("segment:0"));
    // The nodes that make a number of the map are no layers of the file.
    assert_eq!(report["layers"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        report["outputs"][0]["targets"],
        json!(["segment:0…3 (8×8 cells)", "output:layer[0…3,0…7,0…7]"])
    );
}
