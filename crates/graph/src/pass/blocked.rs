//! What keeps signals in ONNX Runtime's blocked layout. It lays out in blocks of channels what convolutions and pools make,
//! and computes products, sums and some functions there, but orders channels anew, forth and back, for everything else: for
//! comparisons, and for sums of which one term is not in blocks.

use std::collections::HashMap;

use crate::error::Result;
use crate::graph::{Build, Graph, Node, ValueId};
use crate::op::{BinaryFn, CompareFn, Op, UnaryFn, Window};
use crate::shape::Dim;
use crate::tensor::DType;

/// The nodes that read each value.
pub(super) fn users(graph: &Graph) -> HashMap<ValueId, Vec<&Node>> {
    let mut users: HashMap<ValueId, Vec<&Node>> = HashMap::new();
    for (_, node) in graph.nodes() {
        node.inputs.iter().flatten().for_each(|&id| users.entry(id).or_default().push(node));
    }
    users
}

/// The mask `[x > 0]` as `min(max(s·x, 0), 1)`, `s` the greatest number. It is the same, at ±∞ too, but for two kinds of `x`:
/// positive subnormal numbers below 3·10⁻³⁹, whose mask is between 0 and 1, and NaN, whose mask is NaN where that of the
/// comparison is 0.
pub(super) fn mask(b: &mut Build, node: &Node, inputs: &[Option<ValueId>]) -> Result<Option<ValueId>> {
    let (Op::Cast(DType::F32), &[Some(mask)]) = (&node.op, inputs) else { return Ok(None) };
    let graph = b.graph();
    let Some(made) = graph.value(mask).producer.map(|id| graph.node(id)) else { return Ok(None) };
    let (Op::Compare(CompareFn::Greater), &[Some(x), Some(bound)]) = (&made.op, made.inputs.as_slice())
    else {
        return Ok(None);
    };
    let zero = graph.value(bound).constant.as_ref().is_some_and(|c| c.len() == 1 && c.to_f64s() == [0.0]);
    if !zero || graph.value(x).dtype != Some(DType::F32) {
        return Ok(None);
    }
    let step = Op::Unary(UnaryFn::HardSigmoid { alpha: f32::MAX, beta: 0.0 });
    Ok(b.nodes(step, &[Some(x)])?.first().copied())
}

/// What is computed elsewhere put into blocks by a pool of single cells, where sums and products alone read it: else all sums
/// behind it, as those of the residual blocks below, would leave them.
pub(super) fn entry(
    b: &mut Build,
    node: &Node,
    inputs: &[Option<ValueId>],
    users: &HashMap<ValueId, Vec<&Node>>,
) -> Result<Option<ValueId>> {
    let (Op::ConvTranspose(_) | Op::Expand { .. }, &[Some(y)]) = (&node.op, node.outputs.as_slice()) else {
        return Ok(None);
    };
    let stays = |user: &&Node| {
        matches!(user.op, Op::Binary(BinaryFn::Add | BinaryFn::Mul) | Op::Unary(UnaryFn::Relu))
    };
    if !users.get(&y).is_some_and(|users| users.iter().all(stays)) {
        return Ok(None);
    }
    let made = b.nodes(node.op.clone(), inputs)?[0];
    // Blocks have 8 or 16 channels.
    let fits = match b.graph().shape(made)?.0.as_slice() {
        [_, Dim::Fixed(channels), Dim::Fixed(_), Dim::Fixed(_)] => channels % 16 == 0,
        _ => false,
    };
    if !fits || b.graph().value(made).dtype != Some(DType::F32) {
        return Ok(Some(made));
    }
    let cell = Window {
        kernel: vec![1; 2],
        strides: vec![1; 2],
        dilations: vec![1; 2],
        pads: vec![(0, 0); 2],
        ceil_mode: false,
    };
    Ok(b.nodes(Op::MaxPool(cell), &[Some(made)])?.first().copied())
}
