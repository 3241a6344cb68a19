//! The full gradient: a score as a sum of what the image and every bias contribute.

use std::collections::HashSet;

use crate::diff::{self, Rules, Seed};
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Build, Node, ValueId};
use crate::layer::{between, is_constant};
use crate::op::{BinaryFn, Op, UnaryFn};
use crate::shape::{Dim, Shape};
use crate::tensor::Tensor;

/// What one place of a network contributes to a score.
#[derive(Clone, Copy, Debug)]
pub struct Contribution {
    /// The image, or the result of the node whose bias this is.
    pub at: ValueId,
    /// Signal times bias, in the shape of `at`, behind the copies axis if the seed has one.
    pub value: ValueId,
}

/// What the image and every bias contribute to the score (Srinivas & Fleuret 2019, arXiv 1905.00780, eq. 3):
/// `y = Σ ∂y/∂x ⊙ x + Σ_b ∂y/∂z_b ⊙ b`.
///
/// A bias is the constant in `z = w·x + b`: that of a convolution or matrix product, an added constant, in a batch norm
/// `bias − mean·scale/√(var + ε)`. An activation `z = f(x)` that is not homogeneous has the implicit bias
/// `f(x) − f′(x)·x` (their §3.1), and so has the product of two values, `−z`.
///
/// # Errors
/// When a node on the way cannot be differentiated.
pub fn full_gradient(b: &mut Build, seed: Seed, image: ValueId) -> Result<Vec<Contribution>> {
    let graph = b.graph().clone();
    let nodes: Vec<&Node> =
        between(&graph, image, seed.target).into_iter().map(|id| graph.node(id)).collect();
    let on_way: HashSet<ValueId> =
        nodes.iter().flat_map(|n| n.outputs.iter().flatten().copied()).chain([image]).collect();
    let mut places = vec![image];
    let mut biases = vec![Bias::Homogeneous(image)];
    for node in nodes {
        let Some(at) = node.outputs.first().copied().flatten() else { continue };
        if let Some(bias) = bias(b, node, &on_way)? {
            places.push(at);
            biases.push(bias);
        }
    }
    let signals = diff::arriving(b, seed, &places, Rules::default())?.signals;
    let mut parts = Vec::new();
    for ((at, bias), signal) in places.into_iter().zip(biases).zip(signals) {
        let Some(signal) = signal else { continue };
        let contribution = match bias {
            Bias::Homogeneous(x) => {
                let x = b.cast(x, Emit::dtype(b, signal))?;
                b.mul(signal, x)?
            }
            Bias::Constant(constant) => b.mul(signal, constant)?,
            Bias::Product => {
                let product = b.mul(signal, at)?;
                b.unary(UnaryFn::Neg, product)?
            }
            Bias::Elementwise(x) => {
                let one = b.constant(Tensor::f32(&[], &[1.0])?);
                let one = b.cast(one, Emit::dtype(b, at))?;
                let shape = Emit::shape(b, at)?.clone();
                let ones = b.expand(one, &shape)?;
                let local = Seed { target: at, cotangent: ones, copies: None, hot: None };
                // Where f(x) is x, this is 0 in every rounding, also where an engine fuses product and difference.
                let bias = match diff::arriving(b, local, &[x], Rules::default())?.signals[..] {
                    [Some(slope)] => {
                        let linear = b.mul(slope, x)?;
                        b.sub(at, linear)?
                    }
                    _ => at,
                };
                b.mul(signal, bias)?
            }
            Bias::Activation(x) => {
                let whole = b.mul(signal, at)?;
                let local = Seed { target: at, cotangent: signal, copies: seed.copies, hot: None };
                match diff::arriving(b, local, &[x], Rules::default())?.signals[..] {
                    [Some(sent)] => {
                        let linear = b.mul(sent, x)?;
                        b.sub(whole, linear)?
                    }
                    _ => whole,
                }
            }
        };
        parts.push(Contribution { at, value: contribution });
    }
    Ok(parts)
}

