//! What cannot be differentiated is said, all at once, and never becomes a silent zero.

mod common;

use common::nets::{convolve, pooled_linear};
use common::{Net, assert_close, conv, derived, run_with, separated};
use whycam_graph::diff::ReluRule;
use whycam_graph::op::{BinaryFn, CompareFn, Op, Opaque, ReduceKind, UnaryFn};
use whycam_graph::{DType, Emit, Error, Graph, NamedNode, ValueId};
use whycam_interp::Array;

/// A node that whycam does not model, whose result is declared like its input.
fn opaque(net: &mut Net, x: ValueId, op_type: &str, reason: Option<&str>, is_known: bool) -> ValueId {
    let op = Op::Opaque(Box::new(Opaque {
        op_type: op_type.into(),
        domain: "com.example".into(),
        proto: Default::default(),
        captured: Vec::new(),
        reason: reason.map(Into::into),
    }));
    let node = NamedNode {
        op,
        inputs: vec![Some(x)],
        outputs: vec![Some(format!("{op_type}.out"))],
        name: format!("{op_type}.node"),
        module: None,
    };
    let y = net.b.named(node).unwrap()[0].unwrap();
    if is_known {
        let shape = net.shape(x);
        net.b.declare(y, Some(DType::F32), Some(shape));
    }
    y
}

#[track_caller]
fn error(net: Net, target: ValueId, read_at: ValueId) -> Error {
    let (graph, _) = net.finish(target);
    match derived(&graph, target, &[read_at], ReluRule::Gradient, None) {
        Err(error) => error,
        Ok(graph) => panic!("no error:\n{graph}"),
    }
}

fn start() -> (Net, ValueId) {
    let mut net = Net::new(0);
    let x = net.input("x", separated(&[1, 2, 4, 4], 0));
    (net, x)
}

#[test]
fn all_opaque_nodes_on_the_path_are_listed_at_once() {
    let (mut net, x) = start();
    let a = opaque(&mut net, x, "First", None, true);
    let product = net.op(Op::Reduce { kind: ReduceKind::Prod, axes: vec![1], keep: true }, &[a]);
    let b = net.op(Op::Unary(UnaryFn::Tanh), &[product]);
    let y = opaque(&mut net, b, "Second", Some("its mode is cubic"), true);
    let error = error(net, y, x);
    let Error::NotDifferentiable { nodes } = &error else { panic!("{error}") };
    assert_eq!(nodes.len(), 3, "{nodes:?}");
    assert!(nodes[0].contains("First.node") && nodes[0].contains("no rule"), "{nodes:?}");
    assert!(nodes[1].contains("ReduceProd"), "{nodes:?}");
    assert!(nodes[2].contains("Second.node") && nodes[2].contains("its mode is cubic"), "{nodes:?}");
    let told = error.to_string();
    assert!(told.contains("3 nodes") && told.contains("hint: "), "{told}");
}

/// Before the value that is read, beside the path, and behind the target, they do not matter.
#[test]
fn opaque_nodes_off_the_path_do_not_matter() {
    let (mut net, image) = start();
    let before = opaque(&mut net, image, "Before", None, true);
    let x = net.op(Op::Unary(UnaryFn::Tanh), &[before]);
    let scores = pooled_linear(&mut net, x, 3);
    opaque(&mut net, x, "Beside", None, false);
    opaque(&mut net, scores, "Behind", None, false);
    let (graph, _) = net.finish(scores);
    let derived = derived(&graph, scores, &[x], ReluRule::Gradient, None).unwrap();
    assert_eq!(derived.shape(derived.outputs()[0]).unwrap(), graph.shape(x).unwrap());
}

#[test]
fn opaque_nodes_of_unknown_shape_on_the_path_are_listed_too() {
    let (mut net, x) = start();
    let a = opaque(&mut net, x, "Mystery", None, false);
    let y = net.op(Op::Unary(UnaryFn::Tanh), &[a]);
    let shape = net.shape(x);
    net.b.declare(y, Some(DType::F32), Some(shape));
    let error = error(net, y, x);
    assert!(matches!(&error, Error::NotDifferentiable { nodes } if nodes.len() == 1), "{error}");
}

