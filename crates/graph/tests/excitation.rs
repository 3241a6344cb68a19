//! Rules of excitation backprop against their slow twin, op by op and in whole networks.

mod common;

use common::excitation::{derived, rules, twin};
use common::nets::{self, Images, add, batch_norm, convolve, linear, pooled_linear, relu};
use common::{DIFFERENCES, EXACT, Net, assert_close, conv, copy, run_with, window};
use whycam_graph::op::{
    BinaryFn, Conv, ConvTranspose, Coordinates, DepthMode, Gemm, Lrn, NearestMode, Op, PadMode, Range,
    ReduceKind, Resize, ResizeMode, UnaryFn,
};
use whycam_graph::{Emit, ValueId};
use whycam_interp::Array;

/// Sends a probability from `target` back to the values `read_at`: MWP and c-MWP equal the slow twin, and three
/// signals at once equal three single runs.
#[track_caller]
fn prove_within(tolerance: f64, net: Net, read_at: &[ValueId], target: ValueId) {
    let (graph, given) = net.finish(target);
    let shape = run_with(&graph, &given, &[]).remove(0).shape;
    let all = Array::random(&[&[3], &shape[..]].concat(), 9).map(f64::abs);
    for contrastive in [false, true] {
        let one = derived(&graph, target, read_at, rules(contrastive), None)
            .unwrap_or_else(|e| panic!("{e}\n{graph}"));
        let p = copy(&all, 0);
        let signals = run_with(&one, &given, &[("cotangent", &p)]);
        let expected = twin(&graph, &given, target, &p, contrastive);
        for (signal, id) in signals.iter().zip(read_at) {
            let expected = &expected[id];
            assert!(expected.data.iter().any(|v| *v != 0.0), "signal arrives\n{graph}");
            assert_close(signal, expected, tolerance, format!("contrastive: {contrastive}\n{one}"));
        }
        let three = derived(&graph, target, read_at, rules(contrastive), Some(3)).unwrap();
        let together = run_with(&three, &given, &[("cotangent", &all)]);
        for k in 0..3 {
            let signals = run_with(&one, &given, &[("cotangent", &copy(&all, k))]);
            for (signal, together) in signals.iter().zip(&together) {
                assert_close(&copy(together, k), signal, EXACT, format!("copy {k}\n{three}"));
            }
        }
    }
}

#[track_caller]
fn prove(net: Net, read_at: ValueId, target: ValueId) {
    prove_within(EXACT, net, &[read_at], target);
}

/// A network whose first activation is the ReLU of an input of this shape; some cells of it are 0.
fn start(shape: &[usize]) -> (Net, ValueId) {
    let mut net = Net::new(3);
    let x = net.batch("image", Array::random(shape, 21).map(|v| v + 0.6));
    let a = relu(&mut net, x);
    (net, a)
}

/// One op behind an activation `a` of this shape.
#[track_caller]
fn one(shape: &[usize], make: impl Fn(&mut Net, ValueId) -> ValueId) {
    let (mut net, a) = start(shape);
    let y = make(&mut net, a);
    prove(net, a, y);
}

fn plain(net: &mut Net, op: Op, x: ValueId) -> ValueId {
    net.op(op, &[x])
}

#[test]
fn convolutions_share_by_positive_weights() {
    for (groups, geometry) in [(1, (1, 1)), (1, (2, 1)), (1, (3, 0)), (2, (1, 2)), (4, (2, 1))] {
        for dilation in [1, 2] {
            one(&[1, 4, 6, 5], |net, a| {
                let (stride, pad) = geometry;
                let (w, b) = (net.weights(&[4, 4 / groups, 3, 2]), net.weights(&[4]));
                let conv = Conv { dilations: vec![dilation; 2], groups, ..conv(2, stride, pad) };
                net.op(Op::Conv(conv), &[a, w, b])
            });
        }
    }
}

