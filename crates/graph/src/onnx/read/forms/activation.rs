//! Activations that are compositions of others.

use crate::emit::Emit;
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Told};
use crate::op::{CompareFn, Op, UnaryFn};
use crate::tensor::DType;

/// A function of the first operand.
fn of_first(cx: &Cx, f: impl FnOnce(&mut Body, ValueId) -> Result<ValueId>) -> Told<Form> {
    let mut b = Body::new(cx)?;
    let x = b.operand(0)?;
    let y = f(&mut b, x)?;
    b.done(&[y])
}

/// `alpha · elu(x / alpha)`, which is `max(0, x) + min(0, alpha · (e^(x/alpha) − 1))`
pub(super) fn celu(cx: &mut Cx) -> Told<Form> {
    let alpha = cx.attributes.float("alpha")?.unwrap_or(1.0);
    of_first(cx, |b, x| {
        let alpha = b.scalar(x, alpha)?;
        let inner = b.div(x, alpha)?;
        let elu = b.unary(UnaryFn::Elu(1.0), inner)?;
        b.mul(elu, alpha)
    })
}

/// `gamma · elu(x)`
pub(super) fn selu(cx: &mut Cx) -> Told<Form> {
    let alpha = cx.attributes.float("alpha")?.unwrap_or(1.673_263_2);
    let gamma = cx.attributes.float("gamma")?.unwrap_or(1.050_701);
    of_first(cx, |b, x| {
        let elu = b.unary(UnaryFn::Elu(alpha), x)?;
        b.scale(elu, gamma)
    })
}

/// `x · tanh(softplus(x))`
pub(super) fn mish(cx: &mut Cx) -> Told<Form> {
    of_first(cx, |b, x| {
        let gate = b.unary(UnaryFn::Softplus, x)?;
        let gate = b.unary(UnaryFn::Tanh, gate)?;
        b.mul(x, gate)
    })
}

/// `x · sigmoid(alpha · x)`
pub(super) fn swish(cx: &mut Cx) -> Told<Form> {
    let alpha = cx.attributes.float("alpha")?.unwrap_or(1.0);
    of_first(cx, |b, x| scaled_sigmoid(b, x, alpha))
}

/// `x · sigmoid(alpha · x) · value`
pub(super) fn swi_glu(cx: &mut Cx) -> Told<Form> {
    let alpha = cx.attributes.float("alpha")?.unwrap_or(1.0);
    let mut b = Body::new(cx)?;
    let (x, value) = (b.operand(0)?, b.operand(1)?);
    let gate = scaled_sigmoid(&mut b, x, alpha)?;
    let y = b.mul(gate, value)?;
    b.done(&[y])
}

/// `x · sigmoid(alpha · x)`
pub(super) fn scaled_sigmoid(b: &mut Body, x: ValueId, alpha: f32) -> Result<ValueId> {
    let inner = if alpha == 1.0 { x } else { b.scale(x, alpha)? };
    let gate = b.unary(UnaryFn::Sigmoid, inner)?;
    b.mul(x, gate)
}

/// `x / (1 + |x|)`
pub(super) fn softsign(cx: &mut Cx) -> Told<Form> {
    of_first(cx, softsign_of)
}

/// `x / (1 + |x|)`
pub(super) fn softsign_of(b: &mut Body, x: ValueId) -> Result<ValueId> {
    let size = b.unary(UnaryFn::Abs, x)?;
    let size = b.shift(size, 1.0)?;
    b.div(x, size)
}

/// `x` where greater than alpha, 0 elsewhere.
pub(super) fn thresholded_relu(cx: &mut Cx) -> Told<Form> {
    let alpha = cx.attributes.float("alpha")?.unwrap_or(1.0);
    of_first(cx, |b, x| thresholded(b, x, alpha))
}

/// `x` where greater than alpha, 0 elsewhere.
pub(super) fn thresholded(b: &mut Body, x: ValueId, alpha: f32) -> Result<ValueId> {
    let open = b.compare(x, CompareFn::Greater, alpha)?;
    b.keep_where(open, x)
}

/// `x + bias` below −lambd, `x − bias` above lambd, 0 between.
pub(super) fn shrink(cx: &mut Cx) -> Told<Form> {
    let bias = cx.attributes.float("bias")?.unwrap_or(0.0);
    let lambd = cx.attributes.float("lambd")?.unwrap_or(0.5);
    of_first(cx, |b, x| {
        let (below, above) =
            (b.compare(x, CompareFn::Less, -lambd)?, b.compare(x, CompareFn::Greater, lambd)?);
        let (up, down) = (b.shift(x, bias)?, b.shift(x, -bias)?);
        let high = b.keep_where(above, down)?;
        b.emit(Op::Where, &[below, up, high])
    })
}

/// 1 at the first maximum along an axis, 0 elsewhere. Before version 13 rows begin at the axis.
pub(super) fn hardmax(cx: &mut Cx) -> Told<Form> {
    let rank = cx.rank(0)?;
    let since = cx.opset >= 13;
    let axis = cx.axis(cx.attributes.int("axis")?.unwrap_or(if since { -1 } else { 1 }), rank)?;
    let mut b = Body::new(cx)?;
    let x = b.operand(0)?;
    let dims = b.dims(x)?;
    let (flat, along) = if since { (x, axis) } else { (b.emit(Op::Flatten { axis }, &[x])?, 1) };
    let winner = b.emit(Op::ArgMax { axis: along, keep: true }, &[flat])?;
    b.size(flat, along)?;
    let index = b.coordinates(flat, along, 0)?;
    let hit = b.emit(Op::Compare(CompareFn::Equal), &[winner, index])?;
    let to: DType = b.dtype(x);
    let hit = b.cast(hit, to)?;
    let y = b.shaped(hit, &dims)?;
    b.done(&[y])
}
