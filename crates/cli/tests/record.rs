//! The JSON file of an image from run to run.

mod common;

use common::{With, files, floats, folder, json, small_model, small_png, stderr, stdout, whycam};
use serde_json::json;

/// A folder with a model, a photo, and one explanation.
fn explained() -> tempfile::TempDir {
    let at = folder();
    small_model(&at.path().join("small.onnx"), With::Nothing);
    small_png(&at.path().join("x.png"), 200);
    whycam(at.path(), &["explain", "x.png", "--model", "small.onnx", "--out", "out"]).success();
    at
}

#[test]
fn equal_keys_are_replaced_and_others_stay() {
    let at = explained();
    let path = at.path().join("out/x.json");
    let mut first = json(&path);
    // A mark that only the replaced map loses, and numbers that must not change by being read and written.
    first["maps"][0]["mark"] = json!(true);
    let mut kept = first["maps"][0].clone();
    kept["target"] = json!("class:3");
    kept["score"] = json!(0.1f64 + 0.2f64);
    kept["min"] = json!(null);
    first["maps"].as_array_mut().expect("maps").push(kept.clone());
    std::fs::write(&path, first.to_string()).expect("written");

    whycam(
        at.path(),
        &["explain", "x.png", "--model", "small.onnx", "--out", "out", "--target", "class:2,top1"],
    )
    .success();
    let second = json(&path);
    let targets: Vec<_> =
        second["maps"].as_array().expect("maps").iter().map(|m| m["target"].as_str()).collect();
    assert_eq!(targets, [Some("top1"), Some("class:3"), Some("class:2")]);
    assert_eq!(second["maps"][0].get("mark"), None);
    assert_eq!(second["maps"][1], kept);
}

#[test]
fn another_model_image_or_preparation_is_refused_before_any_work() {
    let at = explained();
    let before = std::fs::read(at.path().join("out/x.json")).expect("readable");
    let refused = |args: &[&str], why: &str| {
        let run = whycam(at.path(), &[&["explain", "x.png", "--out", "out"], args].concat()).code(1);
        let said = stderr(&run);
        assert!(said.contains(&format!("is about {why}")) && said.contains("hint: --force"), "{said}");
        assert_eq!(stdout(&run), "");
    };
    small_model(&at.path().join("other.onnx"), With::Nothing);
    refused(&["--model", "other.onnx"], "another model");
    refused(&["--model", "small.onnx", "--prep", "unit"], "another preparation");
    small_png(&at.path().join("x.png"), 100);
    refused(&["--model", "small.onnx"], "another image");
    assert_eq!(std::fs::read(at.path().join("out/x.json")).expect("readable"), before);
    assert_eq!(files(&at.path().join("out")).len(), 3);

    whycam(
        at.path(),
        &["explain", "x.png", "--out", "out", "--model", "small.onnx", "--target", "class:2", "--force"],
    )
    .success();
    let record = json(&at.path().join("out/x.json"));
    assert_eq!(record["maps"].as_array().map(Vec::len), Some(1), "--force starts anew");
}

#[test]
fn what_is_no_record_is_not_overwritten() {
    let at = explained();
    for broken in ["{", "[]", "{\"maps\": 1}"] {
        std::fs::write(at.path().join("out/x.json"), broken).expect("written");
        let run = whycam(at.path(), &["explain", "x.png", "--model", "small.onnx", "--out", "out"]).code(1);
        assert!(stderr(&run).contains("hint: --force starts the file anew"), "{}", stderr(&run));
        assert_eq!(std::fs::read_to_string(at.path().join("out/x.json")).expect("readable"), broken);
    }
    whycam(at.path(), &["explain", "x.png", "--model", "small.onnx", "--out", "out", "--force"]).success();
}

#[test]
fn numbers_that_are_not_finite_are_null_and_the_map_says_so() {
    let at = explained();
    let values = [3e38; 192];
    std::fs::write(at.path().join("n.npy"), floats(&[1, 3, 8, 8], &values)).expect("written");
    let run = whycam(at.path(), &["explain", "n.npy", "--model", "small.onnx", "--out", "out"]).success();
    assert!(
        stderr(&run).contains("warning: n.npy, row 0: grad-cam of top1 at layer: the map holds NaN"),
        "{}",
        stderr(&run)
    );
    let map = &json(&at.path().join("out/n.json"))["maps"][0];
    assert_eq!((&map["verdict"], &map["pre_relu_max"]), (&json!("nan"), &json!(null)));
}

#[test]
fn a_verdict_that_is_not_ok_is_told() {
    let at = explained();
    let run = whycam(
        at.path(),
        &["explain", "x.png", "--model", "small.onnx", "--out", "o", "--target", "class:0"],
    )
    .success();
    let said = stderr(&run);
    assert!(said.contains("warning: x.png: grad-cam of class:0 at layer: "), "{said}");
    let map = &json(&at.path().join("o/x.json"))["maps"][0];
    assert_ne!(map["verdict"], "ok");
    let quiet = whycam(
        at.path(),
        &["explain", "x.png", "--model", "small.onnx", "--out", "o", "--target", "class:0", "--quiet"],
    );
    assert_eq!((stdout(&quiet), stderr(&quiet)), (String::new(), String::new()));
}

#[test]
fn names_that_become_equal_get_a_suffix() {
    let at = explained();
    std::fs::write(at.path().join("labels.txt"), "a b\na-b\nA/B\n../../escape\n").expect("written");
    let explain = |target: &str| {
        let args = [
            "explain",
            "x.png",
            "--model",
            "small.onnx",
            "--out",
            "o",
            "--labels",
            "labels.txt",
            "--target",
            target,
        ];
        whycam(at.path(), &args).success();
    };
    explain("class:a b,class:a-b");
    explain("class:A/B,class:../../escape");
    explain("class:a-b");
    let names = files(&at.path().join("o"));
    let is_plain = |name: &&String| name.ends_with(".class-a-b.png");
    let pictures = names.iter().filter(|n| n.ends_with(".png") && !n.ends_with("sheet.png"));
    assert_eq!((pictures.clone().count(), pictures.clone().filter(is_plain).count()), (4, 1), "{names:?}");
    assert!(names.iter().any(|n| n.ends_with(".class-..-..-escape.png")), "{names:?}");
    let record = json(&at.path().join("o/x.json"));
    let mut overlays: Vec<&str> = record["maps"]
        .as_array()
        .expect("maps")
        .iter()
        .filter_map(|m| m["files"]["overlay"].as_str())
        .collect();
    overlays.sort_unstable();
    overlays.dedup();
    assert_eq!(overlays.len(), 4);
    assert!(overlays.iter().all(|o| names.iter().any(|n| n == o)));
    assert!(!at.path().join("escape.png").exists());
}

#[cfg(unix)]
#[test]
fn files_have_ordinary_permissions_and_nothing_temporary_stays() {
    use std::os::unix::fs::PermissionsExt;
    let at = explained();
    let plain = at.path().join("plain");
    std::fs::write(&plain, "").expect("written");
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode();
    for name in files(&at.path().join("out")) {
        assert_eq!(mode(&at.path().join("out").join(&name)), mode(&plain), "{name}");
        assert!(!name.starts_with("."), "{name}");
    }
}
