//! Rules of element-wise ops.

mod common;

use common::{Net, cases, derived, prove, run_with, separated};
use proptest::prelude::*;
use whycam_graph::diff::ReluRule;
use whycam_graph::op::{BinaryFn, CompareFn, Op, UnaryFn};
use whycam_graph::{DType, Emit, Tensor};
use whycam_interp::Array;

/// Functions with a gradient, and whether they want positive numbers.
const SMOOTH: [(UnaryFn, bool); 23] = [
    (UnaryFn::Abs, false),
    (UnaryFn::Clip { min: -0.5, max: 1.0 }, false),
    (UnaryFn::Clip { min: f32::NEG_INFINITY, max: 0.3 }, false),
    (UnaryFn::Clip { min: f32::NEG_INFINITY, max: f32::INFINITY }, false),
    (UnaryFn::Cos, false),
    (UnaryFn::Elu(0.7), false),
    (UnaryFn::Erf, false),
    (UnaryFn::Exp, false),
    (UnaryFn::Gelu, false),
    (UnaryFn::GeluTanh, false),
    (UnaryFn::HardSigmoid { alpha: 0.3, beta: 0.4 }, false),
    (UnaryFn::HardSwish, false),
    (UnaryFn::LeakyRelu(0.1), false),
    (UnaryFn::LeakyRelu(-0.1), false),
    (UnaryFn::Log, true),
    (UnaryFn::Neg, false),
    (UnaryFn::Reciprocal, true),
    (UnaryFn::Relu, false),
    (UnaryFn::Sigmoid, false),
    (UnaryFn::Sin, false),
    (UnaryFn::Softplus, false),
    (UnaryFn::Sqrt, true),
    (UnaryFn::Tanh, false),
];

const BINARY: [BinaryFn; 7] =
    [BinaryFn::Add, BinaryFn::Div, BinaryFn::Max, BinaryFn::Min, BinaryFn::Mul, BinaryFn::Pow, BinaryFn::Sub];

/// Positive numbers far from each other.
fn positive(shape: &[usize], seed: u64) -> Array {
    separated(shape, seed).map(|v| 0.3 + v.abs())
}

#[test]
fn functions_of_one_argument() {
    for (f, is_positive) in SMOOTH {
        for scale in [0.5, 1.0, 2.1] {
            let mut net = Net::new(0);
            let x = if is_positive { positive(&[3, 4], 1) } else { separated(&[3, 4], 1) };
            let x = net.batch("x", x.map(|v| v * scale));
            let y = net.op(Op::Unary(f), &[x]);
            prove(net, y);
        }
    }
}

