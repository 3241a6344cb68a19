//! Constants, types, and shapes as values.

use crate::emit::Emit;
use crate::onnx::dtype;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Told, malformed, not_modelled};
use crate::onnx::read::tensors;
use crate::op::{BinaryFn, Op, ReduceKind, Scalar};
use crate::tensor::{DType, Tensor};

pub(super) fn cast(cx: &mut Cx) -> Told<Form> {
    let Some(to) = cx.attributes.int("to")? else { return malformed("attribute \"to\" is missing") };
    rounding(cx)?;
    match i32::try_from(to).ok().and_then(dtype::from_number) {
        Some(to) => cx.plain(Op::Cast(to)),
        None => not_modelled(format!("it makes elements of type number {to}")),
    }
}

pub(super) fn cast_like(cx: &mut Cx) -> Told<Form> {
    rounding(cx)?;
    match cx.dtype(1)? {
        Some(to) => cx.on_first(Op::Cast(to)),
        None => not_modelled("the type that it makes is not known"),
    }
}

/// How casts to float8 saturate and round: all the same for other types.
fn rounding(cx: &Cx) -> Told<()> {
    if cx.opset >= 19 {
        cx.attributes.int("saturate")?;
    }
    if cx.opset >= 24 {
        cx.attributes.string("round_mode")?;
    }
    Ok(())
}

pub(super) fn constant(cx: &mut Cx) -> Told<Form> {
    let a = &cx.attributes;
    if let Some(proto) = a.tensor("value")? {
        return match tensors::tensor(proto, cx.files)? {
            Some(tensor) => Ok(Form::Constant(tensor)),
            None => not_modelled("its elements are of a type that whycam does not know"),
        };
    }
    if let Some(v) = a.float("value_float")? {
        return Ok(Form::Constant(Tensor::f32(&[], &[v])?));
    }
    if let Some(v) = a.floats("value_floats")? {
        return Ok(Form::Constant(Tensor::f32(&[v.len()], v)?));
    }
    if let Some(v) = a.int("value_int")? {
        return Ok(Form::Constant(Tensor::i64(&[], &[v])?));
    }
    if let Some(v) = a.ints("value_ints")? {
        return Ok(Form::Constant(Tensor::i64(&[v.len()], v)?));
    }
    not_modelled("its value is sparse, or text")
}

pub(super) fn constant_of_shape(cx: &mut Cx) -> Told<Form> {
    cx.known(0, "shape")?;
    let Some(proto) = cx.attributes.tensor("value")? else {
        return cx.plain(Op::ConstantOfShape(Scalar::F32(0.0)));
    };
    let Some(tensor) = tensors::tensor(proto, cx.files)? else {
        return not_modelled("its elements are of a type that whycam does not know");
    };
    if tensor.len() != 1 {
        return malformed("its value is not one element");
    }
    let (float, int) = (tensor.to_f64s().first().copied(), tensor.to_i64s().and_then(|v| v.first().copied()));
    let (scalar, made) = match (tensor.dtype(), float, int) {
        (DType::Bool, _, Some(v)) => (Scalar::Bool(v != 0), DType::Bool),
        (_, _, Some(v)) => (Scalar::I64(v), DType::I64),
        (_, Some(v), None) if f64::from(v as f32) == v || v.is_nan() => (Scalar::F32(v as f32), DType::F32),
        _ => return not_modelled("its value is not a float32"),
    };
    let op = Op::ConstantOfShape(scalar);
    if tensor.dtype() == made {
        return cx.plain(op);
    }
    let operand = cx.operand(0)?;
    let filled = cx.emit(op, &[operand])?;
    Ok(Form::Op(Op::Cast(tensor.dtype()), vec![Some(filled)]))
}

