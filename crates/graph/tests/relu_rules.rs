//! The three ReLU rules against slow twins written from their formulas.

mod common;

use common::{EXACT, Net, RELU_RULES, assert_close, cases, derived, signals, window};
use proptest::prelude::*;
use whycam_graph::diff::{self, ReluRule, Rules, Seed};
use whycam_graph::op::{BinaryFn, Op, UnaryFn};
use whycam_graph::{Build, DType, Emit, Graph, Tensor, ValueId};
use whycam_interp::Array;

/// What each rule sends for the signal `g` and the derivative `slope` = φ′(x).
fn twin(rule: ReluRule, g: f64, slope: f64) -> f64 {
    let is_positive = if g > 0.0 { 1.0 } else { 0.0 };
    match rule {
        ReluRule::Gradient => g * slope,
        ReluRule::Deconvnet => g * is_positive,
        ReluRule::Guided => g * slope * is_positive,
    }
}

/// A node of the ReLU family on `x [2, 3, 4]`, and its derivative at a number of channel `c`.
struct Activation {
    about: &'static str,
    make: fn(&mut Net, ValueId) -> ValueId,
    slope: fn(x: f64, c: usize) -> f64,
}

fn step(is_open: bool) -> f64 {
    if is_open { 1.0 } else { 0.0 }
}

fn maximum(net: &mut Net, operands: [ValueId; 2]) -> ValueId {
    net.op(Op::Binary(BinaryFn::Max), &operands)
}

/// One of them negative.
const SLOPES: [f32; 3] = [0.25, -0.5, 0.0];

const FAMILY: [Activation; 10] = [
    Activation {
        about: "Relu",
        make: |net, x| net.op(Op::Unary(UnaryFn::Relu), &[x]),
        slope: |x, _| step(x > 0.0),
    },
    Activation {
        about: "Clip(0, 2)",
        make: |net, x| net.op(Op::Unary(UnaryFn::Clip { min: 0.0, max: 2.0 }), &[x]),
        slope: |x, _| step(0.0 < x && x < 2.0),
    },
    Activation {
        about: "Clip(−1, 1)",
        make: |net, x| net.op(Op::Unary(UnaryFn::Clip { min: -1.0, max: 1.0 }), &[x]),
        slope: |x, _| step(-1.0 < x && x < 1.0),
    },
    Activation {
        about: "Clip(0, ∞)",
        make: |net, x| net.op(Op::Unary(UnaryFn::Clip { min: 0.0, max: f32::INFINITY }), &[x]),
        slope: |x, _| step(0.0 < x),
    },
    Activation {
        about: "LeakyRelu(0.25)",
        make: |net, x| net.op(Op::Unary(UnaryFn::LeakyRelu(0.25)), &[x]),
        slope: |x, _| if x > 0.0 { 1.0 } else { 0.25 },
    },
    Activation {
        about: "LeakyRelu(−0.25)",
        make: |net, x| net.op(Op::Unary(UnaryFn::LeakyRelu(-0.25)), &[x]),
        slope: |x, _| if x > 0.0 { 1.0 } else { -0.25 },
    },
    Activation {
        about: "PRelu",
        make: |net, x| {
            let slope = net.values(&[3, 1], &SLOPES);
            net.op(Op::PRelu, &[x, slope])
        },
        slope: |x, c| if x > 0.0 { 1.0 } else { SLOPES[c].into() },
    },
    Activation {
        about: "Max(x, 0)",
        make: |net, x| {
            let zero = net.values(&[], &[0.0]);
            maximum(net, [x, zero])
        },
        slope: |x, _| step(x > 0.0),
    },
    Activation {
        about: "Max(0, x)",
        make: |net, x| {
            let zero = net.values(&[], &[0.0]);
            maximum(net, [zero, x])
        },
        slope: |x, _| step(x > 0.0),
    },
    Activation {
        about: "Max([[[0]]], x)",
        make: |net, x| {
            let zero = net.values(&[1, 1, 1], &[0.0]);
            maximum(net, [zero, x])
        },
        slope: |x, _| step(x > 0.0),
    },
];