/// A shape that broadcasts to `[2, 3, 2]`: the last `rank` axes, those of `single` 1.
fn part(rank: usize, single: u8) -> Vec<usize> {
    (3 - rank..3).map(|i| if single >> i & 1 == 1 { 1 } else { [2, 3, 2][i] }).collect()
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn functions_of_two_arguments(
        f in prop::sample::select(BINARY.to_vec()),
        ranks in (0..=3usize, 0..=3usize),
        single in (0..8u8, 0..8u8),
        given: [bool; 2],
        batch: bool,
        seed: u64,
    ) {
        let mut net = Net::new(seed);
        let numbers = |shape: &[usize], i: u64| match f {
            BinaryFn::Div | BinaryFn::Pow => positive(shape, seed ^ i),
            // Different offsets, so that no number of `a` is near one of `b`.
            _ => separated(shape, seed ^ i).map(|v| v + 0.0137 * i as f64),
        };
        let operand = |net: &mut Net, i: usize, shape: Vec<usize>, is_input: bool| {
            let numbers = numbers(&shape, i as u64);
            match (is_input, ["a", "b"][i], batch && shape.len() == 3 && shape[0] == 2) {
                (true, name, true) => net.batch(name, numbers),
                (true, name, false) => net.input(name, numbers),
                (false, ..) => {
                    let floats: Vec<f32> = numbers.data.iter().map(|&v| v as f32).collect();
                    net.values(&shape, &floats)
                }
            }
        };
        let a = operand(&mut net, 0, part(ranks.0, single.0), given[0] || !given[1]);
        let b = operand(&mut net, 1, part(ranks.1, single.1), given[1]);
        if let Ok(y) = net.b.emit(Op::Binary(f), &[a, b]) {
            prove(net, y);
        } else {
            // N and a number do not broadcast.
            prop_assert!(batch);
        }
    }

    #[test]
    fn both_arguments_the_same(f in prop::sample::select(BINARY.to_vec()), seed: u64) {
        let mut net = Net::new(seed);
        let x = net.input("x", positive(&[2, 3], seed));
        let y = net.op(Op::Binary(f), &[x, x]);
        prove(net, y);
    }

    #[test]
    fn choice(
        ranks in (0..=3usize, 0..=3usize, 0..=3usize),
        single in (0..8u8, 0..8u8, 0..8u8),
        seed: u64,
    ) {
        let mut net = Net::new(seed);
        let c = net.input("c", separated(&part(ranks.0, single.0), seed));
        let a = net.input("a", separated(&part(ranks.1, single.1), seed + 1));
        let b = net.input("b", separated(&part(ranks.2, single.2), seed + 2));
        let condition = net.b.compare(c, CompareFn::Less, 0.21).unwrap();
        let chosen = net.op(Op::Where, &[condition, a, b]);
        // The condition's own operand gets its signal on another way.
        let y = net.b.add(chosen, c).unwrap();
        prove(net, y);
    }

    #[test]
    fn prelu(rank in 0..=3usize, single in 0..8u8, is_input: bool, seed: u64) {
        let mut net = Net::new(seed);
        let x = net.batch("x", separated(&[2, 3, 2], seed));
        let shape = part(rank, single | 1);
        let slope = match is_input {
            true => net.input("slope", separated(&shape, seed + 1)),
            false => net.weights(&shape),
        };
        let y = net.op(Op::PRelu, &[x, slope]);
        prove(net, y);
    }

    #[test]
    fn a_value_used_several_times(seed: u64) {
        let mut net = Net::new(seed);
        let x = net.batch("x", separated(&[2, 3, 2], seed));
        let w = net.weights(&[2, 2]);
        let a = net.op(Op::Unary(UnaryFn::Tanh), &[x]);
        let b = net.op(Op::MatMul, &[a, w]);
        let c = net.b.mul(a, b).unwrap();
        let d = net.op(Op::Concat { axis: 1 }, &[a, c, x, a]);
        let e = net.b.sum(d, &[1], true).unwrap();
        let f = net.b.mul(e, a).unwrap();
        let y = net.b.add(f, a).unwrap();
        prove(net, y);
    }
}

#[test]
fn casts_between_floats() {
    let mut net = Net::new(0);
    let x = net.input("x", separated(&[2, 3], 0));
    let half = net.op(Op::Cast(DType::F16), &[x]);
    let square = net.b.mul(half, half).unwrap();
    let y = net.op(Op::Cast(DType::F64), &[square]);
    let (graph, _) = net.finish(y);
    let back = derived(&graph, y, &[x], ReluRule::Gradient, None).unwrap();
    assert_eq!(back.value(back.outputs()[0]).dtype, Some(DType::F32), "{back}");
    let mut net = Net::new(0);
    let x = net.input("x", separated(&[2, 3], 0));
    let half = net.op(Op::Cast(DType::F16), &[x]);
    let square = net.b.mul(half, half).unwrap();
    let y = net.op(Op::Cast(DType::F32), &[square]);
    prove(net, y);
}

#[test]
fn copies_that_change_nothing() {
    for op in [Op::Identity, Op::Dropout] {
        let mut net = Net::new(0);
        let x = net.batch("x", separated(&[2, 3], 0));
        let y = net.op(op, &[x]);
        prove(net, y);
    }
}

/// Straight through, at the ends of the range too, where the greatest number of all is.
#[test]
fn quantised_pairs_pass_signal_straight_through() {
    for (to, low, high, zero) in [(DType::U8, 0.0, 255.0, 3u8), (DType::I8, -128.0, 127.0, 3u8)] {
        let mut net = Net::new(0);
        let x = net.input("x", Array::new(&[6], vec![-200.0, -1.5, 0.0, 1.4, 60.0, 200.0]));
        let scale = net.values(&[], &[0.5]);
        let zero = net.b.constant(Tensor::new(to, vec![], vec![zero]).unwrap());
        let q = net.op(Op::QuantizeLinear { axis: 0, to }, &[x, scale, zero]);
        let y = net.op(Op::DequantizeLinear { axis: 0 }, &[q, scale, zero]);
        let (graph, given) = net.finish(y);
        let levels = run_with(&graph.with_outputs(&[q]), &given, &[]).remove(0);
        assert_eq!((levels.data[0], levels.data[5]), (low, high), "both ends are reached");
        assert_ne!(levels.data[1], levels.data[3], "the numbers reach several levels");
        let cotangent = Array::random(&[6], 5);
        let derived = derived(&graph, y, &[x], ReluRule::Gradient, None).unwrap();
        let sent = run_with(&derived, &given, &[("cotangent", &cotangent)]).remove(0);
        assert_eq!(sent, cotangent, "{to}");
    }
}

