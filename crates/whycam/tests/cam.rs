//! CAM on the networks of `golden/nets` that end in a mean and one linear layer.

use std::path::PathBuf;

use npyz::npz::NpzArchive;
use whycam::engine::{EngineOptions, engine};
use whycam::graph::Op;
use whycam::{Explainer, Image, Map, Model, Question, Target};

const NETS: [&str; 6] =
    ["resnet18", "resnet50", "googlenet", "densenet", "mobilenet_v2", "efficientnet_lite"];
const CLASSES: usize = 2;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/nets").join(name)
}

/// The input's rows, as one array.
fn rows(name: &str) -> (Vec<usize>, Vec<f32>) {
    let mut npz = NpzArchive::open(folder(name).join("numbers.npz")).expect("readable");
    let npy = npz.by_name("x").expect("readable").expect("listed");
    let shape = npy.shape().iter().map(|&d| d as usize).collect();
    (shape, npy.into_vec().expect("float32"))
}

fn ask(model: &Model, image: &Image) -> Result<Vec<Map>, String> {
    let engine = engine("rten", EngineOptions::default()).expect("always there");
    let question = Question {
        methods: ["cam", "grad-cam:relu=off", "grad-cam", "cam:relu=on"].map(|m| m.parse().expect(m)).into(),
        targets: vec![Target::Top(CLASSES)],
        ..Question::default()
    };
    let explainer = Explainer::new(model, engine.as_ref(), &question).map_err(|e| e.to_string())?;
    Ok(explainer.explain(image, &[]).expect("runs").maps)
}

/// The bias of the last linear layer.
fn biases(model: &Model) -> Vec<f64> {
    let graph = model.graph();
    let is_last = |op: &Op| matches!(op, Op::Gemm(_) | Op::Conv(_));
    let (_, last) = graph.nodes().rev().find(|(_, node)| is_last(&node.op)).expect("a linear layer");
    let bias = last.inputs[2].expect("a bias");
    graph.value(bias).constant.as_ref().expect("a constant").to_f64s()
}

/// CAM is Z times Grad-CAM without its ReLU, with the ReLU too, and its mean over the cells is the score less the bias.
#[test]
fn cam_is_z_times_grad_cam_and_its_mean_is_the_score() {
    for name in NETS {
        for file in ["legacy.onnx", "dynamo.onnx"] {
            let model = Model::open(folder(name).join(file)).expect(name);
            let bias = biases(&model);
            let (shape, values) = rows(name);
            for image in model.rows(&shape, &values).expect("fits") {
                let maps = ask(&model, &image).unwrap_or_else(|e| panic!("{name}: {e}"));
                for of_class in maps.chunks(4) {
                    let [cam, signed, grad_cam, rectified] = of_class else { panic!("four methods") };
                    let z = cam.values.len() as f64;
                    let largest = cam.values.iter().fold(0.0_f64, |m, &v| m.max(f64::from(v).abs()));
                    assert!(largest > 0.0, "{name}: the test tells something");
                    // What is signed has colours for both signs.
                    let legends = [cam, signed, grad_cam, rectified].map(|map| map.legend.is_some());
                    assert_eq!(legends, [true, true, false, false], "{name}");
                    for (a, b) in [(cam, signed), (rectified, grad_cam)] {
                        for (&a, &b) in a.values.iter().zip(&b.values) {
                            // float32 sums over some dozen channels
                            assert!(
                                (f64::from(a) - z * f64::from(b)).abs() < 1e-5 * largest,
                                "{name}: {a}, {b}"
                            );
                        }
                    }
                    let mean = cam.values.iter().map(|&v| f64::from(v)).sum::<f64>() / z;
                    let score = f64::from(cam.score) - bias[cam.class.expect("a class")];
                    assert!(
                        (mean - score).abs() < 1e-5 * largest.max(score.abs()),
                        "{name}: {mean}, {score}"
                    );
                }
            }
        }
    }
}

/// Where more than a mean and one linear layer lie behind the last map, CAM is refused with a way out.
#[test]
fn other_heads_are_refused() {
    for name in ["alexnet", "vgg16", "squeezenet"] {
        let model = Model::open(folder(name).join("legacy.onnx")).expect(name);
        let (shape, values) = rows(name);
        let image = model.rows(&shape, &values).expect("fits").remove(0);
        let error = ask(&model, &image).expect_err("refused");
        assert!(error.contains("\nhint: "), "{name}: {error}");
    }
}
