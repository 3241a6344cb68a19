//! Excitation backprop (Zhang et al. 2016 and 2018, arXiv 1608.00507): the signal is a probability, which the result of
//! a node shares out among its operands by how much each of them excites it.
//!
//! For `aᵢ = φ(Σⱼ wᵢⱼ·aⱼ + bᵢ)` with `aⱼ ≥ 0` and `w⁺ = max(w, 0)`, the operand `aⱼ` gets
//! `P(aⱼ) = aⱼ · Σᵢ w⁺ᵢⱼ·P(aᵢ)/Nᵢ` with `Nᵢ = Σⱼ w⁺ᵢⱼ·aⱼ`; a term with `Nᵢ = 0` is dropped. That is the gradient of the
//! node with weights `w⁺` and no bias, for the signal `P/N`, times `a`, so linear nodes go back by their gradient rule.
//! Where each cell of the result comes from one cell of an operand, the rule is the gradient rule itself.

mod shares;
mod turn;

use std::collections::{HashMap, HashSet};

use self::shares::{Shares, add_up, given, share};
use self::turn::{Turned, hands_signs_on, take_signs};
use super::rules::{self, Sent};
use super::sign::Signs;
use super::{Sweep, pointwise, quantised};
use crate::emit::Emit;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::layer::is_constant;
use crate::op::{BinaryFn, CompareFn, Gemm, Op, ReduceKind, ResizeMode, UnaryFn};

/// The rules of excitation, for one sweep.
pub(super) struct Excitation {
    signs: Signs,
    /// For the contrastive rule: values that the signal reaches before it has passed weights.
    unweighted: Option<HashSet<ValueId>>,
    /// Signs that a signed value is multiplied with behind its node: the node's weights take them.
    turned: HashMap<ValueId, Turned>,
}

/// A node that signal arrives at.
struct At<'a> {
    node: &'a Node,
    /// Its first result.
    y: ValueId,
    /// The signal there.
    g: ValueId,
    wanted: &'a [bool],
    turned: Option<Turned>,
}

impl Excitation {
    /// The rules for a signal that starts at `target`.
    pub fn new(graph: &Graph, target: ValueId, contrastive: bool) -> Excitation {
        let unweighted = contrastive.then(|| HashSet::from([target]));
        Excitation { signs: Signs::new(graph), unweighted, turned: HashMap::new() }
    }

