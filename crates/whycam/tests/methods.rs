//! Every method says the same in every engine.

mod common;

use std::path::Path;

use common::{engines, numbers};
use whycam::{Explainer, METHODS, Map, Method, Model, Question, Target};

/// float32 in another order of summation, behind decisions that are away from rounding.
const TOLERANCE: f32 = 1e-4;

/// The method with few copies of the image, where it takes many.
fn short(name: &str) -> Method {
    let few = match name {
        "integrated-gradients" => ":steps=5",
        "smoothgrad" => ":samples=3",
        "occlusion" => ":size=5:stride=4",
        "rise" => ":masks=20:cells=3",
        _ => "",
    };
    format!("{name}{few}").parse().expect(name)
}

#[test]
fn every_method_says_the_same_in_every_engine() {
    let net = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/nets/resnet18/legacy.onnx");
    let model = Model::open(net).expect("a model");
    let shape = model.input().shape();
    let values = numbers(shape.iter().product(), 3);
    let image = &model.rows(&shape, &values).expect("one row")[0];
    let plain = METHODS.iter().map(|info| short(info.name));
    let smooth = ["grad-cam:smooth=on", "guided-backprop:smooth=on"].map(|text| text.parse().expect(text));
    let question = Question {
        methods: plain.chain(smooth).collect(),
        targets: vec![Target::TOP1, Target::Index(1)],
        ..Question::default()
    };
    let told: Vec<(&str, Vec<Map>)> = engines()
        .iter()
        .map(|engine| {
            let explainer = Explainer::new(&model, engine.as_ref(), &question).expect("explainable");
            (engine.name(), explainer.explain(image, &[]).expect("runs").maps)
        })
        .collect();
    let (_, first) = &told[0];
    assert_eq!(first.len(), 2 * question.methods.len());
    for (engine, maps) in &told[1..] {
        for (a, b) in first.iter().zip(maps) {
            let place = format!("{} of {} in {engine}", a.method, a.label);
            assert_eq!((&a.method, &a.layer, &a.label), (&b.method, &b.layer, &b.label), "{place}");
            assert_eq!(a.verdict.code(), b.verdict.code(), "{place}");
            let largest = a.values.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
            let far = a.values.iter().zip(&b.values).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(far <= TOLERANCE * largest, "{place}: {far} of {largest}");
        }
    }
}
