//! The reverse sweep: sends a signal from a value back to earlier values, node by node.
//!
//! The sweep walks the nodes between the target and the values to read in reverse, asks the rule
//! of each op for the signals of its operands, un-broadcasts them and adds them up. Rules are
//! written for one cotangent with ordinary ops; `lift` makes them work on several at once.

mod band;
mod excitation;
mod gate;
mod hot;
mod layout;
mod lift;
mod linear;
mod pointwise;
mod pool;
mod quantised;
mod reduce;
mod rules;
mod sign;
mod slope;

use std::collections::{HashMap, HashSet};

use crate::emit::Emit;
use crate::error::{Error, Result};
use crate::graph::{Build, Graph, Node, NodeId, ValueId};
use crate::op::{BinaryFn, Op, UnaryFn};
use crate::shape::{Dim, Shape};
use crate::tensor::{DType, Tensor};

pub use pointwise::{is_relu, is_smooth};
pub(crate) use reduce::lrn_base;
pub use rules::{LinearRule, ReluRule, Rules};

use band::Band;
use excitation::Excitation;

/// A signal at a value of the graph.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    /// The value where the sweep starts.
    pub target: ValueId,
    /// The cotangent there: the shape of `target`, behind an axis of `copies` if there is one.
    pub cotangent: ValueId,
    /// The number of cotangents, when they have a leading axis of their own.
    pub copies: Option<usize>,
    /// Where the cotangent is 1 at one cell of its last axis and 0 elsewhere: the index of that cell, in the shape of the
    /// cotangent without its last axis.
    pub hot: Option<ValueId>,
}

/// What a sweep returns.
#[derive(Clone, Debug)]
pub struct Swept<S = ValueId> {
    /// One signal per value read, with the copies axis if the seed had one.
    pub signals: Vec<S>,
    /// Results of the nodes of the ReLU family that the ReLU rule acted on.
    pub ruled: Vec<ValueId>,
    /// Results of the activations on the path that the ReLU rule does not apply to.
    pub unruled: Vec<ValueId>,
}

/// Sweeps from `seed` back to the values `read_at`.
///
/// # Errors
/// [`Error::NotDifferentiable`] lists every node on the way that has no rule;
/// [`Error::Unfit`] when no signal arrives at a value.
pub fn backward(build: &mut Build, seed: Seed, read_at: &[ValueId], rules: Rules) -> Result<Swept> {
    let Swept { signals, ruled, unruled } = arriving(build, seed, read_at, rules)?;
    let arrived =
        |(id, signal): (&ValueId, Option<ValueId>)| signal.ok_or_else(|| stopped(build.graph(), *id));
    Ok(Swept { signals: read_at.iter().zip(signals).map(arrived).collect::<Result<_>>()?, ruled, unruled })
}

/// As [`backward`], with `None` for a value that no signal arrives at.
///
/// # Errors
/// [`Error::NotDifferentiable`] as [`backward`].
pub fn arriving(
    build: &mut Build,
    seed: Seed,
    read_at: &[ValueId],
    rules: Rules,
) -> Result<Swept<Option<ValueId>>> {
    let first = build.graph().nodes().len() as u32;
    let graph = unfolded(build, read_at, seed.target)?;
    let path = Path::between(&graph, read_at, seed.target);
    refuse(&graph, &path)?;

    let mut lifted = HashSet::new();
    if seed.copies.is_some() {
        lifted.extend([seed.cotangent].into_iter().chain(seed.hot));
    }
    let mut sweep = Sweep {
        build,
        graph: &graph,
        path: &path.nodes,
        rules,
        bounded: path.nodes.iter().all(|&id| gate::has_bounded_slope(&graph, graph.node(id))),
        seed,
        lifted,
        first,
        bands: HashMap::new(),
        cuts: HashMap::new(),
    };
    let mut excitation = match rules.linear {
        LinearRule::Gradient => None,
        LinearRule::Excitation { contrastive } => Some(Excitation::new(&graph, seed.target, contrastive)),
    };
    let mut signals: HashMap<ValueId, ValueId> = HashMap::from([(seed.target, seed.cotangent)]);
    let (mut ruled, mut unruled) = (Vec::new(), Vec::new());
    for &id in path.nodes.iter().rev() {
        let node = graph.node(id);
        let arrived: Vec<Option<ValueId>> =
            node.outputs.iter().map(|o| o.and_then(|o| signals.get(&o).copied())).collect();
        if arrived.iter().all(Option::is_none) {
            continue;
        }
        if let (ReluRule::Deconvnet | ReluRule::Guided, Some(id)) =
            (rules.relu, node.outputs.first().copied().flatten())
        {
            match pointwise::family(&graph, &path.nodes, node) {
                pointwise::Family::Relu => ruled.push(id),
                pointwise::Family::Smooth => unruled.push(id),
                pointwise::Family::Other => {}
            }
        }
        let wanted: Vec<bool> =
            node.inputs.iter().map(|i| i.is_some_and(|i| path.values.contains(&i))).collect();
        let sent = match &mut excitation {
            None => rules::backward(&mut sweep, node, &arrived, &wanted)?,
            Some(excitation) => excitation.backward(&mut sweep, node, &arrived, &wanted)?,
        };
        for (input, signal) in node.inputs.iter().zip(sent) {
            let (Some(input), Some(signal)) = (*input, signal) else { continue };
            if !path.values.contains(&input) {
                continue;
            }
            let signal = sweep.unbroadcast(signal, &graph.shape(input)?.clone())?;
            let total = match signals.get(&input) {
                Some(&before) => sweep.add(before, signal)?,
                None => signal,
            };
            signals.insert(input, total);
        }
    }
    Ok(Swept { signals: read_at.iter().map(|id| signals.get(id).copied()).collect(), ruled, unruled })
}

