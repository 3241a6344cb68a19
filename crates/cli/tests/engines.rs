//! Which engine answers, and what the record says of it.

mod common;

use std::fs;

use common::{With, command, folder, json, small_model, small_png, stderr, whycam};

const EXPLAIN: [&str; 6] = ["explain", "x.png", "--model", "small.onnx", "--out", "out"];

fn ready() -> tempfile::TempDir {
    let at = folder();
    small_model(&at.path().join("small.onnx"), With::Nothing);
    small_png(&at.path().join("x.png"), 200);
    at
}

#[test]
fn without_onnx_runtime_it_is_rten() {
    let at = ready();
    // A library in the working directory is not looked at.
    fs::write(at.path().join("libonnxruntime.so"), b"a stranger's").expect("written");
    let run = whycam(at.path(), &EXPLAIN).success();
    assert!(stderr(&run).contains("small.onnx, rten 0."), "{}", stderr(&run));
    let engine = &json(&at.path().join("out/x.json"))["engine"];
    assert_eq!((&engine["name"], &engine["device"]), (&"rten".into(), &"cpu".into()));
    assert_eq!(engine.get("library"), None);
}

#[test]
fn a_library_that_is_asked_for_must_work() {
    let at = ready();
    let broken = at.path().join("broken.so");
    fs::write(&broken, b"no library").expect("written");
    for path in [broken, at.path().join("missing.so"), "relative.so".into()] {
        let run = command(at.path(), &EXPLAIN).env("ORT_DYLIB_PATH", &path).assert().code(2);
        let said = stderr(&run);
        assert!(said.contains(path.file_name().expect("a name").to_str().expect("UTF-8")), "{said}");
        assert!(said.contains("hint: `pip install onnxruntime`"), "{said}");
        assert!(!at.path().join("out").exists());
    }
    let args: Vec<&str> = EXPLAIN.into_iter().chain(["--engine", "rten"]).collect();
    command(at.path(), &args).env("ORT_DYLIB_PATH", "/nowhere/ort.so").assert().success();
}

/// What needs ONNX Runtime; the variable is set where all tests must run.
#[test]
fn onnx_runtime_is_named_in_the_record() {
    let Some(library) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) else {
        println!("not tested: ORT_DYLIB_PATH names no ONNX Runtime");
        return;
    };
    let at = ready();
    whycam(at.path(), &EXPLAIN).success();
    let rten = json(&at.path().join("out/x.json"));
    command(at.path(), &EXPLAIN).env("ORT_DYLIB_PATH", &library).assert().success();
    let ort = json(&at.path().join("out/x.json"));
    assert_eq!(ort["engine"]["name"], "ort");
    assert_eq!(ort["engine"]["library"].as_str(), library.to_str());
    assert!(ort["engine"]["version"].as_str().expect("a version").starts_with("1."));
    for fact in ["min", "max", "score", "probability", "pre_relu_min"] {
        let [a, b] = [&rten, &ort].map(|r| r["maps"][0][fact].as_f64().expect("a number"));
        // float32 in another order of summation.
        assert!((a - b).abs() <= 1e-5 * a.abs().max(1.0), "{fact}: {a} and {b}");
    }
    let args: Vec<&str> = EXPLAIN.into_iter().chain(["--device", "directml"]).collect();
    let run = command(at.path(), &args).env("ORT_DYLIB_PATH", &library).assert();
    if !run.get_output().status.success() {
        assert!(stderr(&run).contains("not built for the device directml"), "{}", stderr(&run));
    }
}
