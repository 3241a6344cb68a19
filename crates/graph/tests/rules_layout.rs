//! Rules of ops that move, drop or repeat cells.

mod common;

use common::{Net, cases, prove, separated};
use proptest::prelude::*;
use whycam_graph::op::{
    BinaryFn, Coordinates, DepthMode, NearestMode, Op, PadMode, Range, Resize, ResizeMode, UnaryFn,
};
use whycam_graph::{DType, Dim, N, Shape, Tensor};
use whycam_interp::Array;

/// Proves a linear op on its own, and behind and before curves, so that it must meet other ops.
fn prove_op(seed: u64, shape: &[usize], batch: bool, op: Op) {
    let mut net = Net::new(seed);
    let x = separated(shape, seed);
    let x = if batch { net.batch("x", x) } else { net.input("x", x) };
    let y = net.op(op.clone(), &[x]);
    prove(net, y);
    let mut net = Net::new(seed);
    let x = separated(shape, seed);
    let x = if batch { net.batch("x", x) } else { net.input("x", x) };
    let curved = net.op(Op::Unary(UnaryFn::Tanh), &[x]);
    let y = net.op(op, &[curved]);
    let y = net.op(Op::Binary(BinaryFn::Mul), &[y, y]);
    prove(net, y);
}

/// Where a range starts, how many cells it may have, and its step.
fn pick() -> impl Strategy<Value = (usize, usize, i64)> {
    (0..6usize, 1..=4usize, prop::sample::select(vec![-3i64, -2, -1, 1, 2, 3]))
}

fn range(axis: usize, size: usize, picks: (usize, usize, i64)) -> Range {
    let (from, count, step) = picks;
    let (size, from) = (size as i64, (from % size) as i64);
    let end = from + step * (count as i64 - 1) + step.signum();
    let end = if step > 0 { end.min(size) } else { end.max(-1) };
    Range { axis, start: from, end, step }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn slices(
        picks in prop::collection::vec(pick(), 3),
        used in 1..8u8,
        batch: bool,
        seed: u64,
    ) {
        let shape = [3, 6, 5];
        let batch = batch && used & 1 == 0;
        let used = (0..3).filter(|i| used >> i & 1 == 1);
        prove_op(seed, &shape, batch, Op::Slice(used.map(|i| range(i, shape[i], picks[i])).collect()));
    }

    #[test]
    fn pads(
        mode in prop::sample::select(vec![PadMode::Constant, PadMode::Edge, PadMode::Reflect]),
        widths in prop::collection::vec((-2..=3i64, -2..=3i64), 4),
        rank in 1..=4usize,
        batch: bool,
        seed: u64,
    ) {
        let shape = [4, 5, 4, 5];
        let first = usize::from(batch && rank > 1);
        let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
        // Two padded axes are enough to meet each other.
        for i in (first..rank).rev().take(2) {
            (before[i], after[i]) = widths[i];
        }
        prove_op(seed, &shape[4 - rank..], first == 1, Op::Pad { mode, before, after, value: 0.5 });
    }

    #[test]
    fn gathers(
        rank in 1..=3usize,
        axis in 0..3usize,
        indices in prop::collection::vec(-4..4i64, 6),
        form in prop::sample::select(vec![vec![], vec![1], vec![6], vec![2, 3], vec![1, 2, 1]]),
        narrow: bool,
        batch: bool,
        seed: u64,
    ) {
        let axis = axis % rank;
        let shape = [4; 3];
        let mut net = Net::new(seed);
        let x = Array::random(&shape[..rank], seed);
        let x = if batch && axis > 0 { net.batch("x", x) } else { net.input("x", x) };
        let count = form.iter().product();
        let indices = if narrow {
            let bytes: Vec<u8> = indices[..count].iter().flat_map(|&i| (i as i32).to_le_bytes()).collect();
            net.b.constant(Tensor::new(DType::I32, form, bytes).unwrap())
        } else {
            net.integers(&form, &indices[..count])
        };
        let y = net.op(Op::Gather { axis }, &[x, indices]);
        prove(net, y);
    }

    #[test]
    fn resizes(
        mode in prop::sample::select(vec![
            ResizeMode::Linear,
            ResizeMode::Nearest(NearestMode::RoundPreferFloor),
            ResizeMode::Nearest(NearestMode::RoundPreferCeil),
            ResizeMode::Nearest(NearestMode::Floor),
            ResizeMode::Nearest(NearestMode::Ceil),
        ]),
        coordinates in prop::sample::select(vec![
            Coordinates::HalfPixel,
            Coordinates::PytorchHalfPixel,
            Coordinates::AlignCorners,
            Coordinates::Asymmetric,
        ]),
        from in [1..=5usize, 1..=5usize],
        to in [1..=7usize, 1..=7usize],
        stated: bool,
        batch: bool,
        seed: u64,
    ) {
        let mut net = Net::new(seed);
        let x = Array::random(&[2, 1, from[0], from[1]], seed);
        let x = if batch { net.batch("x", x) } else { net.input("x", x) };
        // A model may state scales whose product with the size was rounded down.
        let scale = |i: usize| (to[i] as f32 + 0.4) / from[i] as f32;
        let scales = stated.then(|| [scale(0), scale(1)]);
        let y = net.op(Op::Resize(Resize { mode, coordinates, size: to, scales }), &[x]);
        prove(net, y);
    }

    #[test]
    fn splits(
        sizes in prop::collection::vec(1..=3usize, 1..=4),
        axis in 0..2usize,
        used in 1..16u8,
        seed: u64,
    ) {
        let total: usize = sizes.iter().sum();
        let used: Vec<usize> = (0..sizes.len()).filter(|i| used >> i & 1 == 1).collect();
        prop_assume!(!used.is_empty());
        let shape = if axis == 0 { [total, 2] } else { [2, total] };
        let mut net = Net::new(seed);
        let x = Array::random(&shape, seed);
        let x = if axis == 1 { net.batch("x", x) } else { net.input("x", x) };
        let pieces = net.b.nodes(Op::Split { axis, sizes }, &[Some(x)]).unwrap();
        let mut all = vec![x];
        for i in used {
            all.push(net.op(Op::Unary(UnaryFn::Tanh), &[pieces[i]]));
        }
        let y = net.op(Op::Concat { axis }, &all[1..]);
        prove(net, y);
    }

    #[test]
    fn concatenations(
        sizes in prop::collection::vec(1..=3usize, 1..=3),
        axis in 0..3usize,
        fixed in 0..3usize,
        seed: u64,
    ) {
        let mut net = Net::new(seed);
        let mut parts = Vec::new();
        for (i, &size) in sizes.iter().enumerate() {
            let mut shape = [2, 2, 2];
            shape[axis] = size;
            parts.push(match i > 0 && i == fixed {
                true => net.weights(&shape),
                false => net.input(&format!("x{i}"), Array::random(&shape, seed + i as u64)),
            });
        }
        parts.push(parts[0]);
        let y = net.op(Op::Concat { axis }, &parts);
        prove(net, y);
    }

    #[test]
    fn transposes(perm in Just(vec![0, 1, 2, 3]).prop_shuffle(), batch: bool, seed: u64) {
        prove_op(seed, &[2, 3, 1, 4], batch, Op::Transpose { perm });
    }

    #[test]
    fn expansions(rank in 0..=3usize, single in 0..8u8, seed: u64) {
        let shape: Vec<usize> =
            (3 - rank..3).map(|i| if single >> i & 1 == 1 { 1 } else { [2, 3, 2][i] }).collect();
        prove_op(seed, &shape, false, Op::Expand { to: [2, 3, 2].into() });
    }
}

