//! Graphs as ONNX files, with one version of ONNX's operators per file.

mod attributes;
mod fields;
mod graft;
mod node;
mod opaque;
mod ops;
mod params;
mod tensors;

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use prost::Message;

pub use self::graft::{Graft, graft};
use self::node::Writer;
use super::dtype;
use super::proto::{
    Dimension, DimensionProto, GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::read::external_locations;
use crate::engine::ModelBytes;
use crate::error::{Error, Result};
use crate::graph::{Graph, Value, ValueId};
use crate::op::{Op, UnaryFn};
use crate::shape::{Dim, Shape};
use crate::tensor::DType;

/// The version of ONNX's operators that whycam writes at least.
const MIN_OPSET: i64 = 13;
/// Versions of the file format that whycam writes: old enough for engines in use, new enough for all that is written.
const IR: (i64, i64) = (8, 10);
/// Protobuf ends at 2 GiB; some room is left for what is not counted.
const MAX_PROTO: usize = (1 << 31) - (1 << 20);
/// Bytes of the smallest constants that are lent. Those that engines must see to plan a graph, as shapes, are smaller.
pub(super) const LENT: usize = 1 << 16;

/// Writes a graph as a model.
///
/// The version of ONNX's operators is the model's own, raised only as far as a node needs it. Names, metadata and
/// nodes that whycam does not model stay as they were read; constants stay in the files that they were read from.
///
/// # Errors
/// When the version must be raised, but a node that whycam does not model forbids it.
pub fn write(graph: &Graph) -> Result<ModelBytes> {
    write_within(graph, MIN_OPSET, MAX_PROTO, usize::MAX, false)
}

/// As [`write()`], for an engine in this process: large constants are not copied, but lent as they lie in memory. With `fed`,
/// those that products alone read are inputs of the model, to be given at every run.
///
/// # Errors
/// As [`write()`].
pub fn lend(graph: &Graph, fed: bool) -> Result<ModelBytes> {
    write_within(graph, MIN_OPSET, MAX_PROTO, LENT, fed)
}

/// As [`write`], with at least the version `least` of ONNX's operators; constants of `lent` bytes and more are lent, or `fed`.
fn write_within(graph: &Graph, least: i64, max_proto: usize, lent: usize, fed: bool) -> Result<ModelBytes> {
    let graph = &fitting(graph, least)?;
    let header = graph.header();
    let opset = target_opset(graph, least)?;
    let mut writer = Writer::new(graph, opset);
    for (_, node) in graph.nodes() {
        writer.node(node)?;
    }
    let (nodes, params) = writer.finish();
    let constants = graph.values().filter_map(|(id, v)| Some((id, v, v.constant.as_ref()?)));
    let (apart, inside): (Vec<_>, Vec<_>) = constants.partition(|(_, _, t)| t.data().len() >= lent);
    let weights = if fed { weights(graph) } else { HashSet::new() };
    let (given, apart): (Vec<_>, Vec<_>) = apart.into_iter().partition(|(id, ..)| weights.contains(id));
    let mut initializer: Vec<_> = inside.into_iter().map(|(_, v, t)| tensors::proto(&v.name, t)).collect();
    initializer.extend(params);
    let mut external = graph.buffers().clone();
    let mut lent = BTreeMap::new();
    for (_, value, constant) in apart {
        let location = tensors::unused("weights", &external);
        initializer.push(tensors::apart(&value.name, constant, &location));
        external.insert(location.clone(), constant.data().clone());
        lent.insert(location, (value.name.clone(), constant.clone()));
    }
    tensors::move_out(&mut initializer, &nodes, max_proto, &mut external)?;

    let info = |ids: &[ValueId]| -> Vec<_> { ids.iter().map(|&id| value_info(graph.value(id))).collect() };
    let mut opsets = header.opsets.clone();
    opsets.insert(String::new(), opset);
    let model = ModelProto {
        ir_version: header.ir_version.clamp(IR.0, IR.1),
        producer_name: header.producer.0.clone(),
        producer_version: header.producer.1.clone(),
        graph: Some(GraphProto {
            node: nodes,
            name: if header.name.is_empty() { "graph".into() } else { header.name.clone() },
            initializer,
            input: info(graph.inputs())
                .into_iter()
                .chain(given.iter().map(|(_, v, _)| value_info(v)))
                .collect(),
            output: info(graph.outputs()),
            value_info: graph
                .values()
                .map(|(_, v)| v)
                .filter(|v| must_declare(graph, v))
                .map(value_info)
                .collect(),
            ..GraphProto::default()
        }),
        opset_import: opsets
            .into_iter()
            .map(|(domain, version)| OperatorSetIdProto { domain, version })
            .collect(),
        metadata_props: entries(&header.metadata),
        functions: header.functions.clone(),
    };
    let proto: Bytes = model.encode_to_vec().into();
    let named = external_locations(&proto)?;
    external.retain(|location, _| named.contains(location));
    let fed = given.into_iter().map(|(_, value, constant)| (value.name.clone(), constant.clone())).collect();
    Ok(ModelBytes { proto, external, lent, fed })
}

/// Constants that matrix products alone read, as their second operand.
fn weights(graph: &Graph) -> HashSet<ValueId> {
    let (mut weights, mut others) = (HashSet::new(), HashSet::from_iter(graph.outputs().iter().copied()));
    for (_, node) in graph.nodes() {
        let product = matches!(node.op, Op::MatMul | Op::Gemm(_));
        for (at, &id) in node.inputs.iter().enumerate().filter_map(|(at, id)| Some((at, id.as_ref()?))) {
            if product && at == 1 { &mut weights } else { &mut others }.insert(id);
        }
    }
    weights.retain(|id| !others.contains(id));
    weights
}

fn entries(metadata: &BTreeMap<String, String>) -> Vec<StringStringEntryProto> {
    let entry =
        |(key, value): (&String, &String)| StringStringEntryProto { key: key.clone(), value: value.clone() };
    metadata.iter().map(entry).collect()
}

/// Operators that have meant something else, or did not exist, from a version on.
const CHANGED: [(&str, i64); 7] = [
    ("GridSample", 20),
    ("GroupNormalization", 21),
    ("Hardmax", 13),
    ("Resize", 11),
    ("RoiAlign", 16),
    ("Scatter", 11),
    ("Upsample", 10),
];

/// The graph with the bodies of those composites that the written version would misunderstand.
fn fitting(graph: &Graph, least: i64) -> Result<Graph> {
    let opset = needed_opset(graph, least);
    let misread = |op: &Op| match op {
        Op::Composite(c) if c.kept.domain.is_empty() => {
            let changed =
                |&(name, since): &(&str, i64)| name == c.kept.op_type && c.opset < since && since <= opset;
            c.opset > opset || CHANGED.iter().any(changed)
        }
        _ => false,
    };
    if !graph.nodes().any(|(_, n)| misread(&n.op)) {
        return Ok(graph.clone());
    }
    // Bodies may need a higher version themselves, which others may misunderstand.
    fitting(&crate::pass::unfold(graph, &|node| misread(&node.op))?, least)
}

/// The version of ONNX's operators that the graph needs at least: its own, or a higher one.
fn needed_opset(graph: &Graph, least: i64) -> i64 {
    let needed = graph.nodes().map(|(_, n)| required_opset(&n.op)).fold(least, i64::max);
    needed.max(graph.header().opset())
}

/// The model's own version of ONNX's operators, raised where a node needs it.
fn target_opset(graph: &Graph, least: i64) -> Result<i64> {
    let own = graph.header().opset();
    let needed = needed_opset(graph, least);
    // Constants of foreign types are all the same in every version.
    let fixed = |op: &Op| matches!(op, Op::Opaque(o) if o.domain.is_empty() && o.op_type != "Constant");
    if own >= needed {
        return Ok(own);
    }
    match graph.nodes().find(|(_, n)| fixed(&n.op)) {
        None => Ok(needed),
        Some((_, node)) => Err(Error::unfit(
            format!(
                "the model uses version {own} of ONNX's operators, and version {needed} is needed; but {} \
                 is not modelled by whycam, which therefore cannot convert it",
                node.place()
            ),
            format!("convert the model first: onnx.version_converter.convert_version(model, {needed})"),
        )),
    }
}

/// The first version of ONNX's operators that has this one.
fn required_opset(op: &Op) -> i64 {
    match op {
        Op::Unary(UnaryFn::Gelu | UnaryFn::GeluTanh) => 20,
        Op::ScatterNd { add: true } => 16,
        Op::AveragePool { window, .. } if window.dilations.iter().any(|&d| d != 1) => 19,
        Op::QuantizeLinear { to: DType::I16 | DType::U16, .. } => 21,
        Op::Reshape { to } if to.0.contains(&Dim::Fixed(0)) => 14,
        _ => MIN_OPSET,
    }
}

/// Whether a value's type and shape cannot be inferred by who reads the file.
fn must_declare(graph: &Graph, value: &Value) -> bool {
    let Some(producer) = value.producer else { return false };
    let node = graph.node(producer);
    let known = |v: &Value| v.dtype.is_some() && v.shape.is_some();
    value.dtype.is_some()
        && (matches!(node.op, Op::Opaque(_))
            || !node.inputs.iter().flatten().all(|&id| known(graph.value(id))))
}

fn value_info(value: &Value) -> ValueInfoProto {
    let tensor = |dtype| TypeProto {
        tensor_type: Some(TensorTypeProto {
            elem_type: dtype::number(dtype),
            shape: value.shape.as_ref().map(shape),
        }),
    };
    ValueInfoProto {
        name: value.name.clone(),
        r#type: value.dtype.map(|dtype| tensor(dtype).encode_to_vec().into()),
    }
}

fn shape(shape: &Shape) -> TensorShapeProto {
    let dim = |d: &Dim| DimensionProto {
        value: Some(match d {
            Dim::Fixed(n) => Dimension::Value(i64::try_from(*n).unwrap_or(i64::MAX)),
            batch => Dimension::Param(batch.to_string()),
        }),
    };
    TensorShapeProto { dim: shape.0.iter().map(dim).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Build, Header};
    use crate::onnx::{ReadOptions, read};
    use crate::tensor::Tensor;

    /// Three constants of 400, 800 and 1200 bytes, added up.
    fn sums() -> Graph {
        let mut build = Build::new(Header::default());
        let constant = |n: usize| Tensor::f32(&[n, 100], &vec![n as f32; 100 * n]).expect("it fits");
        let mut named =
            |n: usize| build.named_constant(&format!("w{n}"), constant(n)).expect("the name is free");
        let ids = [Some(named(1)), Some(named(2)), Some(named(3))];
        let joined = build.nodes(Op::Concat { axis: 0 }, &ids).expect("they fit");
        build.finish(joined)
    }

    #[test]
    fn large_constants_move_out_when_the_model_is_too_large() {
        let graph = sums();
        for (limit, moved) in [(10_000, 0), (2_000, 1200), (600, 2000), (200, 2400)] {
            let model = write_within(&graph, MIN_OPSET, limit, usize::MAX, false).expect("it can be written");
            assert_eq!(model.external.get("weights.data").map_or(0, Bytes::len), moved, "limit {limit}");
            let again = read(&model, &ReadOptions::default()).expect("it is sound");
            assert_eq!(again.to_string(), graph.to_string());
            for (a, b) in again.values().zip(graph.values()) {
                let data = |v: &Value| v.constant.as_ref().map(|t| t.data().clone());
                assert_eq!(data(a.1), data(b.1));
            }
        }
        assert!(matches!(write_within(&graph, MIN_OPSET, 10, usize::MAX, false), Err(Error::Limit { .. })));
    }
}
