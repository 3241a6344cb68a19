//! A graph built anew, some of its nodes replaced.

use crate::error::Result;
use crate::graph::{Build, Graph, NamedNode, Node, ValueId};

/// Builds the graph again, node by node. `replace` sees each node with its operands in the new
/// graph and may return the results that stand for the node's; they take over its names.
///
/// # Errors
/// Those of `replace`, and of making nodes.
pub(super) fn rewrite(
    graph: &Graph,
    mut replace: impl FnMut(&mut Build, &Node, &[Option<ValueId>]) -> Result<Option<Vec<ValueId>>>,
) -> Result<Graph> {
    let mut build = Build::new(graph.header().clone());
    for (location, bytes) in graph.buffers() {
        build.buffer(location, bytes.clone());
    }
    graph.values().for_each(|(_, value)| build.avoid(&value.name));
    let mut ids: Vec<Option<ValueId>> = vec![None; graph.values().count()];
    for &input in graph.inputs() {
        let value = graph.value(input);
        let dtype = value.dtype.unwrap_or(crate::DType::F32);
        ids[input.0 as usize] = Some(match &value.shape {
            Some(shape) => build.input(&value.name, dtype, shape.clone())?,
            None => build.shapeless_input(&value.name, dtype)?,
        });
    }
    for (id, value) in graph.values() {
        if let Some(constant) = &value.constant {
            ids[id.0 as usize] = Some(build.named_constant(&value.name, constant.clone())?);
        }
    }
    for (_, node) in graph.nodes() {
        let inputs: Vec<Option<ValueId>> =
            node.inputs.iter().map(|i| i.and_then(|i| ids[i.0 as usize])).collect();
        let named = |o: &Option<ValueId>| o.map(|o| graph.value(o).name.clone());
        let results: Vec<Option<ValueId>> = match replace(&mut build, node, &inputs)? {
            Some(results) => {
                let mut standing = Vec::new();
                for (result, name) in results.into_iter().zip(node.outputs.iter().map(named)) {
                    // Results that have a name of their own, as an operand passed through does, keep it.
                    let outward = node.outputs.iter().flatten().any(|o| graph.outputs().contains(o));
                    standing.push(Some(match name {
                        Some(name) if outward => {
                            let copy = build.copy(result)?;
                            build.rename(copy, &name)?;
                            copy
                        }
                        _ => result,
                    }));
                }
                standing
            }
            None => build.named(NamedNode {
                op: node.op.clone(),
                inputs,
                outputs: node.outputs.iter().map(named).collect(),
                name: node.name.clone(),
                module: node.module.clone(),
            })?,
        };
        for (&old, new) in node.outputs.iter().zip(results) {
            if let (Some(old), Some(new)) = (old, new) {
                let about = graph.value(old);
                build.declare(new, about.dtype, about.shape.clone());
                ids[old.0 as usize] = Some(new);
            }
        }
    }
    let outputs = graph.outputs().iter().filter_map(|o| ids[o.0 as usize]).collect();
    Ok(super::prune(&build.finish(outputs)))
}
