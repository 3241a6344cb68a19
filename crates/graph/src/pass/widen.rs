//! Half floats made float32.

use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Build, Graph, NamedNode, ValueId};
use crate::op::{Composite, Op};
use crate::tensor::DType;

/// The graph in float32: inputs, and all that nodes make of float16 and bfloat16. Constants stay as they are stored, and are
/// cast where they are used; opaque nodes get and give what they did. Values keep their names. `None` where nothing is made of
/// half floats.
///
/// Signals lose what is below 6·10⁻⁸ in float16, and nearly all digits before that.
///
/// # Errors
/// Those of making nodes.
pub fn widen(graph: &Graph) -> Result<Option<Graph>> {
    if !graph.values().any(|(_, v)| is_narrow(v.dtype) && v.constant.is_none()) {
        return Ok(None);
    }
    let mut build = Build::new(graph.header().clone());
    for (location, bytes) in graph.buffers() {
        build.buffer(location, bytes.clone());
    }
    graph.values().for_each(|(_, value)| build.avoid(&value.name));
    let mut ids: Vec<Option<ValueId>> = vec![None; graph.values().count()];
    for &input in graph.inputs() {
        let value = graph.value(input);
        let dtype = wide(value.dtype.unwrap_or(DType::F32));
        ids[input.0 as usize] = Some(match &value.shape {
            Some(shape) => build.input(&value.name, dtype, shape.clone())?,
            None => build.shapeless_input(&value.name, dtype)?,
        });
        build.know(ids[input.0 as usize].unwrap_or(input), value.ints.clone());
    }
    for (id, value) in graph.values() {
        if let Some(constant) = &value.constant {
            ids[id.0 as usize] = Some(build.named_constant(&value.name, constant.clone())?);
        }
    }
    for (_, node) in graph.nodes() {
        let opaque = matches!(node.op, Op::Opaque(_));
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for &input in &node.inputs {
            let Some((input, id)) = input.and_then(|i| Some((i, ids[i.0 as usize]?))) else {
                inputs.push(None);
                continue;
            };
            let from = graph.value(input).dtype.unwrap_or(DType::F32);
            let to = if opaque { from } else { wide(from) };
            let differs = from.is_float() && build.graph().value(id).dtype.is_some();
            inputs.push(Some(if differs { build.cast(id, to)? } else { id }));
        }
        let op = match &node.op {
            Op::Cast(to) => Op::Cast(wide(*to)),
            Op::Composite(c) => {
                let kept = node.inputs.iter().flatten().any(|&i| is_narrow(graph.value(i).dtype));
                let results = node.outputs.iter().flatten().any(|&o| is_narrow(graph.value(o).dtype));
                let body = widen(&c.body)?.unwrap_or_else(|| c.body.clone());
                if results && !kept {
                    // The node itself says that it makes half floats.
                    let operands: Vec<ValueId> = inputs.iter().flatten().copied().collect();
                    let made = build.inline(&body, &operands)?;
                    for (output, made) in node.outputs.iter().zip(made) {
                        let Some(output) = *output else { continue };
                        let copy = build.copy(made)?;
                        build.rename(copy, &graph.value(output).name)?;
                        ids[output.0 as usize] = Some(copy);
                    }
                    continue;
                }
                Op::Composite(Box::new(Composite { body, ..(**c).clone() }))
            }
            op => op.clone(),
        };
        let outputs = node.outputs.iter().map(|o| o.map(|o| graph.value(o).name.clone())).collect();
        let (name, module) = (node.name.clone(), node.module.clone());
        let results = build.named(NamedNode { op, inputs, outputs, name, module })?;
        for (&old, new) in node.outputs.iter().zip(results) {
            let (Some(old), Some(new)) = (old, new) else { continue };
            let about = graph.value(old);
            build.declare(new, about.dtype, about.shape.clone());
            let narrow = is_narrow(build.graph().value(new).dtype);
            ids[old.0 as usize] = Some(if narrow { build.cast(new, DType::F32)? } else { new });
        }
    }
    let outputs = graph.outputs().iter().filter_map(|o| ids[o.0 as usize]).collect();
    Ok(Some(super::prune(&build.finish(outputs))))
}

fn is_narrow(dtype: Option<DType>) -> bool {
    matches!(dtype, Some(DType::F16 | DType::Bf16))
}

fn wide(dtype: DType) -> DType {
    if is_narrow(Some(dtype)) { DType::F32 } else { dtype }
}
