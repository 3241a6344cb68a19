//! Quantised values: to levels and back, and the operators on levels that onnxruntime's tools write.
//!
//! An operator on levels (`QLinearConv`, …) is read as what it approximates: its operands de-quantised, the operator on
//! real numbers, its result quantised. The values between are layers like any others. Where its kernel rounds otherwise
//! than real numbers do, its result is another level, by one.

use super::{conv, index, norm, pointwise, pool, resize};
use crate::error::Error;
use crate::graph::ValueId;
use crate::onnx::dtype;
use crate::onnx::read::node::{Cx, Form, Refusal, Told, malformed, not_modelled};
use crate::op::{BinaryFn, Gemm, Op, UnaryFn};
use crate::tensor::DType;

pub(super) fn dequantize(cx: &mut Cx) -> Told<Form> {
    let axis = stated_axis(cx)?;
    if cx.opset >= 23 && cx.attributes.int("output_dtype")?.unwrap_or(0) != 0 {
        return not_modelled("it states the type of its result");
    }
    cx.plain(Op::DequantizeLinear { axis })
}

pub(super) fn quantize(cx: &mut Cx) -> Told<Form> {
    let axis = stated_axis(cx)?;
    if cx.opset >= 19 {
        // Only for float8.
        cx.attributes.int("saturate")?;
    }
    if cx.opset >= 23 && cx.attributes.int("precision")?.unwrap_or(0) != 0 {
        return not_modelled("it states the precision of its arithmetic");
    }
    let stated = if cx.opset >= 21 { cx.attributes.int("output_dtype")?.unwrap_or(0) } else { 0 };
    let to = match (cx.input(2), stated) {
        (Some(_), _) => cx.dtype(2)?,
        (None, 0) => Some(DType::U8),
        (None, stated) => i32::try_from(stated).ok().and_then(dtype::from_number),
    };
    match to {
        Some(to) => cx.plain(Op::QuantizeLinear { axis, to }),
        None => not_modelled("it makes elements of a type that whycam does not know"),
    }
}

/// The axis that scales lie along; 0 where there is but one scale.
fn stated_axis(cx: &Cx) -> Told<usize> {
    if cx.opset >= 21 && cx.attributes.int("block_size")?.unwrap_or(0) != 0 {
        return not_modelled("its scales are in blocks");
    }
    let axis = if cx.opset >= 13 { cx.attributes.int("axis")?.unwrap_or(1) } else { 1 };
    if cx.shape(1)?.elements().and_then(|n| n.fixed()) == Some(1) {
        return Ok(0);
    }
    cx.axis(axis, cx.rank(0)?)
}

/// The operator of onnxruntime's own domain that works on levels.
pub(super) fn contributed(op_type: &str, cx: &mut Cx) -> Told<Form> {
    match op_type {
        "DequantizeLinear" => dequantize(cx),
        "QuantizeLinear" => quantize(cx),
        "QGemm" => gemm(cx),
        "QLinearAdd" => binary(cx, BinaryFn::Add),
        "QLinearMul" => binary(cx, BinaryFn::Mul),
        "QLinearAveragePool" => unary(cx, pool::average_pool),
        "QLinearGlobalAveragePool" => unary(cx, |cx| cx.plain(Op::GlobalAveragePool)),
        "QLinearLeakyRelu" => unary(cx, pointwise::leaky_relu),
        "QLinearSigmoid" => unary(cx, |cx| cx.plain(Op::Unary(UnaryFn::Sigmoid))),
        "QLinearSoftmax" => {
            cx.opset = cx.attributes.int("opset")?.unwrap_or(cx.opset);
            unary(cx, |cx| norm::softmax(cx, |axis| Op::Softmax { axis }))
        }
        "QLinearConcat" => concat(cx),
        "QLinearWhere" => choice(cx),
        _ => Err(Refusal::Unknown),
    }
}

/// `(x, x scale, x zero, w, w scale, w zero, y scale, y zero, bias?)`; the bias is in steps of both scales' product.
pub(super) fn conv(cx: &mut Cx) -> Told<Form> {
    let (x, w) = (real(cx, 0, None)?, real(cx, 3, Some(0))?);
    let bias = bias(cx, 8, [1, 4], Some(0))?;
    made(cx, vec![Some(x), Some(w), bias], conv::conv, 6)
}