#[test]
fn transposed_convolutions_share_by_positive_weights() {
    for (groups, stride, output_padding) in [(1, 1, 0), (1, 2, 1), (2, 2, 0)] {
        one(&[2, 4, 3, 3], |net, a| {
            let (w, b) = (net.weights(&[4, 4 / groups, 3, 3]), net.weights(&[4]));
            let conv = Conv { groups, ..conv(2, stride, 1) };
            let op = ConvTranspose { conv, output_padding: vec![output_padding; 2] };
            net.op(Op::ConvTranspose(op), &[a, w, b])
        });
    }
}

#[test]
fn matrix_products_share_by_positive_weights() {
    for alpha in [1.0, 0.5, -2.0] {
        for trans_b in [false, true] {
            one(&[3, 5], |net, a| {
                let w = net.weights(if trans_b { &[4, 5] } else { &[5, 4] });
                let b = net.weights(&[4]);
                let gemm = Gemm { alpha, beta: 2.0, trans_a: false, trans_b };
                net.op(Op::Gemm(gemm), &[a, w, b])
            });
        }
    }
    let mut net = Net::new(3);
    let x = net.input("image", Array::random(&[3, 5], 21));
    let a = relu(&mut net, x);
    let w = net.weights(&[4, 3]);
    let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: true, trans_b: true };
    let y = net.op(Op::Gemm(gemm), &[a, w]);
    prove(net, a, y);
    one(&[3, 5], |net, a| {
        let w = net.weights(&[5, 4]);
        let y = net.op(Op::MatMul, &[a, w]);
        let b = net.weights(&[4]);
        add(net, b, y)
    });
    one(&[2, 3, 5], |net, a| {
        let w = net.weights(&[5, 4]);
        net.op(Op::MatMul, &[a, w])
    });
    one(&[2, 3, 5], |net, a| {
        let w = net.weights(&[4, 3]);
        net.op(Op::MatMul, &[w, a])
    });
    one(&[3, 5], |net, a| {
        let w = net.weights(&[5]);
        net.op(Op::MatMul, &[a, w])
    });
}

#[test]
fn mean_pools_share_by_activation() {
    for count_include_pad in [false, true] {
        for window in [window(2, 2, 0, false), window(3, 2, 1, true), window(3, 1, 1, false)] {
            one(&[1, 2, 5, 6], |net, a| {
                plain(net, Op::AveragePool { window: window.clone(), count_include_pad }, a)
            });
        }
    }
    one(&[2, 3, 3, 4], |net, a| plain(net, Op::GlobalAveragePool, a));
    for kind in [ReduceKind::Mean, ReduceKind::Sum] {
        for keep in [false, true] {
            one(&[2, 3, 3, 4], |net, a| plain(net, Op::Reduce { kind, axes: vec![2, 3], keep }, a));
        }
    }
}

#[test]
fn resizing_shares_by_activation() {
    let modes = [ResizeMode::Linear, ResizeMode::Nearest(NearestMode::Floor)];
    for (mode, size) in [(modes[0], [6, 7]), (modes[0], [2, 2]), (modes[1], [6, 4])] {
        let (mut net, a) = start(&[2, 2, 3, 4]);
        let resize = Resize { mode, coordinates: Coordinates::HalfPixel, size, scales: None };
        let y = net.op(Op::Resize(resize), &[a]);
        // The rule holds the weights of the interpolation as float32.
        prove_within(DIFFERENCES, net, &[a], y);
    }
}

