//! Rules of element-wise ops, the three ReLU rules among them.

use super::rules::{ReluRule, Sent};
use super::{Sweep, quantised, slope};
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Graph, Node, NodeId, ValueId};
use crate::op::{BinaryFn, CompareFn, Op, UnaryFn};
use crate::shape::{Dim, Shape};

/// What a node is to the ReLU rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// The ReLU rule acts on it.
    Relu,
    /// A nonlinear activation that keeps its derivative.
    Smooth,
    /// Not an activation.
    Other,
}

/// Whether the node belongs to the ReLU family: ReLU, Clip, LeakyReLU, PReLU, max(x, 0) and a
/// quantisation that cuts sums off at 0, but not the clip that is the gate of a hard-swish or
/// hard-sigmoid, nor a bound on one side that is not 0.
pub fn is_relu(graph: &Graph, node: &Node) -> bool {
    family(graph, &all_nodes(graph), node) == Family::Relu
}

/// Whether the node is an activation that is no ReLU, so that rules for ReLUs do not apply to it.
pub fn is_smooth(graph: &Graph, node: &Node) -> bool {
    family(graph, &all_nodes(graph), node) == Family::Smooth
}

fn all_nodes(graph: &Graph) -> Vec<NodeId> {
    graph.nodes().map(|(id, _)| id).collect()
}

/// What a node is to the ReLU rules, among the nodes `path` of the graph.
pub(super) fn family(graph: &Graph, path: &[NodeId], node: &Node) -> Family {
    match node.op {
        Op::Unary(UnaryFn::Relu | UnaryFn::LeakyRelu(_)) | Op::PRelu => Family::Relu,
        Op::Unary(UnaryFn::Clip { .. }) if is_gate(graph, path, node) => Family::Smooth,
        // One bound alone is max(x, a) or min(x, b): a rectifier when it is max(x, 0).
        Op::Unary(UnaryFn::Clip { min, max }) if min == 0.0 || (min > f32::MIN && max < f32::MAX) => {
            Family::Relu
        }
        Op::Binary(BinaryFn::Max) if rectified(graph, node).is_some() => Family::Relu,
        Op::QuantizeLinear { .. } if quantised::is_relu(graph, node) => Family::Relu,
        Op::Unary(
            UnaryFn::Elu(_)
            | UnaryFn::Gelu
            | UnaryFn::GeluTanh
            | UnaryFn::HardSigmoid { .. }
            | UnaryFn::HardSwish
            | UnaryFn::Sigmoid
            | UnaryFn::Softplus
            | UnaryFn::Tanh,
        ) => Family::Smooth,
        _ => Family::Other,
    }
}

/// The operand that `max(x, 0)` rectifies.
fn rectified(graph: &Graph, node: &Node) -> Option<usize> {
    let zero = |i: usize| {
        let constant = graph.value(node.inputs[i]?).constant.as_ref()?;
        (constant.len() == 1 && constant.to_f64s() == [0.0]).then_some(1 - i)
    };
    zero(1).or_else(|| zero(0))
}

/// Whether a clip of what was shifted by a number, or a clip that is scaled, multiplies another value: the gate of a
/// hard-swish or of a squeeze-and-excitation block. A clip that multiplies as it is, as in StarNet, is a ReLU6.
fn is_gate(graph: &Graph, path: &[NodeId], node: &Node) -> bool {
    let Some(mut value) = node.outputs.first().copied().flatten() else { return false };
    let mut sigmoid = is_shifted(graph, node);
    loop {
        let mut users = path.iter().map(|&id| graph.node(id)).filter(|n| n.inputs.contains(&Some(value)));
        let (Some(user), None) = (users.next(), users.next()) else { return false };
        let constant = |i: &Option<ValueId>| i.is_some_and(|i| graph.value(i).constant.is_some());
        match user.op {
            Op::Binary(BinaryFn::Mul) if !user.inputs.iter().any(constant) => return sigmoid,
            Op::Binary(BinaryFn::Mul | BinaryFn::Div) => match user.outputs[..] {
                [Some(next)] => (value, sigmoid) = (next, true),
                _ => return false,
            },
            _ => return false,
        }
    }
}

