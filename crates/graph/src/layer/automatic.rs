//! The layer that is read when none is named.

use std::collections::HashSet;

use super::{Grids, Layer, Score, is_constant};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, NodeId, ValueId};
use crate::op::{Op, ReduceKind};

/// The layers that can be read for this score, from the image to the score.
pub fn layers(graph: &Graph, image: ValueId, score: &Score) -> Vec<Layer> {
    let between = Between::new(graph, image, score.value);
    let grids = Grids::new(graph, image);
    let first = |&id: &NodeId| graph.node(id).outputs.first().copied().flatten();
    between.nodes.iter().filter_map(first).filter_map(|value| grids.layer(value)).collect()
}

/// The layer that is read when none is named: the value nearest the score that has a grid, lies on
/// every path from the image to the score, is not a mere pooling, resizing, padding or copy of
/// another, and is not yet a class map.
///
/// # Errors
/// When there is none.
pub fn automatic(graph: &Graph, image: ValueId, score: &Score) -> Result<ValueId> {
    let between = Between::new(graph, image, score.value);
    let grids = Grids::new(graph, image);
    let mut learned = false;
    for &id in between.nodes.iter().rev() {
        let node = graph.node(id);
        let Some(value) = node.outputs.first().copied().flatten() else { continue };
        let copied = node.op.is_pool()
            || matches!(node.op, Op::Resize(_) | Op::Pad { .. } | Op::Dropout | Op::Identity)
            || matches!(node.op, Op::Reduce { kind: ReduceKind::Mean | ReduceKind::Max, .. });
        if learned && !copied && between.all_paths_cross(graph, value) && grids.layer(value).is_some() {
            return Ok(value);
        }
        learned |= is_learned(graph, node);
    }
    Err(Error::unfit(
        "no layer of the model has a grid that all of the image passes through",
        "name one with --layer (see `whycam inspect`)",
    ))
}

/// Whether the node multiplies by weights.
fn is_learned(graph: &Graph, node: &Node) -> bool {
    match node.op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_) => true,
        Op::MatMul => node.inputs.iter().flatten().any(|&i| is_constant(graph, i)),
        _ => false,
    }
}

/// The nodes on a way from the image to the score, in order.
pub(crate) fn between(graph: &Graph, image: ValueId, score: ValueId) -> Vec<NodeId> {
    Between::new(graph, image, score).nodes
}

/// The nodes on a way from the image to the score.
struct Between {
    image: ValueId,
    score: ValueId,
    nodes: Vec<NodeId>,
}

impl Between {
    fn new(graph: &Graph, image: ValueId, score: ValueId) -> Between {
        let mut reached = HashSet::from([image]);
        let mut nodes: Vec<NodeId> = Vec::new();
        for (id, node) in graph.nodes() {
            if node.inputs.iter().flatten().any(|i| reached.contains(i)) {
                reached.extend(node.outputs.iter().flatten());
                nodes.push(id);
            }
        }
        let mut needed = HashSet::from([score]);
        nodes.reverse();
        nodes.retain(|&id| {
            let node = graph.node(id);
            let on_way = node.outputs.iter().flatten().any(|o| needed.contains(o));
            // A shape is not a way for the image.
            if on_way && !matches!(node.op, Op::Shape { .. }) {
                needed.extend(node.inputs.iter().flatten());
            }
            on_way
        });
        nodes.reverse();
        Between { image, score, nodes }
    }

    fn all_paths_cross(&self, graph: &Graph, value: ValueId) -> bool {
        let mut reached = HashSet::from([self.image]);
        for &id in &self.nodes {
            let node = graph.node(id);
            if !matches!(node.op, Op::Shape { .. })
                && node.inputs.iter().flatten().any(|i| reached.contains(i))
            {
                reached.extend(node.outputs.iter().flatten().filter(|&&o| o != value));
            }
        }
        !reached.contains(&self.score)
    }
}
