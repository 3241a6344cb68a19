//! Targets that name files: masks and embeddings.

mod common;

use common::{With, floats, folder, json, npy, small_model, small_png, stderr, whycam};
use serde_json::Value;
use snapbox::cmd::OutputAssert;
use tempfile::TempDir;
use whycam::image::{RgbImage, encode_png};

/// A photo of one colour, so that all cells of the layer are alike, and a model with a map and an embedding.
fn with_model() -> TempDir {
    let at = folder();
    small_model(&at.path().join("small.onnx"), With::Maps);
    small_png(&at.path().join("x.png"), 255);
    at
}

fn ask(at: &TempDir, target: &str) -> OutputAssert {
    let how = ["--method", "hires-cam", "--layer", "features", "--out", "out", "--force"];
    whycam(
        at.path(),
        &[&["explain", "x.png", "--model", "small.onnx", "--target", target], &how[..]].concat(),
    )
}

/// The first map, and the scores of the classes.
fn answer(at: &TempDir, target: &str) -> (Value, [f64; 4]) {
    ask(at, target).success();
    let record = json(&at.path().join("out/x.json"));
    let mut scores = [0.0; 4];
    for class in record["top"].as_array().expect("classes") {
        scores[class["class"].as_u64().expect("an index") as usize] =
            class["score"].as_f64().expect("a score");
    }
    (record["maps"][0].clone(), scores)
}

fn near(found: &Value, expected: f64) {
    let found = found.as_f64().expect("a number");
    // float32 sums of some dozens of terms.
    assert!((found - expected).abs() <= 1e-5 * expected.abs(), "{found}, {expected}");
}

/// Three of eight columns.
#[test]
fn masks_are_pictures_or_arrays() {
    let at = with_model();
    let inside = |column: u32, of: u32| if 8 * column < 3 * of { 255 } else { 0 };
    let picture = RgbImage::from_fn(16, 16, |x, _| [0, inside(x, 16), 0].into());
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (8, 8), }";
    let array: Vec<u8> = (0..64).map(|i| inside(i % 8, 8)).collect();
    std::fs::write(at.path().join("mask.png"), encode_png(&picture).expect("encoded")).expect("written");
    std::fs::write(at.path().join("mask.npy"), npy(header, &array)).expect("written");
    for mask in ["mask.png", "mask.npy"] {
        let target = format!("segment:1@{mask}");
        let (map, scores) = answer(&at, &target);
        assert_eq!((map["target"].as_str(), map["class"].as_u64()), (Some(target.as_str()), Some(1)));
        assert_eq!((map["score_kind"].as_str(), map["verdict"].as_str()), (Some("region"), Some("ok")));
        near(&map["score"], 24.0 * scores[1]);
        // The layer is linear in the score, so gradient times activation shares it out.
        near(&map["sum"], 24.0 * scores[1]);
    }
}

#[test]
fn embeddings_are_arrays() {
    let at = with_model();
    let numbers: Vec<f32> = (0..32).map(|i| (i % 7) as f32 - 2.5).collect();
    std::fs::write(at.path().join("e.npy"), floats(&[4, 8], &numbers)).expect("written");
    let (map, scores) = answer(&at, "similar:e.npy");
    assert_eq!((map["score_kind"].as_str(), map["target"].as_str()), (Some("cosine"), Some("similar:e.npy")));
    let embedding = |i: usize| scores[i / 8].abs();
    let along: f64 = numbers.iter().enumerate().map(|(i, &e)| embedding(i) * f64::from(e)).sum();
    let norms: f64 = (0..32).map(|i| embedding(i).powi(2)).sum::<f64>()
        * numbers.iter().map(|&e| f64::from(e).powi(2)).sum::<f64>();
    near(&map["score"], along / norms.sqrt());
}

#[test]
fn bad_files_have_clear_errors() {
    let at = with_model();
    let pictures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../whycam/tests/pictures");
    let header = |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let data = [0; 128];
    for (file, bytes) in [
        ("text", b"no picture at all".to_vec()),
        ("none", Vec::new()),
        ("bomb", std::fs::read(pictures.join("bomb.png")).expect("readable")),
        ("black", encode_png(&RgbImage::new(8, 8)).expect("encoded")),
        ("huge", npy(&header("(99999999999, 99999999999)"), &data)),
        ("cut", npy(&header("(8, 8)"), &data)),
        ("flat", floats(&[64], &[1.0; 64])),
        ("long", floats(&[33], &[1.0; 33])),
        ("zero", floats(&[32], &[0.0; 32])),
        ("nan", floats(&[32], &[f32::NAN; 32])),
    ] {
        std::fs::write(at.path().join(file), bytes).expect("written");
    }
    for (target, why) in [
        ("segment:1@missing", "missing"),
        ("segment:1@text", "text: not a picture"),
        ("segment:1@none", "none: not a picture"),
        ("segment:1@bomb", "bomb: "),
        ("segment:1@black", "no cell of the 8×8 map lies in the mask \"black\""),
        ("segment:1@huge", "more data than there can be"),
        ("segment:1@cut", "256 bytes of data, but there are 128"),
        ("segment:1@flat", "the mask \"flat\" has the shape [64]"),
        ("similar:missing", "missing"),
        ("similar:text", "text: not a picture"),
        ("similar:huge", "more data than there can be"),
        ("similar:long", "no output is an embedding of 33 numbers"),
        ("similar:zero", "no direction"),
        ("similar:nan", "no direction"),
    ] {
        let run = ask(&at, target);
        let (code, said) = (run.get_output().status.code(), stderr(&run));
        let clear = said.starts_with("error: ") && said.contains(why) && said.contains("\nhint: ");
        assert!(clear && matches!(code, Some(1 | 2)), "{target}: {code:?} {said}");
    }
    assert!(!at.path().join("out").exists());
}
