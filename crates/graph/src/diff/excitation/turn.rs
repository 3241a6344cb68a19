//! Negative numbers that a value is multiplied with behind its node, as a batch norm does: the node's weights take their signs.

use super::{At, Excitation, Sent, has_weights, unfit, users};
use crate::diff::Sweep;
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Node, ValueId};
use crate::op::{BinaryFn, CompareFn, Op, UnaryFn};
use crate::shape::{Dim, Shape};

/// Signs, shaped to broadcast with a value, and the node that brought them.
#[derive(Clone)]
pub(super) struct Turned {
    pub signs: ValueId,
    pub by: String,
}

impl Excitation {
    /// Operand `i` times a constant: the signal is handed on, and the constant's sign belongs to the weights before.
    pub(super) fn scaled(
        &mut self,
        s: &mut Sweep<'_>,
        at: &At<'_>,
        i: usize,
        factor: ValueId,
    ) -> Result<Sent> {
        // Constants are known by their values as long as no op reshapes them.
        let named = if matches!(at.node.op, Op::BatchNorm { .. }) { at.node.input(1)? } else { factor };
        if self.is_nonnegative(s, named) {
            return self.turn(s, at, i, None);
        }
        let mut shape = s.shape(factor)?;
        let missing = s.shape(at.y)?.rank().saturating_sub(shape.rank());
        shape.0.splice(0..0, std::iter::repeat_n(Dim::Fixed(1), missing));
        let factor = s.reshape(factor, shape)?;
        let signs = s.unary(UnaryFn::Sign, factor)?;
        self.turn(s, at, i, Some(signs))
    }

    /// Hands the signal to operand `i`, which was multiplied by numbers of these signs.
    ///
    /// By the rule for weights, cells of what is never negative get nothing through a negative number.
    pub(super) fn turn(
        &mut self,
        s: &mut Sweep<'_>,
        at: &At<'_>,
        i: usize,
        signs: Option<ValueId>,
    ) -> Result<Sent> {
        let x = at.node.input(i)?;
        let mut sent = vec![None; at.node.inputs.len()];
        sent[i] = Some(at.g);
        let turned = match (signs, at.turned.clone()) {
            (None, None) => return Ok(sent),
            (None, Some(turned)) => turned,
            (Some(signs), None) => Turned { signs, by: at.node.place() },
            (Some(signs), Some(behind)) => Turned { signs: s.mul(signs, behind.signs)?, by: behind.by },
        };
        if self.is_nonnegative(s, x) {
            let kept = s.compare(turned.signs, CompareFn::Greater, 0.0)?;
            sent[i] = Some(s.keep_where(kept, at.g)?);
        } else if users(s, x).count() > 1 {
            let by = turned.by;
            return Err(unfit(format!("{by} multiplies by negative numbers what is used elsewhere too")));
        } else {
            self.turned.insert(x, turned);
        }
        Ok(sent)
    }
}

/// Whether signs that follow the node belong to its weights, or to those of the node before it.
pub(super) fn hands_signs_on(op: &Op) -> bool {
    has_weights(op)
        || matches!(op, Op::BatchNorm { .. } | Op::Identity | Op::Dropout | Op::Cast(_))
        || matches!(op, Op::Binary(BinaryFn::Add | BinaryFn::Sub | BinaryFn::Mul | BinaryFn::Div))
}

/// The weights times the signs that their results are multiplied with.
pub(super) fn take_signs(
    s: &mut Sweep<'_>,
    node: &Node,
    i: usize,
    w: ValueId,
    turned: &Turned,
) -> Result<ValueId> {
    let (shape, weights) = (s.shape(turned.signs)?, s.shape(w)?);
    let last = shape.rank().saturating_sub(1);
    // The axis of the result that the signs lie along, and the same axis of the weights.
    let axes = match &node.op {
        Op::Conv(_) => Some((1, 0)),
        Op::ConvTranspose(t) if t.conv.groups == 1 => Some((1, 1)),
        Op::Gemm(gemm) if i == 0 => Some((last, if gemm.trans_b { 0 } else { 1 })),
        Op::MatMul if i == 0 && weights.rank() == 2 => Some((last, 1)),
        _ => None,
    };
    let channels = |axis| shape.0.iter().enumerate().all(|(j, d)| j == axis || *d == Dim::Fixed(1));
    match axes {
        Some((from, to)) if channels(from) => {
            let mut along = vec![Dim::Fixed(1); weights.rank()];
            along[to] = shape.0[from];
            let signs = s.reshape(turned.signs, Shape(along))?;
            s.mul(w, signs)
        }
        _ => Err(unfit(format!("{} multiplies by negative numbers that vary over cells", turned.by))),
    }
}
