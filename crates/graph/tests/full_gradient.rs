//! FullGrad: a score is the sum of what the image and the biases contribute, and the map is its formula.

mod common;

use common::asked::Asked;
use common::nets::{convolve, pooled_linear, relu};
use common::{Net, assert_close, run_with};
use whycam_graph::derive::{Formula, full_gradient};
use whycam_graph::diff::Seed;
use whycam_graph::op::{BinaryFn, Coordinates, Lrn, Op, ReduceKind, UnaryFn};
use whycam_graph::{Build, Emit, ValueId};
use whycam_interp::Array;

/// The sum of all contributions to the sum of the scores with weights `v`, which is linear in them.
#[track_caller]
fn completes(net: Net, output: ValueId, tolerance: f64) {
    let (graph, given) = net.finish(output);
    let scores = run_with(&graph, &given, &[]).remove(0);
    let v = Array::random(&scores.shape, 9);
    let mut b = Build::extend(&graph);
    let shape = graph.shape(output).unwrap().clone();
    let cotangent = b.input("cotangent", whycam_graph::DType::F32, shape).unwrap();
    let image = graph.find(&given[0].0).unwrap();
    let parts =
        full_gradient(&mut b, Seed { target: output, cotangent, copies: None, hot: None }, image).unwrap();
    let derived = b.finish(parts.iter().map(|p| p.value).collect());
    let contributions = run_with(&derived, &given, &[("cotangent", &v)]);
    for (part, array) in parts.iter().zip(&contributions) {
        let shape = derived.shape(part.at).unwrap().at(scores.shape[0]);
        assert_eq!(array.shape, shape, "in the shape of its place");
    }
    let total: f64 = contributions.iter().map(|a| a.data.iter().sum::<f64>()).sum();
    let expected = scores.dot(&v);
    let largest = contributions.iter().map(|a| a.data.iter().map(|v| v.abs()).sum::<f64>()).sum::<f64>();
    assert!((total - expected).abs() <= tolerance * largest, "{total} is not {expected}\n{derived}");
    assert!(expected.abs() > 1e-3 * largest, "the test tells something");
}

/// Constants of rules are float32, and so are the clip's bounds; sums of some thousand float64 are good to 1e-12.
const EXACT: f64 = 1e-12;
const FLOAT32: f64 = 1e-6;

fn biased(net: &mut Net, x: ValueId, out: usize, kernel: usize) -> ValueId {
    let channels = net.shape(x).0[1].fixed().unwrap();
    let (w, bias) = (net.weights(&[out, channels, kernel, kernel]), net.weights(&[out]));
    net.op(Op::Conv(common::conv(2, 1, kernel / 2)), &[x, w, bias])
}

/// The completeness of the paper's proposition 1: piecewise linear networks with biases of every spelling.
#[test]
fn contributions_add_up_to_the_score() {
    let mut net = Net::new(31);
    let image = net.batch("image", Array::random(&[2, 3, 6, 6], 32));
    let x = biased(&mut net, image, 4, 3);
    let scale = net.between(&[4], -1.0, 1.5);
    let others = [net.weights(&[4]), net.weights(&[4]), net.between(&[4], 0.5, 1.5)];
    let x = net.op(Op::BatchNorm { epsilon: 0.01 }, &[x, scale, others[0], others[1], others[2]]);
    let x = relu(&mut net, x);
    let bound = net.b.shift(x, 0.25).unwrap();
    let c = net.weights(&[1, 4, 1, 1]);
    let x = net.op(Op::Binary(BinaryFn::Sub), &[c, bound]);
    let x = net.op(Op::Unary(UnaryFn::LeakyRelu(0.1)), &[x]);
    let x = biased(&mut net, x, 4, 1);
    let x = net.op(Op::MaxPool(common::window(2, 2, 0, false)), &[x]);
    let x = net.op(Op::Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep: false }, &[x]);
    let (w, bias) = (net.weights(&[4, 3]), net.weights(&[3]));
    let gemm = whycam_graph::op::Gemm { alpha: 1.0, beta: 0.5, trans_a: false, trans_b: false };
    let y = net.op(Op::Gemm(gemm), &[x, w, bias]);
    completes(net, y, FLOAT32);
}