#[test]
fn what_moves_cells_moves_their_signal() {
    let range = |axis, start, end, step| Range { axis, start, end, step };
    let pad = |mode| Op::Pad { mode, before: vec![0, 0, 1, 2], after: vec![0, 0, 2, 1], value: 0.0 };
    for op in [
        Op::Transpose { perm: vec![0, 2, 3, 1] },
        Op::Flatten { axis: 1 },
        Op::Slice(vec![range(2, 0, 4, 2), range(3, 3, -1, -1)]),
        Op::DepthToSpace { block: 2, mode: DepthMode::Crd },
        Op::Unsqueeze { axes: vec![1] },
        pad(PadMode::Constant),
        pad(PadMode::Edge),
        pad(PadMode::Reflect),
        Op::MaxPool(window(3, 2, 1, true)),
        Op::MaxPool(window(2, 2, 0, false)),
        Op::GlobalMaxPool,
        Op::Lrn(Lrn { size: 3, alpha: 0.9, beta: 0.75, bias: 2.0 }),
        Op::Dropout,
        Op::Identity,
        Op::Unary(UnaryFn::Clip { min: 0.0, max: 0.5 }),
        Op::Unary(UnaryFn::Relu),
    ] {
        one(&[1, 4, 4, 4], |net, a| plain(net, op.clone(), a));
    }
    one(&[2, 4, 3, 3], |net, a| {
        let indices = net.integers(&[3], &[1, 3, -4]);
        net.op(Op::Gather { axis: 1 }, &[a, indices])
    });
    one(&[2, 4, 3, 3], |net, a| {
        let parts = net.b.nodes(Op::Split { axis: 1, sizes: vec![1, 3] }, &[Some(a)]).unwrap();
        let pooled = net.op(Op::MaxPool(window(2, 1, 0, false)), &[parts[1]]);
        let pad = Op::Pad { mode: PadMode::Edge, before: vec![0; 4], after: vec![0, 0, 1, 1], value: 0.0 };
        let pooled = net.op(pad, &[pooled]);
        let other = convolve(net, a, 2, 3, 1);
        net.op(Op::Concat { axis: 1 }, &[pooled, other])
    });
}

/// Signed branches take part by what is positive in them; an operand that broadcasts collects its shares.
#[test]
fn sums_are_shared_by_activation() {
    for (left, right) in [(true, true), (true, false), (false, false)] {
        let (mut net, a) = start(&[2, 3, 4, 4]);
        let mut parts = [0, 1].map(|_| convolve(&mut net, a, 3, 3, 1));
        for (part, rectified) in parts.iter_mut().zip([left, right]) {
            if rectified {
                *part = relu(&mut net, *part);
            }
        }
        let sum = add(&mut net, parts[0], parts[1]);
        let y = relu(&mut net, sum);
        prove(net, a, y);
    }
    one(&[2, 3, 4, 4], |net, a| {
        let pooled = net.op(Op::GlobalAveragePool, &[a]);
        add(net, pooled, a)
    });
    one(&[2, 3, 4, 4], |net, a| add(net, a, a));
    // Three branches, as in HRNet.
    one(&[2, 3, 4, 4], |net, a| {
        let parts = [0, 1, 2].map(|_| convolve(net, a, 3, 3, 1));
        let sum = add(net, parts[0], parts[1]);
        let sum = add(net, sum, parts[2]);
        net.op(Op::Unary(UnaryFn::Clip { min: 0.0, max: 6.0 }), &[sum])
    });
}

/// A batch norm whose scales have both signs.
fn signed_norm(net: &mut Net, x: ValueId) -> ValueId {
    let c = net.shape(x).0[1].at(1);
    let signs: Vec<f32> = (0..c).map(|i| if i % 2 == 0 { 0.7 } else { -1.3 }).collect();
    let scale = net.values(&[c], &signs);
    let var = net.between(&[c], 0.5, 1.5);
    let [bias, mean] = [0; 2].map(|_| net.between(&[c], -0.2, 0.2));
    net.op(Op::BatchNorm { epsilon: 1e-5 }, &[x, scale, bias, mean, var])
}

