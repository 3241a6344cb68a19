//! Rules of quantised values: a quantise–de-quantise pair is straight through, but where it stands for a ReLU.

use super::Sweep;
use super::pointwise::{Derivative, along, inside, relu};
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Graph, Node, ValueId};
use crate::layer::is_constant;
use crate::op::{BinaryFn, Op};
use crate::shape::{Dim, Shape};
use crate::tensor::DType;

/// The least and the largest level of a narrow integer type.
fn levels(dtype: DType) -> Option<(f32, f32)> {
    Some(match dtype {
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::U8 => (u8::MIN.into(), u8::MAX.into()),
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DType::U16 => (u16::MIN.into(), u16::MAX.into()),
        _ => return None,
    })
}

/// Whether the node stands for a ReLU: it cuts a sum off at 0, its least level. onnxruntime's
/// quantiser removes the ReLU before such a node.
pub(super) fn is_relu(graph: &Graph, node: &Node) -> bool {
    let (Op::QuantizeLinear { to, .. }, Some(Some(x))) = (&node.op, node.inputs.first()) else {
        return false;
    };
    let linear = graph.value(*x).producer.is_some_and(|id| {
        matches!(
            graph.node(id).op,
            Op::Conv(_)
                | Op::ConvTranspose(_)
                | Op::MatMul
                | Op::Gemm(_)
                | Op::BatchNorm { .. }
                | Op::Binary(BinaryFn::Add | BinaryFn::Sub)
        )
    });
    let zero_points = match node.inputs.get(2).copied().flatten() {
        Some(zero) => graph.value(zero).constant.as_ref().map(|t| t.to_f32s()),
        None => Some(vec![0.0]),
    };
    let cut = |(least, _)| zero_points.is_some_and(|all| all.iter().all(|&zero| zero == least));
    linear && levels(*to).is_some_and(cut)
}

/// The signal at levels is that of their number: a step of the levels is `scale` of the value, so what passes a pair of
/// quantising and de-quantising is divided by the scale, and multiplied by it again. Rounding is passed as if it were not
/// there. Levels at the ends of a range that stands for a ReLU ([`is_relu`]) are cut off. Other ranges were chosen to hold
/// what there is: the greatest score of all that a model was calibrated with is the last level itself.
pub(super) fn quantize(s: &mut Sweep<'_>, node: &Node, axis: usize, g: ValueId) -> Result<ValueId> {
    let q = node.outputs.first().copied().flatten().unwrap_or(node.input(0)?);
    let cut = is_constant(s.graph, node.inputs[1].unwrap_or(q)) && is_relu(s.graph, node);
    let kept = match levels(s.dtype(q)).filter(|_| cut) {
        Some((least, most)) => {
            let level = s.emit(Op::Cast(DType::F32), &[q])?;
            match inside(s, level, least, most)? {
                Some(open) => relu(s, g, Derivative::Where(open))?,
                None => g,
            }
        }
        None => g,
    };
    let scale = scale(s, node, axis, g)?;
    s.div(kept, scale)
}

/// The signal times the scale.
pub(super) fn dequantize(s: &mut Sweep<'_>, node: &Node, axis: usize, g: ValueId) -> Result<ValueId> {
    let scale = scale(s, node, axis, g)?;
    s.mul(g, scale)
}

/// The scale, of the signal's type, shaped to broadcast with the value.
fn scale(s: &mut Sweep<'_>, node: &Node, axis: usize, g: ValueId) -> Result<ValueId> {
    let (x, scale) = (node.input(0)?, node.input(1)?);
    let to = s.dtype(g);
    let scale = s.cast(scale, to)?;
    if s.shape(scale)?.elements() == Some(Dim::Fixed(1)) {
        return s.reshape(scale, Shape(Vec::new()));
    }
    let rank = s.shape(x)?.rank();
    along(s, scale, axis, rank)
}
