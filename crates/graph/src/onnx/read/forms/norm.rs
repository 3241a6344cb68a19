//! Normalisations.

use crate::error::Error;
use crate::onnx::read::node::{Cx, Form, Refusal, Told, malformed, not_modelled, sized};
use crate::op::{Lrn, Op};
use crate::shape::Dim;

pub(super) fn batch_norm(cx: &mut Cx) -> Told<Form> {
    let a = &cx.attributes;
    let epsilon = a.float("epsilon")?.unwrap_or(1e-5);
    // The momentum belongs to training.
    a.float("momentum")?;
    if cx.opset >= 14 && a.flag("training_mode")?.unwrap_or(false) {
        return Err(Refusal::Error(Error::unfit(
            "the model was exported in training mode: a batch normalisation computes its statistics from the batch",
            "export it in evaluation mode (model.eval())",
        )));
    }
    if cx.opset < 9 && a.int("spatial")?.unwrap_or(1) == 0 {
        return not_modelled("it has statistics for each cell");
    }
    cx.plain(Op::BatchNorm { epsilon })
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
