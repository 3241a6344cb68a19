//! Excitation backprop as methods, on the networks of `golden/nets`.

use std::path::PathBuf;

use npyz::npz::NpzArchive;
use whycam::engine::{EngineOptions, engine};
use whycam::{Explainer, Image, Layers, Map, Model, Question, Verdict};

fn net(name: &str) -> (Model, Image) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/nets").join(name);
    let model = Model::open(folder.join("legacy.onnx")).expect(name);
    let mut npz = NpzArchive::open(folder.join("numbers.npz")).expect("readable");
    let npy = npz.by_name("x").expect("readable").expect("listed");
    let shape: Vec<usize> = npy.shape().iter().map(|&d| d as usize).collect();
    let values: Vec<f32> = npy.into_vec().expect("float32");
    let image = model.rows(&shape, &values).expect("fits").remove(0);
    (model, image)
}

fn ask(net: &(Model, Image), methods: &[&str], layers: Layers) -> Result<Vec<Map>, String> {
    let engine = engine("rten", EngineOptions::default()).expect("always there");
    let methods = methods.iter().map(|m| m.parse().expect(m)).collect();
    let question = Question { methods, layers, ..Question::default() };
    let explainer = Explainer::new(&net.0, engine.as_ref(), &question).map_err(|e| e.to_string())?;
    Ok(explainer.explain(&net.1, &[]).expect("runs").maps)
}

#[test]
fn a_probability_is_read_one_stage_below_the_layer_of_grad_cam() {
    for name in ["alexnet", "vgg16", "googlenet", "resnet18", "resnet50", "squeezenet"] {
        let maps = ask(&net(name), &["grad-cam", "mwp", "c-mwp:relu=off"], Layers::Auto).expect(name);
        let [grad_cam, mwp, contrast] = &maps[..] else { panic!("{name}: {} maps", maps.len()) };
        assert_eq!([grad_cam, mwp, contrast].map(|m| m.legend.is_some()), [false, false, true], "{name}");
        assert!(mwp.values.len() > grad_cam.values.len(), "{name}: {:?}", mwp.shape);
        assert_eq!((&mwp.layer, &mwp.shape), (&contrast.layer, &contrast.shape), "{name}");
        // 1e-5: float32 sums of some thousand shares
        assert!(mwp.min >= 0.0 && mwp.sum <= 1.0 + 1e-5, "{name}: {} to {}", mwp.min, mwp.sum);
        assert!(mwp.verdict == Verdict::Ok && mwp.sum > 0.1, "{name}: {:?}, {}", mwp.verdict, mwp.sum);
    }
}

/// Directly below the convolution that makes class maps, `P` and `P̄` have the same sum over channels in every cell.
#[test]
fn a_contrast_that_cancels_is_blank() {
    let net = net("squeezenet");
    let top = ask(&net, &["grad-cam"], Layers::Auto).expect("found").remove(0).layer;
    let maps = ask(&net, &["c-mwp", "c-mwp:relu=off", "mwp"], Layers::Named(vec![top])).expect("runs");
    assert_eq!(
        maps.iter().map(|m| m.verdict).collect::<Vec<_>>(),
        [Verdict::Blank, Verdict::Blank, Verdict::Ok]
    );
}

#[test]
fn signed_inputs_are_refused_by_name() {
    let net = net("vgg16");
    let graph = net.0.graph();
    let input = graph.value(net.0.image()).name.clone();
    for method in ["mwp", "c-mwp"] {
        let error = ask(&net, &[method], Layers::Named(vec![input.clone()])).expect_err("refused");
        assert!(error.contains(&input) && error.contains("\nhint: "), "{error}");
    }
}
