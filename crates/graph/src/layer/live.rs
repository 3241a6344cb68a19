//! Which elements of every value the score depends on: where signal arrives.
//!
//! A transformer that reads its class token alone depends on no other row of its last block. So the last values with a
//! grid get no signal, and the automatic layer lies before them.

use std::collections::{HashMap, HashSet};

use super::spread::{Spread, taken};
use super::trace::Trace;
use crate::graph::{Graph, Node, NodeId, ValueId};
use crate::op::{Gemm, Op, PadMode, UnaryFn};

type Mask = Spread<bool>;

/// Where signal arrives.
pub(super) struct Live<'a> {
    graph: &'a Graph,
    trace: &'a Trace<'a>,
    masks: HashMap<ValueId, Mask>,
    /// The values with cells that the score depends on.
    cells: HashSet<ValueId>,
    /// Operands of nodes whose cells the score depends on by way of the node.
    carried: HashSet<(NodeId, usize)>,
}

impl<'a> Live<'a> {
    /// Follows the score back through `nodes`, which lie between the image and it in order.
    pub fn new(graph: &'a Graph, trace: &'a Trace<'a>, nodes: &[NodeId], score: ValueId) -> Live<'a> {
        let mut live = Live::of(graph, trace, HashMap::new());
        live.masks.insert(score, live.all(score));
        live.follow(nodes);
        let has = |(&value, mask): (&ValueId, &Mask)| {
            live.placed(value).is_some_and(|placed| both(&placed, mask)).then_some(value)
        };
        live.cells = live.masks.iter().filter_map(has).collect();
        live
    }

    fn of(graph: &'a Graph, trace: &'a Trace<'a>, masks: HashMap<ValueId, Mask>) -> Live<'a> {
        Live { graph, trace, masks, cells: HashSet::new(), carried: HashSet::new() }
    }

    fn follow(&mut self, nodes: &[NodeId]) {
        for &id in nodes.iter().rev() {
            let node = self.graph.node(id);
            if !node.outputs.iter().flatten().any(|o| self.masks.contains_key(o)) {
                continue;
            }
            for (i, input) in node.inputs.iter().enumerate() {
                let Some(input) = *input else { continue };
                // What cannot be followed may depend on everything.
                let sent = self.sent(node, i, input).unwrap_or_else(|| self.all(input));
                if !sent.entries().contains(&true) {
                    continue;
                }
                if self.placed(input).is_some_and(|placed| both(&placed, &sent)) {
                    self.carried.insert((id, i));
                }
                let total = match self.masks.get(&input) {
                    Some(before) => before.zip(&sent, |a, b| a || b).unwrap_or_else(|| self.all(input)),
                    None => sent,
                };
                self.masks.insert(input, total);
            }
        }
    }

    /// What a composite sends to its operand `i`: what its body does.
    fn through(&self, node: &Node, body: &Graph, i: usize) -> Option<Mask> {
        let trace = Trace::shapes(body, self.trace.batch());
        let outputs = body.outputs().iter().zip(&node.outputs);
        let masks = outputs.filter_map(|(&o, output)| Some((o, self.masks.get(output.as_ref()?)?.clone())));
        let mut inner = Live::of(body, &trace, masks.collect());
        inner.follow(&body.nodes().map(|(id, _)| id).collect::<Vec<_>>());
        // Operands that are left out are no inputs of the body.
        let given = node.inputs[..i].iter().flatten().count();
        let input = *body.inputs().get(given)?;
        Some(
            inner
                .masks
                .remove(&input)
                .unwrap_or_else(|| Spread::all(&trace.dims(input).unwrap_or_default(), false)),
        )
    }

    /// Whether the score depends on any cell of the value.
    pub fn has_cells(&self, value: ValueId) -> bool {
        self.cells.contains(&value)
    }

    /// Whether the score depends on every element of every cell of the value.
    pub fn has_all_cells(&self, value: ValueId) -> bool {
        let (Some(placed), Some(mask)) = (self.placed(value), self.masks.get(&value)) else { return false };
        placed.zip(mask, |placed, live| !placed || live).is_some_and(|fine| !fine.entries().contains(&false))
    }

    /// Whether the score depends on cells of the operand by way of the node.
    pub fn carries(&self, node: NodeId, operand: usize) -> bool {
        self.carried.contains(&(node, operand))
    }

    fn placed(&self, value: ValueId) -> Option<Mask> {
        self.trace.of(value).map(|places| places.somewhere())
    }

    fn all(&self, value: ValueId) -> Mask {
        Spread::all(&self.trace.dims(value).unwrap_or_default(), true)
    }

    /// The elements of an operand that the live elements of the node's results depend on.
    fn sent(&self, node: &Node, i: usize, input: ValueId) -> Option<Mask> {
        let dims = self.trace.dims(input)?;
        if let Op::Split { axis, sizes } = &node.op {
            let pieces = node.outputs.iter().zip(sizes).map(|(output, &size)| {
                let mut piece = dims.clone();
                piece[*axis] = size;
                let nothing = Spread::all(&piece, false);
                output.and_then(|o| self.masks.get(&o).cloned()).unwrap_or(nothing)
            });
            return Spread::concat(&pieces.collect::<Vec<_>>(), *axis);
        }
        let (output, mask) = node.outputs.iter().flatten().find_map(|o| Some((*o, self.masks.get(o)?)))?;
        let result = self.trace.dims(output)?;
        (mask.dims() == result).then_some(())?;
        match &node.op {
            Op::Shape { .. } | Op::ArgMax { .. } | Op::Unary(UnaryFn::Hold) => {
                Some(Spread::all(&dims, false))
            }
            Op::Unary(_)
            | Op::Binary(_)
            | Op::Compare(_)
            | Op::Where
            | Op::PRelu
            | Op::Cast(_)
            | Op::Identity
            | Op::Dropout
            | Op::Expand { .. }
            | Op::DequantizeLinear { .. }
            | Op::QuantizeLinear { .. } => mask.unbroadcast(&dims, or),
            Op::BatchNorm { .. } if i == 0 => Some(mask.clone()),
            Op::Lrn(_) => spread_along(mask, 1),
            Op::Softmax { axis } | Op::LogSoftmax { axis } => spread_along(mask, *axis),
            Op::TopK { axis, .. } => Some(mask.fold(*axis, or)?.stretched(*axis, dims[*axis])),
            Op::MatMul => self.factor(mask, i, &dims),
            Op::Gemm(gemm) => gemm_operand(*gemm, mask, i, &dims),
            Op::Reduce { axes, .. } => {
                let mut kept = dims.clone();
                axes.iter().for_each(|&a| kept[a] = 1);
                mask.reshape(&kept)?.broadcast(&dims)
            }
            Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze { .. } | Op::Unsqueeze { .. } => {
                mask.reshape(&dims)
            }
            Op::Transpose { perm } => {
                let mut back = vec![0; perm.len()];
                perm.iter().enumerate().for_each(|(i, &p)| back[p] = i);
                mask.transpose(&back)
            }
            Op::Concat { axis } => {
                let size = |id: &Option<ValueId>| self.trace.dims((*id)?).map(|d| d[*axis]);
                let start = node.inputs[..i].iter().map(size).sum::<Option<usize>>()?;
                let indices: Vec<_> = (start..start + dims[*axis]).map(Some).collect();
                mask.take(*axis, &indices, false)
            }
            Op::Slice(ranges) => ranges.iter().rev().try_fold(mask.clone(), |mask, r| {
                mask.put(r.axis, dims[r.axis], &taken(r, dims[r.axis])?, false, or)
            }),
            Op::Pad { mode: PadMode::Constant, before, .. } => {
                before.iter().enumerate().try_fold(mask.clone(), |mask, (axis, &before)| {
                    let size = i64::try_from(dims[axis]).ok()?;
                    let at = |i: i64| usize::try_from(i + before).ok().filter(|&i| i < result[axis]);
                    mask.take(axis, &(0..size).map(at).collect::<Vec<_>>(), false)
                })
            }
            Op::Gather { axis } if i == 0 => {
                let indices = self.trace.indices(node, dims[*axis])?;
                let mut flat = dims.clone();
                flat[*axis] = indices.len();
                mask.reshape(&flat)?.put(*axis, dims[*axis], &indices, false, or)
            }
            Op::Composite(c) => self.through(node, &c.body, i),
            Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::BatchNorm { .. }
            | Op::MaxPool(_)
            | Op::AveragePool { .. }
            | Op::GlobalAveragePool
            | Op::GlobalMaxPool
            | Op::DepthToSpace { .. }
            | Op::Resize(_)
            | Op::Pad { .. }
            | Op::Gather { .. }
            | Op::GatherNd { .. }
            | Op::ScatterNd { .. }
            | Op::Split { .. }
            | Op::ConstantOfShape(_)
            | Op::Range
            | Op::Opaque(_) => None,
        }
    }

    /// A factor of a product: its live rows, or columns, whole.
    fn factor(&self, mask: &Mask, i: usize, dims: &[usize]) -> Option<Mask> {
        let rank = mask.dims().len();
        (rank > 1 && dims.len() > 1).then_some(())?;
        let (summed, inner) = if i == 0 { (rank - 1, dims.len() - 1) } else { (rank - 2, dims.len() - 2) };
        mask.fold(summed, or)?.stretched(summed, dims[inner]).unbroadcast(dims, or)
    }
}

fn or(a: bool, b: bool) -> bool {
    a || b
}

/// Whether any element is in both.
fn both(a: &Mask, b: &Mask) -> bool {
    a.zip(b, |a, b| a && b).is_some_and(|both| both.entries().contains(&true))
}

/// Every element live that has a live one along the axis.
fn spread_along(mask: &Mask, axis: usize) -> Option<Mask> {
    Some(mask.fold(axis, or)?.stretched(axis, mask.dims()[axis]))
}

fn gemm_operand(gemm: Gemm, mask: &Mask, i: usize, dims: &[usize]) -> Option<Mask> {
    let (summed, turned) = match i {
        0 => (1, gemm.trans_a),
        1 => (0, gemm.trans_b),
        _ => return mask.unbroadcast(dims, or),
    };
    // The axis that is summed over is the other one where the operand is transposed.
    let inner = dims[if turned { 1 - summed } else { summed }];
    let rows = mask.fold(summed, or)?.stretched(summed, inner);
    if turned { rows.transpose(&[1, 0]) } else { Some(rows) }
}
