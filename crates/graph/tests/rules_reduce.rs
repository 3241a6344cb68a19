//! Rules of ops that mix the cells along an axis.

mod common;

use common::{Net, cases, prove, separated, signals};
use proptest::prelude::*;
use whycam_graph::diff::ReluRule;
use whycam_graph::op::{Lrn, Op, ReduceKind};
use whycam_interp::Array;

/// Every reduction with a rule, and whether it wants positive numbers.
const KINDS: [(ReduceKind, bool); 9] = [
    (ReduceKind::L1, false),
    (ReduceKind::L2, false),
    (ReduceKind::LogSum, true),
    (ReduceKind::LogSumExp, false),
    (ReduceKind::Max, false),
    (ReduceKind::Mean, false),
    (ReduceKind::Min, false),
    (ReduceKind::Sum, false),
    (ReduceKind::SumSquare, false),
];

/// The shape `[2, 3, 2, 4]` as far as `rank` goes.
fn shape(rank: usize) -> Vec<usize> {
    [2, 3, 2, 4][..rank].to_vec()
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn reductions(
        (kind, is_positive) in prop::sample::select(KINDS.to_vec()),
        rank in 1..=4usize,
        chosen in 1..16u8,
        keep: bool,
        batch: bool,
        seed: u64,
    ) {
        let axes: Vec<usize> = (0..rank).filter(|i| chosen >> i & 1 == 1).collect();
        let mut net = Net::new(seed);
        let x = separated(&shape(rank), seed).map(|v| if is_positive { v.abs() + 0.1 } else { v });
        let x = if batch && !axes.contains(&0) { net.batch("x", x) } else { net.input("x", x) };
        let y = net.op(Op::Reduce { kind, axes, keep }, &[x]);
        prove(net, y);
    }

    #[test]
    fn softmax(rank in 1..=4usize, axis in 0..4usize, log: bool, batch: bool, seed: u64) {
        let axis = axis % rank;
        let mut net = Net::new(seed);
        let x = Array::random(&shape(rank), seed).map(|v| 3.0 * v);
        let x = if batch && axis > 0 { net.batch("x", x) } else { net.input("x", x) };
        let y = net.op(if log { Op::LogSoftmax { axis } } else { Op::Softmax { axis } }, &[x]);
        prove(net, y);
    }

    #[test]
    fn top_k(rank in 1..=4usize, axis in 0..4usize, k in 1..=4usize, batch: bool, seed: u64) {
        let axis = axis % rank;
        let mut net = Net::new(seed);
        let x = separated(&shape(rank), seed);
        let x = if batch && axis > 0 { net.batch("x", x) } else { net.input("x", x) };
        let k = k.min(shape(rank)[axis]);
        let y = net.op(Op::TopK { axis, k }, &[x]);
        prove(net, y);
    }

    #[test]
    fn local_response_normalisation(
        rank in 3..=4usize,
        channels in 1..=6usize,
        size in 1..=6usize,
        batch: bool,
        seed: u64,
    ) {
        let mut net = Net::new(seed);
        let x = Array::random(&[2, channels, 2, 2][..rank], seed).map(|v| 2.0 * v);
        let x = if batch { net.batch("x", x) } else { net.input("x", x) };
        // Much stronger than the usual alpha = 1e-4, so that the cross terms show.
        let y = net.op(Op::Lrn(Lrn { size, alpha: 0.8, beta: 0.75, bias: 1.5 }), &[x]);
        prove(net, y);
    }
}

/// The sum over the batch itself needs no number for it.
#[test]
fn sums_over_the_batch() {
    let mut net = Net::new(0);
    let x = net.batch("x", separated(&[2, 3], 0));
    let y = net.op(Op::Reduce { kind: ReduceKind::Sum, axes: vec![0], keep: false }, &[x]);
    prove(net, y);
}

/// The signal at the input of `op` on these numbers for a cotangent of ones.
fn sent_by(op: Op, x: Array) -> Vec<f64> {
    let mut net = Net::new(0);
    let id = net.input("x", x);
    let y = net.op(op, &[id]);
    let g = Array::zeros(&net.shape(y).at(1)).map(|_| 1.0);
    let (graph, given) = net.finish(y);
    signals(&graph, &given, y, &[id], ReluRule::Gradient, &g).remove(0).data
}

#[test]
fn ties_go_to_the_first_cell_in_scan_order() {
    let x = || Array::new(&[2, 3], vec![1.0, 4.0, 4.0, 4.0, 1.0, 2.0]);
    let reduce = |kind, axes: &[usize]| Op::Reduce { kind, axes: axes.to_vec(), keep: false };
    assert_eq!(sent_by(reduce(ReduceKind::Max, &[0, 1]), x()), [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(sent_by(reduce(ReduceKind::Max, &[1]), x()), [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(sent_by(reduce(ReduceKind::Min, &[0, 1]), x()), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(sent_by(Op::TopK { axis: 1, k: 1 }, x()), [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
}

/// A vector of zeros has no direction: like PyTorch, the norm sends it nothing, rather than NaN.
#[test]
fn the_norm_of_zeros_sends_nothing() {
    let l2 = Op::Reduce { kind: ReduceKind::L2, axes: vec![1], keep: true };
    assert_eq!(sent_by(l2, Array::new(&[2, 2], vec![0.0, 0.0, 3.0, 4.0])), [0.0, 0.0, 0.6, 0.8]);
}
