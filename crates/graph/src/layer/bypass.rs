//! Layers that some of the image goes around.

use std::collections::HashSet;

use super::automatic::Between;
use super::live::Live;
use super::{Grids, Score};
use crate::graph::{Graph, ValueId};
use crate::op::Op;

/// Of the layers, those that some of the image goes around, so that a map read there shows a part of what the score is made
/// of: without the layer the image reaches the score still, and cells are pooled, mixed or scored that did not pass it,
/// mixtures that the layer itself depends on aside.
///
/// Such are one of several branches, and what lies beside the shortcut of a residual block. The
/// [automatic layer](super::automatic) is none, but where branches never meet in one grid.
pub fn bypassed(graph: &Graph, image: ValueId, score: &Score, layers: &[ValueId]) -> Vec<ValueId> {
    let between = Between::new(graph, image, score.value);
    let reached: Vec<ValueId> = layers
        .iter()
        .copied()
        .filter(|&layer| is_reached_without(graph, image, score, &between, layer))
        .collect();
    // For most there is nothing more to ask.
    if reached.is_empty() {
        return reached;
    }
    let grids = Grids::new(graph, image);
    let live = Live::new(graph, &grids.trace, &between.nodes, score.value);
    reached.into_iter().filter(|&layer| !between.is_passed(graph, &live, layer, |_| true)).collect()
}

/// Whether the score depends on the image by a way that does not lead through the value. A shape is no way.
fn is_reached_without(
    graph: &Graph,
    image: ValueId,
    score: &Score,
    between: &Between,
    value: ValueId,
) -> bool {
    let mut reached = HashSet::from([image]);
    reached.remove(&value);
    for &id in &between.nodes {
        let node = graph.node(id);
        if !matches!(node.op, Op::Shape { .. }) && node.inputs.iter().flatten().any(|i| reached.contains(i)) {
            reached.extend(node.outputs.iter().flatten().filter(|&&o| o != value));
        }
    }
    reached.contains(&score.value)
}
