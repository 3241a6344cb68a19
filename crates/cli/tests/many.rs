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
    let at = with_pictures(11);
    let question = ["--raw", "--json", "--target", "top:2,class:1", "--method", "grad-cam,guided-backprop"];
    let batched = explain(at.path(), &[&["p", "--out", "b"], question.as_slice()].concat()).success();
    let one =
        explain(at.path(), &[&["p", "--out", "1", "--batch", "1"], question.as_slice()].concat()).success();
    let batched = lines(&batched);
    let expected: Vec<String> = (0..11).map(|i| format!("p/{i:02}.png")).collect();
    assert_eq!(paths(&batched), expected);
    assert_eq!(paths(&lines(&one)), expected);
    assert_eq!(files(&at.path().join("b")), files(&at.path().join("1")));
    let arrays: Vec<String> =
        files(&at.path().join("b")).into_iter().filter(|f| f.ends_with(".npy")).collect();
    assert_eq!(arrays.len(), 11 * 2 * 3);
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

/// The stems of the images that were explained by a run with `--resume`, the others having been finished.
fn explained(run: &snapbox::cmd::OutputAssert) -> Vec<String> {
    let heads = stdout(run);
    let heads = heads.lines().filter(|line| !line.starts_with(' ') && !line.ends_with(" is finished"));
    heads.map(|line| line.trim_start_matches("p/").trim_end_matches(".png").to_owned()).collect()
}

#[test]
fn an_interrupted_run_continues() {
    let at = with_pictures(12);
    let out = at.path().join("out");
    let asked = ["p", "--out", "out", "--raw", "--target", "top:2"];
    let resume = [asked.as_slice(), &["--resume"]].concat();
    explain(at.path(), &resume).success();
    let before: Vec<(String, Vec<u8>)> = files(&out)
        .into_iter()
        .map(|name| (name.clone(), fs::read(out.join(&name)).expect("readable")))
        .collect();
    assert_eq!(explained(&explain(at.path(), &resume).success()), Vec::<String>::new());

    // What an interruption may leave: no record, and a crash: a record or a file that is empty or ends early.
    fs::remove_file(out.join("01.json")).expect("removed");
    fs::remove_file(out.join("03.grad-cam.layer.top2.npy")).expect("removed");
    fs::remove_file(out.join("04.sheet.png")).expect("removed");
    fs::write(out.join("06.grad-cam.layer.top1.png"), "").expect("written");
    let record = fs::read(out.join("09.json")).expect("readable");
    fs::write(out.join("09.json"), &record[..record.len() / 2]).expect("written");
    fs::write(out.join("10.json"), "").expect("written");
    let run = explain(at.path(), &resume).success();
    assert_eq!(explained(&run), ["01", "03", "04", "06", "09", "10"]);
    let said = stderr(&run);
    assert!(said.contains("6 explained, 6 finished before in "), "{said}");
    let timeless = |bytes: &[u8]| {
        let mut value: Value = serde_json::from_slice(bytes).expect("JSON");
        for map in value["maps"].as_array_mut().expect("maps") {
            map["milliseconds"] = Value::Null;
        }
        value
    };
    assert_eq!(files(&out).len(), before.len());
    for (name, bytes) in before {
        let now = fs::read(out.join(&name)).expect("readable");
        if name.ends_with(".json") {
            assert_eq!(timeless(&now), timeless(&bytes), "{name}");
        } else {
            assert!(now == bytes, "{name}");
        }
    }

    // All records are printed, finished or not.
    fs::remove_file(out.join("05.json")).expect("removed");
    let lines = lines(&explain(at.path(), &[resume.as_slice(), &["--json"]].concat()).success());
    assert_eq!(paths(&lines), (0..12).map(|i| format!("p/{i:02}.png")).collect::<Vec<_>>());
}

#[test]
fn what_was_made_of_something_else_is_not_taken_for_finished() {
    let at = with_pictures(2);
    let resume = ["p", "--out", "out", "--resume"];
    let again = |more: &[&str]| explain(at.path(), &[resume.as_slice(), more].concat());
    explain(at.path(), &["p", "--out", "out"]).success();
    assert_eq!(explained(&again(&[]).success()).len(), 0, "the first run needs no --resume");
    assert_eq!(
        explained(&again(&["--batch", "1", "--threads", "1"]).success()).len(),
        0,
        "this changes nothing"
    );
    assert_eq!(explained(&again(&["--no-pictures"]).success()).len(), 0, "this asks for less");
    fs::write(at.path().join("labels.txt"), "a\nb\nc\nd\n").expect("written");
    for more in [
        &["--raw"][..],
        &["--target", "class:1"],
        &["--method", "gradient"],
        &["--layer", "features"],
        &["--align", "corners"],
        &["--colormap", "turbo"],
        &["--opacity", "0.3"],
        &["--labels", "labels.txt"],
        &["--sanity"],
    ] {
        assert_eq!(explained(&again(more).success()), ["00", "01"], "{more:?}");
        assert_eq!(explained(&again(more).success()).len(), 0, "{more:?} twice");
    }

    // Another image or model is refused, and explained with --force; what is finished stays.
    fs::copy(at.path().join("p/00.png"), at.path().join("p/01.png")).expect("copied");
    explain(at.path(), &["p/00.png", "--out", "out"]).success();
    assert!(stderr(&again(&[]).code(1)).contains("01.json is about another image"));
    assert_eq!(explained(&again(&["--force"]).success()), ["01"]);
    small_model(&at.path().join("other.onnx"), With::Batch);
    let other = [&["explain", "--model", "other.onnx"], resume.as_slice()].concat();
    assert!(stderr(&whycam(at.path(), &other).code(1)).contains("is about another model"));
    fs::write(at.path().join("out/00.json"), "no record").expect("written");
    assert!(stderr(&again(&[]).code(1)).contains("is in the way: it is no JSON"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_whole_files_and_the_run_can_be_continued() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let at = with_pictures(10);
    let out = at.path().join("out");
    // Slow enough to be interrupted in the middle.
    let asked =
        ["p", "--out", "out", "--model", "small.onnx", "--method", "rise:masks=1000,grad-cam", "--resume"];
    let mut child = Command::new(snapbox::cmd::cargo_bin!("whycam"))
        .arg("explain")
        .args(asked)
        .current_dir(at.path())
        .env_remove("ORT_DYLIB_PATH")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut first = String::new();
    let mut said = BufReader::new(child.stdout.take().expect("piped"));
    said.read_line(&mut first).expect("a line");
    assert_eq!(first, "p/00.png\n");
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("run");
    assert!(kill.success());
    std::io::copy(&mut said, &mut std::io::sink()).expect("read");
    let ended = child.wait_with_output().expect("ended");
    let told = String::from_utf8(ended.stderr).expect("UTF-8");
    assert_eq!(ended.status.code(), Some(130), "{told}");
    assert_eq!(
        told.matches("interrupted: what is begun is finished; Ctrl-C again ends at once\n").count(),
        1,
        "{told}"
    );
    assert!(told.ends_with("interrupted: the same command with --resume continues\n"), "{told}");
    let names = files(&out);
    let records: Vec<&String> = names.iter().filter(|name| name.ends_with(".json")).collect();
    assert!((1..10).contains(&records.len()), "{names:?}");
    assert_eq!(names.len(), 4 * records.len(), "two overlays, a sheet and a record each: {names:?}");

    let run = whycam(at.path(), &[&["explain"], asked.as_slice()].concat()).success();
    assert_eq!(explained(&run).len(), 10 - records.len());
    assert_eq!(files(&out).len(), 4 * 10);
}
