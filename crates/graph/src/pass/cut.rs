//! A graph cut open at one of its values.

use std::collections::HashSet;

use super::rewrite::rewrite;
use crate::error::{Error, Result};
use crate::graph::{Build, Graph, ValueId};

/// The part of the graph above a value: the value becomes an input under its own name, and `change` makes of it what the
/// rest of the graph reads. Inputs that the outputs no longer need are gone; those that another way leads from stay.
///
/// # Errors
/// When the type or shape of the value is unknown, no node makes it, or those of `change`.
pub fn cut(
    graph: &Graph,
    at: ValueId,
    change: impl FnOnce(&mut Build, ValueId) -> Result<ValueId>,
) -> Result<Graph> {
    let value = graph.value(at);
    let shape = graph.shape(at)?;
    let (Some(dtype), Some(producer)) = (value.dtype, value.producer) else {
        return Err(Error::unfit(
            format!("the graph cannot be cut at {:?}", value.name),
            "choose a --layer that `whycam inspect` lists",
        ));
    };
    let first = graph.node(producer).outputs.iter().flatten().next();
    let mut change = Some(change);
    let mut cut = rewrite(graph, |b, node, inputs| {
        if node.outputs.iter().flatten().next() != first {
            return Ok(None);
        }
        let Some(change) = change.take() else { return Ok(None) };
        let input = b.input(&value.name, dtype, shape.clone())?;
        let changed = change(b, input)?;
        if node.outputs == [Some(at)] {
            return Ok(Some(vec![changed]));
        }
        let results = b.nodes(node.op.clone(), inputs)?.into_iter().zip(&node.outputs);
        Ok(Some(results.map(|(made, o)| if *o == Some(at) { changed } else { made }).collect()))
    })?;
    let needed = needed(&cut);
    cut.inputs.retain(|id| needed.contains(id));
    Ok(super::prune(&cut))
}

/// The values that outputs are made of.
fn needed(graph: &Graph) -> HashSet<ValueId> {
    let mut needed: HashSet<ValueId> = graph.outputs.iter().copied().collect();
    for (_, node) in graph.nodes().rev() {
        if node.outputs.iter().flatten().any(|o| needed.contains(o)) {
            needed.extend(node.inputs.iter().flatten());
        }
    }
    needed
}
