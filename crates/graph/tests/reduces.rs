//! Every way from signal and activation to a map, against its formula written out cell by cell.

mod common;

use common::asked::{Asked, grad_cam, recipe, signal};
use common::nets::{self, Images, convolve, linear, pooled_linear, relu};
use common::{EXACT, Net, assert_close, cases};
use proptest::prelude::*;
use whycam_graph::derive::{Formula, Part, Reduce, Times, Weights};
use whycam_graph::diff::ReluRule;
use whycam_graph::op::{BinaryFn, Op, PadMode, Range, ReduceKind, UnaryFn};
use whycam_graph::{Emit, Graph, Shape, ValueId, layer};
use whycam_interp::Array;

const SHAPE: [usize; 4] = [2, 4, 5, 5];

/// A network whose layer `[2,4,5,5]` is rectified (or signed), with more than a linear head above it.
fn net(rectified: bool) -> (Asked, ValueId) {
    let mut net = Net::new(11);
    let x = net.batch("image", Array::random(&[2, 3, 5, 5], 12));
    let x = convolve(&mut net, x, 4, 3, 1);
    let a = if rectified { relu(&mut net, x) } else { x };
    let x = convolve(&mut net, a, 6, 3, 1);
    let x = net.op(Op::Unary(UnaryFn::Tanh), &[x]);
    let y = pooled_linear(&mut net, x, 3);
    (Asked::new(net, y), a)
}

fn how(part: Part, weights: Weights, times: Times, relu: bool) -> Reduce {
    Reduce { part, weights, times, sum: true, relu }
}

/// The map by the formula `Σₖ wₖᵢⱼ·fₖᵢⱼ`, where `w` is told all cells `(g, A)` of a channel and which one is meant.
fn slow(g: &Array, a: &Array, w: impl Fn(&[(f64, f64)], usize) -> f64, times: Times) -> Array {
    let [n, c, h, width] = SHAPE;
    Array::from_fn(&[n, h, width], |i| {
        let cell = i[1] * width + i[2];
        (0..c)
            .map(|k| {
                let at = (i[0] * c + k) * h * width;
                let channel: Vec<(f64, f64)> = (at..at + h * width).map(|j| (g.data[j], a.data[j])).collect();
                w(&channel, cell) * if times == Times::One { 1.0 } else { channel[cell].1 }
            })
            .sum()
    })
}

#[track_caller]
fn prove(reduce: Reduce, rectified: bool, w: impl Fn(&[(f64, f64)], usize) -> f64) {
    let (asked, layer) = net(rectified);
    let activation = asked.value(layer);
    for class in 0..3 {
        let g = asked.map(class, signal(layer, ReluRule::Gradient));
        let map = asked.map(class, Formula::Single(recipe(layer, ReluRule::Gradient, reduce)));
        let expected = slow(&g, &activation, &w, reduce.times);
        assert!(expected.data.iter().any(|v| v.abs() > 1e-3), "the test tells something");
        let expected = if reduce.relu { expected.map(|v| v.max(0.0)) } else { expected };
        assert_close(&map, &expected, EXACT, format!("{reduce:?}"));
    }
}

const Z: f64 = 25.0;

/// Grad-CAM and its variants (spec §10): mean, sum and signed maximum of `g` and of `|g|`.
#[test]
fn grad_cam_pools_the_gradient() {
    let activation = |part, weights| how(part, weights, Times::Activation, true);
    prove(Reduce::grad_cam(false), true, |c, _| c.iter().map(|(g, _)| g).sum::<f64>() / Z);
    prove(activation(Part::Whole, Weights::Sum), true, |c, _| c.iter().map(|(g, _)| g).sum());
    let max = |c: &[(f64, f64)], f: fn(f64) -> f64| c.iter().map(|(g, _)| f(*g)).fold(f64::MIN, f64::max);
    prove(activation(Part::Whole, Weights::Max), true, |c, _| max(c, |g| g));
    prove(activation(Part::Absolute, Weights::Max), true, |c, _| max(c, f64::abs));
    prove(activation(Part::Absolute, Weights::Mean), true, |c, _| {
        c.iter().map(|(g, _)| g.abs()).sum::<f64>() / Z
    });
}

