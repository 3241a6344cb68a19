//! Gives weights that are read both ways a copy for the second way.

use std::collections::HashMap;

use super::rewrite::rewrite;
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Build, Graph, Node, ValueId};
use crate::layer::{is_constant, is_made_of};
use crate::op::{Op, Range};

/// The graph in which no square weights are read both as they are and with input and output exchanged, as a sweep back
/// through a layer does: there, nodes that are not `kept` read a copy of them.
///
/// OpenVINO (2026.4, processor plugin) seems to find weights that it has laid out for a node by their address and the name
/// of the layout, which of as many inputs as outputs is the same both ways: the second node computes with what was made for
/// the first. The copy is the weights reversed twice, which engines fold when they load. De-quantised weights stay as they are:
/// engines do not fold those.
///
/// # Errors
/// Those of making nodes.
pub fn unshare(graph: &Graph, kept: &dyn Fn(&Node) -> bool) -> Result<Graph> {
    let mut first = HashMap::new();
    for (weights, exchanged) in graph.nodes().filter_map(|(_, node)| reads(graph, node)) {
        first.entry(weights).or_insert(exchanged);
    }
    rewrite(graph, |b, node, inputs| match (reads(graph, node), inputs) {
        (Some((weights, exchanged)), &[x, Some(w), ..]) if first[&weights] != exchanged && !kept(node) => {
            let mut operands = inputs.to_vec();
            operands[..2].copy_from_slice(&[x, Some(copy(b, w)?)]);
            b.nodes(node.op.clone(), &operands).map(Some)
        }
        _ => Ok(None),
    })
}

/// The square weights that a node reads, and whether it exchanges input and output against how they are stored.
fn reads(graph: &Graph, node: &Node) -> Option<(ValueId, bool)> {
    let mut exchanged = match &node.op {
        Op::Conv(_) | Op::MatMul => false,
        Op::ConvTranspose(_) => true,
        Op::Gemm(gemm) => gemm.trans_b,
        _ => return None,
    };
    let mut weights = node.inputs.get(1).copied().flatten()?;
    let square =
        |id| matches!(graph.value(id).shape.as_ref()?.0.as_slice(), [a, b, ..] if a == b).then_some(());
    let producer = |id| graph.value(id).producer.map(|node| graph.node(node));
    let dequantised =
        |id| producer(id).is_some_and(|node: &Node| matches!(node.op, Op::DequantizeLinear { .. }));
    square(weights).filter(|()| is_constant(graph, weights) && !is_made_of(graph, weights, dequantised))?;
    // Engines take the transposition of a matrix into the product.
    while let Some(node) = producer(weights)
        && node.op == (Op::Transpose { perm: vec![1, 0] })
    {
        weights = node.inputs.first().copied().flatten()?;
        exchanged = !exchanged;
    }
    Some((weights, exchanged))
}

/// The same numbers, reversed twice along the first axis.
fn copy(b: &mut Build, weights: ValueId) -> Result<ValueId> {
    let rows = b.shape(weights)?.0.first().and_then(|rows| rows.fixed()).unwrap_or(1);
    let reversal = Op::Slice(vec![Range { axis: 0, start: rows as i64 - 1, end: -1, step: -1 }]);
    let reversed = b.emit(reversal.clone(), &[weights])?;
    b.emit(reversal, &[reversed])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Header;
    use crate::op::{Gemm, UnaryFn};
    use crate::tensor::{DType, Tensor};

    /// The operators between `W`, whose sizes are given, and the second product of `relu(x·Wᵀ·W)`.
    fn read(rows: usize, columns: usize, kept: bool) -> Vec<String> {
        let mut b = Build::new(Header::default());
        let x = b.input("x", DType::F32, [1, columns].into()).unwrap();
        let w = Tensor::f32(&[rows, columns], &vec![1.0; rows * columns]).unwrap();
        let w = b.named_constant("w", w).unwrap();
        let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        let y = b.emit(Op::Gemm(gemm), &[x, w]).unwrap();
        let z = b.matmul(y, w).unwrap();
        let z = b.unary(UnaryFn::Relu, z).unwrap();
        let graph = unshare(&b.finish(vec![z]), &|_| kept).unwrap();
        let producer = |id| graph.value(id).producer.map(|node| graph.node(node));
        let mut way = Vec::new();
        let last = producer(graph.outputs()[0]).unwrap().inputs[0].unwrap();
        let mut at = producer(last).unwrap().inputs[1].unwrap();
        while let Some(node) = producer(at) {
            way.push(node.op.name().to_owned());
            at = node.inputs[0].unwrap();
        }
        assert_eq!(graph.value(at).name, "w");
        way
    }

    /// There are 2^64 ways to the constant that the weights are made of.
    #[test]
    fn weights_that_double_sixty_four_times_are_followed_once() {
        let mut b = Build::new(Header::default());
        let x = b.input("x", DType::F32, [1, 2].into()).unwrap();
        let mut w = b.named_constant("w", Tensor::f32(&[2, 2], &[1.0; 4]).unwrap()).unwrap();
        for _ in 0..64 {
            w = b.add(w, w).unwrap();
        }
        let y = b.matmul(x, w).unwrap();
        let graph = unshare(&b.finish(vec![y]), &|_| false).unwrap();
        assert_eq!(graph.nodes().len(), 65);
    }

    #[test]
    fn only_the_second_way_of_square_weights_is_a_copy() {
        assert_eq!(read(3, 3, false), ["Slice", "Slice"]);
        assert!(read(3, 3, true).is_empty() && read(2, 3, false).is_empty());
    }
}
