//! Rewrites what an engine lacks in terms of what it has.

use super::rewrite::rewrite;
use crate::diff::lrn_base;
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Build, Graph, ValueId};
use crate::op::{BinaryFn, ConvTranspose, Op};
use crate::shape::Dim;
use crate::tensor::{DType, Tensor};

/// The graph in the ops of the named engine; other engines run it as it is.
///
/// rten has no LRN, no Dropout, no windows over three axes, and only 32-bit floats.
///
/// # Errors
/// Those of making nodes.
pub fn lower(graph: &Graph, engine: &str) -> Result<Graph> {
    match engine {
        "rten" => for_rten(graph),
        _ => Ok(graph.clone()),
    }
}

fn for_rten(graph: &Graph) -> Result<Graph> {
    rewrite(graph, |b, node, inputs| {
        let (Some(Some(x)), op) = (inputs.first().copied(), &node.op) else { return Ok(None) };
        Ok(match op {
            Op::Dropout => Some(vec![x]),
            Op::Lrn(lrn) => {
                let base = lrn_base(b, x, lrn)?;
                let power = b.scalar(x, -lrn.beta)?;
                let power = b.emit(Op::Binary(BinaryFn::Pow), &[base, power])?;
                Some(vec![b.mul(x, power)?])
            }
            Op::MaxPool(_) | Op::AveragePool { .. } | Op::Conv(_) | Op::ConvTranspose(_) => {
                flat(b, op, inputs)?.map(|y| vec![y])
            }
            Op::Cast(DType::F32) => match b.graph().value(x).constant.clone() {
                Some(t) if t.dtype().is_float() => {
                    let single = Tensor::f32(t.shape(), &t.to_f32s())?;
                    Some(vec![b.constant(single)])
                }
                _ => None,
            },
            _ => None,
        })
    })
}

/// An op over three spatial axes, on two neighbours of which its windows have one cell, as an op over two.
fn flat(b: &mut Build, op: &Op, inputs: &[Option<ValueId>]) -> Result<Option<ValueId>> {
    let mut op = op.clone();
    let (Some(Some(x)), weights) = (inputs.first(), inputs.get(1).copied().flatten()) else {
        return Ok(None);
    };
    let kernel = match (&op, weights) {
        (Op::MaxPool(window) | Op::AveragePool { window, .. }, _) => window.kernel.clone(),
        (_, Some(w)) => b.shape(w)?.to_fixed().unwrap_or_default().into_iter().skip(2).collect(),
        (_, None) => return Ok(None),
    };
    if kernel.len() != 3 {
        return Ok(None);
    }
    let moves = match &op {
        Op::MaxPool(w) | Op::AveragePool { window: w, .. } => (&w.strides, &w.pads),
        Op::Conv(c) | Op::ConvTranspose(ConvTranspose { conv: c, .. }) => (&c.strides, &c.pads),
        _ => return Ok(None),
    };
    let idle = |i: usize| (kernel[i], moves.0[i], moves.1[i]) == (1, 1, (0, 0));
    let Some(first) = (0..2).find(|&i| idle(i) && idle(i + 1)) else { return Ok(None) };
    match &mut op {
        Op::MaxPool(w) | Op::AveragePool { window: w, .. } => {
            for list in [&mut w.kernel, &mut w.strides, &mut w.dilations] {
                list.remove(first);
            }
            w.pads.remove(first);
        }
        Op::Conv(c) | Op::ConvTranspose(ConvTranspose { conv: c, .. }) => {
            for list in [&mut c.strides, &mut c.dilations] {
                list.remove(first);
            }
            c.pads.remove(first);
        }
        _ => return Ok(None),
    }
    if let Op::ConvTranspose(t) = &mut op {
        t.output_padding.remove(first);
    }
    let join = |b: &mut Build, id: ValueId| -> Result<(ValueId, [Dim; 2])> {
        let mut shape = b.shape(id)?;
        let parts = [shape.0[first + 2], shape.0[first + 3]];
        let joined = parts[0].times(parts[1]).unwrap_or(parts[0]);
        shape.0.splice(first + 2..first + 4, [joined]);
        Ok((b.reshape(id, shape)?, parts))
    };
    let (x, parts) = join(b, *x)?;
    let mut operands = vec![x];
    if let Some(w) = weights {
        operands.push(join(b, w)?.0);
    }
    operands.extend(inputs.get(2).copied().flatten());
    let y = b.emit(op, &operands)?;
    let mut to = b.shape(y)?;
    to.0.splice(first + 2..first + 3, parts);
    Ok(Some(b.reshape(y, to)?))
}