/// Chattopadhay et al. 2018, eq. 19 in the form of second and third powers, for `Y = exp(S)` without its positive
/// factor; where activations are signed too, away from the poles of α.
#[test]
fn grad_cam_plus_plus_is_its_equation() {
    for rectified in [true, false] {
        prove(how(Part::Whole, Weights::PlusPlus, Times::Activation, true), rectified, |channel, _| {
            let total: f64 = channel.iter().map(|(_, a)| a).sum();
            let alpha =
                |g: f64| if g == 0.0 { 0.0 } else { g.powi(2) / (2.0 * g.powi(2) + total * g.powi(3)) };
            channel.iter().map(|&(g, _)| alpha(g) * g.max(0.0)).sum()
        });
    }
}

/// Fu et al. 2020, eq. 8: `wₖ = Σ (Aₖᵢⱼ/ΣAₖ)·gₖᵢⱼ`.
#[test]
fn xgrad_cam_is_its_equation() {
    prove(how(Part::Whole, Weights::Share, Times::Activation, true), true, |channel, _| {
        let total: f64 = channel.iter().map(|(_, a)| a).sum();
        channel.iter().map(|(g, a)| g * a / total).sum()
    });
}

/// A channel that is 0 everywhere has no shares and no weight, rather than NaN.
#[test]
fn dead_channels_weigh_nothing() {
    let mut net = Net::new(3);
    let image = net.batch("image", Array::random(&[1, 2, 4, 4], 5));
    let nothing = net.values(&[1], &[0.0]);
    let scale = net.values(&[1, 2, 1, 1], &[1.0, 0.0]);
    let x = relu(&mut net, image);
    let a = net.b.mul(x, scale).unwrap();
    let x = net.b.add(a, nothing).unwrap();
    let y = pooled_linear(&mut net, x, 2);
    let asked = Asked::new(net, y);
    for weights in [Weights::Share, Weights::PlusPlus] {
        let reduce = how(Part::Whole, weights, Times::Activation, false);
        let maps =
            [0, 1].map(|class| asked.map(class, Formula::Single(recipe(a, ReluRule::Gradient, reduce))));
        let values: Vec<f64> = maps.into_iter().flat_map(|map| map.data).collect();
        assert!(values.iter().all(|v| v.is_finite()) && values.iter().any(|&v| v != 0.0), "{values:?}");
    }
}

/// HiResCAM (Draelos & Carin 2020, eq. 3) `Σₖ gₖ⊙Aₖ`, LayerCAM (Jiang et al. 2021, eq. 4 and 5) `Σₖ max(gₖ,0)⊙Aₖ`,
/// and the signal summed over channels.
#[test]
fn cells_with_weights_of_their_own() {
    prove(how(Part::Whole, Weights::Cell, Times::Activation, true), true, |c, i| c[i].0);
    prove(how(Part::Positive, Weights::Cell, Times::Activation, true), true, |c, i| c[i].0.max(0.0));
    prove(how(Part::Whole, Weights::Cell, Times::One, false), false, |c, i| c[i].0);
}

/// Spec §5: the counterfactual is Grad-CAM of the negated score, bit for bit (1); where Grad-CAM is positive it is 0,
/// and their difference is the map without its ReLU (2); the negated counterfactual is Grad-CAM (4); with the scores
/// `(y, −y)` it is Grad-CAM of the other class (5).
#[test]
fn the_laws_of_the_counterfactual() {
    let against = |read_at| {
        let reduce = how(Part::Negated, Weights::Mean, Times::Activation, true);
        Formula::Single(recipe(read_at, ReluRule::Gradient, reduce))
    };
    // The scores are y0, −y0, y1, −y1.
    let mut net = Net::new(21);
    let x = net.batch("image", Array::random(&[2, 3, 6, 6], 22));
    let x = convolve(&mut net, x, 5, 3, 1);
    let a = relu(&mut net, x);
    let x = convolve(&mut net, a, 4, 3, 2);
    let x = relu(&mut net, x);
    let y = pooled_linear(&mut net, x, 2);
    let minus = net.op(Op::Unary(UnaryFn::Neg), &[y]);
    let y = net.op(Op::Concat { axis: 1 }, &[y, minus]);
    let asked = Asked::new(net, y);
    for class in 0..2 {
        let counterfactual = asked.map(class, against(a));
        let [map, signed] = [true, false].map(|relu| asked.map(class, grad_cam(a, relu)));
        assert_eq!(counterfactual.data, asked.map(class + 2, grad_cam(a, true)).data, "of the negated score");
        assert_eq!(asked.map(class + 2, against(a)).data, map.data, "negated twice");
        assert!(counterfactual.data.iter().any(|&v| v > 0.0) && map.data.iter().any(|&v| v > 0.0));
        for ((cf, map), signed) in counterfactual.data.iter().zip(&map.data).zip(&signed.data) {
            assert_eq!((cf * map, map - cf), (0.0, *signed));
        }
    }
}