/// The signal at levels is that of their number, `g·s`; a pair divides it by the scale again, along whichever axis scales lie,
/// whether the range is constant or follows the data.
#[test]
fn the_signal_at_levels_counts_in_levels() {
    for axis in 0..2 {
        for follows in [false, true] {
            let mut net = Net::new(0);
            let x = net.input("x", Array::new(&[2, 2], vec![-200.0, -0.5, 1.4, 200.0]));
            let mut scale = net.values(&[2], &[0.5, 0.25]);
            if follows {
                // A scale that depends on the image, but not by way of what is explained.
                let nothing = net.op(Op::Unary(UnaryFn::Hold), &[x]);
                let nothing = net.b.sum(nothing, &[0, 1], false).unwrap();
                let nothing = net.b.scale(nothing, 0.0).unwrap();
                scale = net.b.add(scale, nothing).unwrap();
            }
            let zero = net.b.constant(Tensor::new(DType::U8, vec![2], vec![3, 3]).unwrap());
            let q = net.op(Op::QuantizeLinear { axis, to: DType::U8 }, &[x, scale, zero]);
            let y = net.op(Op::DequantizeLinear { axis }, &[q, scale, zero]);
            let (graph, given) = net.finish(y);
            let g = Array::new(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]);
            let sent = derived(&graph, y, &[q, x], ReluRule::Gradient, None).unwrap();
            let sent = run_with(&sent, &given, &[("cotangent", &g)]);
            let step = |i: usize| if [i / 2, i % 2][axis] == 0 { 0.5 } else { 0.25 };
            let at_levels: Vec<f64> = (0..4).map(|i| g.data[i] * step(i)).collect();
            assert_eq!(sent[0].data, at_levels, "axis {axis}");
            assert_eq!(sent[1], g, "axis {axis} {follows}");
        }
    }
}

/// PyTorch's older exporter casts levels before it de-quantises them, mostly to the type that they have.
#[test]
fn levels_pass_casts_to_integers() {
    for to in [DType::U8, DType::I8, DType::I32] {
        let mut net = Net::new(0);
        let x = net.input("x", Array::new(&[3], vec![1.0, 2.0, 3.0]));
        let (scale, twice) = (net.values(&[], &[0.5]), net.values(&[], &[1.0]));
        let q = net.op(Op::QuantizeLinear { axis: 0, to: DType::U8 }, &[x, scale]);
        let q = net.op(Op::Cast(to), &[q]);
        let y = net.op(Op::DequantizeLinear { axis: 0 }, &[q, twice]);
        let (graph, given) = net.finish(y);
        let g = Array::new(&[3], vec![1.0, -2.0, 3.0]);
        let sent = derived(&graph, y, &[x], ReluRule::Gradient, None).expect("the signal passes");
        assert_eq!(run_with(&sent, &given, &[("cotangent", &g)]).remove(0).data, [2.0, -4.0, 6.0], "{to}");
    }
}

/// A cast of whole numbers to integers and back changes nothing, and passes the signal; that of other numbers cuts digits off.
#[test]
fn whole_numbers_pass_casts() {
    for (whole, expected) in [(true, true), (false, false)] {
        let mut net = Net::new(0);
        let x = net.input("x", Array::new(&[3], vec![1.0, 2.0, 3.0]));
        let one = net.values(&[], &[1.0]);
        let q = net.op(Op::QuantizeLinear { axis: 0, to: DType::U8 }, &[x, one]);
        let mut y = net.op(Op::Cast(DType::F32), &[q]);
        if !whole {
            y = net.b.scale(y, 0.5).unwrap();
        }
        y = net.b.mul(y, y).unwrap();
        y = net.op(Op::Cast(DType::I32), &[y]);
        y = net.op(Op::Cast(DType::F32), &[y]);
        let (graph, given) = net.finish(y);
        let sent = derived(&graph, y, &[x], ReluRule::Gradient, None);
        assert_eq!(sent.is_ok(), expected, "{whole}");
        if let Ok(sent) = sent {
            let g = Array::new(&[3], vec![1.0, 1.0, 1.0]);
            let sent = run_with(&sent, &given, &[("cotangent", &g)]).remove(0);
            assert_eq!(sent.data, [2.0, 4.0, 6.0]);
        }
    }
}
