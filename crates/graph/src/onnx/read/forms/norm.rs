//! Normalisations.

use crate::emit::Emit;
use crate::error::Error;
use crate::graph::ValueId;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Refusal, Told, malformed, not_modelled, sized};
use crate::op::{CompareFn, Lrn, Op, ReduceKind, UnaryFn};
use crate::shape::Dim;
use crate::tensor::DType;

pub(super) fn batch_norm(cx: &mut Cx) -> Told<Form> {
    let a = &cx.attributes;
    let epsilon = a.float("epsilon")?.unwrap_or(1e-5);
    let momentum = a.float("momentum")?.unwrap_or(0.9);
    if cx.opset >= 14 && a.flag("training_mode")?.unwrap_or(false) {
        return trained_norm(cx, epsilon, momentum);
    }
    if cx.opset < 9 && a.int("spatial")?.unwrap_or(1) == 0 {
        return not_modelled("it has statistics for each cell");
    }
    cx.plain(Op::BatchNorm { epsilon })
}

/// `scale · normal(x) + bias` over all axes but the channels', as networks that standardise their weights have it
/// (timm's NFNets among them); also the statistics, averaged with those before.
fn trained_norm(cx: &mut Cx, epsilon: f32, momentum: f32) -> Told<Form> {
    let shape = cx.shape(0)?;
    if shape.0.first().is_some_and(|n| n.fixed().is_none()) {
        return Err(Refusal::Error(Error::unfit(
            "the model was exported in training mode: a batch normalisation computes its statistics from the batch",
            "export it in evaluation mode (model.eval())",
        )));
    }
    let mut b = Body::new(cx)?;
    let [x, scale, bias, mean, variance] = b.all()?[..] else { return malformed("it has not five operands") };
    let (rank, dtype) = (shape.rank(), wide(b.dtype(x)));
    let axes: Vec<usize> = (0..rank).filter(|&i| i != 1).collect();
    let [y, mean_now, _] = normal(&mut b, x, &axes, epsilon, dtype)?;
    let (scale, bias) = (per_channel(&mut b, scale, rank)?, per_channel(&mut b, bias, rank)?);
    let y = b.mul(y, scale)?;
    let y = b.add(y, bias)?;
    let wide_x = b.cast(x, dtype)?;
    let centred = b.sub(wide_x, mean_now)?;
    let square = b.mul(centred, centred)?;
    let variance_now = b.mean(square, &axes)?;
    let mut results = vec![y];
    for (before, now) in [(mean, mean_now), (variance, variance_now)] {
        let (to, from) = (b.dims(before)?, b.dtype(before));
        let now = b.shaped(now, &to)?;
        let now = b.cast(now, from)?;
        let (kept, moved) = (b.scale(before, momentum)?, b.scale(now, 1.0 - momentum)?);
        results.push(b.add(kept, moved)?);
    }
    b.done(&results)
}

pub(super) fn lrn(cx: &mut Cx) -> Told<Form> {
    let a = &cx.attributes;
    let Some(size) = a.int("size")? else { return malformed("attribute \"size\" is missing") };
    cx.plain(Op::Lrn(Lrn {
        size: sized(size, "size")?,
        alpha: a.float("alpha")?.unwrap_or(1e-4),
        beta: a.float("beta")?.unwrap_or(0.75),
        bias: a.float("bias")?.unwrap_or(1.0),
    }))
}

/// Softmax and LogSoftmax. Before version 13 they saw a matrix, whose rows begin at `axis`.
pub(super) fn softmax(cx: &mut Cx, op: fn(usize) -> Op) -> Told<Form> {
    if cx.opset >= 13 {
        return cx.plain(op(cx.axis_attribute(Some(-1))?));
    }
    let x = cx.shape(0)?;
    let axis = match cx.attributes.int("axis")?.unwrap_or(1) {
        1 if x.rank() == 1 => return malformed("axis 1 is outside rank 1"),
        axis => cx.axis(axis, x.rank())?,
    };
    let mut long = (axis..x.rank()).filter(|&i| x.0[i] != Dim::Fixed(1));
    match (long.next(), long.next()) {
        (only, None) => cx.plain(op(only.unwrap_or(axis))),
        _ => {
            let operand = cx.operand(0)?;
            let matrix = cx.emit(Op::Flatten { axis }, &[operand])?;
            let normal = cx.emit(op(1), &[matrix])?;
            Ok(Form::Op(Op::Reshape { to: x }, vec![Some(normal)]))
        }
    }
}

/// The type that statistics are computed in: half floats are widened.
fn wide(dtype: DType) -> DType {
    if matches!(dtype, DType::F16 | DType::Bf16) { DType::F32 } else { dtype }
}