/// Where every channel of a class speaks for it, nothing speaks against it (spec §5, 3).
#[test]
fn without_counterevidence_the_counterfactual_is_zero() {
    let mut net = Net::new(1);
    let image = net.batch("image", Array::random(&[1, 3, 4, 4], 2));
    let a = relu(&mut net, image);
    let x = net.op(Op::GlobalAveragePool, &[a]);
    let x = net.op(Op::Flatten { axis: 1 }, &[x]);
    let w = net.between(&[3, 2], 0.1, 1.0);
    let y = net.op(Op::MatMul, &[x, w]);
    let asked = Asked::new(net, y);
    let reduce = how(Part::Negated, Weights::Mean, Times::Activation, true);
    let map = asked.map(1, Formula::Single(recipe(a, ReluRule::Gradient, reduce)));
    assert!(map.data.iter().all(|&v| v == 0.0));
}

/// Gradient × input is the product cell by cell, and the activation alone is read without any gradient.
#[test]
fn products_that_are_not_summed() {
    let (asked, layer) = net(true);
    let (image, activation) = (asked.value(asked.image()), asked.value(layer));
    let reduce = Reduce { times: Times::Activation, ..Reduce::SIGNAL };
    let at_image = |reduce| Formula::Single(recipe(asked.image(), ReluRule::Gradient, reduce));
    let (product, g) = (asked.map(1, at_image(reduce)), asked.map(1, at_image(Reduce::SIGNAL)));
    let expected = Array::from_fn(&image.shape, |i| g.at(i) * image.at(i));
    assert_close(&product, &expected, EXACT, "gradient × input");
    let alone = Reduce { weights: Weights::One, ..reduce };
    let both = asked.ask(&[0, 1], &[Formula::Single(recipe(layer, ReluRule::Gradient, alone))]).remove(2);
    assert_eq!(both.shape, [2, 2, 4, 5, 5]);
    for n in 0..2 {
        for k in 0..2 {
            let size = activation.data.len() / 2;
            assert_eq!(both.data[(n * 2 + k) * size..][..size], activation.data[n * size..][..size]);
        }
    }
}

/// CAM is `Σₖ wₖ·Aₖ` behind a global mean and one linear layer, in whichever order and spelling, and refused elsewhere.
#[test]
fn cam_fits_a_mean_and_a_linear_layer_only() {
    let cam = |read_at| {
        let reduce = how(Part::Whole, Weights::Class, Times::Activation, false);
        Formula::Single(recipe(read_at, ReluRule::Gradient, reduce))
    };
    for convolution_first in [true, false] {
        let mut net = Net::new(4);
        let image = net.batch("image", Array::random(&[2, 3, 4, 4], 5));
        let (w, bias) = (net.weights(&[2, 3, 1, 1]), net.weights(&[2]));
        let a = relu(&mut net, image);
        let linear = Op::Conv(common::conv(2, 1, 0));
        let y = match convolution_first {
            true => {
                let maps = net.op(linear, &[a, w, bias]);
                net.op(Op::GlobalAveragePool, &[maps])
            }
            false => {
                let pooled = net.op(Op::GlobalAveragePool, &[a]);
                net.op(linear, &[pooled, w, bias])
            }
        };
        let y = net.op(Op::Flatten { axis: 1 }, &[y]);
        let asked = Asked::new(net, y);
        let (w, activation) = (asked.constant(w), asked.value(a));
        let expected = Array::from_fn(&[2, 4, 4], |i| {
            (0..3).map(|k| w.at(&[1, k, 0, 0]) * activation.at(&[i[0], k, i[1], i[2]])).sum()
        });
        assert_close(&asked.map(1, cam(a)), &expected, EXACT, "CAM");
        // The identity of spec §3: CAM is Z times Grad-CAM.
        assert_close(&asked.map(1, grad_cam(a, false)).map(|v| v * 16.0), &expected, EXACT, "Z·Grad-CAM");
    }
    let (asked, layer) = net(true);
    let score = whycam_graph::layer::score(&asked.graph, None).unwrap();
    let classes = common::asked::ONE;
    let error = whycam_graph::derive::derive(&asked.graph, asked.image(), &score, classes, &[cam(layer)]);
    let error = error.expect_err("a tanh and a second convolution lie between").to_string();
    assert!(error.contains("CAM is not defined here") && error.contains("grad-cam fits any"), "{error}");
}

