//! Many images in one run: batches, order, failures in the middle.

mod common;

use std::fs;
use std::path::Path;

use common::{With, files, floats, folder, json, photo, read_floats, small_model, stderr, stdout, whycam};
use serde_json::Value;
use tempfile::TempDir;
use whycam::image::{RgbImage, encode_png};

/// A folder with a model and so many pictures `p/00.png`, `p/01.png`, …, no two alike.
fn with_pictures(count: usize) -> TempDir {
    let at = folder();
    small_model(&at.path().join("small.onnx"), With::Batch);
    fs::create_dir(at.path().join("p")).expect("made");
    for index in 0..count {
        let pixel =
            |x: u32, y: u32| [(x * 30 + index as u32 * 7) as u8, (y * 30) as u8, 255 - index as u8 * 9];
        let picture = RgbImage::from_fn(8, 8, |x, y| pixel(x, y).into());
        let png = encode_png(&picture).expect("encoded");
        fs::write(at.path().join(format!("p/{index:02}.png")), png).expect("written");
    }
    at
}

fn explain(at: &Path, args: &[&str]) -> snapbox::cmd::OutputAssert {
    whycam(at, &[&["explain", "--model", "small.onnx"], args].concat())
}

/// The records that were printed.
fn lines(run: &snapbox::cmd::OutputAssert) -> Vec<Value> {
    stdout(run).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn paths(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["input"]["path"].as_str().expect("a path")).collect()
}

/// The greatest difference of two arrays by the greatest value.
fn difference(a: &Path, b: &Path) -> f32 {
    let (a, b) = (read_floats(a), read_floats(b));
    assert_eq!(a.0, b.0);
    let most = b.1.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    a.1.iter().zip(&b.1).fold(0.0f32, |far, (a, b)| far.max((a - b).abs())) / most
}

#[test]
fn results_are_in_order_and_those_of_single_runs() {
    let at = with_pictures(19);
    let question = ["--raw", "--json", "--target", "top:2,class:1", "--method", "grad-cam,guided-backprop"];
    let batched = explain(at.path(), &[&["p", "--out", "b"], question.as_slice()].concat()).success();
    let one =
        explain(at.path(), &[&["p", "--out", "1", "--batch", "1"], question.as_slice()].concat()).success();
    let batched = lines(&batched);
    let expected: Vec<String> = (0..19).map(|i| format!("p/{i:02}.png")).collect();
    assert_eq!(paths(&batched), expected);
    assert_eq!(paths(&lines(&one)), expected);
    assert_eq!(files(&at.path().join("b")), files(&at.path().join("1")));
    let arrays: Vec<String> =
        files(&at.path().join("b")).into_iter().filter(|f| f.ends_with(".npy")).collect();
    assert_eq!(arrays.len(), 19 * 2 * 3);
    for name in arrays {
        // Another order of additions; float32 has 6e-8.
        let far = difference(&at.path().join("b").join(&name), &at.path().join("1").join(&name));
        assert!(far <= 1e-5, "{name}: {far}");
    }
    for line in batched {
        let stem =
            line["input"]["path"].as_str().expect("a path").replace("p/", "b/").replace(".png", ".json");
        assert_eq!(line, json(&at.path().join(stem)), "what is printed is what is written");
    }
}

