//! Drops what no output needs.

use std::collections::HashMap;

use crate::graph::{Graph, NodeId, ValueId};

/// The same graph without the nodes and constants that no output needs. Inputs and names stay.
pub fn prune(graph: &Graph) -> Graph {
    let mut wanted = vec![false; graph.values.len()];
    for id in graph.outputs.iter().chain(&graph.inputs) {
        wanted[id.0 as usize] = true;
    }
    let mut kept = Vec::new();
    for (_, node) in graph.nodes().rev() {
        if node.outputs.iter().flatten().any(|o| wanted[o.0 as usize]) {
            for id in node.inputs.iter().chain(&node.outputs).flatten() {
                wanted[id.0 as usize] = true;
            }
            kept.push(node.clone());
        }
    }
    kept.reverse();

    let mut ids = HashMap::new();
    let mut values = Vec::new();
    for (id, value) in graph.values().filter(|(id, _)| wanted[id.0 as usize]) {
        ids.insert(id, ValueId(values.len() as u32));
        values.push(value.clone());
    }
    for (i, node) in kept.iter_mut().enumerate() {
        for id in node.inputs.iter_mut().chain(&mut node.outputs).flatten() {
            *id = ids[id];
        }
        for id in node.outputs.iter().flatten() {
            values[id.0 as usize].producer = Some(NodeId(i as u32));
        }
    }
    let renumber = |list: &[ValueId]| list.iter().map(|id| ids[id]).collect();
    Graph {
        inputs: renumber(&graph.inputs),
        outputs: renumber(&graph.outputs),
        values,
        nodes: kept,
        header: graph.header.clone(),
        buffers: graph.buffers.clone(),
    }
}
