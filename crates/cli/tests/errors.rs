//! Wrong command lines: code 2, and nothing is done.

mod common;

use common::{
    With, floats, folder, imageless_model, npy, photo, small_model, small_png, stderr, stdout, whycam,
};

#[test]
fn wrong_questions_are_refused_before_any_input() {
    let at = folder();
    small_model(&at.path().join("small.onnx"), With::Nothing);
    imageless_model(&at.path().join("flat.onnx"));
    small_png(&at.path().join("x.png"), 200);
    std::fs::write(at.path().join("labels.txt"), "cat\ndog\ndog\nowl\n").expect("written");
    std::fs::write(at.path().join("a.npy"), floats(&[1, 4], &[0.0; 4])).expect("written");
    for (args, why) in [
        (&["--target", "tabby"][..], "\"tabby\" is not a target"),
        (&["--target", "top:0"], "is not a number of classes"),
        (&["--target", "top:5"], "model with 4"),
        (&["--target", "class:4"], "there is no class 4"),
        (&["--target", "class:cat"], "the model has no labels"),
        (&["--target", "class:bat", "--labels", "labels.txt"], "no class is called \"bat\""),
        (&["--target", "class:Dog", "--labels", "labels.txt"], "choose one of class:1 (dog), class:2 (dog)"),
        (&["--labels", "missing.txt"], "cannot read missing.txt"),
        (&["--method", "gradcam"], "there is no method \"gradcam\""),
        (&["--method", "grad-cam:relu=maybe"], "relu takes on, off"),
        (&["--layer", "lay"], "did you mean layer?"),
        (&["--layer", "scores"], "\"scores\" is not a layer with a grid"),
        (&["--layer", "stage*.*"], "no layer is like \"stage*.*\""),
        (&["--model", "missing.onnx"], "cannot read missing.onnx"),
        (&["--model", "flat.onnx"], "no image input"),
        (&["--output", "logits"], "the model's outputs are: scores"),
        (&["--prep", "resnet"], "there is no preparation preset"),
        (&["--engine", "tpu"], "[possible values: auto, rten, ort]"),
        (&["--engine", "ort"], "ORT_DYLIB_PATH is not set"),
        (&["--engine", "rten", "--device", "cuda"], "hint: take --engine ort"),
        (&["--device", "cuda"], "ONNX Runtime cannot be used"),
        (&["--device", "tpu"], "[possible values: cpu, cuda, tensorrt, coreml, directml]"),
        (&["--align", "edges"], "[possible values: half-pixel, corners]"),
        (&["--colormap", "rainbow"], "one of jet, turbo"),
        (&["--opacity", "2"], "from 0 to 1"),
        (&["--size", "8by8"], "HEIGHTxWIDTH"),
        (&["--size", "5000000"], "no size from 1 to 16384"),
        (&["--threads", "0"], "hint: give a whole number from 1 to"),
        (&["--batch", "0"], "hint: give a whole number from 1 to"),
        (&["--batch", "100000000"], "hint: give a whole number from 1 to"),
        (&["--method", "grad-cam:rellu=off"], "its options are relu, pool"),
        (&["--method", "occlusion:stride=-4"], "stride takes a whole number from 1 to"),
        (&["--method", "occlusion:size="], "size takes whole numbers from 0 to"),
        (&["--method", "integrated-gradients:steps=0"], "steps takes a whole number from 1 to"),
        (&["--method", "rise:keep=nan"], "keep takes a number from 0.01 to 1"),
        (&["--fuse", "median"], "[possible values: mean, max]"),
        (&["--fuse", "mean"], "hint: ask for several layers"),
        (&["--out", "labels.txt"], "cannot write labels.txt: "),
        (&["--out", "labels.txt/below"], "hint: check the folder's permissions"),
        (&["--input", "bias"], "NAME=FILE.npy"),
        (&["--input", "bias=a.npy"], "the model has no further input \"bias\""),
    ] {
        let mut all = vec!["explain", "x.png"];
        if !args.contains(&"--model") {
            all.extend(["--model", "small.onnx"]);
        }
        all.extend(args);
        let run = whycam(at.path(), &all).code(2);
        let said = stderr(&run);
        assert!(said.starts_with("error: ") && said.contains(why), "{args:?}: {said}");
        let way_out = ["hint: ", "[possible values: "].iter().any(|way| said.contains(way));
        assert!(way_out, "{args:?}: {said}");
        assert_eq!(stdout(&run), "", "{args:?}");
    }
    assert!(!at.path().join("whycam-out").exists());
}

/// A file that is no model, or but the beginning of one, is told by its name, whatever is to be done with it.
#[test]
fn what_is_no_model_is_told_with_its_name() {
    let at = folder();
    small_model(&at.path().join("small.onnx"), With::Nothing);
    small_png(&at.path().join("x.png"), 200);
    let model = std::fs::read(at.path().join("small.onnx")).expect("readable");
    std::fs::write(at.path().join("half.onnx"), &model[..model.len() / 2]).expect("written");
    for (file, code) in [("x.png", 1), ("half.onnx", 1), ("missing.onnx", 2)] {
        for args in [
            &["explain", "x.png", "--model", file][..],
            &["compile", file, "-o", "new.onnx"],
            &["inspect", file],
        ] {
            let said = stderr(&whycam(at.path(), args).code(code));
            assert!(said.starts_with("error: ") && said.contains(file), "{args:?}: {said}");
            assert!(said.contains("\nhint: "), "{args:?}: {said}");
        }
    }
    assert!(!at.path().join("new.onnx").exists() && !at.path().join("whycam-out").exists());
}

