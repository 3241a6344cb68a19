//! The rule of every op: which function sends the signal back, and where there is none.

use super::{Sweep, layout, linear, pointwise, pool, quantised, reduce};
use crate::error::Result;
use crate::graph::{Node, ValueId};
use crate::op::{Op, ReduceKind};

/// The signals of a node's operands; `None` where none flows.
pub(crate) type Sent = Vec<Option<ValueId>>;

/// How each kind of node sends signal back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    /// The rule of the ReLU family.
    pub relu: ReluRule,
    /// The rule of linear nodes, and of the nodes around them.
    pub linear: LinearRule,
}

/// The rule of the ReLU family φ ∈ {ReLU, Clip, LeakyReLU, PReLU, max(x, 0)}, for a signal `g` at
/// the output and the input `x`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReluRule {
    /// `g · φ′(x)` (Simonyan et al. 2014).
    #[default]
    Gradient,
    /// `g · [g > 0]` (Zeiler & Fergus 2014).
    Deconvnet,
    /// `g · φ′(x) · [g > 0]` (Springenberg et al. 2015).
    Guided,
}

/// The rule of linear nodes: convolutions, matrix products, mean pools and sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LinearRule {
    /// The transposed linear map.
    #[default]
    Gradient,
    /// Excitation backprop (Zhang et al. 2016, arXiv 1608.00507): for `y = Σⱼ wⱼ·aⱼ + b` with `a ≥ 0`, the operand `aⱼ`
    /// gets the share `max(wⱼ, 0)·aⱼ / Σₖ max(wₖ, 0)·aₖ` of the signal. Activations hand it on, whatever the ReLU rule.
    Excitation {
        /// Whether the first weights that the signal passes send the difference of the signals through `w` and `−w`.
        contrastive: bool,
    },
}

/// Why a node on the path has no rule.
pub(super) fn refusal(op: &Op, wanted: &[bool]) -> Option<String> {
    let first_only = || {
        wanted.iter().skip(1).any(|&w| w).then(|| "its weights or bounds depend on what is explained".into())
    };
    match op {
        Op::Opaque(o) => {
            Some(o.reason.clone().unwrap_or_else(|| "whycam has no rule for this operator".into()))
        }
        Op::Reduce { kind: ReduceKind::Prod, .. } => Some("whycam has no rule for products".into()),
        Op::Conv(_) | Op::ConvTranspose(_) | Op::BatchNorm { .. } | Op::Gather { .. } => first_only(),
        Op::DequantizeLinear { .. } | Op::QuantizeLinear { .. } => first_only(),
        _ => None,
    }
}

/// Sends the signals `arrived` at the outputs of `node` to the operands that are `wanted`.
pub(super) fn backward(
    sweep: &mut Sweep<'_>,
    node: &Node,
    arrived: &[Option<ValueId>],
    wanted: &[bool],
) -> Result<Sent> {
    if let Op::Split { axis, sizes } = &node.op {
        return layout::split(sweep, node, *axis, sizes, arrived);
    }
    let Some(g) = arrived.first().copied().flatten() else {
        return Ok(vec![None; node.inputs.len()]);
    };
    match &node.op {
        Op::Unary(f) => one(pointwise::unary(sweep, node, *f, g)?),
        Op::Binary(f) => pointwise::binary(sweep, node, *f, g, wanted),
        Op::PRelu => pointwise::prelu(sweep, node, g, wanted),
        Op::Where => pointwise::choose(sweep, node, g),
        Op::Cast(_) => one(Some(pointwise::cast(sweep, node, g)?)),
        Op::Identity | Op::Dropout | Op::Expand { .. } => one(Some(g)),
        Op::QuantizeLinear { axis, .. } => one(Some(quantised::quantize(sweep, node, *axis, g)?)),
        Op::DequantizeLinear { axis } => one(Some(quantised::dequantize(sweep, node, *axis, g)?)),
        Op::Conv(conv) => one(Some(linear::conv(sweep, node, conv, g)?)),
        Op::ConvTranspose(t) => one(Some(linear::conv_transpose(sweep, node, t, g)?)),
        Op::MatMul => linear::matmul(sweep, node, g, wanted),
        Op::Gemm(gemm) => linear::gemm(sweep, node, *gemm, g, wanted),
        Op::BatchNorm { epsilon } => one(Some(linear::batch_norm(sweep, node, *epsilon, g)?)),
        Op::Lrn(lrn) => one(Some(reduce::lrn(sweep, node, lrn, g)?)),
        Op::Softmax { axis } => one(Some(reduce::softmax(sweep, node, *axis, g)?)),
        Op::LogSoftmax { axis } => one(Some(reduce::log_softmax(sweep, node, *axis, g)?)),
        Op::Reduce { kind, axes, keep } => one(Some(reduce::reduce(sweep, node, *kind, axes, *keep, g)?)),
        Op::TopK { axis, .. } => one(Some(reduce::top_k(sweep, node, *axis, g)?)),
        Op::MaxPool(window) => one(Some(pool::max_pool(sweep, node, window, g)?)),
        Op::AveragePool { window, count_include_pad } => {
            one(Some(pool::average_pool(sweep, node, window, *count_include_pad, g)?))
        }
        Op::GlobalAveragePool => one(Some(reduce::global(sweep, node, ReduceKind::Mean, g)?)),
        Op::GlobalMaxPool => one(Some(reduce::global(sweep, node, ReduceKind::Max, g)?)),
        Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze { .. } | Op::Unsqueeze { .. } => {
            one(Some(layout::same_elements(sweep, node, g)?))
        }
        Op::Transpose { perm } => one(Some(layout::transpose(sweep, perm, g)?)),
        Op::Concat { axis } => layout::concat(sweep, node, *axis, g, wanted),
        Op::Slice(ranges) => one(Some(layout::slice(sweep, node, ranges, g)?)),
        Op::Pad { mode, before, after, .. } => one(Some(layout::pad(sweep, node, *mode, before, after, g)?)),
        Op::Gather { axis } => layout::gather(sweep, node, *axis, g),
        Op::GatherNd { batch } => layout::gather_nd(sweep, node, *batch, g),
        Op::ScatterNd { add } => layout::scatter_nd(sweep, node, *add, g, wanted),
        Op::DepthToSpace { block, mode } => one(Some(layout::depth_to_space(sweep, node, *block, *mode, g)?)),
        Op::Resize(resize) => one(Some(layout::resize(sweep, node, resize, g)?)),
        Op::Split { .. }
        | Op::Compare(_)
        | Op::ArgMax { .. }
        | Op::Shape { .. }
        | Op::ConstantOfShape(_)
        | Op::Range
        | Op::Composite(_)
        | Op::Opaque(_) => Ok(vec![None; node.inputs.len()]),
    }
}

fn one(signal: Option<ValueId>) -> Result<Sent> {
    Ok(vec![signal])
}
