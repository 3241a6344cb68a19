//! Every method, with every option, against its slow twin: its formula in float64, on a small network.

mod common;

use common::formulas::map;
use common::twin::{Planes, Twin};
use common::{Of, Small, agree, wide};
use whycam::engine::{EngineOptions, engine};
use whycam::method::{COMMON, MethodInfo, MethodOption, Takes};
use whycam::{Explainer, Layers, METHODS, Map, Question, Target};

const SHAPE: [usize; 3] = [3, 10, 12];
const CLASSES: [usize; 2] = [1, 2];

/// What every method is asked with: few copies where its default is many.
fn few(name: &str) -> &'static str {
    match name {
        "integrated-gradients" => ":steps=4",
        "smoothgrad" => ":samples=3",
        "occlusion" => ":size=4:stride=3",
        "rise" => ":masks=6:cells=3",
        _ => "",
    }
}

/// Every value of an option that takes words but the default, and one of any other.
fn values(option: &MethodOption) -> Vec<String> {
    let number = match (option.takes, option.name) {
        (Takes::Word(words), _) => return words[1..].iter().map(|word| (*word).to_owned()).collect(),
        (_, "noise") => "0.3",
        (_, "keep") => "0.4",
        (_, "size") => "5",
        (_, "stride" | "cells") => "4",
        (_, "steps" | "samples" | "masks") => "7",
        (_, "seed") => "2",
        (_, name) => panic!("a value for {name}"),
    };
    vec![number.to_owned()]
}

/// The method, and the method with each value of each option.
fn asked(info: &MethodInfo) -> Vec<String> {
    let plain = format!("{}{}", info.name, few(info.name));
    let with = |option: &'static MethodOption| {
        let plain = plain.clone();
        let chosen = move |value: String| {
            let key = format!(":{}=", option.name);
            match plain.split_once(&key) {
                // The few copies' own option takes another number.
                Some((before, after)) => {
                    let rest = after.split_once(':').map_or(String::new(), |(_, rest)| format!(":{rest}"));
                    format!("{before}{key}{value}{rest}")
                }
                None => format!("{plain}{key}{value}"),
            }
        };
        values(option).into_iter().map(chosen).collect::<Vec<_>>()
    };
    let options = info.options.iter().chain(COMMON).flat_map(with).collect::<Vec<_>>();
    [plain.clone()].into_iter().chain(options).collect()
}

fn ask(small: &Small, methods: &[String], layer: &str) -> Vec<Map> {
    let engine = engine("rten", EngineOptions::default()).expect("always there");
    let question = Question {
        methods: methods.iter().map(|text| text.parse().expect(text)).collect(),
        layers: Layers::Named(vec![layer.to_owned()]),
        targets: CLASSES.map(Target::Index).into(),
        ..Question::default()
    };
    let explainer = Explainer::new(&small.model, engine.as_ref(), &question).expect("explainable");
    explainer.explain(&small.image(6), &[]).expect("runs").maps
}

/// At the last layer, behind which the network is linear, and at one with a pool, a convolution and a ReLU behind it.
#[test]
fn every_method_is_its_formula() {
    let (small, twin) = (Small::new(Of::Convolutions, SHAPE), Twin::new());
    let x = Planes::new(SHAPE, small.image(6).tensor.to_f64s());
    let scores = small.scores(&x.data);
    agree(&twin.run(&x).scores.iter().map(|&s| s as f32).collect::<Vec<_>>(), &scores, 1e-6);
    for layer in ["layer", "relu1"] {
        let fits = |info: &&&MethodInfo| match info.name {
            "cam" => layer == "layer",
            _ => layer == "layer" || info.space.reads_layer(),
        };
        for info in METHODS.iter().filter(fits) {
            let methods = asked(info);
            let maps = ask(&small, &methods, layer);
            assert_eq!(maps.len(), methods.len() * CLASSES.len());
            for (i, found) in maps.iter().enumerate() {
                let class = found.class.expect("a class");
                let text = methods
                    .iter()
                    .find(|text| text.parse().is_ok_and(|m: whycam::Method| m.to_string() == found.method));
                let text = text.unwrap_or_else(|| panic!("{}", found.method));
                let expected = map(&twin, text, &x, class, layer);
                let largest = expected.data.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                let nothing = found.values.iter().all(|v| *v == 0.0) && largest == 0.0;
                assert_eq!(expected.data.len(), found.values.len(), "{text} at {layer}, map {i}");
                let off = wide(&found.values)
                    .iter()
                    .zip(&expected.data)
                    .fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
                // float32 sums of some hundred products
                assert!(
                    nothing || off <= 2e-5 * largest,
                    "{text} of class {class} at {layer}: {off} of {largest}"
                );
            }
            // A formula that gives nothing proves nothing.
            assert!(maps.iter().any(|map| map.values.iter().any(|v| *v != 0.0)), "{} at {layer}", info.name);
        }
    }
}