/// What a node adds to a linear map of its operands.
enum Bias {
    /// Nothing: the value itself is what is multiplied.
    Homogeneous(ValueId),
    /// A constant that broadcasts to the result.
    Constant(ValueId),
    /// The opposite of the result, as in a product of two values.
    Product,
    /// `f(x) − f′(x)·x` of the operand, element by element.
    Elementwise(ValueId),
    /// `f(x) − f′(x)·x` of the operand, with the Jacobian `f′`.
    Activation(ValueId),
}

fn bias(b: &mut Build, node: &Node, on_way: &HashSet<ValueId>) -> Result<Option<Bias>> {
    let operand = |i: usize| node.inputs.get(i).copied().flatten();
    let moves = |i: usize| operand(i).is_some_and(|x| on_way.contains(&x));
    let constant = |b: &Build, i: usize| operand(i).filter(|&x| is_constant(b.graph(), x));
    Ok(match &node.op {
        Op::Conv(_) | Op::ConvTranspose(_) => match (operand(2), node.outputs.first().copied().flatten()) {
            (Some(bias), Some(y)) => {
                let rank = b.shape(y)?.rank();
                Some(Bias::Constant(channel(b, bias, rank)?))
            }
            _ => None,
        },
        Op::Gemm(gemm) => match operand(2) {
            Some(bias) => Some(Bias::Constant(b.scale(bias, gemm.beta)?)),
            None => None,
        },
        Op::BatchNorm { epsilon } => {
            let (x, scale, bias) = (node.input(0)?, node.input(1)?, node.input(2)?);
            let (mean, var) = (node.input(3)?, node.input(4)?);
            let var = b.shift(var, *epsilon)?;
            let deviation = b.unary(UnaryFn::Sqrt, var)?;
            let shift = b.mul(mean, scale)?;
            let shift = b.div(shift, deviation)?;
            let bias = b.sub(bias, shift)?;
            let rank = b.shape(x)?.rank();
            Some(Bias::Constant(channel(b, bias, rank)?))
        }
        Op::Binary(BinaryFn::Add) => constant(b, 0).or_else(|| constant(b, 1)).map(Bias::Constant),
        Op::Binary(BinaryFn::Sub) => match (constant(b, 0), constant(b, 1)) {
            (Some(bias), _) => Some(Bias::Constant(bias)),
            (_, Some(bias)) => Some(Bias::Constant(b.unary(UnaryFn::Neg, bias)?)),
            _ => None,
        },
        Op::Binary(BinaryFn::Mul) if moves(0) && moves(1) => Some(Bias::Product),
        Op::Binary(BinaryFn::Div) if moves(1) => {
            // a/b is homogeneous of degree 0, and c/b of degree −1.
            match (moves(0), node.outputs.first().copied().flatten()) {
                (true, Some(y)) => Some(Bias::Homogeneous(y)),
                (_, Some(y)) => Some(Bias::Homogeneous(b.scale(y, 2.0)?)),
                _ => None,
            }
        }
        Op::Binary(BinaryFn::Pow) if moves(0) && !moves(1) => operand(0).map(Bias::Elementwise),
        // Homogeneous of degree 1.
        Op::Unary(UnaryFn::Relu | UnaryFn::LeakyRelu(_) | UnaryFn::Abs | UnaryFn::Neg) => None,
        Op::Unary(_) => operand(0).map(Bias::Elementwise),
        Op::Lrn(_) | Op::Softmax { .. } | Op::LogSoftmax { .. } => operand(0).map(Bias::Activation),
        _ => None,
    })
}

/// One number a channel, shaped to broadcast with values of that rank.
fn channel(b: &mut Build, vector: ValueId, rank: usize) -> Result<ValueId> {
    let mut dims = vec![Dim::Fixed(1); rank];
    if let (Some(slot), Some(size)) = (dims.get_mut(1), b.shape(vector)?.0.first()) {
        *slot = *size;
    }
    b.reshape(vector, Shape(dims))
}
