//! What a cut costs, in multiplications.

use std::collections::{HashMap, HashSet};

use super::Spans;
use super::local::grid;
use crate::graph::{Graph, Node, ValueId};
use crate::op::Op;

/// What reading and writing one cell costs beside arithmetic: processors multiply about that many times faster than they
/// move cells to and from memory.
const MOVE: f64 = 48.0;

/// Windows are convolved less well than whole maps are, and the cells around them must be brought.
const SMALL: f64 = 1.15;

/// The cut that costs least, and how many times less than running everything for each patch; none where nothing is saved.
/// A cut is a value that all ways from the image to the outputs lead through.
pub(super) fn cut(
    graph: &Graph,
    image: ValueId,
    spans: &HashMap<ValueId, Spans>,
    changing: &HashSet<ValueId>,
) -> Option<(ValueId, f64)> {
    let mut readers: HashMap<ValueId, usize> = HashMap::new();
    for (_, node) in graph.nodes() {
        node.inputs.iter().flatten().for_each(|&id| *readers.entry(id).or_default() += 1);
    }
    graph.outputs().iter().for_each(|&id| *readers.entry(id).or_default() += 1);
    let patches = spans.get(&image)?.iter().map(Vec::len).product::<usize>() as f64;
    let changed = |node: &&Node| node.inputs.iter().flatten().any(|id| changing.contains(id));
    let whole: f64 =
        graph.nodes().map(|(_, node)| node).filter(changed).map(|node| cells(graph, node).2).sum();
    let (mut below, mut windowed) = (0.0, 0.0);
    let mut open: HashSet<ValueId> = HashSet::from([image]);
    let mut best: Option<(ValueId, f64)> = None;
    for (_, node) in graph.nodes() {
        if !changed(&node) {
            continue;
        }
        let (first, area, cost) = cells(graph, node);
        below += cost;
        windowed += match first.and_then(|first| spans.get(&first)) {
            Some(spans) if area > 0.0 => {
                let along = |axis: usize| spans[axis].iter().map(|span| span.len()).sum::<usize>() as f64;
                SMALL * cost * along(0) * along(1) / area
            }
            _ => f64::INFINITY,
        };
        for id in node.inputs.iter().flatten().filter(|id| changing.contains(id)) {
            if let Some(left) = readers.get_mut(id) {
                *left -= 1;
                if *left == 0 {
                    open.remove(id);
                }
            }
        }
        open.extend(node.outputs.iter().flatten().filter(|id| readers.contains_key(id)));
        if let [Some(output)] = node.outputs[..]
            && open.len() == 1
            && open.contains(&output)
            && spans.contains_key(&output)
        {
            let total = windowed + (whole - below) * patches;
            if best.is_none_or(|(_, least)| total < least) {
                best = Some((output, total));
            }
        }
    }
    let (value, total) = best?;
    let saved = whole * patches / total;
    (saved > 1.0).then_some((value, saved))
}

/// The first result of a node, the area of its map (0 where it has none), and what computing the result costs.
fn cells(graph: &Graph, node: &Node) -> (Option<ValueId>, f64, f64) {
    let Some(first) = node.outputs.iter().flatten().next().copied() else { return (None, 0.0, 0.0) };
    let elements = |id: ValueId| match graph.shape(id) {
        Ok(shape) => shape.at(1).iter().map(|&n| n as f64).product(),
        Err(_) => 0.0,
    };
    let size: f64 = elements(first);
    let area = grid(graph, first).map_or(0.0, |[height, width]| (height * width) as f64);
    let weights = || node.inputs.get(1).copied().flatten().map_or(0.0, elements);
    let arithmetic = match &node.op {
        // Every weight is used once for each cell of the map.
        Op::Conv(_) => weights() * area,
        Op::Gemm(_) | Op::MatMul => weights(),
        Op::MaxPool(window) | Op::AveragePool { window, .. } => {
            size * window.kernel.iter().product::<usize>() as f64 * MOVE / 4.0
        }
        op if op.is_layout() => return (Some(first), area, 0.0),
        _ => 0.0,
    };
    (Some(first), area, arithmetic + MOVE * size)
}
