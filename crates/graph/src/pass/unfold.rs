//! Puts the bodies of composites in their place.

use super::rewrite::rewrite;
use crate::error::Result;
use crate::graph::{Graph, Node, ValueId};
use crate::op::Op;

/// The graph with the bodies of those composites that `chosen` picks.
///
/// # Errors
/// Those of making nodes.
pub fn unfold(graph: &Graph, chosen: &dyn Fn(&Node) -> bool) -> Result<Graph> {
    rewrite(graph, |b, node, inputs| match &node.op {
        Op::Composite(c) if chosen(node) => {
            let operands: Vec<ValueId> = inputs.iter().flatten().copied().collect();
            b.inline(&c.body, &operands).map(Some)
        }
        _ => Ok(None),
    })
}