/// `(a, a scale, a zero, b, b scale, b zero, y scale, y zero)`
pub(super) fn matmul(cx: &mut Cx) -> Told<Form> {
    let columns = cx.rank(3)?.checked_sub(1);
    let (a, b) = (real(cx, 0, None)?, real(cx, 3, columns)?);
    made(cx, vec![Some(a), Some(b)], |cx| cx.plain(Op::MatMul), 6)
}

/// `(a, a scale, a zero, b, b scale, b zero, c?, y scale?, y zero?)`: `alpha · (a·b + c)`, real where no scale is given.
fn gemm(cx: &mut Cx) -> Told<Form> {
    let [trans_a, trans_b] = ["transA", "transB"].map(|name| cx.attributes.flag(name));
    let (trans_a, trans_b) = (trans_a?.unwrap_or(false), trans_b?.unwrap_or(false));
    let alpha = cx.attributes.float("alpha")?.unwrap_or(1.0);
    let op = Op::Gemm(Gemm { alpha, beta: alpha, trans_a, trans_b });
    let (a, b) = (real(cx, 0, None)?, real(cx, 3, Some(usize::from(!trans_b)))?);
    let columns = if cx.input(6).is_some() { cx.rank(6)?.checked_sub(1) } else { None };
    let c = bias(cx, 6, [1, 4], columns)?;
    let operands = vec![Some(a), Some(b), c];
    if cx.input(7).is_none() {
        return Ok(Form::Op(op, operands));
    }
    made(cx, operands, |cx| cx.plain(op), 7)
}

/// `(a, a scale, a zero, b, b scale, b zero, y scale, y zero)`
fn binary(cx: &mut Cx, f: BinaryFn) -> Told<Form> {
    let (a, b) = (real(cx, 0, None)?, real(cx, 3, None)?);
    made(cx, vec![Some(a), Some(b)], |cx| cx.plain(Op::Binary(f)), 6)
}

/// `(x, x scale, x zero, y scale, y zero)`
fn unary(cx: &mut Cx, form: impl FnOnce(&mut Cx) -> Told<Form>) -> Told<Form> {
    if cx.attributes.flag("channels_last")?.unwrap_or(false) {
        return not_modelled("its channels are the last axis");
    }
    let x = real(cx, 0, None)?;
    made(cx, vec![Some(x)], form, 3)
}

/// `(y scale, y zero, then x, x scale, x zero of each part)`
fn concat(cx: &mut Cx) -> Told<Form> {
    let parts: Vec<usize> = (2..cx.inputs.len()).step_by(3).collect();
    let parts = parts.into_iter().map(|i| real(cx, i, None).map(Some)).collect::<Told<_>>()?;
    made(cx, parts, index::concat, 0)
}

/// `(condition, a, a scale, a zero, b, b scale, b zero, y scale, y zero)`
fn choice(cx: &mut Cx) -> Told<Form> {
    let (a, b) = (real(cx, 1, None)?, real(cx, 4, None)?);
    made(cx, vec![Some(cx.operand(0)?), Some(a), Some(b)], |cx| cx.plain(Op::Where), 7)
}

/// Operators that give some of their operand's levels or mix them, without scales: `(x, …)`, where the levels' meaning is
/// known.
pub(super) fn on_levels(op_type: &str, cx: &mut Cx) -> Option<Told<Form>> {
    let form = match op_type {
        "MaxPool" => pool::max_pool,
        "Resize" => resize::resize,
        _ => return None,
    };
    let q = cx.input(0)?;
    let (to, scale, zero) = meaning(cx, q)?;
    let mut inside = || {
        let x = scaled(cx, [Some(q), Some(scale), zero], None)?;
        let operands = [&[Some(x)], &cx.inputs[1..]].concat();
        let y = float(cx, operands, form)?;
        Ok(Form::Op(Op::QuantizeLinear { axis: 0, to }, vec![Some(y), Some(scale), zero]))
    };
    Some(inside())
}