/// A linear node behind `x [N,C,h,w]`, which most of them change in size.
fn linear_step(net: &mut Net, x: ValueId, kind: usize) -> ValueId {
    let shape = net.shape(x);
    let [c, h, w] = [1, 2, 3].map(|axis| shape.0[axis].at(1));
    let range = |axis, start, end| Op::Slice(vec![Range { axis, start, end, step: 1 }]);
    match kind {
        0 => net.op(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[x]),
        1 => {
            let (before, after) = (vec![0, 0, 1, 0], vec![0, 1, 0, 2]);
            net.op(Op::Pad { mode: PadMode::Constant, before, after, value: 0.0 }, &[x])
        }
        2 if h > 1 => net.op(range(2, 1, h as i64), &[x]),
        3 if w > 1 => net.op(range(3, 0, w as i64 - 1), &[x]),
        4 => {
            let weights = net.weights(&[w, 3]);
            net.op(Op::MatMul, &[x, weights])
        }
        5 => {
            let weights = net.weights(&[4, h]);
            net.op(Op::MatMul, &[weights, x])
        }
        6 => {
            let weights = net.weights(&[c, 1, 1]);
            net.op(Op::Binary(BinaryFn::Mul), &[x, weights])
        }
        7 => net.op(Op::Reshape { to: Shape(vec![shape.0[0], c.into(), 1.into(), (h * w).into()]) }, &[x]),
        8 => net.op(Op::Concat { axis: 1 }, &[x, x]),
        9 => {
            let mean = net.op(Op::Reduce { kind: ReduceKind::Mean, axes: vec![2], keep: true }, &[x]);
            let moved = net.op(Op::Binary(BinaryFn::Sub), &[x, mean]);
            net.op(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[moved])
        }
        10 => {
            let weights = net.weights(&[w, w]);
            let product = net.op(Op::MatMul, &[x, weights]);
            net.op(Op::Binary(BinaryFn::Add), &[x, product])
        }
        11 => net.op(Op::Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep: true }, &[x]),
        _ => net.op(Op::Unary(UnaryFn::Neg), &[x]),
    }
}

proptest! {
    #![proptest_config(cases(96))]

    /// Whatever lies behind the layer, the mean is that of the signal's cells.
    #[test]
    fn means_are_taken_early(steps in prop::collection::vec(0..13usize, 0..6), symbolic: bool, seed: u64) {
        let mut net = Net::new(seed);
        let x = Array::random(&[2, 3, 4, 3], seed);
        let image = if symbolic { net.batch("image", x) } else { net.input("image", x) };
        let a = relu(&mut net, image);
        let x = steps.iter().fold(a, |x, &kind| linear_step(&mut net, x, kind));
        let cells: usize = net.shape(x).0[1..].iter().map(|dim| dim.at(1)).product();
        let flat = net.op(Op::Flatten { axis: 1 }, &[x]);
        let y = linear(&mut net, flat, cells, 3);
        let asked = Asked::new(net, y);
        let (g, activation) = (asked.map(1, signal(a, ReluRule::Gradient)), asked.value(a));
        let weight = |n: usize, k: usize| -> f64 {
            (0..12).map(|i| g.at(&[n, k, i / 3, i % 3])).sum::<f64>() / 12.0
        };
        let expected = Array::from_fn(&[2, 4, 3], |i| {
            (0..3).map(|k| weight(i[0], k) * activation.at(&[i[0], k, i[1], i[2]])).sum()
        });
        let together = asked.ask(&[0, 1], &[grad_cam(a, false)]).swap_remove(2);
        assert_close(&asked.map(1, grad_cam(a, false)), &expected, EXACT, format!("{steps:?}"));
        let second = Array::from_fn(&[2, 4, 3], |i| together.at(&[i[0], 1, i[1], i[2]]));
        assert_close(&second, &expected, EXACT, format!("{steps:?} of two classes"));
    }
}