/// The graph as the sweep sees it: where composites on the way stood, the nodes of their bodies.
fn unfolded(build: &mut Build, read_at: &[ValueId], target: ValueId) -> Result<Graph> {
    let whole = build.graph().clone();
    let path = Path::between(&whole, read_at, target);
    let mut copies: HashMap<NodeId, Vec<ValueId>> = HashMap::new();
    for &id in &path.nodes {
        if let Op::Composite(c) = &whole.node(id).op {
            let operands: Vec<ValueId> = whole.node(id).inputs.iter().flatten().copied().collect();
            copies.insert(id, build.inline(&c.body, &operands)?);
        }
    }
    if copies.is_empty() {
        return Ok(whole);
    }
    Ok(build.graph().standing(&copies, target))
}

fn stopped(graph: &Graph, id: ValueId) -> Error {
    Error::unfit(
        format!("no gradient reaches {:?} from the score", graph.value(id).name),
        "the score does not depend on it, or a rounding, comparison or index stops the gradient; choose another --layer",
    )
}

/// The values and nodes that lie on a way from the values read to the target.
struct Path {
    values: HashSet<ValueId>,
    nodes: Vec<NodeId>,
}

impl Path {
    fn between(graph: &Graph, from: &[ValueId], to: ValueId) -> Path {
        let mut values: HashSet<ValueId> = from.iter().copied().collect();
        let mut forward = Vec::new();
        let mut whole: HashSet<ValueId> = HashSet::new();
        for (id, node) in graph.nodes() {
            if is_whole(graph, node, &whole) {
                whole.extend(node.outputs.iter().flatten());
            }
            // What is held sends nothing back.
            if matches!(node.op, Op::Unary(UnaryFn::Hold)) {
                continue;
            }
            if node.inputs.iter().flatten().any(|i| values.contains(i)) {
                let counts = carries_integers(graph, node, &whole);
                let carries = |o: &&ValueId| counts || graph.value(**o).dtype.is_none_or(DType::is_float);
                let outputs: Vec<ValueId> = node.outputs.iter().flatten().filter(carries).copied().collect();
                if !outputs.is_empty() {
                    values.extend(outputs);
                    forward.push(id);
                }
            }
        }
        let mut needed = HashSet::from([to]);
        let mut nodes = Vec::new();
        for id in forward.into_iter().rev() {
            let node = graph.node(id);
            if node.outputs.iter().flatten().any(|o| needed.contains(o)) {
                needed.extend(node.inputs.iter().flatten().filter(|i| values.contains(i)));
                nodes.push(id);
            }
        }
        nodes.reverse();
        values.retain(|v| needed.contains(v));
        Path { values, nodes }
    }
}

/// Whether integers that the node makes carry signal: those that stand for real numbers, as levels and cells of byte images
/// do, moved or chosen, and whole numbers in another type. What a composite makes its body tells.
fn carries_integers(graph: &Graph, node: &Node, whole: &HashSet<ValueId>) -> bool {
    match &node.op {
        Op::QuantizeLinear { .. }
        | Op::Concat { .. }
        | Op::Expand { .. }
        | Op::Gather { .. }
        | Op::Pad { .. }
        | Op::Slice(_)
        | Op::Split { .. }
        | Op::Composite(_) => true,
        // A cast of other numbers cuts digits off, and one to truth values compares.
        Op::Cast(to) => *to != DType::Bool && takes_whole(graph, node, whole),
        op => op.is_layout(),
    }
}