/// Whether the operand of a node is a value plus or minus one constant number.
fn is_shifted(graph: &Graph, node: &Node) -> bool {
    let maker = node.inputs.first().copied().flatten().and_then(|id| graph.value(id).producer);
    let Some(maker) = maker.map(|id| graph.node(id)) else { return false };
    let number = |id: ValueId| graph.value(id).constant.as_ref().is_some_and(|c| c.len() == 1);
    matches!(maker.op, Op::Binary(BinaryFn::Add | BinaryFn::Sub))
        && maker.inputs.iter().flatten().any(|&id| number(id))
}

/// The signal through the ReLU family: `derivative` is φ′(x) as a condition where it is 0 or 1, or as a factor.
pub(super) fn relu(sweep: &mut Sweep<'_>, g: ValueId, derivative: Derivative) -> Result<ValueId> {
    let g = match sweep.rules.relu {
        ReluRule::Gradient => g,
        ReluRule::Deconvnet | ReluRule::Guided => sweep.unary(UnaryFn::Relu, g)?,
    };
    match (sweep.rules.relu, derivative) {
        (ReluRule::Deconvnet, _) => Ok(g),
        (_, Derivative::Where(condition)) => sweep.gate(condition, g),
        (_, Derivative::Times(factor)) => sweep.mul(g, factor),
    }
}

pub(super) enum Derivative {
    Where(ValueId),
    Times(ValueId),
}

pub(super) fn unary(sweep: &mut Sweep<'_>, node: &Node, f: UnaryFn, g: ValueId) -> Result<Option<ValueId>> {
    let x = node.input(0)?;
    let y = node.outputs.first().copied().flatten().unwrap_or(x);
    if family(sweep.graph, sweep.path, node) != Family::Relu {
        let derivative = slope::of(sweep, f, x, y)?;
        return match (f, derivative) {
            (UnaryFn::Neg, _) => sweep.unary(UnaryFn::Neg, g).map(Some),
            (_, Some(Derivative::Where(condition))) => sweep.gate(condition, g).map(Some),
            (_, Some(Derivative::Times(factor))) => sweep.mul(g, factor).map(Some),
            (_, None) => Ok(None),
        };
    }
    let derivative = match f {
        UnaryFn::Relu => Derivative::Where(sweep.compare(y, CompareFn::Greater, 0.0)?),
        UnaryFn::Clip { min, max } => match inside(sweep, y, min, max)? {
            Some(condition) => Derivative::Where(condition),
            None => return Ok(Some(g)),
        },
        UnaryFn::LeakyRelu(slope) => Derivative::Times(leak(sweep, x, slope)?),
        _ => return Ok(None),
    };
    relu(sweep, g, derivative).map(Some)
}

/// `[min < y < max]`, from the output of a clip; `None` where nothing is clipped.
pub(super) fn inside(sweep: &mut Sweep<'_>, y: ValueId, min: f32, max: f32) -> Result<Option<ValueId>> {
    let above = match min == f32::NEG_INFINITY {
        true => None,
        false => Some(sweep.compare(y, CompareFn::Greater, min)?),
    };
    let below = match max == f32::INFINITY {
        true => None,
        false => Some(sweep.compare(y, CompareFn::Less, max)?),
    };
    match (above, below) {
        (Some(a), Some(b)) => sweep.emit(Op::Binary(BinaryFn::And), &[a, b]).map(Some),
        (a, b) => Ok(a.or(b)),
    }
}

/// 1 where `x > 0`, `slope` elsewhere.
fn leak(sweep: &mut Sweep<'_>, x: ValueId, slope: f32) -> Result<ValueId> {
    let positive = sweep.compare(x, CompareFn::Greater, 0.0)?;
    let (one, slope) = (sweep.scalar(x, 1.0)?, sweep.scalar(x, slope)?);
    sweep.emit(Op::Where, &[positive, one, slope])
}

pub(super) fn prelu(s: &mut Sweep<'_>, node: &Node, g: ValueId, wanted: &[bool]) -> Result<Sent> {
    let (x, slope) = (node.input(0)?, node.input(1)?);
    let positive = s.compare(x, CompareFn::Greater, 0.0)?;
    let one = s.scalar(x, 1.0)?;
    let factor = s.emit(Op::Where, &[positive, one, slope])?;
    let to_x = relu(s, g, Derivative::Times(factor))?;
    let to_slope = match wanted.get(1) {
        Some(true) => {
            let product = s.mul(g, x)?;
            let zero = s.scalar(x, 0.0)?;
            Some(s.emit(Op::Where, &[positive, zero, product])?)
        }
        _ => None,
    };
    Ok(vec![Some(to_x), to_slope])
}

