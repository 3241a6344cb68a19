//! Operators of networks that are quantised while they run: levels of which the range is the data's own, and whole-number
//! products of them.

use crate::emit::Emit;
use crate::graph::ValueId;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Told, malformed};
use crate::op::{BinaryFn, CompareFn, Op, ReduceKind, UnaryFn};
use crate::shape::Dim;
use crate::tensor::DType;

/// `(x) -> (q u8, scale, zero point)`: 255 steps from `min(x, 0)` to `max(x, 0)`. The range is held constant: it is where
/// values are rounded, and no function of the image that one would explain.
pub(super) fn dynamic_quantize(cx: &mut Cx) -> Told<Form> {
    if cx.dtype(0)? != Some(DType::F32) {
        return malformed("its operand is not float32");
    }
    let axes: Vec<usize> = (0..cx.rank(0)?).collect();
    let mut b = Body::new(cx)?;
    let x = b.operand(0)?;
    let zero = b.scalar(x, 0.0)?;
    let mut end = |kind, f| -> Told<ValueId> {
        let end = match axes.as_slice() {
            [] => x,
            axes => b.emit(Op::Reduce { kind, axes: axes.to_vec(), keep: false }, &[x])?,
        };
        Ok(b.emit(Op::Binary(f), &[end, zero])?)
    };
    let low = end(ReduceKind::Min, BinaryFn::Min)?;
    let high = end(ReduceKind::Max, BinaryFn::Max)?;
    let width = b.sub(high, low)?;
    let step = b.scale(width, 1.0 / 255.0)?;
    // Nothing but zeros has no range; any step does.
    let flat = b.compare(step, CompareFn::Equal, 0.0)?;
    let one = b.scalar(x, 1.0)?;
    let step = b.emit(Op::Where, &[flat, one, step])?;
    let step = b.unary(UnaryFn::Hold, step)?;
    let down = b.div(low, step)?;
    let down = b.unary(UnaryFn::Neg, down)?;
    let level = b.unary(UnaryFn::Round, down)?;
    let level = b.unary(UnaryFn::Clip { min: 0.0, max: 255.0 }, level)?;
    let point = b.emit(Op::Cast(DType::U8), &[level])?;
    let q = b.emit(Op::QuantizeLinear { axis: 0, to: DType::U8 }, &[x, step, point])?;
    b.done(&[q, step, point])
}

/// `(x, w, x zero?, w zero?) -> i32`: the convolution of whole numbers.
pub(super) fn conv_integer(cx: &mut Cx) -> Told<Form> {
    let Form::Op(op, _) = super::conv::conv(cx)? else { return malformed("it is no convolution") };
    let rank = cx.rank(1)?;
    whole(cx, op, |b, zero| {
        // One zero point, or one for each channel that is made.
        match b.dims(zero)?[..] {
            [n] if n != Dim::Fixed(1) => {
                let behind = vec![Dim::Fixed(1); rank.saturating_sub(1)];
                Ok(b.shaped(zero, &[&[n], &behind[..]].concat())?)
            }
            _ => Ok(zero),
        }
    })
}

/// `(a, b, a zero?, b zero?) -> i32`: the product of whole numbers.
pub(super) fn matmul_integer(cx: &mut Cx) -> Told<Form> {
    whole(cx, Op::MatMul, |_, zero| Ok(zero))
}

/// An op on two whole-number operands less their zero points: in float32, exact up to 2²⁴.
fn whole(cx: &mut Cx, op: Op, shaped: impl FnOnce(&mut Body, ValueId) -> Told<ValueId>) -> Told<Form> {
    let mut b = Body::new(cx)?;
    let mut operands = [b.operand(0)?, b.operand(1)?];
    let (left, right) = (b.optional(2), b.optional(3));
    for id in operands.iter().copied().chain(left).chain(right) {
        if !matches!(b.dtype(id), DType::I8 | DType::U8) {
            return malformed(format!("it has an operand of type {}", b.dtype(id)));
        }
    }
    // A zero point for each row of the left operand is a column.
    let left = match left {
        Some(zero) => match b.dims(zero)?[..] {
            [n] if n != Dim::Fixed(1) => Some(b.shaped(zero, &[n, Dim::Fixed(1)])?),
            _ => Some(zero),
        },
        None => None,
    };
    let right = right.map(|zero| shaped(&mut b, zero)).transpose()?;
    for (operand, zero) in operands.iter_mut().zip([left, right]) {
        *operand = b.cast(*operand, DType::F32)?;
        if let Some(zero) = zero {
            let zero = b.cast(zero, DType::F32)?;
            *operand = b.sub(*operand, zero)?;
        }
    }
    let sums = b.emit(op, &operands)?;
    let y = b.emit(Op::Cast(DType::I32), &[sums])?;
    b.done(&[y])
}
