//! The head that CAM is defined for: a mean over the whole grid and one linear layer, in either order.

use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::layer::is_constant;
use crate::op::{BinaryFn, Op, ReduceKind};

/// Checks that nothing but a mean over the grid of `layer` and one linear layer lies between it and the scores.
///
/// # Errors
/// [`Error::Unfit`] names the first node that is something else.
pub(super) fn check(graph: &Graph, layer: ValueId, scores: ValueId) -> Result<()> {
    let refuse = |what: String| {
        Err(Error::unfit(
            format!("CAM is not defined here: {what}"),
            "cam fits networks that end in a global average and one linear layer (ResNet, GoogLeNet, DenseNet, \
             MobileNet, EfficientNet), at the layer before the average; grad-cam fits any network",
        ))
    };
    let (mut value, mut means, mut linears) = (scores, 0, 0);
    while value != layer {
        let Some(id) = graph.value(value).producer else {
            return refuse(format!("the layer {:?} does not lead to the scores", graph.value(layer).name));
        };
        let node = graph.node(id);
        match role(graph, node) {
            Some(Role::Mean) => means += 1,
            Some(Role::Linear) => linears += 1,
            Some(Role::Pass) => {}
            None => return refuse(format!("{} lies between the layer and the scores", node.place())),
        }
        let operands: Vec<ValueId> =
            node.inputs.iter().flatten().copied().filter(|&i| !is_constant(graph, i)).collect();
        let [one] = operands[..] else { return refuse(format!("{} has several operands", node.place())) };
        value = one;
    }
    match (means, linears) {
        (1, 1) => Ok(()),
        _ => refuse(format!(
            "{means} global averages and {linears} linear layers lie between the layer and the scores, not one \
             of each"
        )),
    }
}

enum Role {
    Mean,
    Linear,
    Pass,
}

fn role(graph: &Graph, node: &Node) -> Option<Role> {
    let constant = |i: usize| node.inputs.get(i).copied().flatten().is_some_and(|i| is_constant(graph, i));
    let grid = || {
        let input = node.inputs.first().copied().flatten()?;
        graph.shape(input).ok()?.0.get(2..)?.iter().map(|d| d.fixed()).collect::<Option<Vec<_>>>()
    };
    match &node.op {
        op if op.is_layout() => Some(Role::Pass),
        Op::Cast(_) | Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. } => Some(Role::Pass),
        Op::Binary(BinaryFn::Add) if constant(0) || constant(1) => Some(Role::Pass),
        Op::GlobalAveragePool => Some(Role::Mean),
        Op::Reduce { kind: ReduceKind::Mean, axes, .. } if axes == &[2, 3] => Some(Role::Mean),
        Op::AveragePool { window, .. }
            if grid().is_some_and(|g| g[..] == window.kernel[..])
                && window.pads.iter().all(|&p| p == (0, 0)) =>
        {
            Some(Role::Mean)
        }
        Op::Gemm(_) => Some(Role::Linear),
        Op::MatMul if constant(1) => Some(Role::Linear),
        Op::Conv(conv) => {
            let weights = graph.shape(node.inputs.get(1).copied().flatten()?).ok()?.to_fixed()?;
            let plain = conv.strides.iter().all(|&s| s == 1) && conv.pads.iter().all(|&p| p == (0, 0));
            (plain && weights.get(2..)?.iter().all(|&k| k == 1)).then_some(Role::Linear)
        }
        _ => None,
    }
}
