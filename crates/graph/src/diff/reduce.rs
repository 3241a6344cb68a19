//! Rules of ops that mix the cells along an axis: reductions, softmax, top-k, LRN.

use super::Sweep;
use crate::emit::{Emit, size_of};
use crate::error::{Error, Result};
use crate::graph::{Node, ValueId};
use crate::op::{BinaryFn, CompareFn, Lrn, Op, ReduceKind, UnaryFn, Window};
use crate::shape::{Dim, Shape};
use crate::tensor::Tensor;

pub(super) fn global(s: &mut Sweep<'_>, node: &Node, kind: ReduceKind, g: ValueId) -> Result<ValueId> {
    let rank = s.shape(node.input(0)?)?.rank();
    reduce(s, node, kind, &(2..rank).collect::<Vec<_>>(), true, g)
}

pub(super) fn reduce(
    s: &mut Sweep<'_>,
    node: &Node,
    kind: ReduceKind,
    axes: &[usize],
    keep: bool,
    g: ValueId,
) -> Result<ValueId> {
    let x = node.input(0)?;
    let shape = s.shape(x)?;
    let mut kept = shape.clone();
    let mut cells = 1i64;
    for &a in axes {
        if !matches!(kind, ReduceKind::Sum) || shape.0[a].fixed().is_some() {
            cells = cells.saturating_mul(size_of(&shape, a)?);
        }
        kept.0[a] = Dim::Fixed(1);
    }
    let again = |s: &mut Sweep<'_>, id: ValueId| if keep { Ok(id) } else { s.reshape(id, kept.clone()) };
    let g = again(s, g)?;
    let y = node.outputs.first().copied().flatten().unwrap_or(x);
    match kind {
        ReduceKind::Sum => s.expand(g, &shape),
        ReduceKind::Mean => {
            let count = s.scalar(g, cells as f32)?;
            let share = s.div(g, count)?;
            s.expand(share, &shape)
        }
        ReduceKind::Max | ReduceKind::Min => {
            let signed = if kind == ReduceKind::Max { x } else { s.unary(UnaryFn::Neg, x)? };
            let hit = first_maximum(s, signed, axes, &shape)?;
            s.keep_where(hit, g)
        }
        ReduceKind::SumSquare => {
            let twice = s.scale(x, 2.0)?;
            s.mul(g, twice)
        }
        ReduceKind::L1 => {
            let sign = s.unary(UnaryFn::Sign, x)?;
            s.mul(g, sign)
        }
        ReduceKind::L2 => {
            // Zeros have no direction: 0/1 instead of 0/0.
            let y = again(s, y)?;
            let long = s.compare(y, CompareFn::Greater, 0.0)?;
            let one = s.scalar(y, 1.0)?;
            let length = s.emit(Op::Where, &[long, y, one])?;
            let share = s.div(x, length)?;
            s.mul(g, share)
        }
        ReduceKind::LogSum => {
            let y = again(s, y)?;
            let total = s.unary(UnaryFn::Exp, y)?;
            let share = s.div(g, total)?;
            s.expand(share, &shape)
        }
        ReduceKind::LogSumExp => {
            let y = again(s, y)?;
            let distance = s.sub(x, y)?;
            let share = s.unary(UnaryFn::Exp, distance)?;
            s.mul(g, share)
        }
        ReduceKind::Prod => Err(Error::unfit("whycam has no rule for products", "choose another --layer")),
    }
}

/// True at one cell per reduced group: the first maximum in scan order.
fn first_maximum(s: &mut Sweep<'_>, x: ValueId, axes: &[usize], shape: &Shape) -> Result<ValueId> {
    let others = (0..shape.rank()).filter(|a| !axes.contains(a));
    let perm: Vec<usize> = others.chain(axes.iter().copied()).collect();
    let front = shape.rank() - axes.len();
    let moved = s.transpose(x, &perm)?;
    let moved_shape = s.shape(moved)?;
    let mut count = 1;
    for a in front..shape.rank() {
        count *= size_of(&moved_shape, a)? as usize;
    }
    let flat = Shape(moved_shape.0[..front].iter().copied().chain([Dim::Fixed(count)]).collect());
    let flat = s.reshape(moved, flat)?;
    let winner = s.emit(Op::ArgMax { axis: front, keep: true }, &[flat])?;
    let index = s.constant(Tensor::i64(&[count], &(0..count as i64).collect::<Vec<_>>())?);
    let hit = s.emit(Op::Compare(CompareFn::Equal), &[winner, index])?;
    let hit = s.reshape(hit, moved_shape)?;
    let mut back = vec![0; perm.len()];
    for (i, &p) in perm.iter().enumerate() {
        back[p] = i;
    }
    s.transpose(hit, &back)
}