/// Ones on a diagonal of a matrix that has the operand's shape.
pub(super) fn eye_like(cx: &mut Cx) -> Told<Form> {
    let k = cx.attributes.int("k")?.unwrap_or(0);
    let told = cx.attributes.int("dtype")?;
    let to = told.map(|to| i32::try_from(to).ok().and_then(dtype::from_number));
    if to == Some(None) {
        return not_modelled(format!("it makes elements of type number {}", told.unwrap_or_default()));
    }
    if cx.rank(0)? != 2 {
        return malformed("its operand is no matrix");
    }
    let mut b = Body::new(cx)?;
    let x = b.operand(0)?;
    let (rows, columns) = (b.size(x, 0)?, b.size(x, 1)?);
    let diagonal = b.mask(&[rows, columns], |at| (at[1] as i64).saturating_sub(at[0] as i64) == k)?;
    let to = to.flatten().unwrap_or(b.dtype(x));
    let y = b.emit(Op::Cast(to), &[diagonal])?;
    b.done(&[y])
}

pub(super) fn range(cx: &mut Cx) -> Told<Form> {
    let reals = cx.dtype(0)? == Some(DType::F32);
    for (i, what) in ["start", "limit", "step"].into_iter().enumerate().filter(|_| !reals) {
        cx.numbers(i, what)?;
    }
    if cx.opset >= 27 {
        // The type of a float accumulator.
        cx.attributes.int("stash_type")?;
    }
    if reals { range_of_reals(cx) } else { cx.plain(Op::Range) }
}

/// More elements than are read of any value, so that a larger count is refused as one of these is.
const MOST: f64 = (1_u64 << 62) as f64;

/// `start + step · i` for every integer `i` of `0..max(⌈(limit − start) / step⌉, 0)`.
fn range_of_reals(cx: &mut Cx) -> Told<Form> {
    let told = |i, what| match cx.scalar(i, what)? {
        Some(number) => Ok(number),
        None => malformed(format!("its {what} is missing")),
    };
    let (start, limit, step) = (told(0, "start")?, told(1, "limit")?, told(2, "step")?);
    let count = ((limit - start) / step).ceil();
    if step == 0.0 || count.is_nan() || count == f64::INFINITY {
        return malformed(format!("there is no range from {start} to {limit} in steps of {step}"));
    }
    let count = count.clamp(0.0, MOST) as i64;
    let whole = [0, count, 1].map(|i| Tensor::i64(&[], &[i]));
    let [from, to, by] = whole.map(|tensor| tensor.map(|tensor| cx.build.constant(tensor)));
    let line = cx.emit(Op::Range, &[from?, to?, by?])?;
    let line = cx.emit(Op::Cast(DType::F32), &[line])?;
    let (step, start) = (cx.operand(2)?, cx.operand(0)?);
    let line = cx.emit(Op::Binary(BinaryFn::Mul), &[line, step])?;
    Ok(Form::Op(Op::Binary(BinaryFn::Add), vec![Some(line), Some(start)]))
}

pub(super) fn shape(cx: &mut Cx) -> Told<Form> {
    let rank = cx.rank(0)?;
    let (mut start, mut end) = (None, None);
    if cx.opset >= 15 {
        (start, end) = (cx.attributes.int("start")?, cx.attributes.int("end")?);
    }
    let clamped = |i: i64| {
        let i = if i < 0 { i.saturating_add_unsigned(rank as u64) } else { i };
        usize::try_from(i.max(0)).unwrap_or(rank).min(rank)
    };
    let start = clamped(start.unwrap_or(0));
    let end = end.map_or(rank, clamped).max(start);
    cx.plain(Op::Shape { start, end })
}

/// The product of the shape.
pub(super) fn size(cx: &mut Cx) -> Told<Form> {
    let (x, rank) = (cx.operand(0)?, cx.rank(0)?);
    if rank == 0 {
        return Ok(Form::Constant(Tensor::i64(&[], &[1])?));
    }
    let shape = cx.emit(Op::Shape { start: 0, end: rank }, &[x])?;
    let product = Op::Reduce { kind: ReduceKind::Prod, axes: vec![0], keep: false };
    Ok(Form::Op(product, vec![Some(shape)]))
}

/// Dropout at inference is the identity.
pub(super) fn dropout(cx: &mut Cx) -> Told<Form> {
    if cx.opset < 12 {
        cx.attributes.float("ratio")?;
        return cx.plain(Op::Dropout);
    }
    cx.attributes.int("seed")?;
    match cx.scalar(2, "training mode")? {
        None | Some(0.0) => cx.on_first(Op::Dropout),
        Some(_) => not_modelled("it is in training mode"),
    }
}