pub(super) fn binary(
    s: &mut Sweep<'_>,
    node: &Node,
    f: BinaryFn,
    g: ValueId,
    wanted: &[bool],
) -> Result<Sent> {
    let (a, b) = (node.input(0)?, node.input(1)?);
    let mut sent = vec![None, None];
    for (i, sent) in sent.iter_mut().enumerate() {
        if wanted[i] {
            *sent = operand(s, node, f, g, [a, b], i)?;
        }
    }
    Ok(sent)
}

/// The signal of operand `i`.
fn operand(
    s: &mut Sweep<'_>,
    node: &Node,
    f: BinaryFn,
    g: ValueId,
    [a, b]: [ValueId; 2],
    i: usize,
) -> Result<Option<ValueId>> {
    let other = if i == 0 { b } else { a };
    Ok(Some(match (f, i) {
        (BinaryFn::Add, _) | (BinaryFn::Sub, 0) => g,
        (BinaryFn::Sub, _) => s.unary(UnaryFn::Neg, g)?,
        (BinaryFn::Mul, _) => s.mul(g, other)?,
        (BinaryFn::Div, 0) => s.div(g, b)?,
        (BinaryFn::Div, _) => {
            // −g·a/b², from y = a/b
            let y = node.outputs.first().copied().flatten().unwrap_or(a);
            let share = s.div(y, b)?;
            let share = s.mul(g, share)?;
            s.unary(UnaryFn::Neg, share)?
        }
        (BinaryFn::Pow, 0) => {
            let one = s.scalar(b, 1.0)?;
            let lower = s.sub(b, one)?;
            let power = s.emit(Op::Binary(BinaryFn::Pow), &[a, lower])?;
            let slope = s.mul(b, power)?;
            s.mul(g, slope)?
        }
        (BinaryFn::Pow, _) => {
            let y = node.outputs.first().copied().flatten().unwrap_or(a);
            let log = s.unary(UnaryFn::Log, a)?;
            let slope = s.mul(y, log)?;
            s.mul(g, slope)?
        }
        (BinaryFn::Max | BinaryFn::Min, _) => {
            // The first operand wins only where it is strictly beyond the second, so that each cell's
            // signal goes one way; a constant operand plays the second, so that max(x, 0)′ is [x > 0].
            let constant = |id: ValueId| s.graph.value(id).constant.is_some();
            let first = usize::from(constant(a) && !constant(b));
            let beyond = if f == BinaryFn::Max { CompareFn::Greater } else { CompareFn::Less };
            let wins = s.emit(Op::Compare(beyond), &[[a, b][first], [b, a][first]])?;
            match i == first {
                true if rectified(s.graph, node) == Some(i) && f == BinaryFn::Max => {
                    relu(s, g, Derivative::Where(wins))?
                }
                true => s.gate(wins, g)?,
                false => {
                    let loses = s.unary(UnaryFn::Not, wins)?;
                    s.gate(loses, g)?
                }
            }
        }
        (BinaryFn::And | BinaryFn::Or | BinaryFn::Mod, _) => return Ok(None),
    }))
}

/// `Where`: to the chosen operand.
pub(super) fn choose(s: &mut Sweep<'_>, node: &Node, g: ValueId) -> Result<Sent> {
    let condition = node.input(0)?;
    let to_a = s.keep_where(condition, g)?;
    let inverse = s.unary(UnaryFn::Not, condition)?;
    let to_b = s.keep_where(inverse, g)?;
    Ok(vec![None, Some(to_a), Some(to_b)])
}

/// The signal at an integer, such as a cell of a byte image, is no integer.
pub(super) fn cast(s: &mut Sweep<'_>, node: &Node, g: ValueId) -> Result<ValueId> {
    let from = s.dtype(node.input(0)?);
    if from.is_float() { s.cast(g, from) } else { Ok(g) }
}

/// A vector over axis `axis` shaped to broadcast with values of rank `rank`.
pub(super) fn along(s: &mut Sweep<'_>, vector: ValueId, axis: usize, rank: usize) -> Result<ValueId> {
    let mut dims = vec![Dim::Fixed(1); rank];
    dims[axis] = s.shape(vector)?.0[0];
    s.reshape(vector, Shape(dims))
}
