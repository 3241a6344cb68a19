//! Cells that indices name: gathered, and scattered.

use crate::emit::Emit;
use crate::graph::ValueId;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Refusal, Told, malformed, not_modelled, sized};
use crate::op::{CompareFn, Op};
use crate::shape::{Dim, Shape};
use crate::tensor::{DType, Tensor};

/// At most this many cells along the axis that a one-hot code adds.
const MAX_DEPTH: f64 = 1_048_576.0;

pub(super) fn gather_nd(cx: &mut Cx) -> Told<Form> {
    let batch = if cx.opset >= 12 { cx.attributes.int("batch_dims")?.unwrap_or(0) } else { 0 };
    cx.plain(Op::GatherNd { batch: sized(batch, "batch_dims")? })
}

/// Whether slices are added to what was there.
fn adds(cx: &Cx, since: i64) -> Told<bool> {
    match if cx.opset >= since { cx.attributes.string("reduction")? } else { None } {
        None | Some("none") => Ok(false),
        Some("add") => Ok(true),
        Some(other) => not_modelled(format!("its reduction is {other:?}")),
    }
}

pub(super) fn scatter_nd(cx: &mut Cx) -> Told<Form> {
    let add = adds(cx, 16)?;
    cx.plain(Op::ScatterNd { add })
}

/// `y[…, i, …] = x[…, indices[…, i, …], …]`: cells by all of their coordinates.
pub(super) fn gather_elements(cx: &mut Cx) -> Told<Form> {
    let axis = cx.axis_attribute(Some(0))?;
    let mut b = Body::new(cx)?;
    let (x, indices) = (b.operand(0)?, b.operand(1)?);
    let at = coordinates(&mut b, x, indices, axis)?;
    let y = b.emit(Op::GatherNd { batch: 0 }, &[x, at])?;
    b.done(&[y])
}

/// The opposite: `y[…, indices[…, i, …], …] = updates[…, i, …]`, the rest as in `x`.
pub(super) fn scatter_elements(cx: &mut Cx) -> Told<Form> {
    let (axis, add) = (cx.axis_attribute(Some(0))?, adds(cx, 16)?);
    let mut b = Body::new(cx)?;
    let (x, indices, updates) = (b.operand(0)?, b.operand(1)?, b.operand(2)?);
    let at = coordinates(&mut b, x, indices, axis)?;
    let y = b.emit(Op::ScatterNd { add }, &[x, at, updates])?;
    b.done(&[y])
}

/// `[…, rank]`: for each cell of `indices` its own coordinates, the one along `axis` replaced by what it holds.
fn coordinates(b: &mut Body, x: ValueId, indices: ValueId, axis: usize) -> Told<ValueId> {
    let dims = b.dims(indices)?;
    if dims.len() != b.dims(x)?.len() {
        return malformed("its indices do not have as many axes as its values");
    }
    let column = Shape([&dims[..], &[Dim::Fixed(1)]].concat());
    let mut parts = Vec::new();
    for i in 0..dims.len() {
        parts.push(if i == axis {
            let wide = b.cast(indices, DType::I64)?;
            b.reshape(wide, column.clone())?
        } else {
            let line = b.coordinates(indices, i, 1)?;
            b.expand(line, &column)?
        });
    }
    Ok(b.emit(Op::Concat { axis: dims.len() }, &parts)?)
}

/// `values[1]` where an axis of `depth` cells meets its index, `values[0]` elsewhere; indices may count from behind.
pub(super) fn one_hot(cx: &mut Cx) -> Told<Form> {
    let axis = cx.attributes.int("axis")?.unwrap_or(-1);
    let axis = cx.axis(axis, cx.rank(0)? + 1)?;
    let depth = match cx.scalar(1, "depth") {
        Err(Refusal::Malformed(_)) => cx.reals(1).filter(|d| d.len() == 1).map(|d| d[0]),
        told => told?,
    };
    let Some(depth) = depth.filter(|d| (1.0..=MAX_DEPTH).contains(d)) else {
        return not_modelled("its depth is no number of cells");
    };
    let depth = depth as i64;
    let mut b = Body::new(cx)?;
    let (indices, values) = (b.operand(0)?, b.operand(2)?);
    let rank = b.dims(indices)?.len() + 1;
    let wide = b.cast(indices, DType::I64)?;
    let zero = b.constant(Tensor::i64(&[], &[0])?);
    let behind = b.emit(Op::Compare(CompareFn::Less), &[wide, zero])?;
    let all = b.constant(Tensor::i64(&[], &[depth])?);
    let turned = b.add(wide, all)?;
    let index = b.emit(Op::Where, &[behind, turned, wide])?;
    let index = b.emit(Op::Unsqueeze { axes: vec![axis] }, &[index])?;
    let mut dims = vec![1; rank];
    dims[axis] = depth as usize;
    let line = b.constant(Tensor::i64(&dims, &(0..depth).collect::<Vec<_>>())?);
    let hit = b.emit(Op::Compare(CompareFn::Equal), &[index, line])?;
    let (off, on) = (b.nth(values, 0, 0)?, b.nth(values, 0, 1)?);
    let y = b.emit(Op::Where, &[hit, on, off])?;
    b.done(&[y])
}

/// The first `length` cells of each sequence in the opposite order.
pub(super) fn reverse_sequence(cx: &mut Cx) -> Told<Form> {
    let batch = cx.attributes.int("batch_axis")?.unwrap_or(1);
    let time = cx.attributes.int("time_axis")?.unwrap_or(0);
    if (batch, time) != (1, 0) && (batch, time) != (0, 1) {
        return malformed(format!("its axes are {batch} and {time}"));
    }
    let mut b = Body::new(cx)?;
    let (x, lengths) = (b.operand(0)?, b.operand(1)?);
    let rank = b.dims(x)?.len();
    if rank < 2 {
        return malformed("its operand is no batch of sequences");
    }
    let mut perm: Vec<usize> = (0..rank).collect();
    if batch == 1 {
        perm.swap(0, 1);
    }
    let rows = b.transpose(x, &perm)?;
    let steps = b.size(rows, 1)?;
    let line = b.coordinates(rows, 1, 0)?;
    let line = b.shaped(line, &[Dim::Fixed(1), Dim::Fixed(steps)])?;
    let lengths = b.cast(lengths, DType::I64)?;
    let lengths = b.emit(Op::Unsqueeze { axes: vec![1] }, &[lengths])?;
    let inside = b.emit(Op::Compare(CompareFn::Less), &[line, lengths])?;
    let one = b.constant(Tensor::i64(&[], &[1])?);
    let last = b.sub(lengths, one)?;
    let back = b.sub(last, line)?;
    let at = b.emit(Op::Where, &[inside, back, line])?;
    let at = b.emit(Op::Unsqueeze { axes: vec![2] }, &[at])?;
    let y = b.emit(Op::GatherNd { batch: 1 }, &[rows, at])?;
    let y = b.transpose(y, &perm)?;
    b.done(&[y])
}
