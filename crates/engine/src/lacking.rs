//! Which nodes an engine does not take, all of them at once.

use whycam_graph::{Build, Engine, Error, Graph, NamedNode, Node, Op, Result, Tensor, onnx};

/// Longest constant operand that is part of a node's form, as axes and bounds are; longer ones are weights.
const FORM: usize = 1024;

/// An error that names every node of the graph that the engine does not take by itself; `None` when it takes them all.
pub(crate) fn nodes(engine: &dyn Engine, graph: &Graph) -> Option<Error> {
    let mut hint = None;
    let mut refused = Vec::new();
    for (_, node) in graph.nodes() {
        if is_foreign(&node.op) {
            refused.push(format!("{}: ONNX has no such operator", node.place()));
            hint = Some(FOREIGN.to_owned());
            continue;
        }
        let Ok(single) = alone(graph, node).and_then(|graph| onnx::write(&graph)) else { continue };
        if let Err(Error::Engine { what, hint: told, .. }) = engine.load(single) {
            refused.push(format!("{}: {what}", node.place()));
            hint.get_or_insert(told);
        }
    }
    let what = match refused.as_slice() {
        [] => return None,
        [one] => one.clone(),
        many => format!("{} nodes cannot be run:\n  {}", many.len(), many.join("\n  ")),
    };
    Some(Error::Engine { engine: engine.name(), what, hint: hint.unwrap_or_default() })
}

const FOREIGN: &str = "the exporter left operators of its framework in the file, which no engine has; export the model again \
                       with a version or options that convert them";

/// Whether no engine can have the operator: it says to be ONNX's own, and is not.
fn is_foreign(op: &Op) -> bool {
    matches!(op, Op::Opaque(kept) if kept.domain.is_empty() && !onnx::is_standard(&kept.op_type))
}

/// A graph of that node alone, on inputs of the types and shapes of its operands.
fn alone(graph: &Graph, node: &Node) -> Result<Graph> {
    let mut build = Build::new(graph.header().clone());
    let mut inputs = Vec::new();
    for operand in &node.inputs {
        let Some(value) = operand.map(|id| graph.value(id)) else {
            inputs.push(None);
            continue;
        };
        let known = build.graph().find(&value.name);
        inputs.push(Some(match (known, &value.constant, value.dtype, &value.shape) {
            (Some(known), ..) => known,
            (None, Some(constant), ..) if constant.len() <= FORM => {
                let inside =
                    Tensor::new(constant.dtype(), constant.shape().to_vec(), constant.data().clone())?;
                build.named_constant(&value.name, inside)?
            }
            (None, _, Some(dtype), Some(shape)) => build.input(&value.name, dtype, shape.clone())?,
            _ => {
                return Err(Error::Unfit {
                    what: format!("the type of {:?} is not known", value.name),
                    hint: "it is the result of a node that is not modelled".into(),
                });
            }
        }));
    }
    let outputs = node.outputs.iter().map(|o| o.map(|id| graph.value(id).name.clone())).collect();
    let node = NamedNode {
        op: node.op.clone(),
        inputs,
        outputs,
        name: node.name.clone(),
        module: node.module.clone(),
    };
    let results = build.named(node)?.into_iter().flatten().collect();
    Ok(build.finish(results))
}