#[test]
fn photos_in_a_batch_have_the_maps_that_they_have_alone() {
    let at = folder();
    let (a, b, c) = (photo("astronaut.jpg"), photo("coffee.jpg"), photo("chelsea.jpg"));
    let [a, b, c] = [&a, &b, &c].map(|p| p.to_str().expect("UTF-8"));
    let question = ["--raw", "--no-pictures", "--json", "--target", "top:2"];
    let run =
        whycam(at.path(), &[&["explain", a, b, c, "--out", "b"], question.as_slice()].concat()).success();
    assert_eq!(paths(&lines(&run)), [a, b, c]);
    for photo in [a, b, c] {
        whycam(at.path(), &[&["explain", photo, "--out", "1"], question.as_slice()].concat()).success();
    }
    let names = files(&at.path().join("b"));
    assert_eq!(names, files(&at.path().join("1")));
    assert_eq!(names.len(), 3 * 3, "two arrays and a record a photo, and no pictures");
    for name in names.iter().filter(|name| name.ends_with(".npy")) {
        // Engines choose other kernels for other batches.
        let far = difference(&at.path().join("b").join(name), &at.path().join("1").join(name));
        assert!(far <= 1e-5, "{name}: {far}");
    }
    let record = json(&at.path().join("b/coffee.json"));
    let files = record["maps"][0]["files"].as_object().expect("files");
    assert!(files.len() == 1 && files.contains_key("raw"), "{files:?}");
}

#[test]
fn a_broken_file_in_the_middle_of_a_batch_fails_alone() {
    let at = with_pictures(11);
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../whycam/tests/pictures");
    let jpeg = fs::read(pictures.join("baseline.jpg")).expect("readable");
    fs::write(at.path().join("p/04a.jpg"), &jpeg[..jpeg.len() / 2]).expect("written");
    fs::write(at.path().join("p/05.png"), b"no picture").expect("written");
    let run = explain(at.path(), &["p", "--out", "out", "--json"]).code(1);
    let numbers = (0..11).filter(|&i| i != 5).map(|i| format!("p/{i:02}.png"));
    assert_eq!(paths(&lines(&run)), numbers.collect::<Vec<_>>());
    let said = stderr(&run);
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 2, "{said}");
    assert!(
        errors[0].starts_with("error: p/04a.jpg: ") && errors[1].starts_with("error: p/05.png: "),
        "{said}"
    );
    let last = said.lines().last().expect("a summary");
    assert!(last.starts_with("10 explained, 2 failed in ") && last.ends_with(" images a second"), "{last}");
    assert!(!files(&at.path().join("out")).iter().any(|name| name.contains("04a")));
}

#[test]
fn rows_of_arrays_and_photos_share_batches() {
    let at = with_pictures(3);
    let values: Vec<f32> =
        (0..4 * 192).map(|i| if i / 192 == 2 { f32::NAN } else { (i % 192) as f32 }).collect();
    fs::write(at.path().join("p/01a.npy"), floats(&[4, 3, 8, 8], &values)).expect("written");
    let run = explain(at.path(), &["p", "--out", "out", "--json"]).code(1);
    let lines = lines(&run);
    assert_eq!(
        lines
            .iter()
            .map(|line| (line["input"]["path"].as_str(), line["input"]["row"].as_u64()))
            .collect::<Vec<_>>(),
        [
            ("00.png", None),
            ("01.png", None),
            ("01a.npy", Some(0)),
            ("01a.npy", Some(1)),
            ("01a.npy", Some(3)),
            ("02.png", None)
        ]
        .map(|(name, row)| (Some(format!("p/{name}")), row))
        .each_ref()
        .map(|(name, row)| (name.as_deref(), *row))
    );
    assert!(stderr(&run).contains("error: p/01a.npy, row 2: the input holds NaN"), "{}", stderr(&run));
}

#[test]
fn what_fills_its_runs_with_one_image_goes_through_too() {
    let at = with_pictures(3);
    let run = explain(
        at.path(),
        &["p", "--out", "out", "--json", "--method", "occlusion:size=3:stride=2,grad-cam"],
    );
    assert_eq!(paths(&lines(&run.success())).len(), 3);
    let run = explain(at.path(), &["p", "--out", "s", "--json", "--sanity", "--no-pictures"]).success();
    assert!(lines(&run).iter().all(|line| line["maps"][0]["sanity"].is_object()));
    assert!(files(&at.path().join("s")).iter().all(|name| name.ends_with(".json")));
}
