//! `whycam compile`.

mod common;

use common::{files, folder, photo, stderr, stdout, whycam};

const NET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/nets/resnet18/legacy.onnx");

#[test]
fn a_compiled_model_is_a_model() {
    let folder = folder();
    let run = whycam(folder.path(), &["compile", NET, "--target", "top:2", "-o", "made/net.onnx"]).success();
    assert_eq!(stdout(&run).trim(), "made/net.onnx");
    assert!(stderr(&run).contains("(automatic)") && stderr(&run).contains("× the model"), "{}", stderr(&run));
    assert_eq!(files(folder.path()), ["made/net.onnx"]);
    let inspected = whycam(folder.path(), &["inspect", "made/net.onnx"]).success();
    for output in ["map", "heatmap", "range"] {
        assert!(stdout(&inspected).contains(output), "{}", stdout(&inspected));
    }
    let args = ["compile", NET, "--prep", "imagenet", "--target", "class:1", "-o", "photo.onnx"];
    whycam(folder.path(), &args).success();
    let inspected = whycam(folder.path(), &["inspect", "photo.onnx"]).success();
    assert!(stdout(&inspected).contains("photo"), "{}", stdout(&inspected));
    let photo = photo("coffee.jpg");
    let explained = ["explain", photo.to_str().expect("a path"), "--model", "photo.onnx"];
    whycam(folder.path(), &explained).success();
    let again = whycam(folder.path(), &["compile", "made/net.onnx", "-o", "twice.onnx"]).code(2);
    assert!(stderr(&again).contains("hint:"), "{}", stderr(&again));
}

#[test]
fn what_cannot_be_compiled_is_refused() {
    let folder = folder();
    for (args, says) in [
        (["--method", "occlusion"], "occlusion cannot be compiled: it compares many runs"),
        (["--method", "eigen-cam"], "eigen-cam cannot be compiled: its last step"),
        (["--method", "grad-cam:smooth=on"], "smooth=on runs several copies"),
        (["--target", "input,top1"], "--target input is given beside other targets"),
        (["--target", "input:0"], "\"0\" is not a number of classes"),
        (["--prep", "--quiet"], "does not say how photos are prepared"),
        (["--opset", "11"], "is not lowered to 11"),
    ] {
        let run =
            whycam(folder.path(), &[["compile", NET, "-o", "x.onnx"].as_slice(), &args].concat()).code(2);
        assert!(stderr(&run).contains(says) && stderr(&run).contains("hint:"), "{says}: {}", stderr(&run));
    }
    assert!(files(folder.path()).is_empty());
}