/// Their §3.1: clips, smooth activations, gates, norms and quotients have implicit biases.
#[test]
fn activations_and_products_have_implicit_biases() {
    let mut net = Net::new(41);
    let image = net.batch("image", Array::random(&[2, 3, 4, 4], 42));
    let x = biased(&mut net, image, 4, 3);
    let x = net.op(Op::Unary(UnaryFn::Clip { min: 0.0, max: 0.5 }), &[x]);
    let x = net.op(Op::Lrn(Lrn { size: 3, alpha: 0.3, beta: 0.75, bias: 1.0 }), &[x]);
    let pooled = net.op(Op::GlobalAveragePool, &[x]);
    let gate = biased(&mut net, pooled, 4, 1);
    let gate = net.op(Op::Unary(UnaryFn::Sigmoid), &[gate]);
    let x = net.b.mul(x, gate).unwrap();
    let below = net.b.shift(x, 2.0).unwrap();
    let x = net.b.div(x, below).unwrap();
    let two = net.values(&[], &[2.0]);
    let x = net.op(Op::Binary(BinaryFn::Pow), &[x, two]);
    let x = net.op(Op::Unary(UnaryFn::HardSwish), &[x]);
    let x = net.op(Op::Softmax { axis: 1 }, &[x]);
    let y = pooled_linear(&mut net, x, 3);
    completes(net, y, FLOAT32);
}

#[test]
fn without_biases_the_image_is_all() {
    let mut net = Net::new(51);
    let image = net.batch("image", Array::random(&[1, 3, 4, 4], 52));
    let x = convolve(&mut net, image, 4, 3, 1);
    let x = relu(&mut net, x);
    let x = net.op(Op::GlobalAveragePool, &[x]);
    let x = net.op(Op::Flatten { axis: 1 }, &[x]);
    let w = net.weights(&[4, 3]);
    let y = net.op(Op::MatMul, &[x, w]);
    completes(net, y, EXACT);
}

/// `ψ(∂y/∂x ⊙ x) + Σ ψ(∂y/∂z ⊙ b)` written out, for one bias on a grid of half the image's size and one class at a time.
#[test]
fn the_map_is_its_formula() {
    let mut net = Net::new(61);
    let image = net.batch("image", Array::random(&[2, 3, 6, 6], 62));
    let (w, bias) = (net.weights(&[4, 3, 2, 2]), net.weights(&[4]));
    let z = net.op(Op::Conv(common::conv(2, 2, 0)), &[image, w, bias]);
    let x = relu(&mut net, z);
    let y = pooled_linear(&mut net, x, 3);
    let asked = Asked::new(net, y);
    let formula = Formula::FullGradient { image, enlarge: Coordinates::AlignCorners };
    let both = asked.ask(&[0, 2], std::slice::from_ref(&formula)).remove(2);
    for (k, class) in [0, 2].into_iter().enumerate() {
        let map = asked.map(class, formula);
        let signal = |at| asked.map(class, common::asked::signal(at, whycam_graph::diff::ReluRule::Gradient));
        let (gx, gz, x) = (signal(image), signal(z), asked.value(image));
        let bias = asked.constant(bias);
        let at_image = psi(&Array::from_fn(&x.shape, |i| gx.at(i) * x.at(i)));
        let at_bias = psi(&Array::from_fn(&gz.shape, |i| gz.at(i) * bias.data[i[1]]));
        // Corner cells on corner pixels: pixel i of 6 looks at i·2/5 of 3 cells.
        let enlarged = |n: usize, i: usize, j: usize| {
            let part = |p: usize| {
                let at = p as f64 * 2.0 / 5.0;
                let low = (at.floor() as usize).min(1);
                [(low, 1.0 - (at - low as f64)), (low + 1, at - low as f64)]
            };
            let mut total = 0.0;
            for (row, v) in part(i) {
                for (column, h) in part(j) {
                    total += v * h * at_bias.at(&[n, row, column]);
                }
            }
            total
        };
        let expected = Array::from_fn(&[2, 6, 6], |i| at_image.at(i) + enlarged(i[0], i[1], i[2]));
        assert_close(&map, &expected, FLOAT32, "FullGrad");
        for n in 0..2 {
            let together = &both.data[(n * 2 + k) * 36..][..36];
            assert_close(
                &Array::new(&[36], together.to_vec()),
                &Array::new(&[36], map.data[n * 36..][..36].to_vec()),
                EXACT,
                "two classes at once",
            );
        }
    }
}

/// Absolute values, moved and scaled to `[0,1]` over the whole of an image's tensor, summed over channels.
fn psi(x: &Array) -> Array {
    let [n, c, h, w] = x.shape[..] else { panic!() };
    let size = c * h * w;
    let cells: Vec<f64> = (0..n)
        .flat_map(|i| {
            let all: Vec<f64> = x.data[i * size..][..size].iter().map(|v| v.abs()).collect();
            let low = all.iter().copied().fold(f64::MAX, f64::min);
            let high = all.iter().copied().fold(f64::MIN, f64::max);
            all.into_iter().map(move |v| (v - low) / (high - low)).collect::<Vec<_>>()
        })
        .collect();
    let all = Array::new(&x.shape, cells);
    Array::from_fn(&[n, h, w], |i| (0..c).map(|k| all.at(&[i[0], k, i[1], i[2]])).sum())
}