    /// Sends the signals `arrived` at the results of `node` to the operands that are `wanted`.
    ///
    /// # Errors
    /// [`Error::Unfit`] names the node when an operand of it is signed, or when it has no rule.
    pub fn backward(
        &mut self,
        s: &mut Sweep<'_>,
        node: &Node,
        arrived: &[Option<ValueId>],
        wanted: &[bool],
    ) -> Result<Sent> {
        let contrast = self.passes_first_weights(node);
        let (Some(&Some(y)), Some(&Some(g))) = (node.outputs.first(), arrived.first()) else {
            return rules::backward(s, node, arrived, wanted);
        };
        let at = At { node, y, g, wanted, turned: self.turned.get(&y).cloned() };
        if let (Some(Turned { by, .. }), false) = (&at.turned, hands_signs_on(&node.op)) {
            let why = "multiplies by negative numbers, and no layer of weights before it takes their signs";
            return Err(unfit(format!("{by} {why}")));
        }
        match &node.op {
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_) | Op::MatMul => self.weighted(s, &at, contrast),
            Op::AveragePool { .. }
            | Op::GlobalAveragePool
            | Op::Reduce { kind: ReduceKind::Mean | ReduceKind::Sum, .. } => self.pooled(s, &at),
            Op::Resize(resize) if resize.mode == ResizeMode::Linear => self.pooled(s, &at),
            Op::Binary(BinaryFn::Add | BinaryFn::Sub | BinaryFn::Mul | BinaryFn::Div) => {
                self.arithmetic(s, &at)
            }
            Op::BatchNorm { .. } => {
                let rank = s.shape(y)?.rank();
                let factor = pointwise::along(s, node.input(1)?, 1, rank)?;
                self.scaled(s, &at, 0, factor)
            }
            Op::Unary(f) => self.unary(s, &at, *f),
            Op::Binary(BinaryFn::Pow) => {
                self.require(s.graph, node, 0)?;
                let rises = is_constant(s.graph, node.input(1)?) && self.is_nonnegative(s, node.input(1)?);
                if rises { Ok(vec![Some(g)]) } else { Err(no_rule(node)) }
            }
            Op::Lrn(_) | Op::PRelu | Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. } => {
                Ok(vec![Some(g)])
            }
            Op::Identity | Op::Dropout | Op::Cast(_) => {
                let sent = rules::backward(s, node, arrived, wanted)?;
                self.turn(s, &At { g: sent[0].unwrap_or(g), ..at }, 0, None)
            }
            Op::MaxPool(_)
            | Op::GlobalMaxPool
            | Op::Reduce { kind: ReduceKind::Max, .. }
            | Op::Binary(BinaryFn::Max | BinaryFn::Min)
            | Op::TopK { .. }
            | Op::Where
            | Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Squeeze { .. }
            | Op::Unsqueeze { .. }
            | Op::Transpose { .. }
            | Op::Concat { .. }
            | Op::Split { .. }
            | Op::Slice(_)
            | Op::Pad { .. }
            | Op::Expand { .. }
            | Op::Gather { .. }
            | Op::GatherNd { .. }
            | Op::ScatterNd { add: false }
            | Op::DepthToSpace { .. }
            | Op::Resize(_) => rules::backward(s, node, arrived, wanted),
            // The sweep sees the bodies of composites.
            Op::Composite(_)
            | Op::ScatterNd { add: true }
            | Op::Binary(BinaryFn::And | BinaryFn::Mod | BinaryFn::Or)
            | Op::Softmax { .. }
            | Op::LogSoftmax { .. }
            | Op::Reduce { .. }
            | Op::Compare(_)
            | Op::ArgMax { .. }
            | Op::Shape { .. }
            | Op::ConstantOfShape(_)
            | Op::Range
            | Op::Opaque(_) => Err(no_rule(node)),
        }
    }

    /// Whether the node has the first weights that a contrastive signal passes.
    fn passes_first_weights(&mut self, node: &Node) -> bool {
        let Some(unweighted) = &mut self.unweighted else { return false };
        if !node.outputs.iter().flatten().any(|o| unweighted.contains(o)) {
            return false;
        }
        let weighted = has_weights(&node.op);
        if !weighted {
            unweighted.extend(node.inputs.iter().flatten());
        }
        weighted
    }

    fn is_nonnegative(&mut self, s: &Sweep<'_>, id: ValueId) -> bool {
        self.signs.is_nonnegative(s.graph, id)
    }

    /// Checks that operand `i` is never negative.
    fn require(&mut self, graph: &Graph, node: &Node, i: usize) -> Result<()> {
        let x = node.input(i)?;
        if self.signs.is_nonnegative(graph, x) {
            return Ok(());
        }
        let mut maker = x;
        let source = loop {
            let Some(id) = graph.value(maker).producer else {
                break format!("the input {:?}", graph.value(maker).name);
            };
            let made = graph.node(id);
            match made.inputs.first() {
                Some(&Some(before)) if made.op.is_layout() => maker = before,
                _ => break format!("the result of {}", made.place()),
            }
        };
        let place = node.place();
        Err(unfit(format!("{place} needs activations that are never negative, but {source} may be")))
    }

    /// Convolutions and matrix products: what the module says; for the contrastive rule, less the same for `−w`.
    fn weighted(&mut self, s: &mut Sweep<'_>, at: &At<'_>, contrast: bool) -> Result<Sent> {
        let node = at.node;
        let i = at.wanted.iter().position(|w| *w).unwrap_or(0);
        let others = node.inputs.iter().enumerate().filter(|&(j, _)| j != i);
        if i > 1 || !others.filter_map(|(_, id)| *id).all(|id| is_constant(s.graph, id)) {
            return Err(unfit(format!("{} multiplies activations with each other", node.place())));
        }
        self.require(s.graph, node, i)?;
        let mut w = node.input(1 - i)?;
        if let Some(turned) = &at.turned {
            w = take_signs(s, node, i, w, turned)?;
        }
        let op = match node.op {
            Op::Gemm(gemm) => {
                if gemm.alpha < 0.0 {
                    w = s.unary(UnaryFn::Neg, w)?;
                }
                Op::Gemm(Gemm { alpha: 1.0, ..gemm })
            }
            ref op => op.clone(),
        };
        let Shares { mut of, total } = share(s, at, &op, i, w)?;
        if self.unweighted.is_some() {
            let mut shared_out = given(s, at, total)?;
            if contrast {
                let negated = s.unary(UnaryFn::Neg, w)?;
                let inhibited = share(s, at, &op, i, negated)?;
                of = s.sub(of, inhibited.of)?;
                let taken = given(s, at, inhibited.total)?;
                shared_out = s.sub(shared_out, taken)?;
            }
            of = add_up(s, of, shared_out, node.input(i)?)?;
        }
        let mut sent = vec![None; node.inputs.len()];
        sent[i] = Some(of);
        Ok(sent)
    }

    /// Sums with positive weights and no bias: shares are `a·P/y`.
    fn pooled(&mut self, s: &mut Sweep<'_>, at: &At<'_>) -> Result<Sent> {
        self.require(s.graph, at.node, 0)?;
        let ratio = s.quotient(at.g, at.y)?;
        let sent = rules::backward(s, at.node, &[Some(ratio)], at.wanted)?;
        let x = at.node.input(0)?;
        sent.into_iter().map(|signal| signal.map(|g| s.mul(x, g)).transpose()).collect()
    }

    /// A rising function hands its signal on; one that is flat below a bound, where its result is above.
    fn unary(&mut self, s: &mut Sweep<'_>, at: &At<'_>, f: UnaryFn) -> Result<Sent> {
        let bound = match f {
            UnaryFn::Relu | UnaryFn::HardSigmoid { .. } => Some(0.0),
            UnaryFn::Clip { min, .. } if min > f32::NEG_INFINITY => Some(min),
            UnaryFn::Clip { .. }
            | UnaryFn::Elu(_)
            | UnaryFn::Erf
            | UnaryFn::Exp
            | UnaryFn::LeakyRelu(_)
            | UnaryFn::Log
            | UnaryFn::Sigmoid
            | UnaryFn::Softplus
            | UnaryFn::Sqrt
            | UnaryFn::Tanh => None,
            // These rise where their argument is not negative.
            UnaryFn::Abs | UnaryFn::Gelu | UnaryFn::GeluTanh | UnaryFn::HardSwish => {
                self.require(s.graph, at.node, 0)?;
                None
            }
            _ => return Err(no_rule(at.node)),
        };
        let Some(bound) = bound else { return Ok(vec![Some(at.g)]) };
        let above = s.compare(at.y, CompareFn::Greater, bound)?;
        Ok(vec![Some(s.keep_where(above, at.g)?)])
    }

    fn arithmetic(&mut self, s: &mut Sweep<'_>, at: &At<'_>) -> Result<Sent> {
        let node = at.node;
        let constant = [0, 1].map(|i| node.inputs[i].is_some_and(|id| is_constant(s.graph, id)));
        match (&node.op, constant) {
            // A bias takes nothing.
            (Op::Binary(BinaryFn::Add), [true, false]) => self.turn(s, at, 1, None),
            (Op::Binary(BinaryFn::Add | BinaryFn::Sub), [false, true]) => self.turn(s, at, 0, None),
            (Op::Binary(BinaryFn::Add), [false, false]) => self.sum(s, at),
            (Op::Binary(BinaryFn::Mul), [true, false]) => self.scaled(s, at, 1, node.input(0)?),
            (Op::Binary(BinaryFn::Mul | BinaryFn::Div), [false, true]) => {
                self.scaled(s, at, 0, node.input(1)?)
            }
            // Normalisation by what is positive, as LRN.
            (Op::Binary(BinaryFn::Div), [false, false])
                if at.wanted[0] && self.is_nonnegative(s, node.input(1)?) =>
            {
                self.turn(s, at, 0, None)
            }
            (Op::Binary(BinaryFn::Mul), _) => {
                Err(unfit(format!("{} multiplies activations with each other", node.place())))
            }
            _ => Err(no_rule(node)),
        }
    }

    /// `P·max(bᵢ, 0)/Σ max(b, 0)` to each operand `bᵢ`.
    fn sum(&mut self, s: &mut Sweep<'_>, at: &At<'_>) -> Result<Sent> {
        if let Some(Turned { by, .. }) = &at.turned {
            return Err(unfit(format!("{by} multiplies a sum by negative numbers")));
        }
        let operands = [at.node.input(0)?, at.node.input(1)?];
        let mut parts = operands;
        for part in &mut parts {
            if !self.is_nonnegative(s, *part) {
                *part = s.unary(UnaryFn::Relu, *part)?;
            }
        }
        let total = match parts == operands {
            true => at.y,
            false if self.is_positive_where_signal(s, at.y) => s.add(parts[0], parts[1])?,
            false => {
                let place = at.node.place();
                return Err(unfit(format!("{place} makes sums that may be negative, and no ReLU follows")));
            }
        };
        let ratio = s.quotient(at.g, total)?;
        let mut sent = vec![None, None];
        for i in 0..2 {
            if at.wanted[i] {
                sent[i] = Some(s.mul(parts[i], ratio)?);
            }
        }
        Ok(sent)
    }

    /// Whether signal arrives only at positive cells of the value: all that use it are rectifiers, or sums in turn.
    fn is_positive_where_signal(&mut self, s: &Sweep<'_>, value: ValueId) -> bool {
        let mut users = users(s, value).peekable();
        users.peek().is_some()
            && users.all(|node| match node.op {
                Op::Unary(UnaryFn::Relu) => true,
                Op::Unary(UnaryFn::Clip { min, .. }) => min >= 0.0,
                Op::Binary(BinaryFn::Max) => {
                    node.outputs.iter().flatten().all(|&o| self.signs.is_nonnegative(s.graph, o))
                }
                Op::QuantizeLinear { .. } => quantised::is_relu(s.graph, node),
                Op::Binary(BinaryFn::Add) => !node.inputs.iter().flatten().any(|&i| is_constant(s.graph, i)),
                _ => false,
            })
    }
}

fn has_weights(op: &Op) -> bool {
    matches!(op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_) | Op::MatMul)
}

/// The nodes on the path that use the value.
fn users<'a>(s: &Sweep<'a>, value: ValueId) -> impl Iterator<Item = &'a Node> {
    let graph = s.graph;
    s.path.iter().map(move |&id| graph.node(id)).filter(move |n| n.inputs.contains(&Some(value)))
}

fn no_rule(node: &Node) -> Error {
    unfit(format!("{} has no rule in it", node.place()))
}

fn unfit(why: String) -> Error {
    Error::unfit(
        format!("excitation backprop is not defined here: {why}"),
        "choose a --layer behind that node (see `whycam inspect`), or a method for any activations, such as grad-cam",
    )
}