/// The type, scale and zero point of levels that a node has made and layout ops may have moved.
fn meaning(cx: &Cx, q: ValueId) -> Option<(DType, ValueId, Option<ValueId>)> {
    let graph = cx.build.graph();
    let mut q = q;
    for _ in 0..8 {
        let node = graph.node(graph.value(q).producer?);
        match node.op {
            Op::QuantizeLinear { to, .. } => {
                let scale = node.inputs.get(1).copied().flatten()?;
                let one = graph.value(scale).shape.as_ref()?.elements()?.fixed() == Some(1);
                return one.then_some((to, scale, node.inputs.get(2).copied().flatten()));
            }
            _ if node.op.is_layout() => q = node.inputs.first().copied().flatten()?,
            _ => return None,
        }
    }
    None
}

/// The real numbers that the levels at operand `index` stand for; scale and zero point are the operands behind it. Scales
/// may lie along `axis`, where there is one.
fn real(cx: &mut Cx, index: usize, axis: Option<usize>) -> Told<ValueId> {
    let q = cx.operand(index)?;
    let scale = cx.operand(index + 1)?;
    scaled(cx, [Some(q), Some(scale), cx.input(index + 2)], axis)
}

/// The real numbers of a bias, whose steps are the product of the scales at two operands.
fn bias(cx: &mut Cx, index: usize, scales: [usize; 2], axis: Option<usize>) -> Told<Option<ValueId>> {
    let Some(q) = cx.input(index) else { return Ok(None) };
    let [a, b] = [cx.operand(scales[0])?, cx.operand(scales[1])?];
    let scale = cx.emit(Op::Binary(BinaryFn::Mul), &[a, b])?;
    scaled(cx, [Some(q), Some(scale), None], axis).map(Some)
}

fn scaled(cx: &mut Cx, operands: [Option<ValueId>; 3], axis: Option<usize>) -> Told<ValueId> {
    let of_scale = operands[1].and_then(|id| cx.build.graph().value(id).shape.clone());
    let Some(scales) = of_scale else { return not_modelled("the shape of a scale is not known") };
    let axis = match (scales.elements().and_then(|n| n.fixed()), axis) {
        (Some(1), _) => 0,
        (_, Some(axis)) => axis,
        (_, None) => return malformed(format!("scales of shape {scales} where one is allowed")),
    };
    let trimmed = if operands[2].is_none() { &operands[..2] } else { &operands[..] };
    sound(cx.emit_some(Op::DequantizeLinear { axis }, trimmed))
}

/// What a form makes of real operands, as levels whose scale and zero point are the operands from `index` on.
fn made(
    cx: &mut Cx,
    operands: Vec<Option<ValueId>>,
    form: impl FnOnce(&mut Cx) -> Told<Form>,
    index: usize,
) -> Told<Form> {
    let y = float(cx, operands, form)?;
    let (scale, zero) = (cx.operand(index)?, cx.input(index + 1));
    let Some(to) = zero.map_or(Some(DType::U8), |id| cx.build.graph().value(id).dtype) else {
        return not_modelled("the type of its zero point is not known");
    };
    Ok(Form::Op(Op::QuantizeLinear { axis: 0, to }, vec![Some(y), Some(scale), zero]))
}

/// The value that a form on other operands comes to.
fn float(
    cx: &mut Cx,
    mut operands: Vec<Option<ValueId>>,
    form: impl FnOnce(&mut Cx) -> Told<Form>,
) -> Told<ValueId> {
    while operands.last().is_some_and(Option::is_none) {
        operands.pop();
    }
    match cx.of(operands, form)? {
        Form::Op(op, operands) => sound(cx.emit_some(op, &operands)),
        Form::Composite(..) | Form::Constant(_) => {
            not_modelled("this form of it is not made of one operator")
        }
    }
}

/// Operands that do not fit are the node's fault.
fn sound<T>(made: Told<T>) -> Told<T> {
    made.map_err(|refusal| match refusal {
        Refusal::Error(Error::Operands { what, .. }) => Refusal::Malformed(what),
        other => other,
    })
}
