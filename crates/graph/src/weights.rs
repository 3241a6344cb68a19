//! The weights of a network, layer by layer, so that others can take their place.

use crate::graph::{Graph, Node, NodeId, ValueId};
use crate::layer::{Score, between, is_constant};
use crate::op::Op;

/// A node that has weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weighted {
    /// The node.
    pub node: NodeId,
    /// What it makes.
    pub result: ValueId,
    /// The constants that its weights and bias are stored in; quantised ones without their scales.
    pub constants: Vec<ValueId>,
}

/// The nodes with weights between the image and the score, from the image on: convolutions, matrix products with a
/// constant, batch norms. A constant that several use is told once, with the last of them.
pub fn weighted(graph: &Graph, image: ValueId, score: &Score) -> Vec<Weighted> {
    let mut found: Vec<Weighted> = Vec::new();
    let mut taken = Vec::new();
    for id in between(graph, image, score.value).into_iter().rev() {
        let node = graph.node(id);
        let constants = operands(node).iter().filter_map(|&i| stored(graph, node.inputs.get(i).copied()??));
        let constants: Vec<ValueId> = constants.filter(|c| !taken.contains(c)).collect();
        taken.extend(&constants);
        if let (Some(result), false) = (node.outputs.first().copied().flatten(), constants.is_empty()) {
            found.push(Weighted { node: id, result, constants });
        }
    }
    found.reverse();
    found
}

/// Which operands of the node are weights and biases.
fn operands(node: &Node) -> &'static [usize] {
    match node.op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::BatchNorm { .. } => &[1, 2],
        Op::Gemm(_) => &[0, 1, 2],
        Op::MatMul => &[0, 1],
        _ => &[],
    }
}

/// The constant that a value is made of by de-quantising, converting and rearranging alone.
fn stored(graph: &Graph, value: ValueId) -> Option<ValueId> {
    if !is_constant(graph, value) {
        return None;
    }
    let mut value = value;
    loop {
        if graph.value(value).constant.is_some() {
            return Some(value);
        }
        let node = graph.node(graph.value(value).producer?);
        let moves = node.op.is_layout() || matches!(node.op, Op::Cast(_) | Op::DequantizeLinear { .. });
        value = node.inputs.first().copied().flatten().filter(|_| moves)?;
    }
}