/// The type of statistics that the attribute asks for: float32 where it is 1, which is the default.
fn stash(cx: &Cx, dtype: DType) -> Told<DType> {
    Ok(if cx.attributes.int("stash_type")?.unwrap_or(1) == 1 { wide(dtype) } else { dtype })
}

/// `(x − mean)/√(var + epsilon)` over some axes, the mean, and `1/√(var + epsilon)`, computed in `dtype`; the first in
/// the type of `x`.
pub(super) fn normal(
    b: &mut Body,
    x: ValueId,
    axes: &[usize],
    epsilon: f32,
    dtype: DType,
) -> Told<[ValueId; 3]> {
    for &axis in axes {
        b.size(x, axis)?;
    }
    let from = b.dtype(x);
    let x = b.cast(x, dtype)?;
    let mean = b.mean(x, axes)?;
    let centred = b.sub(x, mean)?;
    let square = b.mul(centred, centred)?;
    let variance = b.mean(square, axes)?;
    let inverse = inverse_root(b, variance, epsilon)?;
    let y = b.mul(centred, inverse)?;
    Ok([b.cast(y, from)?, mean, inverse])
}

/// `1/√(x + epsilon)`
fn inverse_root(b: &mut Body, x: ValueId, epsilon: f32) -> Told<ValueId> {
    let base = b.shift(x, epsilon)?;
    let root = b.unary(UnaryFn::Sqrt, base)?;
    Ok(b.unary(UnaryFn::Reciprocal, root)?)
}

/// A vector over the channels of `x [N,C,…]`, shaped to broadcast with it.
fn per_channel(b: &mut Body, vector: ValueId, rank: usize) -> Told<ValueId> {
    let mut dims = vec![Dim::Fixed(1); rank];
    match (b.dims(vector)?.as_slice(), dims.get_mut(1)) {
        (&[c], Some(d)) => *d = c,
        _ => return malformed("its scale is no vector over channels"),
    }
    Ok(b.shaped(vector, &dims)?)
}

/// `scale · normal(x) + bias` over the axes from `axis` on; also the mean and the inverse deviation.
pub(super) fn layer_norm(cx: &mut Cx) -> Told<Form> {
    let axis = cx.axis_attribute(Some(-1))?;
    let epsilon = cx.attributes.float("epsilon")?.unwrap_or(1e-5);
    let mut b = Body::new(cx)?;
    let (x, scale) = (b.operand(0)?, b.operand(1)?);
    let dtype = stash(cx, b.dtype(x))?;
    let axes: Vec<usize> = (axis..b.dims(x)?.len()).collect();
    let [y, mean, inverse] = normal(&mut b, x, &axes, epsilon, dtype)?;
    let mut y = b.mul(y, scale)?;
    if let Some(bias) = b.optional(2) {
        y = b.add(y, bias)?;
    }
    b.done(&[y, mean, inverse])
}

/// `scale · x/√(mean(x²) + epsilon)` over the axes from `axis` on.
pub(super) fn rms_norm(cx: &mut Cx) -> Told<Form> {
    let axis = cx.axis_attribute(Some(-1))?;
    let epsilon = cx.attributes.float("epsilon")?.unwrap_or(1e-5);
    let mut b = Body::new(cx)?;
    let (x, scale) = (b.operand(0)?, b.operand(1)?);
    let dtype = stash(cx, b.dtype(x))?;
    let axes: Vec<usize> = (axis..b.dims(x)?.len()).collect();
    let y = root_mean_square(&mut b, x, &axes, epsilon, dtype)?;
    let y = b.mul(y, scale)?;
    b.done(&[y])
}

/// `x/√(mean(x²) + epsilon)`, computed in `dtype`, in the type of `x`.
pub(super) fn root_mean_square(
    b: &mut Body,
    x: ValueId,
    axes: &[usize],
    epsilon: f32,
    dtype: DType,
) -> Told<ValueId> {
    for &axis in axes {
        b.size(x, axis)?;
    }
    let from = b.dtype(x);
    let x = b.cast(x, dtype)?;
    let square = b.mul(x, x)?;
    let square = b.mean(square, axes)?;
    let inverse = inverse_root(b, square, epsilon)?;
    let y = b.mul(x, inverse)?;
    Ok(b.cast(y, from)?)
}

/// `scale · normal(x) + bias` over space, one image and channel at a time.
pub(super) fn instance_norm(cx: &mut Cx) -> Told<Form> {
    let epsilon = cx.attributes.float("epsilon")?.unwrap_or(1e-5);
    let mut b = Body::new(cx)?;
    let (x, scale, bias) = (b.operand(0)?, b.operand(1)?, b.operand(2)?);
    let (rank, dtype) = (b.dims(x)?.len(), wide(b.dtype(x)));
    if rank < 3 {
        return not_modelled("its operand has no spatial axis");
    }
    let [y, ..] = normal(&mut b, x, &(2..rank).collect::<Vec<_>>(), epsilon, dtype)?;
    let (scale, bias) = (per_channel(&mut b, scale, rank)?, per_channel(&mut b, bias, rank)?);
    let y = b.mul(y, scale)?;
    let y = b.add(y, bias)?;
    b.done(&[y])
}

