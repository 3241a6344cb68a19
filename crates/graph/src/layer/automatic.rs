//! The layer that is read when none is named.

use std::collections::{HashMap, HashSet};

use super::live::Live;
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

/// The layer that is read when none is named: the value nearest the score that
/// - has a grid, and signal at every element of its cells,
/// - is no mere pooling, resizing, padding, selection or copy of another, and not yet a class map,
/// - lies on every way by which cells go to where they are pooled, mixed with what is no cell, or scored; mixtures
///   that the value itself depends on aside.
///
/// In a network of convolutions that is the value before the last pooling which all of the image passes. Where a class
/// token alone is read, the rows of the last block get no signal. Their keys and values do, and both are made of the
/// block's first normalisation: cells pass it on every way to the last mixing, and the earlier ones lie before it.
///
/// Where no value gets signal in all of its cells, as of a detector's anchor, which sees a part of the image alone, that is
/// the value nearest the score that gets signal in any.
///
/// Where the image is cut into several grids that never become one, as in a CrossViT, the same is looked for on each grid
/// alone, and the value with the most cells is read. Its map is what one of the branches sees.
///
/// # Errors
/// When there is none.
pub fn automatic(graph: &Graph, image: ValueId, score: &Score) -> Result<ValueId> {
    nearest(graph, image, score, false)
}

/// As [`automatic`], one resolution stage lower: the first such value below it whose grid has more cells; where there is
/// none, that of [`automatic`].
///
/// # Errors
/// As [`automatic`].
pub fn automatic_below(graph: &Graph, image: ValueId, score: &Score) -> Result<ValueId> {
    nearest(graph, image, score, true)
}

fn nearest(graph: &Graph, image: ValueId, score: &Score, below: bool) -> Result<ValueId> {
    let between = Between::new(graph, image, score.value);
    let grids = Grids::new(graph, image);
    let live = Live::new(graph, &grids.trace, &between.nodes, score.value);
    let search = Search { graph, between: &between, grids: &grids, live: &live };
    let found = search.nearest(below, |value| live.has_all_cells(value));
    let found = found.or_else(|| search.nearest(below, |value| live.has_cells(value)));
    found.or_else(|| search.branch()).ok_or_else(|| search.none())
}

/// Layers that are named where none is automatic.
const NAMED: usize = 4;

/// Where the automatic layer is looked for.
struct Search<'a> {
    graph: &'a Graph,
    between: &'a Between,
    grids: &'a Grids<'a>,
    live: &'a Live<'a>,
}

impl Search<'_> {
    /// The value nearest the score that gets signal; with `below`, the next one whose grid has more cells, if there is one.
    fn nearest(&self, below: bool, gets_signal: impl Fn(ValueId) -> bool) -> Option<ValueId> {
        let &Search { graph, between, grids, live } = self;
        let mut learned = false;
        let mut top: Option<Layer> = None;
        for &id in between.nodes.iter().rev() {
            let node = graph.node(id);
            for &value in node.outputs.iter().flatten() {
                let fits = learned && !is_copy(&node.op) && gets_signal(value);
                if !fits || !between.is_passed(graph, live, value, |_| true) {
                    continue;
                }
                let Some(layer) = grids.layer(value) else { continue };
                let cells = |layer: &Layer| layer.grid.iter().product::<usize>();
                match &top {
                    Some(top) if cells(&layer) <= cells(top) => {}
                    None if below => top = Some(layer),
                    _ => return Some(value),
                }
            }
            learned |= is_learned(graph, node);
        }
        top.map(|layer| layer.value)
    }

    /// Of the values nearest the score which all that has their grid passes, that with the most cells.
    fn branch(&self) -> Option<ValueId> {
        let &Search { graph, between, grids, live } = self;
        let values = between.nodes.iter().flat_map(|&id| graph.node(id).outputs.iter().flatten());
        let grid: HashMap<ValueId, [usize; 2]> =
            values.filter_map(|&value| Some((value, grids.layer(value)?.grid))).collect();
        let ends = self.ends(|layer, ends| {
            let on = |value| grid.get(&value) == Some(&layer.grid);
            ends.iter().all(|end| end.grid != layer.grid) && between.is_passed(graph, live, layer.value, on)
        });
        let most = ends.into_iter().max_by_key(|end| end.grid.iter().product::<usize>());
        most.map(|layer| layer.value)
    }

    /// The values nearest the score that get signal in all of their cells, are accepted beside those found before, and lie
    /// before none of them.
    fn ends(&self, accepts: impl Fn(&Layer, &[Layer]) -> bool) -> Vec<Layer> {
        let &Search { graph, between, grids, live } = self;
        let (mut learned, mut ends, mut before) = (false, Vec::new(), HashSet::new());
        for &id in between.nodes.iter().rev() {
            let node = graph.node(id);
            for &value in node.outputs.iter().flatten() {
                let fits =
                    learned && !is_copy(&node.op) && live.has_all_cells(value) && !before.contains(&value);
                let Some(layer) = fits.then(|| grids.layer(value)).flatten() else { continue };
                if accepts(&layer, &ends) {
                    before.extend(between.before(graph, value));
                    ends.push(layer);
                }
            }
            learned |= is_learned(graph, node);
        }
        ends
    }

    fn none(&self) -> Error {
        let name =
            |end: &Layer| format!("{} ({}×{})", self.graph.value(end.value).name, end.grid[0], end.grid[1]);
        let named: Vec<_> = self.ends(|_, _| true).iter().take(NAMED).map(name).collect();
        let such = if named.is_empty() { String::new() } else { format!(", such as {}", named.join(" or ")) };
        Error::unfit(
            "no layer of the model has a grid that all of the image passes through",
            format!("name one with --layer{such} (see `whycam inspect`)"),
        )
    }
}