proptest! {
    #![proptest_config(cases(32))]

    /// Whole numbers meet the corners 0, 1 and 2; the others lie between them.
    #[test]
    fn each_rule_on_each_activation(whole: bool, batch: bool, seed: u64) {
        let shape = [2, 3, 4];
        for Activation { about, make, slope } in &FAMILY {
            let x = match whole {
                true => Array::random_integers(&shape, seed, -3, 3),
                false => Array::random(&shape, seed).map(|v| 3.0 * v),
            };
            let g = Array::random_integers(&shape, seed ^ 1, -2, 2);
            let mut net = Net::new(0);
            let id = if batch { net.batch("x", x.clone()) } else { net.input("x", x.clone()) };
            let y = make(&mut net, id);
            let (graph, given) = net.finish(y);
            for rule in RELU_RULES {
                let sent = signals(&graph, &given, y, &[id], rule, &g).remove(0);
                let expected = Array::from_fn(&shape, |i| twin(rule, g.at(i), slope(x.at(i), i[1])));
                assert_close(&sent, &expected, EXACT, format!("{about} {rule:?}"));
                let acted = usize::from(rule != ReluRule::Gradient);
                assert_eq!(counts(&graph, y, id, rule), (acted, 0), "{about} {rule:?}");
            }
        }
    }

    /// Ties of zeros behind a ReLU: deconvnet alone still sends, to the first cell of the window.
    #[test]
    fn deconvnet_passes_windows_of_zeros(seed: u64) {
        let shape = [1, 2, 4, 6];
        let x = Array::random_integers(&shape, seed, -4, 1);
        let mut net = Net::new(0);
        let id = net.input("x", x.clone());
        let r = net.op(Op::Unary(UnaryFn::Relu), &[id]);
        let y = net.op(Op::MaxPool(window(2, 2, 0, false)), &[r]);
        let (graph, given) = net.finish(y);
        let g = Array::random(&[1, 2, 2, 3], seed ^ 1);
        for rule in RELU_RULES {
            let mut expected = Array::zeros(&shape);
            Array::from_fn(&g.shape, |at| {
                let mut best: Option<[usize; 4]> = None;
                for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                    let cell = [at[0], at[1], 2 * at[2] + i, 2 * at[3] + j];
                    if best.is_none_or(|b| x.at(&cell).max(0.0) > x.at(&b).max(0.0)) {
                        best = Some(cell);
                    }
                }
                let best = best.unwrap();
                *expected.at_mut(&best) = twin(rule, g.at(at), step(x.at(&best) > 0.0));
                0.0
            });
            let sent = signals(&graph, &given, y, &[id], rule, &g).remove(0);
            assert_close(&sent, &expected, EXACT, format!("{rule:?}"));
        }
    }
}

/// How many nodes a rule acted on, and how many activations it passed by.
fn counts(graph: &Graph, target: ValueId, read_at: ValueId, relu: ReluRule) -> (usize, usize) {
    let mut b = Build::extend(graph);
    let cotangent = b.input("g", DType::F32, graph.shape(target).unwrap().clone()).unwrap();
    let seed = Seed { target, cotangent, copies: None, hot: None };
    let swept = diff::backward(&mut b, seed, &[read_at], Rules { relu, ..Rules::default() }).unwrap();
    (swept.ruled.len(), swept.unruled.len())
}

/// A hard-swish as exporters write it; its clip is a gate, not a ReLU.
fn hard_swish(net: &mut Net, x: ValueId, form: usize) -> ValueId {
    let shifted = net.b.shift(x, 3.0).unwrap();
    let gate = net.op(Op::Unary(UnaryFn::Clip { min: 0.0, max: 6.0 }), &[shifted]);
    let six = net.values(&[], &[6.0]);
    match form {
        0 => {
            let product = net.b.mul(x, gate).unwrap();
            net.b.div(product, six).unwrap()
        }
        1 => {
            let gate = net.b.div(gate, six).unwrap();
            net.b.mul(x, gate).unwrap()
        }
        _ => {
            let gate = net.b.scale(gate, 1.0 / 6.0).unwrap();
            net.b.mul(gate, x).unwrap()
        }
    }
}

