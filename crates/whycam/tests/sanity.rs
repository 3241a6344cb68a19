//! The sanity checks of Adebayo et al. 2018, on the embedded model and a small one.

mod common;

use std::path::PathBuf;

use common::{Of, Small, numbers};

use whycam::engine::{EngineOptions, engine};
use whycam::graph::Tensor;
use whycam::graph::weights::weighted;
use whycam::sanity::{Check, Sanity, Sensitivity, sanity};
use whycam::{FromFile, Image, Model, Question, Target};

const STEPS: usize = 2;

fn run(model: &Model, image: &Image, methods: &[&str], targets: Vec<Target>, seed: u64) -> Vec<Sanity> {
    let engine = engine("rten", EngineOptions::default()).expect("always there");
    let methods = methods.iter().map(|m| m.parse().expect(m)).collect();
    let question = Question { methods, targets, ..Question::default() };
    let mut told = Vec::new();
    let check = Check { question: &question, steps: STEPS, seed };
    let found = sanity(model, engine.as_ref(), check, image, &[], &mut |done, of| told.push((done, of)));
    assert_eq!(told, (1..=STEPS + 1).map(|done| (done, STEPS + 1)).collect::<Vec<_>>());
    found.expect("runs")
}

/// What the paper found: Grad-CAM changes with the weights, and guided backpropagation does not, until the layers next
/// to the image are noise, nor does it change with the class.
#[test]
fn grad_cam_passes_and_guided_backpropagation_fails() {
    let model = Model::embedded().expect("embedded");
    let photo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/photos/chelsea.jpg");
    let image = model.open_image(photo).expect("a photo");
    let found = run(&model, &image, &["grad-cam", "guided-backprop"], vec![Target::TOP1], 1);
    let [grad_cam, guided] = found.as_slice() else { panic!("{} maps", found.len()) };
    assert_eq!(grad_cam.verdict, Sensitivity::Sensitive, "{}", grad_cam.sentence);
    assert_eq!(guided.verdict, Sensitivity::Insensitive, "{}", guided.sentence);
    assert!(grad_cam.sentence.starts_with("passes: ") && guided.sentence.starts_with("fails: "));
    assert!(guided.known_to_fail && guided.sentence.contains("Adebayo"), "{}", guided.sentence);
    let other =
        |s: &Sanity| s.random_class.as_ref().map(|o| (o.class, o.likeness.spearman)).expect("1000 classes");
    assert_ne!(Some(other(grad_cam).0), grad_cam.class);
    assert!(other(guided).1 > other(grad_cam).1);
    let steps: Vec<(&str, usize)> = guided.cascade.iter().map(|s| (s.down_to.as_str(), s.layers)).collect();
    assert_eq!(steps.last(), Some(&("stem", 50)), "the last step reaches the image");
    assert!(guided.cascade[STEPS - 1].likeness.spearman < guided.cascade[0].likeness.spearman);
    for likeness in found.iter().flat_map(|s| &s.cascade).map(|step| step.likeness) {
        assert!((-1.0..=1.0).contains(&likeness.spearman) && (-1.0..=1.0).contains(&likeness.ssim));
    }
}

#[test]
fn the_seed_is_all_that_chance_hangs_on() {
    let small = Small::new(Of::Convolutions, [3, 8, 8]);
    let told = |seed| {
        let found = run(&small.model, &small.image(1), &["eigen-cam"], vec![Target::TOP1], seed);
        serde_json::to_string(&found).expect("JSON")
    };
    assert_eq!(told(3), told(3));
    assert_ne!(told(3), told(4));
}

/// Weights are found through their de-quantising, from the image to the scores.
#[test]
fn every_layer_with_weights_is_found() {
    let model = Model::embedded().expect("embedded");
    let graph = model.graph();
    let layers = weighted(graph, model.image(), model.scored().expect("scores"));
    let names: Vec<&str> = layers.iter().map(|l| graph.value(l.result).name.as_str()).collect();
    assert_eq!((names.len(), names[0]), (50, "stem"));
    assert_eq!(layers[49].result, model.scored().expect("scores").value);
    assert!(layers.iter().all(|l| l.constants.iter().all(|&c| graph.value(c).constant.is_some())));
}

/// The embedding that an output is compared with stays as it is: it is a constant of the question, not of the model.
#[test]
fn what_is_compared_with_is_no_weight() {
    let small = Small::new(Of::Convolutions, [3, 8, 8]);
    let array = Some(Tensor::f32(&[4], &numbers(4, 9)).expect("fits"));
    let targets = vec![Target::Similar(FromFile { file: "e.npy".into(), array }), Target::Index(2)];
    for map in run(&small.model, &small.image(1), &["grad-cam"], targets, 1) {
        let steps: Vec<(&str, usize)> = map.cascade.iter().map(|s| (s.down_to.as_str(), s.layers)).collect();
        assert_eq!(steps, [("scores", 1), ("conv1", 3)], "{}", map.target);
    }
}
