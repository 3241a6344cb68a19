//! Random compositions of ops: the adjoint identity, and several cotangents under every ReLU rule.

mod common;
#[path = "compositions/composites.rs"]
mod composites;
mod onnx_support;

use common::nets::{batch_norm, convolve, relu};
use common::{Net, RELU_RULES, cases, conv, prove_adjoint, prove_copies, window};
use composites::{COMPOSITES, composite};
use proptest::prelude::*;
use whycam_graph::op::{
    BinaryFn, ConvTranspose, Coordinates, DepthMode, Gemm, Lrn, NearestMode, Op, PadMode, Range, ReduceKind,
    Resize, ResizeMode, UnaryFn,
};
use whycam_graph::{Dim, Emit, Shape, ValueId};
use whycam_interp::Array;

/// The number of steps that [`step`] knows.
const STEPS: u8 = 28;

/// One more op on an image `[N,C,H,W]`; `a` and `b` choose its attributes.
fn step(net: &mut Net, x: ValueId, earlier: &[ValueId], op: u8, a: usize, b: usize) -> ValueId {
    let shape = net.shape(x);
    let [n, c, h, w] = shape.0[..] else { unreachable!("steps keep four axes") };
    let size = [c, h, w].map(|d| d.at(1));
    let unary = |net: &mut Net, f| net.op(Op::Unary(f), &[x]);
    match op {
        0 => convolve(net, x, 1 + a % 3, 1 + 2 * (b % 2), 1 + a % 2),
        1 => {
            let w = net.weights(&[size[0], 2, 2, 2]);
            let conv = conv(2, 1 + a % 2, 0);
            net.op(Op::ConvTranspose(ConvTranspose { conv, output_padding: vec![0; 2] }), &[x, w])
        }
        2 => net.op(Op::MaxPool(window(2 + a % 2, 1 + b % 3, 1, b.is_multiple_of(2))), &[x]),
        3 => {
            let window = window(2 + a % 2, 1 + b % 3, 1, b.is_multiple_of(2));
            net.op(Op::AveragePool { window, count_include_pad: a.is_multiple_of(3) }, &[x])
        }
        4 => batch_norm(net, x),
        5 => relu(net, x),
        6 => unary(net, UnaryFn::Tanh),
        7 => net.op(Op::Lrn(Lrn { size: 1 + a % 4, alpha: 0.3, beta: 0.75, bias: 1.0 }), &[x]),
        8 => net.op(Op::Softmax { axis: 1 + a % 3 }, &[x]),
        9 => {
            let mode = match a % 3 {
                0 => ResizeMode::Nearest(NearestMode::Floor),
                _ => ResizeMode::Linear,
            };
            let coordinates =
                [Coordinates::HalfPixel, Coordinates::AlignCorners, Coordinates::Asymmetric][b % 3];
            net.op(Op::Resize(Resize { mode, coordinates, size: [1 + a % 5, 1 + b % 5], scales: None }), &[x])
        }
        10 => {
            let mode = if a.is_multiple_of(2) { PadMode::Constant } else { PadMode::Edge };
            let (before, after) = (vec![0, 0, (a % 2) as i64, 1], vec![0, 0, (b % 3) as i64, 0]);
            net.op(Op::Pad { mode, before, after, value: 0.0 }, &[x])
        }
        11 => {
            let axis = 1 + a % 3;
            let last = size[axis - 1] as i64 - 1;
            let range = match b % 3 {
                0 => Range { axis, start: last, end: -1, step: -1 },
                1 => Range { axis, start: 0, end: last + 1, step: 2 },
                _ => Range { axis, start: last, end: -1, step: -2 },
            };
            net.op(Op::Slice(vec![range]), &[x])
        }
        12 => net.op(Op::Transpose { perm: vec![0, 1 + a % 3, 1 + (a + 1) % 3, 1 + (a + 2) % 3] }, &[x]),
        13 => {
            let curved = unary(net, UnaryFn::Sin);
            net.op(Op::Concat { axis: 1 + a % 3 }, &[x, curved])
        }
        14 => {
            let gate = unary(net, UnaryFn::Sigmoid);
            net.b.mul(x, gate).unwrap()
        }
        15 => {
            // A way around, from the nearest earlier value of this shape.
            let same = earlier.iter().rev().copied().find(|&e| e != x && net.shape(e) == shape);
            net.b.add(x, same.unwrap_or(x)).unwrap()
        }
        16 => {
            let mean = net.op(Op::Reduce { kind: ReduceKind::Mean, axes: vec![1 + a % 3], keep: true }, &[x]);
            net.b.sub(x, mean).unwrap()
        }
        17 => {
            let w = net.weights(&[size[2], 1 + a % 4]);
            net.b.matmul(x, w).unwrap()
        }
        18 => {
            let transposed = net.b.transpose_last(x).unwrap();
            net.b.matmul(x, transposed).unwrap()
        }
        19 => net.op(Op::TopK { axis: 1 + a % 3, k: 1 }, &[x]),
        20 => {
            let indices = net.integers(&[3], &[0, -1, 0]);
            net.op(Op::Gather { axis: 1 + a % 3 }, &[x, indices])
        }
        21 => {
            let four = net.op(Op::Concat { axis: 1 }, &[x, x, x, x]);
            let mode = if a.is_multiple_of(2) { DepthMode::Dcr } else { DepthMode::Crd };
            net.op(Op::DepthToSpace { block: 2, mode }, &[four])
        }
        22 => {
            let norm = net.op(Op::Reduce { kind: ReduceKind::L2, axes: vec![1], keep: true }, &[x]);
            let norm = net.b.shift(norm, 0.1).unwrap();
            net.b.div(x, norm).unwrap()
        }
        23 => {
            let flat = net.op(Op::Flatten { axis: 1 }, &[x]);
            let cells: usize = size.iter().product();
            let (w, bias) = (net.weights(&[cells, 4]), net.weights(&[4]));
            let gemm = Gemm { alpha: 0.5, beta: 1.0, trans_a: false, trans_b: false };
            let y = net.op(Op::Gemm(gemm), &[flat, w, bias]);
            net.op(Op::Reshape { to: Shape(vec![n, 1.into(), 2.into(), 2.into()]) }, &[y])
        }
        24 => {
            let slope = net.weights(&[size[0], 1, 1]);
            net.op(Op::PRelu, &[x, slope])
        }
        25 => unary(net, UnaryFn::Clip { min: -0.4, max: 0.4 }),
        26 => {
            let most =
                net.op(Op::Reduce { kind: ReduceKind::LogSumExp, axes: vec![2, 3], keep: false }, &[x]);
            let column = net.op(Op::Unsqueeze { axes: vec![2, 3] }, &[most]);
            net.op(Op::Binary(BinaryFn::Min), &[x, column])
        }
        _ => {
            let sizes = vec![1, size[a % 3]];
            let doubled = net.op(
                Op::Pad { mode: PadMode::Constant, before: one(1 + a % 3), after: vec![0; 4], value: 0.3 },
                &[x],
            );
            let pieces = net.b.nodes(Op::Split { axis: 1 + a % 3, sizes }, &[Some(doubled)]).unwrap();
            net.b.mul(pieces[1], x).unwrap()
        }
    }
}

