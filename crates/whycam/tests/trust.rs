//! What is told beside a map: what its layer sees, and how a ReLU rule fared.

mod common;

use common::{Of, Small};
use serde_json::{Value, json};
use whycam::engine::{EngineOptions, engine};
use whycam::{Explainer, Layers, Model, Note, Question, Target};

fn told(of: Of, method: &str) -> (Value, Vec<Note>) {
    let small = Small::new(of, [3, 8, 8]);
    let map = small.ask(&small.image(1), &[method], &["class:1"], 1).remove(0);
    (serde_json::to_value(&map).expect("JSON"), map.notes)
}

/// Two convolutions 3×3 with a pool 2×2 between them: 3, then 4, then 4 + 2·2 pixels.
#[test]
fn what_the_layer_sees_is_told_where_one_is_read() {
    let (map, _) = told(Of::Convolutions, "grad-cam");
    assert_eq!(map["layer"], "layer");
    assert_eq!(map["receptive_field"], json!({ "window": { "size": [8, 8], "stride": [2.0, 2.0] } }));
    assert!(told(Of::Convolutions, "gradient").0.get("receptive_field").is_none());
}

#[test]
fn the_share_of_activations_that_a_rule_acted_at_is_told() {
    for (of, count, code) in [
        (Of::Convolutions, 2, None),
        (Of::Mixed, 1, Some("rule-partly-applied")),
        (Of::Linear, 0, Some("rule-had-no-effect")),
    ] {
        let activations = if of == Of::Linear { 0 } else { 2 };
        for method in ["guided-backprop", "deconvnet", "guided-backprop:smooth=on"] {
            let (map, notes) = told(of, method);
            assert_eq!(map["relu_rule"], json!({ "count": count, "of": activations }), "{method}");
            assert_eq!(map["notes"], json!(code.into_iter().collect::<Vec<_>>()), "{method}");
            assert_eq!(notes.first().and_then(|note| note.advice()).is_some(), code.is_some());
        }
        assert!(told(of, "gradient").0.get("relu_rule").is_none(), "it has no rule of its own");
    }
    let (_, notes) = told(Of::Mixed, "guided-backprop");
    let advice = notes[0].advice().expect("it is partly applied");
    assert!(advice.contains("1 of 2 activations"), "{advice}");
}

/// ResNet-18's blocks have shortcuts: their last convolutions see a part, their sums all.
#[test]
fn a_layer_that_some_of_the_image_goes_around_is_told() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/nets/resnet18/legacy.onnx");
    let model = Model::open(model).expect("a model");
    let engine = engine("rten", EngineOptions::default()).expect("always there");
    let noted = |layers: Layers, method: &str| -> Vec<bool> {
        let methods = vec![method.parse().expect(method)];
        let question = Question { methods, targets: vec![Target::TOP1], layers, ..Question::default() };
        let explainer = Explainer::new(&model, engine.as_ref(), &question).expect("explainable");
        let shape = model.input().shape();
        let numbers = common::numbers(shape.iter().product(), 1);
        let image = model.rows(&shape, &numbers).expect("one row").remove(0);
        let maps = explainer.explain(&image, &[]).expect("runs").maps;
        maps.iter().map(|map| map.notes.contains(&Note::LayerIsBypassed)).collect()
    };
    let inside = || Layers::Named(vec!["layer4.1.conv2".into()]);
    assert_eq!(noted(inside(), "grad-cam"), [true]);
    assert_eq!(noted(inside(), "eigen-cam"), [true]);
    assert_eq!(noted(inside(), "gradient"), [false], "it reads no layer");
    assert_eq!(noted(Layers::Auto, "grad-cam"), [false]);
    assert!(!noted(Layers::All, "grad-cam").contains(&true));
    assert_eq!(serde_json::to_value(Note::LayerIsBypassed).expect("JSON"), json!("layer-is-bypassed"));
    assert!(Note::LayerIsBypassed.advice().is_some());
}