#[test]
fn the_gate_of_a_hard_swish_keeps_its_derivative() {
    for form in 0..3 {
        let x = Array::random(&[2, 12], 3).map(|v| 5.0 * v);
        let mut net = Net::new(0);
        let id = net.batch("x", x.clone());
        let y = hard_swish(&mut net, id, form);
        let (graph, given) = net.finish(y);
        let g = Array::random(&x.shape, 4);
        let slope = |x: f64| match x {
            x if x < -3.0 => 0.0,
            x if x > 3.0 => 1.0,
            x => x / 3.0 + 0.5,
        };
        let expected = Array::from_fn(&x.shape, |i| g.at(i) * slope(x.at(i)));
        for rule in RELU_RULES {
            let sent = signals(&graph, &given, y, &[id], rule, &g).remove(0);
            // 1/6 is a float32 constant.
            assert_close(&sent, &expected, 1e-7, format!("{rule:?} form {form}"));
            let passed = usize::from(rule != ReluRule::Gradient);
            assert_eq!(counts(&graph, y, id, rule), (0, passed), "{rule:?} form {form}");
        }
    }
}

/// A clip that is a gate and something else besides is an activation.
#[test]
fn a_clip_with_two_uses_is_no_gate() {
    let mut net = Net::new(0);
    let x = net.input("x", Array::random(&[12], 3).map(|v| 5.0 * v));
    let clip = net.op(Op::Unary(UnaryFn::Clip { min: 0.0, max: 6.0 }), &[x]);
    let gated = net.b.mul(x, clip).unwrap();
    let y = net.b.add(gated, clip).unwrap();
    let (graph, _) = net.finish(y);
    assert_eq!(counts(&graph, y, x, ReluRule::Guided), (1, 0));
}

/// A ReLU6 that multiplies as it is, neither shifted nor scaled before, is no gate.
#[test]
fn a_clip_that_multiplies_as_it_is_is_a_relu() {
    let mut net = Net::new(0);
    let x = net.input("x", Array::random(&[1, 3], 0));
    let clip = net.op(Op::Unary(UnaryFn::Clip { min: 0.0, max: 6.0 }), &[x]);
    let y = net.b.mul(clip, x).unwrap();
    let (graph, _) = net.finish(y);
    assert_eq!(counts(&graph, y, x, ReluRule::Guided), (1, 0));
}

/// An earlier sweep leaves masks of the gate behind; they do not make it a ReLU.
#[test]
fn a_gate_stays_one_in_a_derived_graph() {
    let mut net = Net::new(0);
    let x = net.input("x", Array::random(&[12], 3));
    let y = hard_swish(&mut net, x, 0);
    let g = net.input("g", Array::random(&[12], 4));
    let seed = Seed { target: y, cotangent: g, copies: None, hot: None };
    let first =
        diff::backward(&mut net.b, seed, &[x], Rules { relu: ReluRule::Gradient, ..Rules::default() })
            .unwrap();
    let second =
        diff::backward(&mut net.b, seed, &[x], Rules { relu: ReluRule::Guided, ..Rules::default() }).unwrap();
    assert_eq!((second.ruled.len(), second.unruled.len()), (0, 1));
    assert_eq!(first.signals, second.signals, "equal rules share their nodes");
}

/// Activations that no ReLU rule applies to keep their derivative, and are counted.
#[test]
fn smooth_activations_keep_their_derivative() {
    let smooth = [
        UnaryFn::Elu(1.0),
        UnaryFn::Gelu,
        UnaryFn::GeluTanh,
        UnaryFn::HardSigmoid { alpha: 0.2, beta: 0.5 },
        UnaryFn::HardSwish,
        UnaryFn::Sigmoid,
        UnaryFn::Softplus,
        UnaryFn::Tanh,
    ];
    for f in smooth {
        let mut net = Net::new(0);
        let id = net.input("x", Array::random(&[2, 3], 1));
        let y = net.op(Op::Unary(f), &[id]);
        let (graph, given) = net.finish(y);
        let g = Array::random(&[2, 3], 2);
        let [gradient, deconvnet, guided] =
            RELU_RULES.map(|rule| signals(&graph, &given, y, &[id], rule, &g).remove(0));
        assert_eq!(gradient, deconvnet, "{f:?}");
        assert_eq!(gradient, guided, "{f:?}");
        assert_eq!(counts(&graph, y, id, ReluRule::Guided), (0, 1), "{f:?}");
    }
}