/// A convolution whose weights are made from the image.
#[test]
fn weights_that_depend_on_the_image_are_refused() {
    let (mut net, x) = start();
    let w = convolve(&mut net, x, 2, 3, 1);
    let w = net.op(Op::Reshape { to: [4, 2, 2, 2].into() }, &[w]);
    let y = net.op(Op::Conv(conv(2, 1, 0)), &[x, w]);
    let error = error(net, y, x);
    assert!(matches!(&error, Error::NotDifferentiable { nodes } if nodes[0].contains("Conv")), "{error}");
}

#[test]
fn a_signal_that_stops_is_an_error() {
    let stops: [fn(&mut Net, ValueId) -> ValueId; 10] = [
        |net, x| net.op(Op::Unary(UnaryFn::Round), &[x]),
        |net, x| net.op(Op::Unary(UnaryFn::Floor), &[x]),
        |net, x| net.op(Op::Unary(UnaryFn::Ceil), &[x]),
        |net, x| net.op(Op::Unary(UnaryFn::Sign), &[x]),
        |net, x| {
            let index = net.op(Op::ArgMax { axis: 1, keep: true }, &[x]);
            net.op(Op::Cast(DType::F32), &[index])
        },
        |net, x| {
            let hit = net.b.compare(x, CompareFn::Greater, 0.0).unwrap();
            net.op(Op::Cast(DType::F32), &[hit])
        },
        |net, x| {
            let hit = net.b.compare(x, CompareFn::Less, 0.0).unwrap();
            let (a, b) = (net.weights(&[1]), net.weights(&[1]));
            net.op(Op::Where, &[hit, a, b])
        },
        |net, x| {
            let whole = net.op(Op::Cast(DType::I64), &[x]);
            net.op(Op::Cast(DType::F32), &[whole])
        },
        |net, x| {
            let one = net.values(&[], &[1.0]);
            let level = net.op(Op::QuantizeLinear { axis: 0, to: DType::U8 }, &[x, one]);
            let hit = net.op(Op::Cast(DType::Bool), &[level]);
            net.op(Op::Cast(DType::F32), &[hit])
        },
        |net, x| {
            let best = net.b.nodes(Op::TopK { axis: 1, k: 1 }, &[Some(x)]).unwrap()[1];
            net.op(Op::Cast(DType::F32), &[best])
        },
    ];
    for stop in stops {
        let (mut net, x) = start();
        let curved = net.op(Op::Unary(UnaryFn::Tanh), &[x]);
        let stopped = stop(&mut net, curved);
        let y = net.op(Op::Unary(UnaryFn::Sin), &[stopped]);
        let error = error(net, y, x);
        assert!(matches!(error, Error::Unfit { .. }), "{error}");
        assert!(error.to_string().contains("no gradient reaches \"x\""), "{error}");
    }
}

#[test]
fn a_value_that_the_score_does_not_depend_on_is_an_error() {
    let (mut net, x) = start();
    let other = net.input("other", separated(&[2], 1));
    let y = net.op(Op::Unary(UnaryFn::Tanh), &[other]);
    let error = error(net, y, x);
    assert!(matches!(error, Error::Unfit { .. }), "{error}");
}

/// A rounding beside another way stops its own share only.
#[test]
fn a_stop_on_one_of_two_ways_is_no_error() {
    let (mut net, x) = start();
    let rounded = net.op(Op::Unary(UnaryFn::Round), &[x]);
    let y = net.op(Op::Binary(BinaryFn::Mul), &[x, rounded]);
    let (graph, given) = net.finish(y);
    let value = |graph: &Graph| run_with(graph, &given, &[]).remove(0);
    let factor = value(&graph.with_outputs(&[rounded]));
    let derived = derived(&graph, y, &[x], ReluRule::Gradient, None).unwrap();
    let g = Array::random(&factor.shape, 3);
    let sent = run_with(&derived, &given, &[("cotangent", &g)]).remove(0);
    let expected = Array::from_fn(&g.shape, |i| g.at(i) * factor.at(i));
    assert_close(&sent, &expected, common::EXACT, "x · round(x)");
}

/// Reading at the target itself returns the seed.
#[test]
fn the_signal_at_the_target_is_the_seed() {
    let (mut net, x) = start();
    let y = net.op(Op::Unary(UnaryFn::Tanh), &[x]);
    let (graph, given) = net.finish(y);
    let derived = derived(&graph, y, &[y, x], ReluRule::Gradient, None).unwrap();
    let g = Array::random(&[1, 2, 4, 4], 3);
    let sent = run_with(&derived, &given, &[("cotangent", &g)]);
    assert_eq!(sent[0], g);
    assert_ne!(sent[1], g);
}