#[test]
fn expansion_over_the_batch() {
    let mut net = Net::new(0);
    let token = net.input("token", Array::random(&[1, 3], 0));
    let x = net.batch("x", Array::random(&[2, 3], 1));
    let many = net.op(Op::Expand { to: Shape(vec![N, Dim::Fixed(3)]) }, &[token]);
    let y = net.op(Op::Concat { axis: 1 }, &[many, x]);
    prove(net, y);
}

#[test]
fn depth_to_space() {
    for mode in [DepthMode::Dcr, DepthMode::Crd] {
        for (block, channels) in [(2, 4), (2, 8), (3, 9)] {
            prove_op(0, &[2, channels, 2, 1], true, Op::DepthToSpace { block, mode });
        }
    }
}

#[test]
fn the_same_cells_in_another_shape() {
    let batch = |rest: &[usize]| Shape([N].into_iter().chain(rest.iter().map(|&d| Dim::Fixed(d))).collect());
    for op in [
        Op::Reshape { to: batch(&[6, 1]) },
        Op::Reshape { to: Shape(vec![Dim::Batch(3), Dim::Fixed(2)]) },
        Op::Flatten { axis: 1 },
        Op::Flatten { axis: 0 },
        Op::Flatten { axis: 3 },
        Op::Squeeze { axes: vec![2] },
        Op::Unsqueeze { axes: vec![0, 2, 5] },
    ] {
        prove_op(0, &[2, 3, 1, 2], true, op);
    }
}

/// Windows of tokens: the batch is multiplied into another axis and out again.
#[test]
fn a_multiple_of_the_batch() {
    let mut net = Net::new(0);
    let x = net.batch("x", Array::random(&[2, 4, 3], 0));
    let windows = net.op(Op::Reshape { to: Shape(vec![Dim::Batch(2), Dim::Fixed(2), Dim::Fixed(3)]) }, &[x]);
    let w = net.weights(&[3, 3]);
    let mixed = net.op(Op::MatMul, &[windows, w]);
    let shares = net.op(Op::Softmax { axis: 1 }, &[mixed]);
    let y = net.op(Op::Reshape { to: Shape(vec![N, Dim::Fixed(4), Dim::Fixed(3)]) }, &[shares]);
    prove(net, y);
}

/// Along an axis that depends on the batch, as PyTorch's newer exporter writes views of pooled values.
#[test]
fn gather_along_the_batch() {
    let mut net = Net::new(3);
    let x = net.batch("x", Array::random(&[2, 3], 5));
    let flat = net.op(Op::Reshape { to: Shape(vec![Dim::Batch(3)]) }, &[x]);
    let indices = net.integers(&[2, 2], &[5, 0, 5, -2]);
    let y = net.op(Op::Gather { axis: 0 }, &[flat, indices]);
    prove(net, y);
}
