//! How a signal becomes a map: weights, a product, a sum, a ReLU.

use super::head;
use super::pooled::pooled;
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Build, ValueId};
use crate::op::{Op, ReduceKind, UnaryFn};
use crate::shape::{Dim, Shape};

/// How the signal `g` at the value `A` becomes a map: `L = ReLU(Σₖ wₖ·Aₖ)`, where the sum over channels and the
/// ReLU may be left out, and the weights `w` come from a part of `g`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reduce {
    /// What is taken of the signal.
    pub part: Part,
    /// How that becomes weights.
    pub weights: Weights,
    /// What the weights are multiplied with.
    pub times: Times,
    /// Whether the products are summed over channels.
    pub sum: bool,
    /// Whether negative cells are set to 0 at the end.
    pub relu: bool,
}

/// A part of the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// `g`.
    Whole,
    /// `−g`: the signal of the negated score.
    Negated,
    /// `|g|`.
    Absolute,
    /// `max(g, 0)`.
    Positive,
}

/// What a channel's cells `gᵢⱼ` become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weights {
    /// `wᵢⱼ = 1`: no signal is needed.
    One,
    /// `wᵢⱼ = gᵢⱼ`: every cell its own.
    Cell,
    /// `w = (1/Z) Σᵢⱼ gᵢⱼ` for `Z` cells.
    Mean,
    /// `w = Σᵢⱼ gᵢⱼ`.
    Sum,
    /// `w = maxᵢⱼ gᵢⱼ`, signed.
    Max,
    /// `w = Σᵢⱼ gᵢⱼ`, only where that is the weight of the class in the linear layer behind a global mean (CAM).
    Class,
    /// `w = Σᵢⱼ gᵢⱼ·Aᵢⱼ / Σᵢⱼ Aᵢⱼ`, 0 where the activations add up to 0 (XGrad-CAM).
    Share,
    /// `w = Σᵢⱼ αᵢⱼ·max(gᵢⱼ, 0)` with `αᵢⱼ = gᵢⱼ²/(2gᵢⱼ² + gᵢⱼ³·Σₐᵦ Aₐᵦ) = 1/(2 + gᵢⱼ·Σₐᵦ Aₐᵦ)` (Grad-CAM++).
    PlusPlus,
}

/// The other factor of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Times {
    /// The activation `A`.
    Activation,
    /// Nothing: the product is the weight.
    One,
}

impl Reduce {
    /// The signal itself: image-shaped when it is read at the image.
    pub const SIGNAL: Reduce =
        Reduce { part: Part::Whole, weights: Weights::Cell, times: Times::One, sum: false, relu: false };

    /// Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2): `αₖ = mean over space of gₖ`, `L = ReLU(Σₖ αₖ·Aₖ)`;
    /// `relu` is whether the outer ReLU is applied.
    pub const fn grad_cam(relu: bool) -> Reduce {
        Reduce { part: Part::Whole, weights: Weights::Mean, times: Times::Activation, sum: true, relu }
    }

    /// Excitation backprop (Zhang et al. 2016, §3): `L = Σₖ Pₖ`, the probability of a cell; `relu` for the contrastive one,
    /// which is signed.
    pub const fn excitation(relu: bool) -> Reduce {
        Reduce { part: Part::Whole, weights: Weights::Cell, times: Times::One, sum: true, relu }
    }

    /// Whether the map depends on the signal.
    pub fn needs_signal(self) -> bool {
        self.weights != Weights::One
    }

    /// Whether the map needs channels and cells to be told apart.
    pub(super) fn needs_grid(self) -> bool {
        self.sum || self.weights != Weights::Cell
    }
}

/// What a reduction works on.
pub(super) struct Read {
    /// The value that is read.
    pub value: ValueId,
    /// The same folded to `[N,C,h,w]`, where the reduction needs a grid.
    pub activation: ValueId,
    /// Its signal `[N,K,…]`, folded likewise; none when the reduction needs none.
    pub signal: Option<ValueId>,
    /// How many classes there are.
    pub classes: usize,
    /// The scores.
    pub scores: ValueId,
}