#[test]
fn batch_norms_give_their_signs_to_the_weights_before() {
    one(&[2, 3, 4, 4], |net, a| {
        let x = convolve(net, a, 4, 3, 1);
        let x = batch_norm(net, x);
        relu(net, x)
    });
    one(&[2, 3, 4, 4], |net, a| {
        let x = convolve(net, a, 4, 3, 2);
        signed_norm(net, x)
    });
    one(&[2, 3, 4, 4], |net, a| {
        let w = net.weights(&[3, 4, 2, 2]);
        let op = ConvTranspose { conv: conv(2, 2, 0), output_padding: vec![0, 0] };
        let x = net.op(Op::ConvTranspose(op), &[a, w]);
        signed_norm(net, x)
    });
    one(&[2, 3], |net, a| {
        let x = linear(net, a, 3, 4);
        signed_norm(net, x)
    });
    one(&[2, 3], |net, a| {
        let w = net.weights(&[3, 4]);
        let x = net.op(Op::MatMul, &[a, w]);
        let x = net.op(Op::Identity, &[x]);
        signed_norm(net, x)
    });
    one(&[2, 3, 4, 4], |net, a| {
        let [x, y] = [0, 1].map(|_| {
            let x = convolve(net, a, 4, 3, 1);
            signed_norm(net, x)
        });
        let sum = add(net, x, y);
        relu(net, sum)
    });
}

/// What a constant factor does to a convolution is what a convolution with scaled weights does.
#[test]
fn constant_factors_are_weights() {
    let factors = [0.5, -2.0, -0.25];
    for step in 0..4 {
        let make = |folded: bool| {
            let (mut net, a) = start(&[2, 2, 4, 4]);
            let filters = Array::random(&[3, 2, 3, 3], 5);
            let w = |net: &mut Net, scaled: bool| {
                let filters = Array::from_fn(&filters.shape, |i| {
                    filters.at(i) * if scaled { factors[i[0]] } else { 1.0 }
                });
                let filters: Vec<f32> = filters.data.iter().map(|v| *v as f32).collect();
                net.values(&[3, 2, 3, 3], &filters)
            };
            let w = w(&mut net, folded);
            let mut y = net.op(Op::Conv(conv(2, 1, 1)), &[a, w]);
            if !folded {
                let f = net.values(&[3, 1, 1], &factors.map(|f| f as f32));
                let b = net.weights(&[3, 1, 1]);
                let [inverse, one] =
                    [factors.map(|f| 1.0 / f as f32), [1.0; 3]].map(|v| net.values(&[1, 3, 1, 1], &v));
                y = match step {
                    0 => net.b.mul(y, f).unwrap(),
                    1 => net.b.mul(f, y).unwrap(),
                    2 => net.b.div(y, inverse).unwrap(),
                    _ => {
                        let y = net.b.mul(y, one).unwrap();
                        let y = net.b.add(b, y).unwrap();
                        let y = net.b.sub(y, b).unwrap();
                        net.b.mul(y, f).unwrap()
                    }
                };
            }
            let (graph, given) = net.finish(y);
            let one = derived(&graph, y, &[a], rules(false), None).unwrap();
            let p = Array::random(&[2, 3, 4, 4], 1).map(f64::abs);
            run_with(&one, &given, &[("cotangent", &p)]).remove(0)
        };
        assert!(make(false).data.iter().any(|v| *v != 0.0));
        // Scaled weights are rounded to float32.
        assert_close(&make(false), &make(true), 1e-6, step);
    }
}

/// Behind an activation, a factor is a weight of its own: through a negative one nothing is excited.
#[test]
fn factors_of_activations_pass_what_they_do_not_turn() {
    let (mut net, a) = start(&[1, 3, 2, 2]);
    let f = net.values(&[3, 1, 1], &[0.5, -2.0, 1.0]);
    let y = net.b.mul(a, f).unwrap();
    let (graph, given) = net.finish(y);
    let p = Array::random(&[1, 3, 2, 2], 1).map(f64::abs);
    let one = derived(&graph, y, &[a], rules(false), None).unwrap();
    let signal = run_with(&one, &given, &[("cotangent", &p)]).remove(0);
    let expected = Array::from_fn(&p.shape, |i| if i[1] == 1 { 0.0 } else { p.at(i) });
    assert_close(&signal, &expected, EXACT, "diagonal");
}

