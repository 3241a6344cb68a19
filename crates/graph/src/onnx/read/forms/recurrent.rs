//! Recurrent networks, unrolled over their steps.

use super::activation::{softsign_of, thresholded};
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Told, malformed, not_modelled, sized};
use crate::op::{CompareFn, Op, UnaryFn};
use crate::shape::{Dim, Shape};
use crate::tensor::{DType, Tensor};

/// The operator, with the option that is its own.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// `h = f(x·Wᵀ + h·Rᵀ + b)`
    Rnn,
    /// `h = (1 − z)·c + z·h`, with the candidate `c = g(x·Wᵀ + (r·h)·Rᵀ + b)`; or `g(x·Wᵀ + b + r·(h·Rᵀ + b'))`.
    Gru { linear_before_reset: bool },
    /// `c = f·c + i·g`, `h = o·tanh(c)`; coupled: `f = 1 − i`.
    Lstm { coupled: bool },
}

impl Kind {
    /// How many rows of blocks the weights have.
    fn gates(self) -> usize {
        match self {
            Kind::Rnn => 1,
            Kind::Gru { .. } => 3,
            Kind::Lstm { .. } => 4,
        }
    }

    fn activations(self) -> &'static [&'static str] {
        match self {
            Kind::Rnn => &["tanh"],
            Kind::Gru { .. } => &["sigmoid", "tanh"],
            Kind::Lstm { .. } => &["sigmoid", "tanh", "tanh"],
        }
    }
}

/// A function that gates are passed through.
#[derive(Clone, Copy)]
enum Activation {
    Unary(UnaryFn),
    /// `alpha · x + beta`
    Affine(f32, f32),
    /// `alpha · tanh(beta · x)`
    ScaledTanh(f32, f32),
    Softsign,
    ThresholdedRelu(f32),
}

impl Activation {
    fn emit(self, b: &mut Body, x: ValueId) -> Result<ValueId> {
        match self {
            Activation::Unary(f) => b.unary(f, x),
            Activation::Affine(alpha, beta) => {
                let x = b.scale(x, alpha)?;
                b.shift(x, beta)
            }
            Activation::ScaledTanh(alpha, beta) => {
                let x = b.scale(x, beta)?;
                let y = b.unary(UnaryFn::Tanh, x)?;
                b.scale(y, alpha)
            }
            Activation::Softsign => softsign_of(b, x),
            Activation::ThresholdedRelu(alpha) => thresholded(b, x, alpha),
        }
    }
}

/// The activations of all directions. Each takes as many numbers from the lists as it has parameters.
fn activations(cx: &Cx, defaults: &[&str], directions: usize) -> Told<Vec<Activation>> {
    let count = defaults.len() * directions;
    let names: Vec<String> = match cx.attributes.strings("activations")? {
        Some(names) => names.iter().map(|n| n.to_ascii_lowercase()).collect(),
        None => defaults.iter().cycle().take(count).map(|&n| n.to_owned()).collect(),
    };
    if names.len() != count {
        return malformed(format!("it has {} activations instead of {count}", names.len()));
    }
    let mut alphas = cx.attributes.floats("activation_alpha")?.unwrap_or_default().iter().copied();
    let mut betas = cx.attributes.floats("activation_beta")?.unwrap_or_default().iter().copied();
    let mut all = Vec::new();
    for name in &names {
        let mut alpha = |or: f32| alphas.next().unwrap_or(or);
        let mut beta = |or: f32| betas.next().unwrap_or(or);
        all.push(match name.as_str() {
            "relu" => Activation::Unary(UnaryFn::Relu),
            "tanh" => Activation::Unary(UnaryFn::Tanh),
            "sigmoid" => Activation::Unary(UnaryFn::Sigmoid),
            "softplus" => Activation::Unary(UnaryFn::Softplus),
            "softsign" => Activation::Softsign,
            "leakyrelu" => Activation::Unary(UnaryFn::LeakyRelu(alpha(0.01))),
            "elu" => Activation::Unary(UnaryFn::Elu(alpha(1.0))),
            "thresholdedrelu" => Activation::ThresholdedRelu(alpha(1.0)),
            "hardsigmoid" => Activation::Unary(UnaryFn::HardSigmoid { alpha: alpha(0.2), beta: beta(0.5) }),
            "scaledtanh" => Activation::ScaledTanh(alpha(1.0), beta(1.0)),
            "affine" => Activation::Affine(alpha(1.0), beta(0.0)),
            other => return malformed(format!("an activation is {other:?}")),
        });
    }
    Ok(all)
}

