//! Several cotangents at once: the same op with an axis of `copies` in front of the lifted operands.

use crate::emit::Emit;
use crate::error::{Error, Result};
use crate::graph::{Build, ValueId};
use crate::op::{Op, Range};
use crate::shape::{Dim, Shape};

/// Emits `op` so that each of the `copies` slices of its result is `op` of the same slices of the
/// lifted operands and of the whole of the others.
pub(super) fn lift(
    build: &mut Build,
    copies: usize,
    op: Op,
    inputs: &[ValueId],
    lifted: &[bool],
) -> Result<ValueId> {
    let only_first = lifted.iter().skip(1).all(|l| !l);
    match op {
        Op::Unary(_) | Op::Cast(_) => build.emit(op, inputs),
        Op::Binary(_) | Op::Compare(_) | Op::Where => {
            let inputs = aligned(build, inputs, lifted)?;
            build.emit(op, &inputs)
        }
        Op::MatMul | Op::Gemm(_) if only_first && rows(build, &op, inputs)? => {
            merged(build, copies, op, inputs)
        }
        Op::MatMul => {
            let inputs = aligned(build, inputs, lifted)?;
            build.emit(op, &inputs)
        }
        Op::Conv(_) | Op::ConvTranspose(_) | Op::AveragePool { .. } if only_first => {
            merged(build, copies, op, inputs)
        }
        Op::Reduce { kind, axes, keep } => {
            build.emit(Op::Reduce { kind, axes: shifted(&axes), keep }, inputs)
        }
        Op::Reshape { to } => build.emit(Op::Reshape { to: behind(copies, &to) }, inputs),
        Op::Transpose { perm } => {
            let perm = std::iter::once(0).chain(shifted(&perm)).collect();
            build.emit(Op::Transpose { perm }, inputs)
        }
        Op::Concat { axis } if !lifted.contains(&false) => build.emit(Op::Concat { axis: axis + 1 }, inputs),
        Op::Slice(ranges) => {
            let ranges = ranges.into_iter().map(|r| Range { axis: r.axis + 1, ..r }).collect();
            build.emit(Op::Slice(ranges), inputs)
        }
        Op::Pad { mode, mut before, mut after, value } => {
            before.insert(0, 0);
            after.insert(0, 0);
            build.emit(Op::Pad { mode, before, after, value }, inputs)
        }
        Op::Squeeze { axes } => build.emit(Op::Squeeze { axes: shifted(&axes) }, inputs),
        Op::Unsqueeze { axes } => build.emit(Op::Unsqueeze { axes: shifted(&axes) }, inputs),
        Op::Expand { to } => {
            let x = padded(build, inputs[0], to.rank())?;
            build.emit(Op::Expand { to: behind(copies, &to) }, &[x])
        }
        Op::ScatterNd { .. } if !lifted[1] => {
            let mut moved = Vec::new();
            for i in [0, 2] {
                let all = if lifted[i] {
                    inputs[i]
                } else {
                    let shape = build.shape(inputs[i])?;
                    build.expand(inputs[i], &behind(copies, &shape))?
                };
                moved.push(copies_last(build, all)?);
            }
            let result = build.emit(op, &[moved[0], inputs[1], moved[1]])?;
            copies_first(build, result)
        }
        Op::Gather { axis: 0 } if lifted == [false, true] => build.emit(op, inputs),
        Op::GatherNd { batch: 0 } if only_first => {
            let moved = copies_last(build, inputs[0])?;
            let result = build.emit(op, &[moved, inputs[1]])?;
            copies_first(build, result)
        }
        // No rule makes these of a cotangent.
        Op::Gemm(_)
        | Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::AveragePool { .. }
        | Op::Concat { .. }
        | Op::PRelu
        | Op::Identity
        | Op::Dropout
        | Op::BatchNorm { .. }
        | Op::Lrn(_)
        | Op::Softmax { .. }
        | Op::LogSoftmax { .. }
        | Op::MaxPool(_)
        | Op::GlobalAveragePool
        | Op::GlobalMaxPool
        | Op::ArgMax { .. }
        | Op::TopK { .. }
        | Op::Flatten { .. }
        | Op::Split { .. }
        | Op::Gather { .. }
        | Op::DepthToSpace { .. }
        | Op::Resize(_)
        | Op::Shape { .. }
        | Op::ConstantOfShape(_)
        | Op::Range
        | Op::DequantizeLinear { .. }
        | Op::QuantizeLinear { .. }
        | Op::GatherNd { .. }
        | Op::ScatterNd { .. }
        | Op::Composite(_)
        | Op::Opaque(_) => Err(Error::unfit(
            format!("{op} has no form for several cotangents at once"),
            "ask for one class at a time",
        )),
    }
}

/// Whether the op multiplies rows by one matrix, so that copies are just more rows.
fn rows(build: &Build, op: &Op, inputs: &[ValueId]) -> Result<bool> {
    let plain = match op {
        Op::Gemm(g) => !g.trans_a && inputs.len() == 2,
        _ => true,
    };
    Ok(plain && build.shape(inputs[0])?.rank() == 3 && build.shape(inputs[1])?.rank() == 2)
}

/// Copies merged into the first axis, and split off again.
fn merged(build: &mut Build, copies: usize, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
    let shape = build.shape(inputs[0])?;
    let batch = shape.0.get(1).and_then(|n| n.times(Dim::Fixed(copies)));
    let batch = batch.ok_or_else(|| Error::unfit("too many cotangents at once", "ask for fewer classes"))?;
    let flat = Shape(std::iter::once(batch).chain(shape.0[2..].iter().copied()).collect());
    let mut inputs = inputs.to_vec();
    inputs[0] = build.reshape(inputs[0], flat)?;
    let result = build.emit(op, &inputs)?;
    let mut to = build.shape(result)?;
    to.0.splice(0..1, [Dim::Fixed(copies), shape.0[1]]);
    build.reshape(result, to)
}

/// `[copies, …]` as `[…, copies]`.
fn copies_last(build: &mut Build, id: ValueId) -> Result<ValueId> {
    let rank = build.shape(id)?.rank();
    build.transpose(id, &(1..rank).chain([0]).collect::<Vec<_>>())
}

/// `[…, copies]` as `[copies, …]`.
fn copies_first(build: &mut Build, id: ValueId) -> Result<ValueId> {
    let last = build.shape(id)?.rank() - 1;
    build.transpose(id, &[last].into_iter().chain(0..last).collect::<Vec<_>>())
}

/// Lifted operands with axes of size 1 behind the copies axis, so that broadcasting does not meet it.
fn aligned(build: &mut Build, inputs: &[ValueId], lifted: &[bool]) -> Result<Vec<ValueId>> {
    let mut rank = 0;
    for (&id, &is_lifted) in inputs.iter().zip(lifted) {
        rank = rank.max(build.shape(id)?.rank() - usize::from(is_lifted));
    }
    inputs.iter().zip(lifted).map(|(&id, &l)| if l { padded(build, id, rank) } else { Ok(id) }).collect()
}

fn padded(build: &mut Build, id: ValueId, rank: usize) -> Result<ValueId> {
    let mut shape = build.shape(id)?;
    let missing = (rank + 1).saturating_sub(shape.rank());
    shape.0.splice(1..1, std::iter::repeat_n(Dim::Fixed(1), missing));
    build.reshape(id, shape)
}

fn shifted(axes: &[usize]) -> Vec<usize> {
    axes.iter().map(|a| a + 1).collect()
}

fn behind(copies: usize, shape: &Shape) -> Shape {
    Shape(std::iter::once(Dim::Fixed(copies)).chain(shape.0.iter().copied()).collect())
}