/// Whether the node makes floats that are whole numbers by construction: integers, their sums and products.
fn is_whole(graph: &Graph, node: &Node, whole: &HashSet<ValueId>) -> bool {
    match node.op {
        Op::Cast(to) if to.is_float() => takes_whole(graph, node, whole),
        Op::Binary(BinaryFn::Add | BinaryFn::Sub | BinaryFn::Mul) | Op::Conv(_) | Op::MatMul => {
            node.inputs.iter().flatten().all(|x| whole.contains(x))
        }
        _ => false,
    }
}

/// Whether all operands are whole numbers, by their type or by construction.
fn takes_whole(graph: &Graph, node: &Node, whole: &HashSet<ValueId>) -> bool {
    let is_whole = |&x: &ValueId| whole.contains(&x) || graph.value(x).dtype.is_some_and(|d| !d.is_float());
    node.inputs.iter().flatten().all(is_whole)
}

fn refuse(graph: &Graph, path: &Path) -> Result<()> {
    let nodes: Vec<String> = path
        .nodes
        .iter()
        .filter_map(|&id| {
            let node = graph.node(id);
            let wanted: Vec<bool> =
                node.inputs.iter().map(|i| i.is_some_and(|i| path.values.contains(&i))).collect();
            rules::refusal(&node.op, &wanted).map(|why| format!("{}: {why}", node.place()))
        })
        .collect();
    if nodes.is_empty() { Ok(()) } else { Err(Error::NotDifferentiable { nodes }) }
}

/// The sweep in progress: emits nodes, lifted over the copies axis where an operand is.
pub(crate) struct Sweep<'a> {
    build: &'a mut Build,
    /// The graph that is being differentiated.
    pub graph: &'a Graph,
    /// The nodes that are swept.
    pub path: &'a [NodeId],
    /// The rules that are in force.
    pub rules: Rules,
    /// Whether no derivative on the way has a pole, so that signals are finite.
    bounded: bool,
    seed: Seed,
    lifted: HashSet<ValueId>,
    /// The number of the first node that the sweep added.
    first: u32,
    /// The signals that are 0 outside a band.
    bands: HashMap<ValueId, Band>,
    /// The parts of values that lie in a band, by value, axis, start and length, and cells of a part.
    cuts: HashMap<(ValueId, usize, [usize; 2], Dim), ValueId>,
}

impl Sweep<'_> {
    /// Sums a signal over the axes along which `shape` was broadcast.
    fn unbroadcast(&mut self, signal: ValueId, shape: &Shape) -> Result<ValueId> {
        let from = self.shape(signal)?;
        if from == *shape {
            return Ok(signal);
        }
        let extra = from.rank() - shape.rank();
        let axes: Vec<usize> = (0..from.rank())
            .filter(|&i| i < extra || (shape.0[i - extra] == Dim::Fixed(1) && from.0[i] != Dim::Fixed(1)))
            .collect();
        let summed = if axes.is_empty() { signal } else { self.sum(signal, &axes, true)? };
        self.reshape(summed, shape.clone())
    }

    /// Adds a node that is computed everywhere.
    fn whole(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        let lifted: Vec<bool> = inputs.iter().map(|i| self.lifted.contains(i)).collect();
        match self.seed.copies {
            Some(copies) if lifted.contains(&true) => {
                let result = lift::lift(self.build, copies, op, inputs, &lifted)?;
                self.lifted.insert(result);
                Ok(result)
            }
            _ => self.build.emit(op, inputs),
        }
    }
}

impl Emit for Sweep<'_> {
    fn emit(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        if let Some(rows) = hot::through(self, &op, inputs)? {
            return Ok(rows);
        }
        match band::through(self, &op, inputs)? {
            Some(result) => Ok(result),
            None => self.whole(op, inputs),
        }
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.build.constant(tensor)
    }

    fn shape(&self, id: ValueId) -> Result<Shape> {
        let mut shape = self.build.shape(id)?;
        if self.lifted.contains(&id) {
            shape.0.remove(0);
        }
        Ok(shape)
    }

    fn dtype(&self, id: ValueId) -> DType {
        self.build.dtype(id)
    }
}