pub(super) fn rnn(cx: &mut Cx) -> Told<Form> {
    unrolled(cx, Kind::Rnn)
}

pub(super) fn gru(cx: &mut Cx) -> Told<Form> {
    let linear_before_reset = cx.attributes.flag("linear_before_reset")?.unwrap_or(false);
    unrolled(cx, Kind::Gru { linear_before_reset })
}

pub(super) fn lstm(cx: &mut Cx) -> Told<Form> {
    let coupled = cx.attributes.flag("input_forget")?.unwrap_or(false);
    unrolled(cx, Kind::Lstm { coupled })
}

/// `(x [T,N,I], w [D,g·H,I], r [D,g·H,H], b? [D,2g·H], lengths? [N], h? [D,N,H], c? [D,N,H], p? [D,3H])
/// -> (y [T,D,N,H], h [D,N,H], c [D,N,H])`, the batch in front of all where `layout` is 1.
fn unrolled(cx: &mut Cx, kind: Kind) -> Told<Form> {
    let reversed: &[bool] = match cx.attributes.string("direction")?.unwrap_or("forward") {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return malformed(format!("its direction is {other:?}")),
    };
    let activations = activations(cx, kind.activations(), reversed.len())?;
    let clip = cx.attributes.float("clip")?.filter(|&c| c > 0.0);
    let batch_first = cx.opset >= 14 && cx.attributes.flag("layout")?.unwrap_or(false);
    let stated = cx.attributes.int("hidden_size")?.map(|n| sized(n, "hidden_size")).transpose()?;

    let mut b = Body::new(cx)?;
    let mut x = b.operand(0)?;
    if b.dims(x)?.len() != 3 {
        return malformed("its sequence does not have three axes");
    }
    if batch_first {
        x = b.transpose(x, &[1, 0, 2])?;
    }
    let (w, r) = (b.operand(1)?, b.operand(2)?);
    let (steps, batch, hidden) = (b.size(x, 0)?, b.dims(x)?[1], b.size(r, 2)?);
    let rows = kind.gates() * hidden;
    let weights = (b.dims(w)?, b.dims(r)?);
    let fits = |dims: &[Dim]| dims.len() == 3 && dims[..2] == [reversed.len(), rows].map(Dim::Fixed);
    if stated.is_some_and(|n| n != hidden) || !fits(&weights.0) || !fits(&weights.1) {
        return malformed("its weights do not have the shape that its attributes tell");
    }
    if steps == 0 || hidden == 0 {
        return not_modelled("it has no steps or no cells");
    }
    // Each step takes eight nodes at least.
    b.room(steps.saturating_mul(8 * reversed.len()))?;
    let running = match b.optional(4) {
        Some(lengths) => running(&mut b, lengths, steps)?,
        None => Vec::new(),
    };
    let state = Shape(vec![batch, Dim::Fixed(hidden)]);
    let (mut outputs, mut last) = (Vec::new(), [Vec::new(), Vec::new()]);
    let functions = kind.activations().len();
    for (d, &reversed) in reversed.iter().enumerate() {
        let direction = Direction::new(&mut b, kind, d, hidden, &activations[d * functions..], clip)?;
        let inputs = direction.inputs(&mut b, x, w, steps)?;
        let mut states = Vec::new();
        for index in [5, 6] {
            states.push(match b.optional(index) {
                Some(given) => {
                    let at = if batch_first { b.transpose(given, &[1, 0, 2])? } else { given };
                    let one = b.nth(at, 0, d)?;
                    b.reshape(one, state.clone())?
                }
                None => b.zeros(x, &state)?,
            });
        }
        let mut made = vec![None; steps];
        let order: Vec<usize> = if reversed { (0..steps).rev().collect() } else { (0..steps).collect() };
        for t in order {
            let (h, c) = direction.step(&mut b, inputs[t], states[0], states[1])?;
            let mut y = h;
            let mut next = [h, c];
            if let Some(&open) = running.get(t) {
                y = b.keep_where(open, h)?;
                next[0] = b.emit(Op::Where, &[open, h, states[0]])?;
                next[1] = if c == states[1] { c } else { b.emit(Op::Where, &[open, c, states[1]])? };
            }
            made[t] = Some(b.emit(Op::Unsqueeze { axes: vec![0] }, &[y])?);
            states = next.to_vec();
        }
        let made: Vec<ValueId> = made.into_iter().flatten().collect();
        let line = b.emit(Op::Concat { axis: 0 }, &made)?;
        outputs.push(b.emit(Op::Unsqueeze { axes: vec![1] }, &[line])?);
        for (list, state) in last.iter_mut().zip(states) {
            list.push(b.emit(Op::Unsqueeze { axes: vec![0] }, &[state])?);
        }
    }
    let mut results = vec![b.emit(Op::Concat { axis: 1 }, &outputs)?];
    let kept = if matches!(kind, Kind::Lstm { .. }) { 2 } else { 1 };
    for list in &last[..kept] {
        results.push(b.emit(Op::Concat { axis: 0 }, list)?);
    }
    if batch_first {
        results[0] = b.transpose(results[0], &[2, 0, 1, 3])?;
        for state in &mut results[1..] {
            *state = b.transpose(*state, &[1, 0, 2])?;
        }
    }
    b.done(&results)
}

