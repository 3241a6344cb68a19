//! Takes scales out of products that sum over them.

use super::rewrite::rewrite;
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Graph, Node, ValueId};
use crate::layer::is_constant;
use crate::op::Op;

/// The graph in which no matrix product sums over the axis along which the scales of its de-quantised weights lie, as a sweep
/// back through a fully connected layer does: nodes that are not `kept` compute `(a ∘ s) · (q − z)` for `a · (s ∘ (q − z))`.
///
/// OpenVINO (2026.4, processor plugin) takes the first scale for all of them there. Engines fold the conversion of the
/// weights when they load, and what is left is cheaper than to de-quantise them.
///
/// # Errors
/// Those of making nodes.
pub fn rescale(graph: &Graph, kept: &dyn Fn(&Node) -> bool) -> Result<Graph> {
    rewrite(graph, |b, node, inputs| match (&node.op, inputs) {
        (Op::MatMul, &[Some(a), Some(w)]) if !kept(node) => {
            let Some(Scaled { levels, scales, zeros, axis, transposed }) = scaled(b.graph(), w) else {
                return Ok(None);
            };
            let dtype = b.dtype(scales);
            let mut weights = b.cast(levels, dtype)?;
            if let Some(zeros) = zeros {
                let zeros = b.cast(zeros, dtype)?;
                let zeros = b.emit(Op::Unsqueeze { axes: vec![1 - axis] }, &[zeros])?;
                weights = b.sub(weights, zeros)?;
            }
            if transposed {
                weights = b.emit(Op::Transpose { perm: vec![1, 0] }, &[weights])?;
            }
            let scaled = b.mul(a, scales)?;
            b.matmul(scaled, weights).map(|product| Some(vec![product]))
        }
        _ => Ok(None),
    })
}

/// De-quantised weights: `(levels − zeros) · scales`, with scales along `axis`, then perhaps transposed.
struct Scaled {
    levels: ValueId,
    scales: ValueId,
    zeros: Option<ValueId>,
    axis: usize,
    transposed: bool,
}

/// What a matrix is made of, where a product with it sums over the axis of its scales.
fn scaled(graph: &Graph, mut matrix: ValueId) -> Option<Scaled> {
    let mut transposed = false;
    loop {
        let node = graph.node(graph.value(matrix).producer?);
        let operand = |i: usize| node.inputs.get(i).copied().flatten();
        match &node.op {
            Op::Transpose { perm } if *perm == [1, 0] => {
                matrix = operand(0)?;
                transposed = !transposed;
            }
            &Op::DequantizeLinear { axis } => {
                let (levels, scales, zeros) = (operand(0)?, operand(1)?, operand(2));
                let rank = |id| graph.value(id).shape.as_ref().map(|shape| shape.rank());
                let fits =
                    rank(levels) == Some(2) && rank(scales) == Some(1) && axis == usize::from(transposed);
                let is_constant = [levels, scales].iter().all(|&id| is_constant(graph, id));
                return (fits && is_constant).then_some(Scaled { levels, scales, zeros, axis, transposed });
            }
            _ => return None,
        }
    }
}