/// Rows of the left factors of matrix products that are not in the other graph.
fn rows(graph: &Graph, without: &Graph) -> Vec<usize> {
    let known = |n: &whycam_graph::Node| without.nodes().any(|(_, other)| other.outputs == n.outputs);
    let rows = |n: &whycam_graph::Node| {
        graph.shape(n.inputs[0].unwrap()).unwrap().at(1).iter().rev().nth(1).copied()
    };
    let products = graph.nodes().map(|(_, n)| n).filter(|n| n.op == Op::MatMul && !known(n));
    products.filter_map(rows).collect()
}

/// Tokens of a transformer: means over four of five of them, behind queries, keys and values.
#[test]
fn means_over_tokens_are_taken_early() {
    for images in [Images { count: 2, symbolic: true }, Images { count: 1, symbolic: false }] {
        let mut net = Net::new(31);
        let y = nets::vit(&mut net, images);
        let asked = Asked::new(net, y);
        let score = layer::score(&asked.graph, None).unwrap();
        let last = layer::automatic(&asked.graph, asked.image(), &score).unwrap();
        let (g, activation) = (asked.map(2, signal(last, ReluRule::Gradient)), asked.value(last));
        assert_eq!(activation.shape, [images.count, 5, 4]);
        let expected = Array::from_fn(&[images.count, 2, 2], |i| {
            let weight = |k: usize| (1..5).map(|t| g.at(&[i[0], t, k])).sum::<f64>() / 4.0;
            (0..4).map(|k| weight(k) * activation.at(&[i[0], 1 + i[1] * 2 + i[2], k])).sum()
        });
        assert_close(&asked.map(2, grad_cam(last, false)), &expected, EXACT, format!("{images:?}"));
        let derived = asked.derive(common::asked::ONE, &[grad_cam(last, true)]).graph;
        let rows = rows(&derived, &asked.graph);
        assert!(!rows.is_empty() && rows.iter().all(|&rows| rows <= 4), "{rows:?}\n{derived}");
    }
}

/// The signal of a class at what a linear layer is given is a row of its weights, which are not multiplied for it.
#[test]
fn the_row_of_a_class_is_looked_up() {
    let products =
        |graph: &Graph| graph.nodes().filter(|(_, n)| matches!(n.op, Op::Gemm(_) | Op::MatMul)).count();
    for transposed in [true, false] {
        let mut net = Net::new(6);
        let image = net.batch("image", Array::random(&[2, 3, 4, 4], 5));
        let a = relu(&mut net, image);
        let x = net.op(Op::GlobalAveragePool, &[a]);
        let x = net.op(Op::Flatten { axis: 1 }, &[x]);
        let y = match transposed {
            true => linear(&mut net, x, 3, 5),
            false => {
                let (w, bias) = (net.weights(&[3, 5]), net.weights(&[5]));
                let y = net.op(Op::MatMul, &[x, w]);
                net.op(Op::Binary(BinaryFn::Add), &[y, bias])
            }
        };
        let asked = Asked::new(net, y);
        let derived = asked.derive(common::asked::ONE, &[signal(a, ReluRule::Gradient)]).graph;
        assert_eq!(products(&derived), 1, "{derived}");
        for class in 0..5 {
            let signal = asked.map(class, signal(a, ReluRule::Gradient));
            let cotangent = Array::from_fn(&[2, 5], |i| f64::from(u8::from(i[1] == class)));
            let graph = &asked.graph;
            let output = graph.outputs()[0];
            let sent = common::signals(graph, &asked.given, output, &[a], ReluRule::Gradient, &cotangent);
            assert_close(&signal, &sent[0], EXACT, format!("class {class}"));
        }
    }
}
