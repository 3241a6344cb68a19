//! Which files are explained, what their results are called, and what happens to bad ones.

mod common;

use common::{
    With, files, floats, folder, json, npy, read_floats, small_model, small_png, stderr, stdout, whycam,
};
use serde_json::json;
use tempfile::TempDir;

fn with_model() -> TempDir {
    let at = folder();
    small_model(&at.path().join("small.onnx"), With::Nothing);
    at
}

/// Explains `inputs` by the small model into `out`.
fn explain(at: &TempDir, inputs: &[&str]) -> snapbox::cmd::OutputAssert {
    whycam(at.path(), &[&["explain", "--model", "small.onnx", "--out", "out"], inputs].concat())
}

fn sheets(at: &TempDir) -> Vec<String> {
    let names = files(&at.path().join("out"));
    names.iter().filter_map(|name| Some(name.strip_suffix(".sheet.png")?.to_owned())).collect()
}

#[test]
fn equal_stems_keep_their_folder_or_their_ending() {
    let at = with_model();
    for name in ["a/x.png", "b/x.png", "c/y.png", "c/z.png", "c/z.jpg"] {
        small_png(&at.path().join(name), 200);
    }
    let run = explain(&at, &["a/x.png", "b/x.png", "c/y.png", "./a/x.png", "c/z.png", "c/z.jpg"]).success();
    assert_eq!(sheets(&at), ["a/x", "b/x", "y", "z.jpg", "z.png"]);
    assert_eq!(
        stdout(&run).lines().filter(|l| !l.starts_with(' ')).count(),
        5,
        "the same file is explained once"
    );
    let map = &json(&at.path().join("out/b/x.json"))["maps"][0];
    assert_eq!(map["files"]["overlay"], "b/x.grad-cam.layer.top1.png", "paths are below --out");
}

#[test]
fn folders_are_searched_and_keep_their_shape() {
    let at = with_model();
    for name in ["p/b/x.png", "p/a.png", "p/picture", "p/.hidden.png", "p/out/old.png"] {
        small_png(&at.path().join(name), 200);
    }
    std::fs::write(at.path().join("p/notes.txt"), "no picture").expect("written");
    std::fs::write(at.path().join("p/t.npy"), floats(&[1, 3, 8, 8], &[0.5; 192])).expect("written");
    let run = whycam(at.path(), &["explain", "p", "--model", "small.onnx", "--out", "p/out"]).success();
    let done: Vec<String> =
        stdout(&run).lines().filter(|l| !l.starts_with(' ')).map(|l| l.replace('\\', "/")).collect();
    assert_eq!(done, ["p/a.png", "p/b/x.png", "p/picture", "p/t.npy, row 0"], "in order, without --out");
    assert!(at.path().join("p/out/b/x.sheet.png").is_file());

    std::fs::create_dir(at.path().join("empty")).expect("made");
    assert!(
        stderr(&explain(&at, &["empty"]).code(1))
            .contains("empty: there are no pictures in this folder\nhint: ")
    );
}

#[test]
fn rows_of_an_array_are_images() {
    let at = with_model();
    let values: Vec<f32> = (0..384).map(|i| i as f32 / 384.0).collect();
    std::fs::write(at.path().join("two.npy"), floats(&[2, 3, 8, 8], &values)).expect("written");
    explain(&at, &["two.npy", "--raw", "--method", "grad-cam,gradient"]).success();
    assert_eq!(sheets(&at), ["two-0", "two-1"]);
    assert_eq!(read_floats(&at.path().join("out/two-0.grad-cam.layer.top1.npy")).0, [8, 8]);
    assert_eq!(read_floats(&at.path().join("out/two-1.gradient.input.top1.npy")).0, [3, 8, 8]);
    let record = json(&at.path().join("out/two-1.json"));
    assert_eq!(record["input"]["row"], 1);
    assert_eq!((record["input"].get("width"), record.get("prep")), (None, None));

    // Another type and the other order of axes hold the same numbers.
    let at = with_model();
    let row = &values[..192];
    let header = "{'descr': '<f8', 'fortran_order': True, 'shape': (1, 3, 8, 8), }";
    let turned = (0..192).map(|i| f64::from(row[(i % 3) * 64 + (i / 3 % 8) * 8 + i / 24]));
    std::fs::write(
        at.path().join("f.npy"),
        npy(header, &turned.flat_map(f64::to_le_bytes).collect::<Vec<u8>>()),
    )
    .expect("written");
    std::fs::write(at.path().join("c.npy"), floats(&[1, 3, 8, 8], row)).expect("written");
    explain(&at, &["f.npy", "c.npy", "--raw"]).success();
    let raw = |stem: &str| read_floats(&at.path().join(format!("out/{stem}.grad-cam.layer.top1.npy")));
    assert_eq!(raw("f"), raw("c"));
    assert_eq!(
        files(&at.path().join("out")).iter().filter(|n| n.ends_with(".npy")).count(),
        2,
        "one array a map"
    );
}

#[test]
fn bytes_are_numbers_too() {
    let at = with_model();
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 3, 8, 8), }";
    std::fs::write(at.path().join("u.npy"), npy(header, &[200; 192])).expect("written");
    explain(&at, &["u.npy"]).success();
    assert_eq!(json(&at.path().join("out/u.json"))["top"][0]["score"], json!(280.0));
}

