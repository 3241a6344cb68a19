//! Where activations are signed, excitation backprop is not defined: the first such node is named.

mod common;

use common::excitation::{derived, rules};
use common::nets::{self, Images, add, batch_norm, convolve, linear, pooled_linear, relu};
use common::{Net, conv, run_with, window};
use whycam_graph::op::{BinaryFn, Op, UnaryFn};
use whycam_graph::{DType, Emit, Error, NamedNode, ValueId};
use whycam_interp::Array;

fn start() -> (Net, ValueId) {
    let mut net = Net::new(0);
    let x = net.input("photo", Array::random(&[1, 3, 6, 6], 0));
    (net, x)
}

/// A node with a name.
fn named(net: &mut Net, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
    let inputs = inputs.iter().copied().map(Some).collect();
    let node =
        NamedNode { op, inputs, outputs: vec![Some(format!("{name}.out"))], name: name.into(), module: None };
    net.b.named(node).unwrap()[0].unwrap()
}

fn named_conv(net: &mut Net, name: &str, x: ValueId, out: usize) -> ValueId {
    let w = net.weights(&[out, net.shape(x).0[1].at(1), 1, 1]);
    named(net, name, Op::Conv(conv(2, 1, 0)), &[x, w])
}

/// What is said when signal is sent from `target` back to `read_at`.
#[track_caller]
fn refusal(net: Net, read_at: ValueId, target: ValueId) -> String {
    let (graph, _) = net.finish(target);
    let error = match derived(&graph, target, &[read_at], rules(false), None) {
        Err(error) => error,
        Ok(graph) => panic!("no error:\n{graph}"),
    };
    assert!(matches!(error, Error::Unfit { .. }), "{error}");
    let told = error.to_string();
    assert!(told.contains("hint: ") && told.contains("--layer") && told.contains("grad-cam"), "{told}");
    told
}

#[test]
fn the_image_is_signed() {
    let (mut net, x) = start();
    let y = named_conv(&mut net, "conv1", x, 4);
    let y = relu(&mut net, y);
    let y = pooled_linear(&mut net, y, 3);
    let told = refusal(net, x, y);
    assert!(told.contains("conv1") && told.contains("input \"photo\""), "{told}");
}

/// MobileNetV2: the projection is linear, and the next expansion takes it. Behind that, all is well.
#[test]
fn a_linear_bottleneck_is_signed() {
    let make = || {
        let (mut net, x) = start();
        let x = convolve(&mut net, x, 4, 3, 1);
        let early = net.op(Op::Unary(UnaryFn::Clip { min: 0.0, max: 6.0 }), &[x]);
        let x = named_conv(&mut net, "project", early, 3);
        let x = net.op(Op::Dropout, &[x]);
        let x = named_conv(&mut net, "expand", x, 6);
        let late = net.op(Op::Unary(UnaryFn::Clip { min: 0.0, max: 6.0 }), &[x]);
        let y = pooled_linear(&mut net, late, 3);
        (net, early, late, y)
    };
    let (net, early, _, y) = make();
    let told = refusal(net, early, y);
    assert!(told.contains("expand") && told.contains("project"), "{told}");
    let (net, _, late, y) = make();
    let (graph, _) = net.finish(y);
    derived(&graph, y, &[late], rules(true), None).unwrap();
}

/// Before activation, as in ResNet's second version: the running sum is signed.
#[test]
fn a_sum_that_no_relu_follows_is_signed() {
    let (mut net, x) = start();
    let x = convolve(&mut net, x, 3, 3, 1);
    let a = relu(&mut net, x);
    let branch = convolve(&mut net, a, 3, 3, 1);
    let sum = named(&mut net, "shortcut", Op::Binary(BinaryFn::Add), &[branch, a]);
    let normal = batch_norm(&mut net, sum);
    let y = relu(&mut net, normal);
    let y = pooled_linear(&mut net, y, 3);
    let told = refusal(net, a, y);
    assert!(told.contains("shortcut") && told.contains("no ReLU follows"), "{told}");
}

#[test]
fn transformers_and_smooth_activations_are_signed() {
    let mut net = Net::new(5);
    let y = nets::vit(&mut net, Images { count: 1, symbolic: true });
    let graph = net.b.graph();
    let first = graph.nodes().find(|(_, n)| n.op == Op::Unary(UnaryFn::Relu)).unwrap().1.outputs[0].unwrap();
    let told = refusal(net, first, y);
    assert!(told.contains("a Gemm node needs activations that are never negative"), "{told}");
    for f in [UnaryFn::Gelu, UnaryFn::HardSwish, UnaryFn::Tanh, UnaryFn::LeakyRelu(0.1), UnaryFn::Elu(1.0)] {
        let (mut net, x) = start();
        let x = convolve(&mut net, x, 3, 3, 1);
        let x = named(&mut net, "activation", Op::Unary(f), &[x]);
        let y = pooled_linear(&mut net, x, 3);
        let told = refusal(net, x, y);
        assert!(told.contains("GlobalAveragePool") && told.contains("activation"), "{told}");
    }
}

#[test]
fn products_of_activations_have_no_rule() {
    let (mut net, x) = start();
    let x = convolve(&mut net, x, 3, 3, 1);
    let a = relu(&mut net, x);
    let gate = net.op(Op::GlobalAveragePool, &[a]);
    let gate = net.op(Op::Unary(UnaryFn::Sigmoid), &[gate]);
    let product = named(&mut net, "excite", Op::Binary(BinaryFn::Mul), &[a, gate]);
    let y = pooled_linear(&mut net, product, 3);
    let told = refusal(net, a, y);
    assert!(told.contains("excite") && told.contains("activations with each other"), "{told}");
}