/// LRN in other operators: `x / (k + α·mean(x²))^β` hands its signal to `x`.
#[test]
fn divisive_normalisation_is_copied_through() {
    let (mut net, a) = start(&[2, 4, 3, 3]);
    let square = net.b.mul(a, a).unwrap();
    let mean = net.op(Op::AveragePool { window: window(3, 1, 1, false), count_include_pad: true }, &[square]);
    let scaled = net.b.scale(mean, 0.5).unwrap();
    let base = net.b.shift(scaled, 2.0).unwrap();
    let power = net.values(&[], &[0.75]);
    let power = net.op(Op::Binary(BinaryFn::Pow), &[base, power]);
    let normal = net.b.div(a, power).unwrap();
    let y = pooled_linear(&mut net, normal, 3);
    let (graph, given) = net.finish(y);
    let p = Array::random(&[2, 3], 1).map(f64::abs);
    let signals = derived(&graph, y, &[a, normal], rules(true), None).unwrap();
    let signals = run_with(&signals, &given, &[("cotangent", &p)]);
    assert!(signals[0].data.iter().any(|v| *v != 0.0));
    assert_close(&signals[0], &signals[1], EXACT, "LRN");
}

/// Every rectified value with a grid, from the image to the score.
fn rectified(net: &Net) -> Vec<ValueId> {
    let graph = net.b.graph();
    let relus = graph.nodes().filter(|(_, n)| n.op == Op::Unary(UnaryFn::Relu));
    relus.filter_map(|(_, n)| n.outputs[0]).filter(|&v| graph.shape(v).unwrap().rank() == 4).collect()
}

#[test]
fn whole_networks_equal_the_twin() {
    let alexnet = |net: &mut Net, images: Images| {
        let x = net.batch("image", Array::random(&[images.count, 2, 9, 9], 77));
        let mut x = x;
        for out in [3, 4] {
            x = convolve(net, x, out, 3, 1);
            x = relu(net, x);
            x = net.op(Op::Lrn(Lrn { size: 3, alpha: 0.9, beta: 0.75, bias: 2.0 }), &[x]);
            x = net.op(Op::MaxPool(window(3, 2, 0, false)), &[x]);
        }
        x = net.op(Op::Flatten { axis: 1 }, &[x]);
        x = net.op(Op::Dropout, &[x]);
        x = linear(net, x, 4, 6);
        x = relu(net, x);
        linear(net, x, 6, 4)
    };
    let inception = |net: &mut Net, images: Images| {
        let x = net.batch("image", Array::random(&[images.count, 2, 6, 6], 77));
        let x = convolve(net, x, 3, 3, 1);
        let stem = relu(net, x);
        let narrow = convolve(net, stem, 2, 1, 1);
        let narrow = signed_norm(net, narrow);
        let narrow = relu(net, narrow);
        let wide = convolve(net, stem, 2, 3, 1);
        let wide = relu(net, wide);
        let pooled = net.op(Op::MaxPool(window(3, 1, 1, false)), &[stem]);
        let pooled = convolve(net, pooled, 2, 1, 1);
        let pooled = relu(net, pooled);
        let joined = net.op(Op::Concat { axis: 1 }, &[narrow, wide, pooled]);
        pooled_linear(net, joined, 4)
    };
    let squeezenet = |net: &mut Net, images: Images| {
        let x = net.batch("image", Array::random(&[images.count, 2, 6, 6], 77));
        let x = convolve(net, x, 3, 3, 1);
        let x = relu(net, x);
        let maps = convolve(net, x, 4, 1, 1);
        let maps = relu(net, maps);
        let pooled = net.op(Op::GlobalAveragePool, &[maps]);
        net.op(Op::Flatten { axis: 1 }, &[pooled])
    };
    let makes: [nets::Make; 4] = [alexnet, inception, squeezenet, nets::resnet];
    for make in makes {
        let mut net = Net::new(12);
        let y = make(&mut net, Images { count: 2, symbolic: true });
        let layers = rectified(&net);
        prove_within(EXACT, net, &layers, y);
    }
}
