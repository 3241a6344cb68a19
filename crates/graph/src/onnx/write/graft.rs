//! Adds what was derived from a model to the model's file, and leaves what the file has as it is.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use prost::Message;

use super::fields::{fields, push};
use super::node::Writer;
use super::{MAX_PROTO, MIN_OPSET, entries, must_declare, needed_opset, tensors, value_info, write_within};
use crate::engine::ModelBytes;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Value, ValueId};
use crate::onnx::proto::{
    Dimension, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto, TypeProto,
    ValueInfoProto,
};
use crate::onnx::read::decode;
use crate::onnx::scope;
use crate::op::Op;
use crate::shape::{Dim, N};
use crate::tensor::DType;

/// From this version of the file format on, constants need not be inputs too.
const IR_OF_CONSTANTS: i64 = 4;

/// What is added to a model's file.
#[derive(Clone, Copy, Debug)]
pub struct Graft<'a> {
    /// The graph that was read from the file.
    pub model: &'a Graph,
    /// A graph whose outputs stand for inputs of the model or of `derived`: its own inputs take their place.
    pub before: Option<&'a Graph>,
    /// The graph derived from `model`, or from a form of it with other types; its outputs become further outputs.
    pub derived: &'a Graph,
    /// Entries of the metadata that are added, or take the place of old ones.
    pub metadata: &'a BTreeMap<String, String>,
    /// The version of ONNX's operators that is wanted at least; 0 for none.
    pub opset: i64,
}

/// The file of `graft.model` with the derived nodes, constants and outputs behind its own.
///
/// What the file has stays byte for byte: nodes, initialisers, outputs, metadata, and parts that whycam does not know.
/// Two things change it: inputs are declared anew where something stands for them or their size was chosen; and where a
/// higher version of ONNX's operators is needed, nodes are spelled in that version.
///
/// # Errors
/// When the version must be raised, but a node that whycam does not model forbids it; when the derived outputs' names are
/// taken; or when the file would be too large.
pub fn graft(file: &ModelBytes, graft: &Graft<'_>) -> Result<ModelBytes> {
    let own = graft.model.header();
    let needed =
        [Some(graft.derived), graft.before].into_iter().flatten().map(|g| needed_opset(g, graft.opset));
    let opset = needed.fold(MIN_OPSET, i64::max);
    let raised = opset > own.opset() || own.ir_version < IR_OF_CONSTANTS;
    let file =
        if raised { write_within(graft.model, opset, MAX_PROTO, usize::MAX, false)? } else { file.clone() };
    let (_, old) = decode(&file.proto)?;
    let has = names(&old)?;

    // Names of values that the file does not have must be new to it.
    let read: HashSet<&str> = graft.model.values().map(|(_, v)| v.name.as_str()).collect();
    let typed = |name: &str| graft.model.find(name).and_then(|id| graft.model.value(id).dtype);
    let before = graft.before.map(|graph| renamed(graph, &has, &read, &typed));
    let mut front = GraphProto::default();
    if let Some(before) = &before {
        add(before, opset, &has, &mut front)?;
    }
    let stands = |graph: &Graph| graph.outputs().iter().map(|&id| graph.value(id).name.clone()).collect();
    let replaced: HashSet<String> = before.as_ref().map(stands).unwrap_or_default();
    let taken = names(&front)?
        .into_iter()
        .filter(|name| !replaced.contains(name))
        .chain(has.iter().cloned())
        .collect();
    let derived = renamed(&graft.derived.given(&typed), &taken, &read, &typed);
    let names_of_outputs = derived.outputs().iter().map(|&id| &derived.value(id).name);
    if let Some(name) = names_of_outputs.into_iter().find(|name| taken.contains(*name)) {
        return Err(Error::unfit(
            format!("the model has a value called {name:?} already"),
            "compile the model as it was before it was compiled",
        ));
    }
    let mut behind = GraphProto::default();
    add(&derived, opset, &taken, &mut behind)?;
    let symbol = batch_symbol(&old);
    let declare = |value: &Value| named_batch(value_info(value), symbol.as_deref());
    behind.output = derived.outputs().iter().map(|&id| declare(derived.value(id))).collect();
    behind.initializer.append(&mut front.initializer);
    let mut inputs = Vec::new();
    for graph in before.iter().chain([&derived]) {
        for value in graph.inputs().iter().map(|&id| graph.value(id)) {
            let again = has.contains(&value.name) && !resized(&old, value);
            if !again
                && !replaced.contains(&value.name)
                && inputs.iter().all(|i: &ValueInfoProto| i.name != value.name)
            {
                inputs.push(declare(value));
            }
        }
    }

    let mut graph = front.encode_to_vec();
    let mut model = Vec::new();
    for field in fields(&file.proto)? {
        match field.tag {
            7 => {
                for part in fields(&field.inside)? {
                    let kept = match part.tag {
                        11 => keeps_input(&part.inside, &replaced, &mut inputs, &mut graph)?,
                        _ => true,
                    };
                    if kept {
                        graph.extend_from_slice(&part.whole);
                    }
                }
            }
            14 if graft.metadata.contains_key(&entry(field.inside)?.key) => {}
            _ => model.extend_from_slice(&field.whole),
        }
    }
    behind.input = inputs;
    push(&mut model, 7, &[&graph, &behind.encode_to_vec()]);
    ModelProto { metadata_props: entries(graft.metadata), ..ModelProto::default() }
        .encode(&mut model)
        .map_err(Error::limit)?;
    if model.len() > MAX_PROTO {
        return Err(Error::limit("the model does not fit a protobuf file with what is added"));
    }
    Ok(ModelBytes { proto: model.into(), ..file })
}