/// For each step, which rows of the batch have not ended: `[N,1]`.
fn running(b: &mut Body, lengths: ValueId, steps: usize) -> Told<Vec<ValueId>> {
    let wide = b.cast(lengths, DType::I64)?;
    let column = b.emit(Op::Unsqueeze { axes: vec![1] }, &[wide])?;
    let mut all = Vec::new();
    for t in 0..steps {
        let t = b.constant(Tensor::i64(&[], &[t as i64])?);
        all.push(b.emit(Op::Compare(CompareFn::Less), &[t, column])?);
    }
    Ok(all)
}

/// One direction of the network.
struct Direction<'a> {
    kind: Kind,
    index: usize,
    hidden: usize,
    /// `[H, g·H]`
    recurrent: ValueId,
    /// The two halves `[g·H]`, of the inputs and of the state.
    bias: Option<[ValueId; 2]>,
    /// Of the input, output and forget gates, `[H]` each.
    peepholes: Option<Vec<ValueId>>,
    activations: &'a [Activation],
    clip: Option<f32>,
}

impl<'a> Direction<'a> {
    fn new(
        b: &mut Body,
        kind: Kind,
        index: usize,
        hidden: usize,
        activations: &'a [Activation],
        clip: Option<f32>,
    ) -> Told<Direction<'a>> {
        let r = b.operand(2)?;
        let r = b.nth(r, 0, index)?;
        let recurrent = b.transpose_last(r)?;
        let rows = kind.gates() * hidden;
        let bias = match b.optional(3) {
            Some(bias) => {
                let line = b.nth(bias, 0, index)?;
                let halves = b.parts(line, 0, &[rows, rows])?;
                Some([halves[0], halves[1]])
            }
            None => None,
        };
        let peepholes = match b.optional(7).filter(|_| matches!(kind, Kind::Lstm { .. })) {
            Some(weights) => {
                let line = b.nth(weights, 0, index)?;
                Some(b.parts(line, 0, &[hidden; 3])?)
            }
            None => None,
        };
        Ok(Direction { kind, index, hidden, recurrent, bias, peepholes, activations, clip })
    }

    /// Whether the bias of the state is added where the state is, not with the inputs.
    fn resets_product(&self) -> bool {
        self.kind == Kind::Gru { linear_before_reset: true }
    }

    /// What each step gets from its input, `[N, g·H]`: one product for all of them.
    fn inputs(&self, b: &mut Body, x: ValueId, w: ValueId, steps: usize) -> Told<Vec<ValueId>> {
        let w = b.nth(w, 0, self.index)?;
        let w = b.transpose_last(w)?;
        let mut all = b.matmul(x, w)?;
        if let Some([of_input, of_state]) = self.bias {
            all = b.add(all, of_input)?;
            if !self.resets_product() {
                all = b.add(all, of_state)?;
            }
        }
        let mut list = Vec::new();
        for part in b.parts(all, 0, &vec![1; steps])? {
            list.push(b.emit(Op::Squeeze { axes: vec![0] }, &[part])?);
        }
        Ok(list)
    }

    /// The activation at `index` of what `clip` leaves.
    fn activate(&self, b: &mut Body, index: usize, x: ValueId) -> Result<ValueId> {
        let x = match self.clip {
            Some(clip) => b.unary(UnaryFn::Clip { min: -clip, max: clip }, x)?,
            None => x,
        };
        self.activations[index].emit(b, x)
    }

    /// The gate with its share of the cells.
    fn peep(&self, b: &mut Body, gate: usize, x: ValueId, cells: ValueId) -> Result<ValueId> {
        let Some(peepholes) = &self.peepholes else { return Ok(x) };
        let share = b.mul(peepholes[gate], cells)?;
        b.add(x, share)
    }

    /// The states behind a step: hidden, and of the cells (untouched where there are none).
    fn step(&self, b: &mut Body, x: ValueId, h: ValueId, c: ValueId) -> Result<(ValueId, ValueId)> {
        let sizes = vec![self.hidden; self.kind.gates()];
        match self.kind {
            Kind::Rnn => {
                let state = b.matmul(h, self.recurrent)?;
                let sum = b.add(x, state)?;
                Ok((self.activate(b, 0, sum)?, c))
            }
            Kind::Lstm { coupled } => {
                let state = b.matmul(h, self.recurrent)?;
                let sum = b.add(x, state)?;
                let gates = b.parts(sum, 1, &sizes)?;
                let input = self.peep(b, 0, gates[0], c)?;
                let input = self.activate(b, 0, input)?;
                let forget = if coupled {
                    self.complement(b, input)?
                } else {
                    let forget = self.peep(b, 2, gates[2], c)?;
                    self.activate(b, 0, forget)?
                };
                let candidate = self.activate(b, 1, gates[3])?;
                let (old, new) = (b.mul(forget, c)?, b.mul(input, candidate)?);
                let cells = b.add(old, new)?;
                let output = self.peep(b, 1, gates[1], cells)?;
                let output = self.activate(b, 0, output)?;
                // The cells themselves are not clipped.
                let shown = self.activations[2].emit(b, cells)?;
                Ok((b.mul(output, shown)?, cells))
            }
            Kind::Gru { .. } => {
                let from_input = b.parts(x, 1, &sizes)?;
                let weights = b.parts(self.recurrent, 1, &sizes)?;
                let bias = match self.bias {
                    Some([_, of_state]) if self.resets_product() => b.parts(of_state, 0, &sizes)?,
                    _ => Vec::new(),
                };
                let mut gates = Vec::new();
                for gate in 0..2 {
                    let mut sum = b.matmul(h, weights[gate])?;
                    sum = b.add(from_input[gate], sum)?;
                    if let Some(&bias) = bias.get(gate) {
                        sum = b.add(sum, bias)?;
                    }
                    gates.push(self.activate(b, 0, sum)?);
                }
                let (update, reset) = (gates[0], gates[1]);
                let state = if self.resets_product() {
                    let mut state = b.matmul(h, weights[2])?;
                    if let Some(&bias) = bias.get(2) {
                        state = b.add(state, bias)?;
                    }
                    b.mul(reset, state)?
                } else {
                    let kept = b.mul(reset, h)?;
                    b.matmul(kept, weights[2])?
                };
                let sum = b.add(from_input[2], state)?;
                let candidate = self.activate(b, 1, sum)?;
                let fresh = self.complement(b, update)?;
                let (new, old) = (b.mul(fresh, candidate)?, b.mul(update, h)?);
                Ok((b.add(new, old)?, c))
            }
        }
    }

    /// `1 − x`
    fn complement(&self, b: &mut Body, x: ValueId) -> Result<ValueId> {
        let one = b.scalar(x, 1.0)?;
        b.sub(one, x)
    }
}
