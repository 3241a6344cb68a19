//! Networks in half precision are explained in float32; compiled files keep what they had.

mod common;

use std::path::PathBuf;

use common::compiled::{TOLERANCE, ask, off, run};
use common::engines;
use npyz::npz::NpzArchive;
use whycam::graph::{DType, Tensor, onnx};
use whycam::{Compile, Explained, Explainer, Model, ModelOptions, Question, Target, compile};

const FILES: [&str; 4] = ["converted", "converted_keep_io", "torch_half", "torch_bfloat16"];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/half").join(name)
}

fn array(file: &str, name: &str) -> Vec<f32> {
    let mut npz = NpzArchive::open(path(&format!("{file}.npz"))).expect("readable");
    npz.by_name(name).expect("readable").expect("listed").into_vec().expect("float32")
}

/// float32 against float64, where float16 would be off by 1e-2.
#[test]
fn maps_are_those_of_the_stored_weights() {
    for engine in engines() {
        for file in FILES {
            let place = format!("{} {file}", engine.name());
            let model = Model::open(path(&format!("{file}.onnx"))).expect(&place);
            assert!(model.graph().nodes().all(|(_, node)| {
                let narrow = |id| matches!(model.graph().value(id).dtype, Some(DType::F16 | DType::Bf16));
                !node.outputs.iter().flatten().any(|&id| narrow(id))
            }));
            let methods = ["gradient", "grad-cam:relu=off"].map(|method| method.parse().expect(method));
            let targets = vec![Target::Index(0), Target::Index(3)];
            let question = Question { methods: methods.to_vec(), targets, ..Question::default() };
            let explainer = Explainer::new(&model, engine.as_ref(), &question).expect(&place);
            let shape = [2, 3, 16, 16];
            let rows = model.rows(&shape, &array(file, "x")).expect("rows");
            for (i, row) in rows.iter().enumerate() {
                let told = explainer.explain(row, &[]).expect(&place);
                for (j, maps) in told.maps.chunks(2).enumerate() {
                    for (map, what) in maps.iter().zip(["gradient", "grad_cam"]) {
                        let stored = array(file, what);
                        let size = stored.len() / 4;
                        let off = off(&map.values, &stored[(j * 2 + i) * size..][..size]);
                        assert!(off <= TOLERANCE, "{place}: {what} {off}");
                    }
                    let score = array(file, "scores")[i * 5 + [0, 3][j]];
                    assert!((maps[0].score - score).abs() <= 1e-4 * score.abs(), "{place}");
                }
            }
        }
    }
}

/// The file's nodes run as they did, to the bit; the map is made in float32 beside them, and from photos too.
#[test]
fn compiled_files_keep_their_half_floats() {
    let Some(engine) = engines().into_iter().find(|engine| engine.name() == "ort") else { return };
    // ONNX Runtime has no convolution of bfloat16 on processors.
    for file in &FILES[..3] {
        let name = path(&format!("{file}.onnx"));
        let (bytes, about) = Model::read(&name).expect(file);
        let model = Model::with_about(&bytes, ModelOptions::default(), about).expect(file);
        let stored = onnx::read(&bytes, &onnx::ReadOptions::default()).expect(file);
        let input = stored.value(stored.find("x").expect("an input")).dtype.expect("typed");
        let x = Tensor::floats(input, &[2, 3, 16, 16], &array(file, "x")).expect("whole");
        let before = run(engine.as_ref(), &bytes, &[("x", x.clone())]).remove(0);
        let target = || Explained::Targets(vec![Target::Index(3)]);
        let ask =
            Compile { method: "grad-cam:relu=off".parse().expect("known"), ..ask("grad-cam", target()) };
        let made = compile(&model, &bytes, &ask).expect(file);
        let out = run(engine.as_ref(), &made.bytes, &[("x", x)]);
        assert_eq!((out[0].dtype(), out[0].to_f32s()), (before.dtype(), before.to_f32s()), "{file}");
        let map = array(file, "grad_cam");
        let off = off(&out[1].to_f32s(), &map[map.len() / 2..]);
        assert!(off <= TOLERANCE, "{file}: {off}");
        // Weights are not stored a second time.
        assert!(made.bytes.proto.len() < bytes.proto.len() + 12_000, "{file}: {}", made.bytes.proto.len());

        let prep = "resize=none:range=255:mean=127:std=128".parse().expect("sound");
        let made = compile(&model, &bytes, &Compile { prep: Some(prep), ..ask }).expect(file);
        let photo = Tensor::new(DType::U8, vec![1, 16, 16, 3], vec![200u8; 768]).expect("whole");
        let out = run(engine.as_ref(), &made.bytes, &[("photo", photo)]);
        assert_eq!(out[0].dtype(), before.dtype(), "{file}");
    }
}