/// Whether an input of the file stays; one that is declared anew is put in its place.
fn keeps_input(
    encoded: &Bytes,
    replaced: &HashSet<String>,
    anew: &mut Vec<ValueInfoProto>,
    graph: &mut Vec<u8>,
) -> Result<bool> {
    let info = ValueInfoProto::decode(encoded.clone()).map_err(Error::malformed)?;
    if let Some(i) = anew.iter().position(|input| input.name == info.name) {
        push(graph, 11, &[&anew.remove(i).encode_to_vec()]);
        return Ok(false);
    }
    Ok(!replaced.contains(&info.name))
}

fn entry(encoded: Bytes) -> Result<StringStringEntryProto> {
    StringStringEntryProto::decode(encoded).map_err(Error::malformed)
}

/// Every name of a value that the file's graph has.
fn names(graph: &GraphProto) -> Result<HashSet<String>> {
    let mut names: HashSet<String> = graph.input.iter().map(|i| i.name.clone()).collect();
    names.extend(graph.initializer.iter().map(|t| t.name.clone()));
    names.extend(graph.sparse_initializer.iter().filter_map(|t| Some(t.values.as_ref()?.name.clone())));
    for node in &graph.node {
        names.extend(NodeProto::decode(node.clone()).map_err(Error::malformed)?.output);
    }
    names.remove("");
    Ok(names)
}

/// The graph with new names for values that the file has not, or has of its own or in another type; those that are read or
/// returned keep theirs.
fn renamed(
    graph: &Graph,
    has: &HashSet<String>,
    read: &HashSet<&str>,
    typed: &dyn Fn(&str) -> Option<DType>,
) -> Graph {
    let mut graph = graph.clone();
    let kept: HashSet<ValueId> = graph.inputs.iter().chain(&graph.outputs).copied().collect();
    let mut taken: HashSet<String> =
        graph.values.iter().map(|v| v.name.clone()).chain(has.iter().cloned()).collect();
    let mut fresh = (1..).map(|i| format!("whycam/{i}"));
    for (i, value) in graph.values.iter_mut().enumerate() {
        let of_model = read.contains(value.name.as_str());
        let same = typed(&value.name).is_none_or(|dtype| value.dtype.is_none_or(|own| own == dtype));
        let of_file = has.contains(&value.name) && same;
        if of_model == of_file {
            continue;
        }
        let id = ValueId(i as u32);
        if !kept.contains(&id)
            && let Some(name) = fresh.by_ref().find(|name| !taken.contains(name))
        {
            taken.insert(name.clone());
            value.name = name;
        }
    }
    graph
}

/// Adds to `to` the nodes and constants that make the graph's outputs, as far as the file has not got them.
fn add(graph: &Graph, opset: i64, has: &HashSet<String>, to: &mut GraphProto) -> Result<()> {
    let is_output: HashSet<ValueId> = graph.outputs().iter().copied().collect();
    let there = |id: ValueId| !is_output.contains(&id) && has.contains(&graph.value(id).name);
    let mut wanted: HashSet<ValueId> = is_output.clone();
    let mut nodes = Vec::new();
    for (_, node) in graph.nodes().rev() {
        if node.outputs.iter().flatten().any(|id| wanted.contains(id)) {
            wanted.extend(node.inputs.iter().flatten().copied().filter(|&id| !there(id)));
            nodes.push(node);
        }
    }
    let mut writer = Writer::new(graph, opset);
    writer.avoid(has.iter().map(String::as_str));
    for node in nodes.into_iter().rev() {
        writer.node(&nameless(node)?)?;
    }
    let (nodes, params) = writer.finish();
    to.node = nodes;
    let values = || wanted.iter().map(|&id| graph.value(id));
    let mut constants: Vec<(&str, TensorProto)> = values()
        .filter_map(|v| Some((v.name.as_str(), tensors::proto(&v.name, v.constant.as_ref()?))))
        .collect();
    constants.sort_by_key(|(name, _)| *name);
    to.initializer = constants.into_iter().map(|(_, proto)| proto).chain(params).collect();
    to.value_info = values().filter(|v| must_declare(graph, v)).map(value_info).collect();
    to.value_info.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(())
}

