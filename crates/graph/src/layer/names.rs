//! Layers by name.

use super::is_constant;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::op::Op;

/// The value that a name stands for: a value, a node's first result, or the last value of a module. Levels stand for the real
/// numbers that they are de-quantised to.
///
/// # Errors
/// When nothing is called so; candidates are listed.
pub fn find(graph: &Graph, name: &str) -> Result<ValueId> {
    if let Some(id) = graph.find(name) {
        return Ok(real(graph, id));
    }
    let inside =
        |module: &str| module.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let result = |node: &Node| node.outputs.iter().flatten().next().copied();
    let by_name = graph.nodes().find(|(_, n)| n.name == name).and_then(|(_, n)| result(n));
    let last = || graph.nodes().rev().find(|(_, n)| n.module.as_deref().is_some_and(inside));
    by_name.or_else(|| last().and_then(|(_, n)| result(n))).map(|id| real(graph, id)).ok_or_else(|| {
        Error::Name {
            what: format!("there is no layer {name:?}"),
            hint: match similar(graph, name) {
                names if names.is_empty() => "see `whycam inspect` for the layers of the model".into(),
                names => format!("did you mean {}? (all: `whycam inspect`)", names.join(", ")),
            },
        }
    })
}

/// What a value is de-quantised to, where it is.
fn real(graph: &Graph, id: ValueId) -> ValueId {
    let takes = |node: &Node| {
        matches!(node.op, Op::DequantizeLinear { .. }) && node.inputs.first() == Some(&Some(id))
    };
    let found = graph.nodes().find(|(_, node)| takes(node));
    found.and_then(|(_, node)| node.outputs.first().copied().flatten()).unwrap_or(id)
}

/// Up to eight module paths and value names that contain the name, or share its last word.
fn similar(graph: &Graph, name: &str) -> Vec<String> {
    let wanted = name.to_lowercase();
    let modules = graph.nodes().filter_map(|(_, n)| n.module.as_deref());
    let values = graph
        .nodes()
        .flat_map(|(_, n)| n.outputs.iter().flatten())
        .filter(|&&o| !is_constant(graph, o))
        .map(|&o| graph.value(o).name.as_str());
    let mut found: Vec<String> = Vec::new();
    for known in modules.chain(values) {
        let lower = known.to_lowercase();
        if (lower.contains(&wanted) || wanted.contains(&lower)) && !found.iter().any(|f| f == known) {
            found.push(known.to_owned());
        }
        if found.len() == 8 {
            break;
        }
    }
    found
}