fn one(axis: usize) -> Vec<i64> {
    (0..4).map(|i| i64::from(i == axis)).collect()
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn compositions(
        // As many drawn from the composites as from the ops.
        steps in prop::collection::vec((0..STEPS, 0..COMPOSITES, any::<bool>(), 0..12usize, 0..12usize), 3..=8),
        symbolic: bool,
        seed: u64,
    ) {
        let mut net = Net::new(seed);
        let numbers = Array::random(&[2, 2, 3, 4], seed);
        let mut values = vec![if symbolic { net.batch("x", numbers) } else { net.input("x", numbers) }];
        for (op, other, composed, a, b) in steps {
            let x = values[values.len() - 1];
            let y = match composed {
                true => composite(&mut net, x, other, a, b),
                false => step(&mut net, x, &values, op, a, b),
            };
            // Some steps enlarge; small networks are enough.
            let cells = net.shape(y).0[1..].iter().map(|d: &Dim| d.at(1)).product::<usize>();
            if cells <= 200 {
                values.push(y);
            }
        }
        prop_assume!(values.len() > 3);
        let output = values[values.len() - 1];
        let (graph, given) = net.finish(output);
        prove_adjoint(&graph, &given, output);
        for rule in RELU_RULES {
            prove_copies(&graph, &given, output, rule);
        }
    }
}