/// A patch that is larger than the image says where it is all one value.
#[test]
fn a_patch_larger_than_the_image_is_told() {
    let at = folder();
    small_model(&at.path().join("small.onnx"), With::Nothing);
    small_png(&at.path().join("x.png"), 200);
    let args = ["explain", "x.png", "--model", "small.onnx", "--method", "occlusion:size=100"];
    let said = stderr(&whycam(at.path(), &args).success());
    assert!(said.contains("warning: x.png: occlusion:size=100 of top1 at input: the map "), "{said}");
}

#[test]
fn further_inputs_are_named_arrays() {
    let at = folder();
    small_model(&at.path().join("two.onnx"), With::Bias);
    small_png(&at.path().join("x.png"), 200);
    let doubles = [0.0, 0.0, 9.0, 0.0].iter().flat_map(|v: &f64| v.to_le_bytes()).collect::<Vec<u8>>();
    let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 4), }";
    std::fs::write(at.path().join("bias.npy"), npy(header, &doubles)).expect("written");
    std::fs::write(at.path().join("long.npy"), floats(&[1, 5], &[0.0; 5])).expect("written");
    let explain =
        |args: &[&str]| whycam(at.path(), &[&["explain", "x.png", "--model", "two.onnx"], args].concat());

    assert!(stderr(&explain(&[]).code(2)).contains("give --input bias=FILE.npy"));
    let long = stderr(&explain(&["--input", "bias=long.npy"]).code(2));
    assert!(
        long.contains("error: --input bias: an array f32[1, 5] does not fit the input bias: f32[1,4]"),
        "{long}"
    );
    assert!(
        stderr(&explain(&["--input", "bias=bias.npy", "--input", "bias=bias.npy"]).code(2))
            .contains("given twice")
    );
    assert!(stderr(&explain(&["--input", "bias=none.npy"]).code(2)).contains("cannot read none.npy"));
    let run = explain(&["--input", "bias=bias.npy"]).success();
    assert!(stdout(&run).contains("     2  class 2"), "{}", stdout(&run));
}

#[test]
fn a_broken_model_is_a_broken_file() {
    let at = folder();
    small_model(&at.path().join("small.onnx"), With::Nothing);
    let sound = std::fs::read(at.path().join("small.onnx")).expect("readable");
    std::fs::write(at.path().join("cut.onnx"), &sound[..sound.len() / 2]).expect("written");
    for args in [["explain", "x.png", "--model", "cut.onnx"].as_slice(), &["inspect", "cut.onnx"]] {
        let said = stderr(&whycam(at.path(), args).code(1));
        assert!(said.starts_with("error: cut.onnx: ") && said.contains("\nhint: "), "{said}");
    }
}

#[test]
fn an_unknown_node_matters_where_it_is_in_the_way() {
    let at = folder();
    small_model(&at.path().join("odd.onnx"), With::Unknown);
    let explain = |method: &str| {
        let photo = photo("rocket.jpg");
        let photo = photo.to_str().expect("text");
        stderr(&whycam(at.path(), &["explain", photo, "--model", "odd.onnx", "--method", method]).failure())
    };
    let said = explain("gradient");
    assert!(
        said.contains("cannot differentiate through node \"odd\" (Mystery)") && said.contains("hint: "),
        "{said}"
    );
    // Behind the node gradients are known; only that the engine does not know it either.
    let said = explain("grad-cam");
    assert!(said.contains("engine rten: ") && said.contains("Mystery"), "{said}");
}

/// A folder where a file should go, and a file where a folder should.
#[test]
fn what_cannot_be_written_is_an_error_and_leaves_nothing_behind() {
    let at = folder();
    small_model(&at.path().join("small.onnx"), With::Nothing);
    small_png(&at.path().join("x.png"), 200);
    let explain = |out: &str, code: i32| {
        stderr(&whycam(at.path(), &["explain", "x.png", "--model", "small.onnx", "--out", out]).code(code))
    };
    let said = explain("x.png", 2);
    assert!(said.starts_with("error: cannot write x.png: "), "it is told before any work: {said}");
    std::fs::create_dir_all(at.path().join("out/x.sheet.png")).expect("made");
    let said = explain("out", 1);
    assert!(
        said.contains("cannot write out") && said.contains("x.sheet.png") && said.contains("hint: "),
        "{said}"
    );
    assert!(!at.path().join("out/x.json").exists(), "the JSON comes last");
}

#[cfg(unix)]
#[test]
fn nobody_reading_is_no_error() {
    use std::process::{Command, Stdio};
    let at = folder();
    small_model(&at.path().join("small.onnx"), With::Nothing);
    small_png(&at.path().join("x.png"), 200);
    for args in [
        ["explain", "x.png", "--model", "small.onnx"].as_slice(),
        &["methods"],
        &["inspect", "small.onnx"],
        &["--help"],
    ] {
        let mut run = Command::new(snapbox::cmd::cargo_bin!("whycam"));
        let mut run = run
            .args(args)
            .current_dir(at.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("runs");
        drop(run.stdout.take());
        drop(run.stderr.take());
        assert!(run.wait().expect("ends").success(), "{args:?}");
    }
    assert!(at.path().join("whycam-out/x.json").is_file());
}