/// A node without its name, which one of the file may have.
fn nameless(node: &Node) -> Result<Node> {
    let mut node = node.clone();
    node.name.clear();
    node.module = None;
    let kept = match &mut node.op {
        Op::Opaque(kept) => kept.as_mut(),
        Op::Composite(composite) => &mut composite.kept,
        _ => return Ok(node),
    };
    let proto = NodeProto { name: String::new(), ..scope::node(&kept.proto)? };
    kept.proto = proto.encode_to_vec().into();
    Ok(node)
}

/// Whether the file leaves sizes of an input open that were chosen, or declares others.
fn resized(file: &GraphProto, value: &Value) -> bool {
    let declared = file.input.iter().find(|i| i.name == value.name).map(dims).unwrap_or_default();
    let Some(shape) = &value.shape else { return false };
    declared.iter().zip(&shape.0).any(|(old, new)| match (old, new) {
        (Some(Dimension::Value(old)), Dim::Fixed(new)) => i64::try_from(*new) != Ok(*old),
        (_, new) => matches!(new, Dim::Fixed(_)),
    })
}

/// What the file calls the size of a batch.
fn batch_symbol(file: &GraphProto) -> Option<String> {
    file.input.iter().find_map(|input| match dims(input).into_iter().next() {
        Some(Some(Dimension::Param(name))) if !name.is_empty() => Some(name),
        _ => None,
    })
}

fn dims(info: &ValueInfoProto) -> Vec<Option<Dimension>> {
    let shape = info.r#type.clone().and_then(|t| TypeProto::decode(t).ok()?.tensor_type?.shape);
    shape.map(|s| s.dim.into_iter().map(|d| d.value).collect()).unwrap_or_default()
}

/// A declaration in which the batch is called as in the file.
fn named_batch(mut info: ValueInfoProto, symbol: Option<&str>) -> ValueInfoProto {
    let Some(mut proto) = info.r#type.clone().and_then(|t| TypeProto::decode(t).ok()) else { return info };
    for dim in proto.tensor_type.iter_mut().flat_map(|t| &mut t.shape).flat_map(|s| &mut s.dim) {
        if let (Some(Dimension::Param(name)), Some(own)) = (&mut dim.value, symbol)
            && *name == N.to_string()
        {
            own.clone_into(name);
        }
    }
    info.r#type = Some(proto.encode_to_vec().into());
    info
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::{Classes, derive};
    use crate::onnx::{ReadOptions, read};

    /// Every field of the file, and of its graph, stands in the new file in the same order, byte for byte.
    #[test]
    fn what_the_file_has_stays() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/nets");
        for net in ["resnet18", "mobilenet_v2", "efficientnet_lite"] {
            let proto = std::fs::read(root.join(net).join("legacy.onnx")).expect("readable");
            let file = ModelBytes { proto: proto.into(), ..ModelBytes::default() };
            let model = read(&file, &ReadOptions::default()).expect("sound");
            let image = crate::layer::image_input(&model).expect("an image");
            let score = crate::layer::score(&model, None).expect("scores");
            let derived =
                derive(&model, image, &score, Classes { top: 1, given: 0 }, &[]).expect("derived").graph;
            let derived = derived.with_outputs(&derived.outputs()[1..]);
            let metadata = [("a".to_owned(), "b".to_owned())].into();
            let ask = Graft { model: &model, before: None, derived: &derived, metadata: &metadata, opset: 0 };
            let made = graft(&file, &ask).expect("grafted");
            let parts = |bytes: &Bytes, graph: bool| -> Vec<Bytes> {
                let all = fields(bytes).expect("sound").into_iter();
                all.filter(|f| (f.tag == 7) == graph)
                    .map(|f| if graph { f.inside } else { f.whole })
                    .collect()
            };
            assert!(parts(&made.proto, false).starts_with(&parts(&file.proto, false)), "{net}");
            let [old, new] = [&file, &made].map(|f| parts(&f.proto, true).concat());
            assert!(new.starts_with(&old) && new.len() > old.len(), "{net}");
            let again = read(&made, &ReadOptions::default()).expect("sound");
            assert_eq!(again.outputs().len(), model.outputs().len() + 1);

            // In a higher version the nodes are spelled anew.
            let newer = graft(&file, &Graft { opset: 21, ..ask }).expect("grafted");
            assert_eq!(read(&newer, &ReadOptions::default()).expect("sound").header().opset(), 21);
            // What was added once is not added twice.
            let ask = Graft { model: &again, ..ask };
            assert!(
                graft(&made, &ask).expect_err("the name is taken").to_string().contains("already"),
                "{net}"
            );
        }
    }
}
