//! Signals that pass where a condition holds, as the mask of a ReLU has it.

use super::Sweep;
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Graph, Node, ValueId};
use crate::layer::is_constant;
use crate::op::{BinaryFn, Op, ReduceKind, UnaryFn};

impl Sweep<'_> {
    /// The signal where the condition holds, 0 elsewhere: a product with 1 and 0, which engines compute several times as
    /// fast as a choice. Where signals may be infinite it is a choice, since `0·∞` is no number.
    pub fn gate(&mut self, condition: ValueId, g: ValueId) -> Result<ValueId> {
        if !self.bounded {
            return self.keep_where(condition, g);
        }
        let dtype = self.dtype(g);
        let open = self.cast(condition, dtype)?;
        self.mul(g, open)
    }
}

/// Whether the derivative of a node is finite wherever its operands are.
pub(super) fn has_bounded_slope(graph: &Graph, node: &Node) -> bool {
    match node.op {
        Op::Unary(f) => !matches!(
            f,
            UnaryFn::Acos
                | UnaryFn::Acosh
                | UnaryFn::Asin
                | UnaryFn::Atanh
                | UnaryFn::Log
                | UnaryFn::Reciprocal
                | UnaryFn::Sqrt
                | UnaryFn::Tan
        ),
        Op::Binary(BinaryFn::Pow) | Op::Reduce { kind: ReduceKind::LogSum, .. } => false,
        Op::Binary(BinaryFn::Div) => node.inputs[1].is_some_and(|by| is_constant(graph, by)),
        _ => true,
    }
}
