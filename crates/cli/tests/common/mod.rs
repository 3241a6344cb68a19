//! What the tests of the binary share: running it, and small files to run it on.
#![allow(dead_code, reason = "every test file uses a part")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use snapbox::cmd::{Command, OutputAssert, cargo_bin};
use tempfile::TempDir;
use whycam::graph::op::{BinaryFn, Conv, Gemm, Opaque, ReduceKind, UnaryFn};
use whycam::graph::{Build, DType, Dim, Header, NamedNode, Op, Shape, Tensor, ValueId, onnx};

/// `whycam` in a folder of its own, undisturbed by the environment: no ONNX Runtime is found.
pub fn whycam(folder: &Path, args: &[&str]) -> OutputAssert {
    command(folder, args).assert()
}

/// The same, not run yet.
pub fn command(folder: &Path, args: &[&str]) -> Command {
    let command = Command::new(cargo_bin!("whycam")).current_dir(folder).env("NO_COLOR", "1");
    let disturbing = ["COLUMNS", "ORT_DYLIB_PATH", "VIRTUAL_ENV", "CONDA_PREFIX"];
    disturbing.into_iter().fold(command, |command, name| command.env_remove(name)).args(args)
}

/// A folder for one test.
pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// One of the example photos.
pub fn photo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/photos").join(name)
}

/// Standard output as text.
pub fn stdout(run: &OutputAssert) -> String {
    String::from_utf8(run.get_output().stdout.clone()).expect("UTF-8")
}

/// Standard error as text.
pub fn stderr(run: &OutputAssert) -> String {
    String::from_utf8(run.get_output().stderr.clone()).expect("UTF-8")
}

/// A JSON file.
pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("readable")).expect("JSON")
}

/// The files below a folder, with `/` between the parts of their paths, sorted.
pub fn files(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                let below = path.strip_prefix(root).expect("below").to_string_lossy().replace('\\', "/");
                found.push(below);
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

/// An 8 × 8 PNG of one colour.
pub fn small_png(path: &Path, colour: u8) {
    let picture = whycam::image::RgbImage::from_pixel(8, 8, [colour, 90, 30].into());
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, whycam::image::encode_png(&picture).expect("encoded")).expect("written");
}

