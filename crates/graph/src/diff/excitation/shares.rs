//! How a layer of weights shares a probability out among its operand's cells (Zhang et al. 2016, §3), and that the shares
//! add up.

use super::{At, no_rule};
use crate::diff::{Sweep, rules};
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::ValueId;
use crate::op::{CompareFn, Op, UnaryFn};
use crate::shape::{Dim, Shape};

/// What the operand of a node with weights gets.
pub(super) struct Shares {
    /// `P(aⱼ) = aⱼ·Σᵢ w⁺ᵢⱼ·P(aᵢ)/Nᵢ`.
    pub of: ValueId,
    /// `Nᵢ`.
    pub total: ValueId,
}

/// The shares of operand `i` of a node with weights `w`.
pub(super) fn share(s: &mut Sweep<'_>, at: &At<'_>, op: &Op, i: usize, w: ValueId) -> Result<Shares> {
    let w = s.unary(UnaryFn::Relu, w)?;
    let x = at.node.input(i)?;
    let mut operands = [x, w];
    if i == 1 {
        operands.swap(0, 1);
    }
    let total = s.emit(op.clone(), &operands)?;
    let ratio = s.quotient(at.g, total)?;
    let mut positive = at.node.clone();
    positive.op = op.clone();
    positive.inputs = operands.map(Some).to_vec();
    positive.outputs = vec![Some(total)];
    let sent = rules::backward(s, &positive, &[Some(ratio)], &[i == 0, i == 1])?;
    let signal = sent[i].ok_or_else(|| no_rule(at.node))?;
    Ok(Shares { of: s.mul(x, signal)?, total })
}

/// `P(aᵢ)` where `Nᵢ > 0`: what is shared out.
pub(super) fn given(s: &mut Sweep<'_>, at: &At<'_>, total: ValueId) -> Result<ValueId> {
    let shared = s.compare(total, CompareFn::Greater, 0.0)?;
    s.keep_where(shared, at.g)
}

/// `P − a·(ΣP − Σgiven)/Σa`, with sums over an image: shares that add up to what was shared out.
///
/// They do already, but for the rounding of `N`. A contrast has parts of both signs, which cancel the better the more
/// weights they pass, and what is left of them in the end can be 10⁻⁴ of what there was; what does not cancel is that
/// rounding, a multiple of what a probability of any class becomes.
pub(super) fn add_up(s: &mut Sweep<'_>, shares: ValueId, given: ValueId, a: ValueId) -> Result<ValueId> {
    let (found, given) = (of_image(s, shares)?, of_image(s, given)?);
    let (excess, whole) = (s.sub(found, given)?, of_image(s, a)?);
    let excess = s.quotient(excess, whole)?;
    let images = s.shape(shares)?.0.into_iter().map(|d| if d.fixed().is_some() { Dim::Fixed(1) } else { d });
    let excess = s.reshape(excess, Shape(images.collect()))?;
    let excess = s.mul(a, excess)?;
    s.sub(shares, excess)
}

/// The sum over all axes but the batch.
fn of_image(s: &mut Sweep<'_>, x: ValueId) -> Result<ValueId> {
    let shape = s.shape(x)?;
    let axes: Vec<usize> = (0..shape.rank()).filter(|&axis| shape.0[axis].fixed().is_some()).collect();
    s.sum(x, &axes, false)
}
