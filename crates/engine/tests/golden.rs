//! What PyTorch autograd, pytorch-grad-cam and the formulas of excitation backprop say of small networks, against what
//! derived graphs compute in an engine: every file of every exporter, every method, several classes at once.

mod common;

use common::{Net, engines, nets, relative_l2};
use whycam_engine::load;
use whycam_graph::derive::{Classes, Formula, Part, Recipe, Reduce, TARGET, Weights, derive};
use whycam_graph::diff::{LinearRule, ReluRule, Rules};
use whycam_graph::layer::{self, Grids};
use whycam_graph::op::Coordinates;
use whycam_graph::{Engine, Tensor, ValueId};

/// float32 in another order of summation; the networks' seeds keep decisions away from rounding.
const TOLERANCE: f64 = 1e-4;

fn signal(image: ValueId, relu: ReluRule) -> Recipe {
    Recipe { read_at: image, rules: Rules { relu, ..Rules::default() }, reduce: Reduce::SIGNAL }
}

fn excitation(read_at: ValueId, contrastive: bool) -> Formula {
    let rules = Rules { linear: LinearRule::Excitation { contrastive }, ..Rules::default() };
    Formula::Single(Recipe { read_at, rules, reduce: Reduce::excitation(false) })
}

/// MWP and c-MWP at the automatic layer and one stage below it.
fn excitations(layer: ValueId, below: ValueId) -> [(&'static str, Formula); 4] {
    [
        ("mwp", excitation(layer, false)),
        ("c_mwp", excitation(layer, true)),
        ("mwp_below", excitation(below, false)),
        ("c_mwp_below", excitation(below, true)),
    ]
}

fn formulas(image: ValueId, layer: ValueId) -> Vec<(&'static str, Formula)> {
    let grad_cam = |relu| Recipe { read_at: layer, rules: Rules::default(), reduce: Reduce::grad_cam(relu) };
    let sibling = |part, weights| Recipe {
        reduce: Reduce { part, weights, ..Reduce::grad_cam(false) },
        ..grad_cam(false)
    };
    let guided = signal(image, ReluRule::Guided);
    vec![
        ("gradient", Formula::Single(signal(image, ReluRule::Gradient))),
        ("deconvnet", Formula::Single(signal(image, ReluRule::Deconvnet))),
        ("guided_backprop", Formula::Single(guided)),
        ("grad_cam", Formula::Single(grad_cam(false))),
        ("grad_cam_plus_plus", Formula::Single(sibling(Part::Whole, Weights::PlusPlus))),
        ("xgrad_cam", Formula::Single(sibling(Part::Whole, Weights::Share))),
        ("hires_cam", Formula::Single(sibling(Part::Whole, Weights::Cell))),
        ("layer_cam", Formula::Single(sibling(Part::Positive, Weights::Cell))),
        (
            "guided_grad_cam",
            Formula::Product { image: guided, layer: grad_cam(true), enlarge: Coordinates::HalfPixel },
        ),
    ]
}

/// `[K,N,…]` as `[N,K,…]`.
fn per_image(data: &[f64], k: usize, n: usize) -> Vec<f64> {
    let size = data.len() / (k * n);
    (0..n).flat_map(|i| (0..k).flat_map(move |j| data[(j * n + i) * size..][..size].to_vec())).collect()
}

/// Layers that are read by excitation backprop when none is named: one resolution stage lower.
const BELOW: [(&str, &str); 6] = [
    ("alexnet", "/features/features.4/Relu_output_0"),
    ("vgg16", "/features/features.8/Relu_output_0"),
    ("googlenet", "/inception4a/Concat_output_0"),
    ("resnet18", "/layer2/layer2.1/relu_1/Relu_output_0"),
    ("resnet50", "/layer2/layer2.0/relu_2/Relu_output_0"),
    ("squeezenet", "/features/features.4/Concat_output_0"),
];

fn check(engines: &[Box<dyn Engine>], net: &Net, file: &str) -> Vec<String> {
    let place = format!("{}/{file}", net.name);
    let graph = net.graph(file);
    let image = layer::image_input(&graph).expect(&place);
    let score = layer::score(&graph, None).expect(&place);
    let layer = layer::automatic(&graph, image, &score).expect(&place);
    let mut wrong = Vec::new();
    let expected = net.info["layer"][file].as_str().unwrap_or_default();
    if graph.value(layer).name != expected {
        wrong.push(format!("{place}: automatic layer {:?}, not {expected:?}", graph.value(layer).name));
    }
    let below = layer::automatic_below(&graph, image, &score).expect(&place);
    let cells = |value| Grids::new(&graph, image).layer(value).map(|l| l.grid.iter().product::<usize>());
    if let Some((_, expected)) = BELOW.iter().find(|(name, _)| *name == net.name) {
        let name = &graph.value(below).name;
        if cells(below) <= cells(layer) || (file == "legacy" && name != expected) {
            wrong.push(format!("{place}: the layer below is {name:?}, not {expected:?}"));
        }
    }
    let classes = net.array("classes");
    let (k, n) = (classes.data.len(), net.array("x").shape[0]);
    let target: Vec<i64> = (0..n).flat_map(|_| classes.data.iter().map(|&c| c as i64)).collect();
    let mut asked = formulas(image, layer);
    if net.arrays.contains_key("c_mwp_below") {
        asked.extend(excitations(layer, below));
    }
    let list: Vec<Formula> = asked.iter().map(|(_, f)| *f).collect();
    let ranged = derive(&graph, image, &score, Classes { top: 0, given: k }, &list)
        .and_then(|derived| derived.ranged())
        .unwrap_or_else(|e| panic!("{place}: {e}"));
    let name = &graph.value(image).name;
    let inputs =
        [(name.as_str(), net.array("x").tensor()), (TARGET, Tensor::i64(&[n, k], &target).expect("whole"))];
    let scores = if net.arrays.contains_key("logits") { "logits" } else { "scores" };
    for engine in engines {
        let place = format!("{place} in {}", engine.name());
        let program = load(engine.as_ref(), &ranged).unwrap_or_else(|e| panic!("{place}: {e}"));
        let outputs = program.run(&inputs).unwrap_or_else(|e| panic!("{place}: {e}"));
        let mut compare = |what: &str, got: &Tensor, expected: Vec<f64>| {
            let error = relative_l2(&got.to_f64s(), &expected);
            if error.is_nan() || error > TOLERANCE {
                wrong.push(format!("{place}: {what} differs by {error:.2e}"));
            }
        };
        compare("scores", &outputs[0], net.array(scores).data.clone());
        for (i, (what, _)) in asked.iter().enumerate() {
            if let Some(array) = net.arrays.get(*what) {
                compare(what, &outputs[2 + 2 * i], per_image(&array.data, k, n));
            }
        }
    }
    wrong
}

#[test]
fn derived_graphs_agree_with_pytorch() {
    let mut wrong = Vec::new();
    let (mut checked, mut cams, mut excited) = (0, 0, 0);
    let engines = engines();
    for net in nets() {
        cams += usize::from(net.arrays.contains_key("hires_cam"));
        excited += usize::from(net.arrays.contains_key("c_mwp_below"));
        for file in net.files() {
            checked += 1;
            wrong.extend(check(&engines, &net, &file));
        }
    }
    assert!(checked > 60 && cams >= 24, "only {checked} files, and {cams} networks with cams.npz");
    assert_eq!(excited, 5, "networks with excitation.npz");
    assert!(wrong.is_empty(), "{} outputs of {checked} files:\n{}", wrong.len(), wrong.join("\n"));
}