/// A `.npy` file; `header` is the text of its header.
pub fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// A `.npy` file of float32 in C order.
pub fn floats(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let shape: Vec<String> = shape.iter().map(|d| format!("{d},")).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", shape.join(" "));
    npy(&header, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

/// The shape and the values of a `.npy` file of float32 in C order.
pub fn read_floats(path: &Path) -> (Vec<u64>, Vec<f32>) {
    let bytes = fs::read(path).expect("readable");
    let file = npyz::NpyFile::new(&bytes[..]).expect("an array");
    assert_eq!((file.dtype().descr().as_str(), file.order()), ("'<f4'", npyz::Order::C));
    (file.shape().to_vec(), file.into_vec().expect("float32"))
}

/// What a small model has beside its image `image: f32[1,3,8,8]` and its scores `scores: f32[1,4]`.
#[derive(Clone, Copy, PartialEq)]
pub enum With {
    /// Nothing.
    Nothing,
    /// An input `bias: f32[1,4]`, added to the scores.
    Bias,
    /// A node of an unknown kind before the layers.
    Unknown,
    /// A batch of any size.
    Batch,
    /// The outputs `layer: f32[1,4,8,8]` and `embedding: f32[1,4,8]`, the mean of its rows.
    Maps,
    /// Instead of its scores, its layer for an output.
    Unscored,
    /// Instead of its scores, an output `found` of the elements of its layer that are not zero: as many as there are.
    Found,
}

/// Writes a model: a 1×1 convolution to 4 channels `features`, ReLU `layer`, the mean over space, and scores that are
/// those four numbers, the first of them with a minus. The file's name is inside, so that files differ.
pub fn small_model(path: &Path, with: With) {
    let opsets = [(String::new(), 17), ("strangers".to_owned(), 1)];
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let header = Header { ir_version: 8, opsets: opsets.into(), name, ..Header::default() };
    let mut build = Build::new(header);
    let shape = |dims: &[usize]| Shape(dims.iter().map(|&d| Dim::Fixed(d)).collect());
    let floats = |shape: &[usize], values: &[f32]| Tensor::f32(shape, values).expect("a tensor");
    let mut images = shape(&[1, 3, 8, 8]);
    if with == With::Batch {
        images.0[0] = Dim::Batch(1);
    }
    let mut value = build.input("image", DType::F32, images).expect("new");
    if with == With::Unknown {
        // The protobuf of a node `odd`, of the operator `Mystery` in the domain `strangers`.
        let proto = b"\x1a\x03odd\x22\x07Mystery\x3a\x09strangers".to_vec();
        let opaque = Opaque {
            op_type: "Mystery".into(),
            domain: "strangers".into(),
            proto: proto.into(),
            captured: Vec::new(),
            reason: None,
        };
        value = named(&mut build, Op::Opaque(Box::new(opaque)), &[value], "odd");
        build.declare(value, Some(DType::F32), Some(shape(&[1, 3, 8, 8])));
    }
    let weights =
        build.constant(floats(&[4, 3, 1, 1], &[1.0, 0.5, 0.2, 0.3, 1.0, 0.1, 0.2, 0.1, 1.0, 0.4, 0.4, 0.4]));
    let conv = Conv { strides: vec![1; 2], dilations: vec![1; 2], pads: vec![(0, 0); 2], groups: 1 };
    value = named(&mut build, Op::Conv(conv), &[value, weights], "features");
    value = named(&mut build, Op::Unary(UnaryFn::Relu), &[value], "layer");
    let layer = value;
    let mut outputs = Vec::new();
    if with == With::Maps {
        let mean = Op::Reduce { kind: ReduceKind::Mean, axes: vec![3], keep: false };
        outputs = vec![value, named(&mut build, mean, &[value], "embedding")];
    }
    value = named(&mut build, Op::GlobalAveragePool, &[value], "pooled");
    value = named(&mut build, Op::Flatten { axis: 1 }, &[value], "flat");
    let mut diagonal = [0.0; 16];
    for (class, sign) in [-1.0, 1.0, 1.0, 1.0].into_iter().enumerate() {
        diagonal[5 * class] = sign;
    }
    let classes = build.constant(floats(&[4, 4], &diagonal));
    let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
    value = named(
        &mut build,
        Op::Gemm(gemm),
        &[value, classes],
        if with == With::Bias { "logits" } else { "scores" },
    );
    if with == With::Bias {
        let bias = build.input("bias", DType::F32, shape(&[1, 4])).expect("new");
        value = named(&mut build, Op::Binary(BinaryFn::Add), &[value, bias], "scores");
    }
    let outputs = match with {
        With::Unscored => vec![layer],
        With::Found => {
            let places = named(&mut build, opaque("NonZero"), &[layer], "places");
            let rows = named(&mut build, opaque("Transpose"), &[places], "rows");
            vec![named(&mut build, opaque("GatherND"), &[layer, rows], "found")]
        }
        _ => [vec![value], outputs].concat(),
    };
    let bytes = onnx::write(&build.finish(outputs)).expect("written");
    fs::write(path, &bytes.proto).expect("written");
}

/// Writes a model whose only input is a vector.
pub fn imageless_model(path: &Path) {
    let header = Header {
        ir_version: 8,
        opsets: [(String::new(), 17)].into(),
        name: "flat".into(),
        ..Header::default()
    };
    let mut build = Build::new(header);
    let vector = build.input("vector", DType::F32, Shape(vec![Dim::Fixed(1), Dim::Fixed(4)])).expect("new");
    let output = named(&mut build, Op::Unary(UnaryFn::Relu), &[vector], "scores");
    fs::write(path, &onnx::write(&build.finish(vec![output])).expect("written").proto).expect("written");
}

/// A node of one of ONNX's own operators, without attributes, kept as it is.
fn opaque(op: &str) -> Op {
    let proto = [b"\x22", [op.len() as u8].as_slice(), op.as_bytes()].concat();
    Op::Opaque(Box::new(Opaque {
        op_type: op.into(),
        domain: String::new(),
        proto: proto.into(),
        captured: Vec::new(),
        reason: None,
    }))
}

fn named(build: &mut Build, op: Op, inputs: &[ValueId], name: &str) -> ValueId {
    let node = NamedNode {
        op,
        inputs: inputs.iter().copied().map(Some).collect(),
        outputs: vec![Some(name.to_owned())],
        name: name.to_owned(),
        module: None,
    };
    build.named(node).expect("sound")[0].expect("a result")
}