#[test]
fn bad_pictures_fail_and_the_others_are_explained() {
    let at = with_model();
    let pictures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../whycam/tests/pictures");
    small_png(&at.path().join("good.png"), 200);
    let good = std::fs::read(at.path().join("good.png")).expect("readable");
    let jpeg = std::fs::read(pictures.join("baseline.jpg")).expect("readable");
    for (name, bytes) in [
        ("bomb.png", std::fs::read(pictures.join("bomb.png")).expect("readable")),
        ("none.png", std::fs::read(pictures.join("empty.png")).expect("readable")),
        ("zero.jpg", Vec::new()),
        ("text.jpg", b"no picture at all".to_vec()),
        ("half.png", good[..good.len() / 2].to_vec()),
        ("half.jpg", jpeg[..jpeg.len() / 2].to_vec()),
    ] {
        std::fs::write(at.path().join(name), bytes).expect("written");
    }
    let inputs =
        ["missing.jpg", "bomb.png", "none.png", "zero.jpg", "text.jpg", "half.png", "half.jpg", "good.png"];
    let run = explain(&at, &inputs).code(1);
    let said = stderr(&run);
    for (name, why) in [
        ("cannot read missing.jpg", ""),
        ("bomb.png", "too large"),
        ("none.png", ""),
        ("zero.jpg", "not a picture"),
        ("text.jpg", "not a picture"),
        ("half.png", "cannot be decoded"),
        ("half.jpg", "stop before their end"),
    ] {
        let start = format!("error: {name}: ");
        let line = said.lines().find(|l| l.starts_with(&start)).unwrap_or_else(|| panic!("{name}: {said}"));
        assert!(line.contains(why), "{line}");
    }
    assert_eq!(said.matches("\nhint: ").count(), 7, "{said}");
    assert!(said.lines().last().is_some_and(|l| l.starts_with("1 explained, 7 failed in ")), "{said}");
    assert_eq!(sheets(&at), ["good"]);
}

#[test]
fn bad_arrays_have_clear_errors() {
    let at = with_model();
    let header = |descr: &str, shape: &str| {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")
    };
    let data = [0; 768];
    let deep = format!("{}{}", "(".repeat(5000), ")".repeat(5000));
    let mut long = b"\x93NUMPY\x02\x00\xff\xff\xff\x7f".to_vec();
    long.extend(data);
    for (name, bytes, why) in [
        ("empty", Vec::new(), "does not begin"),
        ("magic", b"\x93NUMPY".to_vec(), "does not begin"),
        ("version", b"\x93NUMPY\x09\x00\x00\x00".to_vec(), "does not begin"),
        ("text", b"hello".to_vec(), "does not begin"),
        ("long", long, "ends within its header"),
        ("python", npy("import os", &data), "not a sound .npy file"),
        ("deep", npy(&deep, &data), "not that of an array"),
        (
            "huge",
            npy(&header("<f4", "(1, 3, 99999999999, 99999999999)"), &data),
            "more data than there can be",
        ),
        ("wrap", npy(&header("<f4", "(4294967296, 4294967296)"), &data), "more data than there can be"),
        (
            "digits",
            npy(&header("<f4", &format!("({},)", "9".repeat(400))), &data),
            "more data than there can be",
        ),
        ("negative", npy(&header("<f4", "(1, 3, -8, -8)"), &data), "not a sound .npy file"),
        ("hex", npy(&header("<f4", "(1, 3, 0x8, 8)"), &data), "not that of an array"),
        ("short", npy(&header("<f4", "(1, 3, 8, 9)"), &data), "864 bytes of data, but there are 768"),
        ("more", npy(&header("<f4", "(1, 3, 8, 4)"), &data), "384 bytes of data, but there are 768"),
        ("complex", npy(&header("<c8", "(1, 3, 8, 4)"), &data), "arrays of type '<c8' are not read"),
        ("objects", npy(&header("|O8", "(1, 3, 8, 4)"), &data), "not"),
        (
            "record",
            npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (192,), }", &data),
            "are not read",
        ),
        ("shape", floats(&[1, 3, 8, 4], &[0.0; 96]), "does not fit the model"),
        ("flat", floats(&[192], &[0.0; 192]), "does not fit the model"),
        ("rows", floats(&[0, 3, 8, 8], &[]), "not a sound .npy file"),
    ] {
        let file = format!("{name}.npy");
        std::fs::write(at.path().join(&file), bytes).expect("written");
        let said = stderr(&explain(&at, &[&file]).code(1));
        let error = said
            .lines()
            .find(|l| l.starts_with(&format!("error: {file}: ")))
            .unwrap_or_else(|| panic!("{name}: {said}"));
        assert!(error.contains(why) && said.contains("\nhint: "), "{name}: {said}");
    }
    assert!(!at.path().join("out").exists());
}

#[cfg(unix)]
#[test]
fn names_that_are_not_text_work() {
    use std::os::unix::ffi::OsStrExt;
    let at = with_model();
    let name = std::ffi::OsStr::from_bytes(b"\xff\x1b[31m .png");
    small_png(&at.path().join("x.png"), 200);
    if std::fs::rename(at.path().join("x.png"), at.path().join(name)).is_err() {
        return; // not on this file system
    }
    let run = explain(&at, &["."]).success();
    assert!(!stdout(&run).contains('\u{1b}'), "no control character reaches the terminal");
    assert_eq!(sheets(&at), ["\u{fffd}-[31m "]);
}
