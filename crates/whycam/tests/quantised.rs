//! Networks that onnxruntime's tools quantised: compiled files keep their operators and say what they said.

mod common;

use std::path::PathBuf;

use common::compiled::{TOLERANCE, ask, image, off, run};
use common::engines;
use whycam::graph::engine::ModelBytes;
use whycam::graph::onnx;
use whycam::{Explained, Explainer, Model, ModelOptions, Question, Target, compile};

const FILES: [&str; 6] = [
    "plain/qdq_u8_u8",
    "plain/qoperator_u8_s8_channel",
    "plain/dynamic_u8_u8",
    "mixed/qoperator_s8_s8",
    "mixed/qoperator_u8_u8",
    "mixed/dynamic_u8_s8_channel",
];

fn opened(file: &str) -> (Model, ModelBytes) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/quantised");
    let proto = std::fs::read(root.join(format!("{file}.onnx"))).expect(file);
    let bytes = ModelBytes { proto: proto.into(), ..ModelBytes::default() };
    (Model::from_bytes(&bytes, ModelOptions::default()).expect(file), bytes)
}

/// ONNX Runtime alone runs these operators; its answers are the same to the bit, as the nodes are the same.
#[test]
fn compiled_files_say_what_the_model_says() {
    let Some(engine) = engines().into_iter().find(|engine| engine.name() == "ort") else { return };
    for file in FILES {
        let (model, bytes) = opened(file);
        assert!(model.is_quantised(), "{file}");
        let x = image(&model, 1, 3);
        let before = run(engine.as_ref(), &bytes, &[("x", x.clone())]).remove(0);
        let made = compile(&model, &bytes, &ask("grad-cam", Explained::Targets(vec![Target::TOP1])))
            .unwrap_or_else(|e| panic!("{file}: {e}"));
        let out = run(engine.as_ref(), &made.bytes, &[("x", x.clone())]);
        assert_eq!(out[0].to_f32s(), before.to_f32s(), "{file}");
        assert_eq!(made.opset[0], made.opset[1], "{file}");
        // What the file had is there as it was: all of its nodes run, none is spelled anew.
        let again = onnx::read(&made.bytes, &onnx::ReadOptions::default()).expect(file);
        assert_eq!(again.outputs().len(), 4, "{file}");
        assert!(made.bytes.proto.len() < 4 * bytes.proto.len(), "{file}");
        let question =
            Question { methods: vec!["grad-cam".parse().expect("a method")], ..Question::default() };
        let explainer = Explainer::new(&model, engine.as_ref(), &question).expect(file);
        let row = &model.rows(x.shape(), &x.to_f32s()).expect("rows")[0];
        let told = explainer.explain(row, &[]).expect(file).maps.remove(0);
        let off = off(&out[1].to_f32s(), &told.values);
        assert!(off <= TOLERANCE, "{file}: {off}");
    }
}

/// Ranges that follow the data are those of a batch; an image is explained as if it were alone.
#[test]
fn images_do_not_share_a_range() {
    for engine in engines() {
        for file in ["plain/dynamic_u8_u8", "plain/qoperator_u8_s8_channel"] {
            let place = format!("{} {file}", engine.name());
            let (model, _) = opened(file);
            let question =
                Question { methods: vec!["grad-cam".parse().expect("a method")], ..Question::default() };
            let explainer = Explainer::new(&model, engine.as_ref(), &question).expect(&place);
            let x = image(&model, 3, 5);
            // One image has a much larger range than the others.
            let scaled: Vec<f32> =
                x.to_f32s().iter().enumerate().map(|(i, v)| if i < 432 { 3.0 * v } else { *v }).collect();
            let rows = model.rows(x.shape(), &scaled).expect("rows");
            let together = explainer.explain_batch(&rows, &[], &mut |_| ());
            for (row, together) in rows.iter().zip(together) {
                let (alone, together) = (explainer.explain(row, &[]).expect(&place), together.expect(&place));
                let off = off(&together.maps[0].values, &alone.maps[0].values);
                assert!(off <= TOLERANCE, "{place}: {off}");
            }
        }
    }
}
