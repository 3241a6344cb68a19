//! Cells that indices name: gathered, and scattered.

use crate::emit::Emit;
use crate::graph::ValueId;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Told, malformed, not_modelled, sized};
use crate::op::Op;
use crate::shape::{Dim, Shape};
use crate::tensor::DType;

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