/// `scale · normal(x) + bias` over groups of channels and space. Before version 21 there is one scale a group.
pub(super) fn group_norm(cx: &mut Cx) -> Told<Form> {
    let epsilon = cx.attributes.float("epsilon")?.unwrap_or(1e-5);
    let Some(groups) = cx.attributes.int("num_groups")? else {
        return malformed("attribute \"num_groups\" is missing");
    };
    let groups = sized(groups, "num_groups")?;
    let by_group = cx.opset < 21;
    let mut b = Body::new(cx)?;
    let (x, scale, bias) = (b.operand(0)?, b.operand(1)?, b.operand(2)?);
    let dtype = if by_group { wide(b.dtype(x)) } else { stash(cx, b.dtype(x))? };
    let y = grouped(&mut b, x, groups, epsilon, dtype)?;
    let (dims, rank) = (b.dims(x)?, b.dims(x)?.len());
    let mut ends = Vec::new();
    for p in [scale, bias] {
        ends.push(if by_group {
            // One number a group serves its channels.
            let each = b.size(x, 1)? / groups;
            let column = b.shaped(p, &[Dim::Fixed(groups), Dim::Fixed(1)])?;
            let wide = b.expand(column, &[groups, each].into())?;
            b.shaped(wide, &[dims[1]])?
        } else {
            p
        });
    }
    let (scale, bias) = (per_channel(&mut b, ends[0], rank)?, per_channel(&mut b, ends[1], rank)?);
    let y = b.mul(y, scale)?;
    let y = b.add(y, bias)?;
    b.done(&[y])
}

/// `normal(x)` over groups of channels and space.
pub(super) fn grouped(b: &mut Body, x: ValueId, groups: usize, epsilon: f32, dtype: DType) -> Told<ValueId> {
    let dims = b.dims(x)?;
    let channels = b.size(x, 1)?;
    if groups == 0 || channels % groups != 0 {
        return malformed(format!("{channels} channels do not make {groups} groups"));
    }
    let rest = b.product(&[&[Dim::Fixed(channels / groups)], &dims[2..]].concat())?;
    let split = b.shaped(x, &[dims[0], Dim::Fixed(groups), rest])?;
    let [y, ..] = normal(b, split, &[2], epsilon, dtype)?;
    Ok(b.shaped(y, &dims)?)
}

/// `x / ‖x‖ₚ` along an axis; 0 where the norm is.
pub(super) fn lp_norm(cx: &mut Cx) -> Told<Form> {
    let axis = cx.axis_attribute(Some(-1))?;
    let kind = match cx.attributes.int("p")?.unwrap_or(2) {
        1 => ReduceKind::L1,
        2 => ReduceKind::L2,
        p => return malformed(format!("p is {p}")),
    };
    let mut b = Body::new(cx)?;
    let x = b.operand(0)?;
    b.size(x, axis)?;
    let norm = b.emit(Op::Reduce { kind, axes: vec![axis], keep: true }, &[x])?;
    let long = b.compare(norm, CompareFn::Greater, 0.0)?;
    let one = b.scalar(norm, 1.0)?;
    let norm = b.emit(Op::Where, &[long, norm, one])?;
    let y = b.div(x, norm)?;
    b.done(&[y])
}

/// `(x − mean) / (√(mean(x²) − mean²) + 1e-9)`
pub(super) fn mean_variance_norm(cx: &mut Cx) -> Told<Form> {
    let rank = cx.rank(0)?;
    let listed = cx.attributes.ints("axes")?.map_or_else(|| vec![0, 2, 3], <[i64]>::to_vec);
    let axes = cx.axes(&listed, rank)?;
    let mut b = Body::new(cx)?;
    let x = b.operand(0)?;
    for &axis in &axes {
        b.size(x, axis)?;
    }
    let mean = b.mean(x, &axes)?;
    let square = b.mul(x, x)?;
    let (square, mean_square) = (b.mean(square, &axes)?, b.mul(mean, mean)?);
    let variance = b.sub(square, mean_square)?;
    let deviation = b.unary(UnaryFn::Sqrt, variance)?;
    let deviation = b.shift(deviation, 1e-9)?;
    let centred = b.sub(x, mean)?;
    let y = b.div(centred, deviation)?;
    b.done(&[y])
}
