//! Element by element.

use crate::emit::Emit;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Told, malformed, not_modelled};
use crate::op::{BinaryFn, Op, UnaryFn};
use crate::tensor::{DType, Tensor};

pub(super) fn clip(cx: &mut Cx) -> Told<Form> {
    if cx.dtype(0)?.is_some_and(|d| !d.is_float()) {
        return not_modelled("it clips integers");
    }
    let (min, max) = if cx.opset < 11 {
        (cx.rounded("min")?, cx.rounded("max")?)
    } else {
        (cx.like_first(1, "bound")?, cx.like_first(2, "bound")?)
    };
    // The bounds that mean "none" in old files.
    let min = min.filter(|&v| v != f32::MIN).unwrap_or(f32::NEG_INFINITY);
    let max = max.filter(|&v| v != f32::MAX).unwrap_or(f32::INFINITY);
    cx.on_first(Op::Unary(UnaryFn::Clip { min, max }))
}

pub(super) fn elu(cx: &mut Cx) -> Told<Form> {
    cx.plain(Op::Unary(UnaryFn::Elu(cx.attributes.float("alpha")?.unwrap_or(1.0))))
}

pub(super) fn leaky_relu(cx: &mut Cx) -> Told<Form> {
    cx.plain(Op::Unary(UnaryFn::LeakyRelu(cx.attributes.float("alpha")?.unwrap_or(0.01))))
}

pub(super) fn hard_sigmoid(cx: &mut Cx) -> Told<Form> {
    let alpha = cx.attributes.float("alpha")?.unwrap_or(0.2);
    let beta = cx.attributes.float("beta")?.unwrap_or(0.5);
    cx.plain(Op::Unary(UnaryFn::HardSigmoid { alpha, beta }))
}

pub(super) fn gelu(cx: &mut Cx) -> Told<Form> {
    match cx.attributes.string("approximate")? {
        None | Some("none") => cx.plain(Op::Unary(UnaryFn::Gelu)),
        Some("tanh") => cx.plain(Op::Unary(UnaryFn::GeluTanh)),
        Some(other) => not_modelled(format!("its approximation is {other:?}")),
    }
}

/// The exponent may be of another type than the base.
pub(super) fn pow(cx: &mut Cx) -> Told<Form> {
    let (base, mut exponent) = (cx.operand(0)?, cx.operand(1)?);
    if let (Some(to), Some(from)) = (cx.dtype(0)?, cx.dtype(1)?)
        && from != to
    {
        if !to.is_float() {
            return not_modelled(format!("its base is {to} and its exponent {from}"));
        }
        exponent = cx.emit(Op::Cast(to), &[exponent])?;
    }
    Ok(Form::Op(Op::Binary(BinaryFn::Pow), vec![Some(base), Some(exponent)]))
}

/// With `fmod`, the remainder of a truncated division, with the sign of the dividend: `a − trunc(a/b)·b`.
pub(super) fn modulo(cx: &mut Cx) -> Told<Form> {
    let truncated = cx.attributes.flag("fmod")?.unwrap_or(false);
    match (truncated, cx.dtype(0)?.map(DType::is_float)) {
        (false, Some(false)) => return cx.plain(Op::Binary(BinaryFn::Mod)),
        (true, Some(true)) => {}
        (false, Some(true)) => return malformed("without fmod its operands are integers"),
        _ => return not_modelled("it is a truncated division of integers"),
    }
    let mut b = Body::new(cx)?;
    let (x, divisor) = (b.operand(0)?, b.operand(1)?);
    let quotient = b.div(x, divisor)?;
    let (sign, size) = (b.unary(UnaryFn::Sign, quotient)?, b.unary(UnaryFn::Abs, quotient)?);
    let whole = b.unary(UnaryFn::Floor, size)?;
    let whole = b.mul(sign, whole)?;
    let taken = b.mul(whole, divisor)?;
    let y = b.sub(x, taken)?;
    b.done(&[y])
}

/// Any number of operands, as a chain of two at a time.
pub(super) fn variadic(op_type: &str, cx: &mut Cx) -> Told<Form> {
    let mut operands = cx.inputs.iter().copied().collect::<Option<Vec<_>>>().unwrap_or_default();
    let Some(last) = operands.pop() else {
        return malformed("it has no operands, or a hole among them");
    };
    let count = cx.inputs.len();
    let f = match op_type {
        "Max" => BinaryFn::Max,
        "Min" => BinaryFn::Min,
        _ => BinaryFn::Add,
    };
    let mut chain = operands.into_iter();
    let Some(mut sum) = chain.next() else {
        return cx.plain(Op::Identity);
    };
    for next in chain {
        sum = cx.emit(Op::Binary(f), &[sum, next])?;
    }
    if op_type != "Mean" {
        return Ok(Form::Op(Op::Binary(f), vec![Some(sum), Some(last)]));
    }
    if cx.dtype(0)? != Some(DType::F32) {
        return not_modelled("it is not in float32");
    }
    let sum = cx.emit(Op::Binary(f), &[sum, last])?;
    let count = cx.build.constant(Tensor::f32(&[], &[count as f32])?);
    Ok(Form::Op(Op::Binary(BinaryFn::Div), vec![Some(sum), Some(count)]))
}