#[test]
fn ops_without_a_rule_are_named() {
    for (f, why) in [(UnaryFn::Cos, "has no rule"), (UnaryFn::Neg, "has no rule"), (UnaryFn::Abs, "may be")] {
        let (mut net, x) = start();
        let x = convolve(&mut net, x, 3, 3, 1);
        let a = relu(&mut net, x);
        let x = named_conv(&mut net, "behind", a, 3);
        let x = named(&mut net, "odd", Op::Unary(f), &[x]);
        let x = relu(&mut net, x);
        let y = pooled_linear(&mut net, x, 3);
        let told = refusal(net, a, y);
        assert!(told.contains("odd") && told.contains(why), "{told}");
    }
}

/// Negative scales of a batch norm belong to the weights before it; where there are none of its own, it is named.
#[test]
fn negative_scales_without_weights_before_them_are_named() {
    let norm = |net: &mut Net, x: ValueId| {
        let scale = net.values(&[3], &[1.0, -1.0, 0.5]);
        let rest = [net.weights(&[3]), net.weights(&[3]), net.between(&[3], 0.5, 1.0)];
        named(net, "norm", Op::BatchNorm { epsilon: 1e-5 }, &[x, scale, rest[0], rest[1], rest[2]])
    };
    let end = |net: &mut Net, x: ValueId| {
        let x = relu(net, x);
        pooled_linear(net, x, 3)
    };
    let begin = || {
        let (mut net, x) = start();
        let x = convolve(&mut net, x, 3, 3, 1);
        let a = relu(&mut net, x);
        (net, a)
    };
    let (mut net, a) = begin();
    let x = convolve(&mut net, a, 3, 3, 1);
    let x = net.op(Op::MaxPool(window(2, 1, 0, false)), &[x]);
    let x = norm(&mut net, x);
    let y = end(&mut net, x);
    let told = refusal(net, a, y);
    assert!(told.contains("norm") && told.contains("no layer of weights before it"), "{told}");

    let (mut net, a) = begin();
    let x = convolve(&mut net, a, 3, 3, 1);
    let z = norm(&mut net, x);
    let x = relu(&mut net, x);
    let z = relu(&mut net, z);
    let x = add(&mut net, x, z);
    let y = pooled_linear(&mut net, x, 3);
    let told = refusal(net, a, y);
    assert!(told.contains("norm") && told.contains("used elsewhere too"), "{told}");

    let (mut net, a) = begin();
    let x = convolve(&mut net, a, 3, 3, 1);
    let everywhere = net.weights(&[1, 3, 6, 6]);
    let x = named(&mut net, "mask", Op::Binary(BinaryFn::Mul), &[x, everywhere]);
    let y = end(&mut net, x);
    let told = refusal(net, a, y);
    assert!(told.contains("mask") && told.contains("vary over cells"), "{told}");
}

/// Weights are read through what de-quantises them; a quantised activation whose least level is 0 is not negative.
#[test]
fn quantised_networks_are_not_refused() {
    let (mut net, x) = start();
    let x = convolve(&mut net, x, 3, 3, 1);
    let a = relu(&mut net, x);
    let (scale, zero) = (net.values(&[], &[0.05]), net.b.constant(zero_point(DType::U8)));
    let q = net.op(Op::QuantizeLinear { axis: 1, to: DType::U8 }, &[a, scale, zero]);
    let x = net.op(Op::DequantizeLinear { axis: 1 }, &[q, scale, zero]);
    let levels: Vec<i8> = (0..36).map(|i| (i * 37 % 100) as i8 - 50).collect();
    let levels: Vec<u8> = levels.iter().map(|l| l.to_le_bytes()[0]).collect();
    let levels = whycam_graph::Tensor::new(DType::I8, vec![4, 3, 3, 1], levels).unwrap();
    let (levels, zero) = (net.b.constant(levels), net.b.constant(zero_point(DType::I8)));
    let w = net.op(Op::DequantizeLinear { axis: 0 }, &[levels, scale, zero]);
    let x = net.op(Op::Conv(conv(2, 1, 1)), &[x, w]);
    let x = relu(&mut net, x);
    let y = pooled_linear(&mut net, x, 3);
    let (graph, given) = net.finish(y);
    let derived = derived(&graph, y, &[a], rules(false), None).unwrap();
    let p = Array::new(&[1, 3], vec![1.0, 0.0, 0.0]);
    let signal = run_with(&derived, &given, &[("cotangent", &p)]).remove(0);
    let total: f64 = signal.data.iter().sum();
    assert!((total - 1.0).abs() < 1e-9, "{total}");
}

fn zero_point(dtype: DType) -> whycam_graph::Tensor {
    whycam_graph::Tensor::new(dtype, vec![], vec![0]).unwrap()
}

/// Between the score and the layer, weights are constants.
#[test]
fn weights_made_from_the_image_have_no_rule() {
    let (mut net, x) = start();
    let x = convolve(&mut net, x, 3, 3, 1);
    let a = relu(&mut net, x);
    let flat = net.op(Op::Flatten { axis: 2 }, &[a]);
    let turned = net.b.transpose_last(flat).unwrap();
    let products = named(&mut net, "attention", Op::MatMul, &[flat, turned]);
    let x = net.op(Op::Flatten { axis: 0 }, &[products]);
    let y = linear(&mut net, x, 9, 3);
    let told = refusal(net, a, y);
    assert!(told.contains("attention") && told.contains("activations with each other"), "{told}");
}