/// `y · (g − Σ g·y)`
pub(super) fn softmax(s: &mut Sweep<'_>, node: &Node, axis: usize, g: ValueId) -> Result<ValueId> {
    let y = node.outputs.first().copied().flatten().unwrap_or(node.input(0)?);
    let weighted = s.mul(g, y)?;
    let mean = s.sum(weighted, &[axis], true)?;
    let centred = s.sub(g, mean)?;
    s.mul(centred, y)
}

/// `g − exp(y) · Σ g`
pub(super) fn log_softmax(s: &mut Sweep<'_>, node: &Node, axis: usize, g: ValueId) -> Result<ValueId> {
    let y = node.outputs.first().copied().flatten().unwrap_or(node.input(0)?);
    let total = s.sum(g, &[axis], true)?;
    let probability = s.unary(UnaryFn::Exp, y)?;
    let share = s.mul(probability, total)?;
    s.sub(g, share)
}

/// Each of the `k` signals to the cell it came from.
pub(super) fn top_k(s: &mut Sweep<'_>, node: &Node, axis: usize, g: ValueId) -> Result<ValueId> {
    let shape = s.shape(node.input(0)?)?;
    let count = size_of(&shape, axis)?;
    let indices = match node.outputs.get(1).copied().flatten() {
        Some(id) => id,
        None => return Err(Error::unfit("a TopK without indices has no rule", "choose another --layer")),
    };
    // […, k, …] becomes […, k, n, …]: one row per winner, then the rows are added.
    let mut column = vec![1; shape.rank() - axis];
    column[0] = count as usize;
    let index = s.constant(Tensor::i64(&column, &(0..count).collect::<Vec<_>>())?);
    let rows = s.emit(Op::Unsqueeze { axes: vec![axis + 1] }, &[indices])?;
    let hit = s.emit(Op::Compare(CompareFn::Equal), &[rows, index])?;
    let g = s.emit(Op::Unsqueeze { axes: vec![axis + 1] }, &[g])?;
    let spread = s.keep_where(hit, g)?;
    s.sum(spread, &[axis], false)
}

/// `gᵢ·Dᵢ^−β − (2αβ/n)·xᵢ·Σ_{j : i in window j} gⱼ·xⱼ·Dⱼ^−(β+1)` with `D = bias + (α/n)·Σ x²`.
pub(super) fn lrn(s: &mut Sweep<'_>, node: &Node, lrn: &Lrn, g: ValueId) -> Result<ValueId> {
    let x = node.input(0)?;
    let base = lrn_base(s, x, lrn)?;
    let power = s.scalar(x, -lrn.beta)?;
    let power = s.emit(Op::Binary(BinaryFn::Pow), &[base, power])?;
    let direct = s.mul(g, power)?;
    let share = s.mul(direct, x)?;
    let share = s.div(share, base)?;
    let (before, behind) = neighbours(lrn.size);
    let spread = channel_mean(s, share, lrn.size, (behind, before))?;
    let cross = s.mul(x, spread)?;
    let cross = s.scale(cross, 2.0 * lrn.alpha * lrn.beta)?;
    s.sub(direct, cross)
}

/// `D = bias + α·mean(x²)` over each channel's neighbourhood: the base of the power in LRN.
pub(crate) fn lrn_base<E: Emit>(s: &mut E, x: ValueId, lrn: &Lrn) -> Result<ValueId> {
    let square = s.mul(x, x)?;
    let mean = channel_mean(s, square, lrn.size, neighbours(lrn.size))?;
    let scaled = s.scale(mean, lrn.alpha)?;
    s.shift(scaled, lrn.bias)
}

/// Channels before and behind the middle one; an even neighbourhood reaches one further behind.
fn neighbours(size: usize) -> (usize, usize) {
    ((size - 1) / 2, size / 2)
}

/// The sum over neighbouring channels divided by `size`; channels outside count as 0.
fn channel_mean<E: Emit>(s: &mut E, x: ValueId, size: usize, pads: (usize, usize)) -> Result<ValueId> {
    let shape = s.shape(x)?;
    let cells = Shape(shape.0[2..].to_vec()).elements().unwrap_or(Dim::Fixed(1));
    let plane = Shape(vec![shape.0[0], Dim::Fixed(1), shape.0[1], cells]);
    let window = Window {
        kernel: vec![size, 1],
        strides: vec![1, 1],
        dilations: vec![1, 1],
        pads: vec![pads, (0, 0)],
        ceil_mode: false,
    };
    let flat = s.reshape(x, plane)?;
    let mean = s.emit(Op::AveragePool { window, count_include_pad: true }, &[flat])?;
    s.reshape(mean, shape)
}