/// onnxruntime's quantiser removes the ReLU before a quantisation that cuts off at 0 anyway.
#[test]
fn quantisation_that_cuts_sums_off_at_zero_is_a_relu() {
    for (to, zero, is_relu) in
        [(DType::U8, 0u8, true), (DType::I8, 0x80, true), (DType::U8, 100, false), (DType::I8, 0, false)]
    {
        for sum in [true, false] {
            let mut net = Net::new(0);
            let x = net.input("x", Array::random(&[2, 12], 3).map(|v| 3.0 * v));
            // Neither an image nor an activation is a sum whose ReLU was removed.
            let shifted =
                if sum { net.b.shift(x, 0.2).unwrap() } else { net.op(Op::Unary(UnaryFn::Sin), &[x]) };
            let scale = net.values(&[], &[0.01]);
            let zero = net.b.constant(Tensor::new(to, vec![], vec![zero]).unwrap());
            let q = net.op(Op::QuantizeLinear { axis: 0, to }, &[shifted, scale, zero]);
            let y = net.op(Op::DequantizeLinear { axis: 0 }, &[q, scale, zero]);
            let (graph, given) = net.finish(y);
            let acted = usize::from(sum && is_relu);
            assert_eq!(counts(&graph, y, x, ReluRule::Guided), (acted, 0), "{to} {sum}");
            let g = Array::random(&[2, 12], 4);
            let [gradient, deconvnet, guided] =
                RELU_RULES.map(|rule| signals(&graph, &given, y, &[x], rule, &g).remove(0));
            if acted == 0 {
                assert_eq!((&gradient, &gradient), (&deconvnet, &guided), "{to} {sum}");
                continue;
            }
            let numbers = &given[0].1;
            // Levels are 0.01 wide: below half a level it is cut off at 0, and 2.55 is the highest.
            let slope = |i: &[usize]| step((0.005..2.545).contains(&(numbers.at(i) + 0.2)));
            for (rule, sent) in RELU_RULES.into_iter().zip([gradient, deconvnet, guided]) {
                let expected = Array::from_fn(&g.shape, |i| twin(rule, g.at(i), slope(i)));
                assert_close(&sent, &expected, EXACT, format!("{to} {rule:?}"));
            }
        }
    }
}

/// Neither a maximum of two values nor one with another number is a ReLU, however it is written.
#[test]
fn other_maxima_are_no_relu() {
    for form in 0..4 {
        let mut net = Net::new(0);
        let x = net.input("x", Array::random(&[4, 6], 1));
        let y = match form {
            0 => {
                let other = net.input("other", Array::random(&[4, 6], 2));
                maximum(&mut net, [x, other])
            }
            1 => {
                let other = net.values(&[], &[0.25]);
                maximum(&mut net, [x, other])
            }
            2 => net.op(Op::Unary(UnaryFn::Clip { min: 0.25, max: f32::INFINITY }), &[x]),
            _ => net.op(Op::Unary(UnaryFn::Clip { min: f32::NEG_INFINITY, max: 0.25 }), &[x]),
        };
        let (graph, given) = net.finish(y);
        let g = Array::random(&[4, 6], 3);
        let [gradient, deconvnet, guided] =
            RELU_RULES.map(|rule| signals(&graph, &given, y, &[x], rule, &g).remove(0));
        assert_eq!((&gradient, &gradient), (&deconvnet, &guided));
        assert!(gradient.data.iter().any(|v| *v < 0.0), "a negative signal passes");
        assert_eq!(counts(&graph, y, x, ReluRule::Guided), (0, 0));
    }
}

/// Masks are products, but where a signal may be infinite: a root sends an infinite one to the cells that are 0, and the ReLU
/// before it lets none of it pass.
#[test]
fn infinite_signals_are_masked() {
    for root in [false, true] {
        let mut net = Net::new(0);
        let id = net.input("x", Array::new(&[4], vec![-1.0, 0.25, 0.0, 4.0]));
        let y = net.op(Op::Unary(UnaryFn::Relu), &[id]);
        let y = if root { net.op(Op::Unary(UnaryFn::Sqrt), &[y]) } else { y };
        let (graph, given) = net.finish(y);
        let swept = derived(&graph, y, &[id], ReluRule::Gradient, None).unwrap();
        assert_eq!(swept.nodes().any(|(_, n)| n.op == Op::Where), root);
        let sent = signals(&graph, &given, y, &[id], ReluRule::Gradient, &Array::new(&[4], vec![1.0; 4]));
        let expected = if root { vec![0.0, 1.0, 0.0, 0.25] } else { vec![0.0, 1.0, 0.0, 1.0] };
        assert_eq!(sent[0].data, expected);
    }
}
