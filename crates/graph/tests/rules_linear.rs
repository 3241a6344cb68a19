//! Rules of convolutions, matrix products and batch norm.

mod common;

use common::{Net, cases, prove, separated};
use proptest::prelude::*;
use whycam_graph::Op;
use whycam_graph::op::{Conv, ConvTranspose, Gemm};
use whycam_interp::Array;

/// One spatial axis of a convolution.
#[derive(Clone, Copy, Debug)]
struct Axis {
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pads: (usize, usize),
}

/// Pads up to 4 are wider than the reach of most of these kernels.
fn axis() -> impl Strategy<Value = Axis> {
    let pads = (0..=4usize, 0..=4usize);
    (1..=5usize, 1..=4usize, 1..=3usize, 1..=2usize, pads).prop_filter_map(
        "the kernel does not fit",
        |(size, kernel, stride, dilation, pads)| {
            let fits = (kernel - 1) * dilation < size + pads.0 + pads.1;
            fits.then_some(Axis { size, kernel, stride, dilation, pads })
        },
    )
}

fn geometry(axes: &[Axis], groups: usize) -> Conv {
    Conv {
        strides: axes.iter().map(|a| a.stride).collect(),
        dilations: axes.iter().map(|a| a.dilation).collect(),
        pads: axes.iter().map(|a| a.pads).collect(),
        groups,
    }
}

fn sizes(first: [usize; 2], rest: impl Iterator<Item = usize>) -> Vec<usize> {
    first.into_iter().chain(rest).collect()
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn convolution(
        axes in prop::collection::vec(axis(), 1..=2),
        groups in 1..=3usize,
        inputs in 1..=2usize,
        outputs in 1..=2usize,
        batch in prop::option::of(1..=2usize),
        bias: bool,
        seed: u64,
    ) {
        let mut net = Net::new(seed);
        let shape = sizes([batch.unwrap_or(1), groups * inputs], axes.iter().map(|a| a.size));
        let x = Array::random(&shape, seed);
        let x = if batch.is_some() { net.batch("x", x) } else { net.input("x", x) };
        let w = net.weights(&sizes([groups * outputs, inputs], axes.iter().map(|a| a.kernel)));
        let mut operands = vec![x, w];
        if bias {
            operands.push(net.weights(&[groups * outputs]));
        }
        let y = net.op(Op::Conv(geometry(&axes, groups)), &operands);
        prove(net, y);
    }

    #[test]
    fn transposed_convolution(
        axes in prop::collection::vec((axis(), 0..=1usize), 1..=2),
        groups in 1..=2usize,
        seed: u64,
    ) {
        let mut net = Net::new(seed);
        let (mut output_padding, mut fitting) = (Vec::new(), Vec::new());
        for (mut a, padding) in axes {
            // Output padding is smaller than the stride or the dilation; pads leave a cell.
            let padding = padding.min(a.stride.max(a.dilation) - 1);
            let room = (a.size - 1) * a.stride + (a.kernel - 1) * a.dilation + padding;
            a.pads.0 = a.pads.0.min(room);
            a.pads.1 = a.pads.1.min(room - a.pads.0);
            output_padding.push(padding);
            fitting.push(a);
        }
        let axes = fitting;
        let x = Array::random(&sizes([2, groups * 2], axes.iter().map(|a| a.size)), seed);
        let x = net.batch("x", x);
        let w = net.weights(&sizes([groups * 2, 2], axes.iter().map(|a| a.kernel)));
        let op = ConvTranspose { conv: geometry(&axes, groups), output_padding };
        let y = net.op(Op::ConvTranspose(op), &[x, w]);
        prove(net, y);
    }

    #[test]
    fn gemm(
        trans_a: bool,
        trans_b: bool,
        alpha in prop::sample::select(vec![1.0f32, 0.5]),
        beta in prop::sample::select(vec![1.0f32, -2.0]),
        bias in prop::sample::select(vec![vec![], vec![1], vec![4], vec![1, 4], vec![2, 1], vec![2, 4]]),
        given: [bool; 3],
        seed: u64,
    ) {
        let flip = |rows: usize, columns: usize, t: bool| if t { [columns, rows] } else { [rows, columns] };
        let mut net = Net::new(seed);
        let operand = |net: &mut Net, name: &str, shape: &[usize], is_input: bool| {
            match is_input {
                true => net.input(name, Array::random(shape, seed ^ name.len() as u64)),
                false => net.weights(shape),
            }
        };
        let mut operands = vec![
            operand(&mut net, "a", &flip(2, 3, trans_a), given[0] || !given[1]),
            operand(&mut net, "bb", &flip(3, 4, trans_b), given[1]),
        ];
        if !bias.is_empty() {
            operands.push(operand(&mut net, "ccc", &bias, given[2]));
        }
        let y = net.op(Op::Gemm(Gemm { alpha, beta, trans_a, trans_b }), &operands);
        prove(net, y);
    }

    #[test]
    fn matrix_product(
        rank_a in 1..=4usize,
        rank_b in 1..=4usize,
        single in 0..16u8,
        batch: bool,
        given: [bool; 2],
        seed: u64,
    ) {
        // Stacks of matrices broadcast: sizes 2 and 3, some of them 1.
        let one = |bit: u8, size: usize| if single >> bit & 1 == 1 { 1 } else { size };
        let shape = |rank: usize, bit: u8, rows: usize, columns: usize, vector: usize| match rank {
            1 => vec![vector],
            2 => vec![rows, columns],
            3 => vec![one(bit, 3), rows, columns],
            _ => vec![one(bit + 1, 2), one(bit, 3), rows, columns],
        };
        let (a, b) = (shape(rank_a, 0, 2, 5, 5), shape(rank_b, 2, 5, 4, 5));
        let mut net = Net::new(seed);
        let x = Array::random(&a, seed);
        let a = match (given[0] || !given[1], batch && rank_a > 1 && rank_b <= 2) {
            (true, true) => net.batch("a", x),
            (true, false) => net.input("a", x),
            (false, _) => net.weights(&a),
        };
        let b = if given[1] { net.input("b", Array::random(&b, seed + 1)) } else { net.weights(&b) };
        let y = net.op(Op::MatMul, &[a, b]);
        prove(net, y);
    }

    #[test]
    fn batch_norm(rank in 2..=4usize, batch: bool, seed: u64) {
        let mut net = Net::new(seed);
        let x = separated(&[2, 3, 2, 2][..rank], seed);
        let x = if batch { net.batch("x", x) } else { net.input("x", x) };
        let [scale, bias, mean] = [0; 3].map(|_| net.weights(&[3]));
        let var = net.between(&[3], 0.1, 2.0);
        let y = net.op(Op::BatchNorm { epsilon: 1e-5 }, &[x, scale, bias, mean, var]);
        prove(net, y);
    }
}