/// The map, `[N,K,h,w]` where channels are summed and `[N,K,…]` elsewhere, and the map before its ReLU.
pub(super) fn reduce(b: &mut Build, how: Reduce, read: &Read) -> Result<(ValueId, ValueId)> {
    if how.weights == Weights::Class {
        head::check(b.graph(), read.value, read.scores)?;
    }
    let part = match read.signal {
        Some(signal) => Some(part(b, how.part, signal)?),
        None => None,
    };
    let raw = match (part, channel_weights(b, how.weights, part, read.activation)?) {
        (_, Some(alpha)) if how.sum && how.times == Times::Activation => {
            weighted_sum(b, read.activation, alpha)?
        }
        (part, alpha) => {
            let alpha = match alpha {
                Some(alpha) => Some(b.emit(Op::Unsqueeze { axes: vec![3, 4] }, &[alpha])?),
                None => part,
            };
            let product = match (alpha, how.times) {
                (Some(alpha), Times::Activation) => {
                    let activation = for_every_class(b, read.activation)?;
                    b.mul(alpha, activation)?
                }
                (Some(alpha), Times::One) => alpha,
                (None, _) => {
                    let activation = for_every_class(b, read.activation)?;
                    let mut shape = b.shape(activation)?;
                    shape.0[1] = Dim::Fixed(read.classes);
                    b.expand(activation, &shape)?
                }
            };
            if how.sum { b.sum(product, &[2], false)? } else { product }
        }
    };
    Ok((if how.relu { b.unary(UnaryFn::Relu, raw)? } else { raw }, raw))
}

fn part(b: &mut Build, part: Part, signal: ValueId) -> Result<ValueId> {
    match part {
        Part::Whole => Ok(signal),
        Part::Negated => b.unary(UnaryFn::Neg, signal),
        Part::Absolute => b.unary(UnaryFn::Abs, signal),
        Part::Positive => b.unary(UnaryFn::Relu, signal),
    }
}

/// `[N,…]` as `[N,1,…]`.
fn for_every_class(b: &mut Build, value: ValueId) -> Result<ValueId> {
    b.emit(Op::Unsqueeze { axes: vec![1] }, &[value])
}

/// One weight a channel, `[N,K,C]`, from the signal `[N,K,C,h,w]` and the layer `[N,C,h,w]`; `None` where weights are
/// not a channel's.
fn channel_weights(
    b: &mut Build,
    weights: Weights,
    signal: Option<ValueId>,
    layer: ValueId,
) -> Result<Option<ValueId>> {
    let Some(g) = signal else { return Ok(None) };
    match weights {
        Weights::One | Weights::Cell => Ok(None),
        Weights::Mean => pooled(b, g, &[3, 4], true).map(Some),
        Weights::Sum | Weights::Class => pooled(b, g, &[3, 4], false).map(Some),
        Weights::Max => {
            b.emit(Op::Reduce { kind: ReduceKind::Max, axes: vec![3, 4], keep: false }, &[g]).map(Some)
        }
        Weights::Share => {
            let activation = for_every_class(b, layer)?;
            let product = b.mul(g, activation)?;
            let product = b.sum(product, &[3, 4], false)?;
            let total = b.sum(activation, &[3, 4], false)?;
            b.quotient(product, total).map(Some)
        }
        Weights::PlusPlus => {
            let activation = for_every_class(b, layer)?;
            let total = b.sum(activation, &[3, 4], true)?;
            let bottom = b.mul(g, total)?;
            let bottom = b.shift(bottom, 2.0)?;
            let positive = b.unary(UnaryFn::Relu, g)?;
            let cells = b.quotient(positive, bottom)?;
            b.sum(cells, &[3, 4], false).map(Some)
        }
    }
}

/// `Σₖ αₖ·Aₖ` as `[N,K,h,w]`, from `A [N,C,h,w]` and `α [N,K,C]`: a matrix product.
fn weighted_sum(b: &mut Build, layer: ValueId, alpha: ValueId) -> Result<ValueId> {
    let shape = b.shape(layer)?;
    let classes = b.shape(alpha)?.0[1];
    let cells = shape.0[2].times(shape.0[3]).unwrap_or(Dim::Fixed(1));
    let flat = b.reshape(layer, Shape(vec![shape.0[0], shape.0[1], cells]))?;
    let map = b.matmul(alpha, flat)?;
    b.reshape(map, Shape(vec![shape.0[0], classes, shape.0[2], shape.0[3]]))
}
