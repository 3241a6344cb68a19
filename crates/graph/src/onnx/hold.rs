//! Graphs whose sizes depend on data, as one run has them.
//!
//! Detectors find boxes: how many there are, and so the shapes of all that is computed of them, is known when an image has
//! been seen. What decides it are integers, which no gradient passes: kept boxes, cells that are not zero, numbers of
//! results. Held at what one image makes of them they are constants, and the rest is read anew with its shapes.

use std::collections::{HashMap, HashSet};

use super::read::{ReadOptions, read};
use super::write::write;
use crate::error::Result;
use crate::graph::{Graph, Node, ValueId};
use crate::op::Op;
use crate::pass::prune;
use crate::shape::Shape;
use crate::tensor::{DType, Tensor};

/// The values around nodes that are not modelled, or whose results have no known shape, which are no floats, or may be none,
/// and depend on data; none where every shape is known.
pub fn unsettled(graph: &Graph) -> Vec<ValueId> {
    if graph.values().all(|(_, value)| value.shape.is_some()) {
        return Vec::new();
    }
    let mut seen = HashSet::new();
    let unknown = |id: &ValueId| graph.value(*id).shape.is_none();
    let vague = |node: &&Node| matches!(node.op, Op::Opaque(_)) || node.outputs.iter().flatten().any(unknown);
    let vague = graph.nodes().map(|(_, node)| node).filter(vague);
    let around = vague.flat_map(|node| node.inputs.iter().chain(&node.outputs).flatten().copied());
    let open = |id: &ValueId| {
        let value = graph.value(*id);
        let known = value.producer.is_none() || value.ints.is_some();
        !known && !value.dtype.is_some_and(DType::is_float)
    };
    around.filter(|id| open(id) && seen.insert(*id)).collect()
}

/// The graph for one image with constants instead of these values, read anew.
///
/// # Errors
/// When it cannot be written, or read again.
pub fn hold(graph: &Graph, held: &[(ValueId, Tensor)]) -> Result<Graph> {
    let mut graph = graph.clone();
    let held: HashMap<ValueId, &Tensor> = held.iter().map(|(id, tensor)| (*id, tensor)).collect();
    for node in &mut graph.nodes {
        for output in &mut node.outputs {
            *output = output.filter(|id| !held.contains_key(id));
        }
    }
    for (id, tensor) in held {
        let value = &mut graph.values[id.0 as usize];
        value.producer = None;
        (value.dtype, value.shape) = (Some(tensor.dtype()), Some(Shape::fixed(tensor.shape())));
        value.constant = Some(tensor.clone());
    }
    for id in graph.inputs.clone() {
        let value = &mut graph.values[id.0 as usize];
        value.shape = value.shape.take().map(|shape| Shape::fixed(&shape.at(1)));
    }
    read(&write(&prune(&graph))?, &ReadOptions::default())
}