/// Whether the op makes a smaller, larger or rearranged copy of its operand.
pub(super) fn is_copy(op: &Op) -> bool {
    op.is_pool()
        || op.is_layout()
        || matches!(op, Op::Resize(_) | Op::Pad { .. } | Op::Slice(_) | Op::Split { .. } | Op::Gather { .. })
        || matches!(op, Op::Reduce { kind: ReduceKind::Mean | ReduceKind::Max, .. })
}

/// Whether the node multiplies by weights.
pub(super) fn is_learned(graph: &Graph, node: &Node) -> bool {
    match node.op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_) => true,
        Op::MatMul => node.inputs.iter().flatten().any(|&i| is_constant(graph, i)),
        // What multiplies operands, of which one is a constant, with each other.
        Op::Composite(ref c) => {
            c.body.nodes().any(|(_, n)| matches!(n.op, Op::Conv(_) | Op::Gemm(_) | Op::MatMul))
                && node.inputs.iter().flatten().any(|&i| is_constant(graph, i))
        }
        _ => false,
    }
}

/// The nodes on a way from the image to the score, in order.
pub fn between(graph: &Graph, image: ValueId, score: ValueId) -> Vec<NodeId> {
    Between::new(graph, image, score).nodes
}

/// The nodes on a way from the image to the score.
pub(super) struct Between {
    image: ValueId,
    score: ValueId,
    pub nodes: Vec<NodeId>,
}

impl Between {
    pub fn new(graph: &Graph, image: ValueId, score: ValueId) -> Between {
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

    /// The value, and all that it is computed from.
    fn before(&self, graph: &Graph, value: ValueId) -> HashSet<ValueId> {
        let mut before = HashSet::from([value]);
        for &id in self.nodes.iter().rev() {
            let node = graph.node(id);
            if node.outputs.iter().flatten().any(|o| before.contains(o)) {
                before.extend(node.inputs.iter().flatten());
            }
        }
        before
    }

    /// Whether cells pass the value on every way to the score, but for those by which the value itself is reached; cells of
    /// the values that `counts` alone.
    pub fn is_passed(
        &self,
        graph: &Graph,
        live: &Live<'_>,
        value: ValueId,
        counts: impl Fn(ValueId) -> bool,
    ) -> bool {
        let before = self.before(graph, value);
        let mut around: HashSet<ValueId> =
            Some(self.image).filter(|&image| counts(image)).into_iter().collect();
        for &id in &self.nodes {
            let node = graph.node(id);
            let operands = || node.inputs.iter().enumerate().filter_map(|(i, v)| v.map(|v| (i, v)));
            let arrive = operands().any(|(i, v)| live.carries(id, i) && around.contains(&v));
            // A grid that begins anew, behind what could not be followed or has no such cells, is one that cells arrive at.
            let begin = !operands().any(|(i, v)| live.carries(id, i) && counts(v));
            if !arrive && !begin {
                continue;
            }
            let mut cells =
                node.outputs.iter().flatten().filter(|&&o| live.has_cells(o) && counts(o)).peekable();
            let end = cells.peek().is_none();
            if arrive && end && !node.outputs.iter().flatten().any(|o| before.contains(o)) {
                return false;
            }
            around.extend(cells.filter(|&&o| o != value));
        }
        !around.contains(&self.score)
    }
}
