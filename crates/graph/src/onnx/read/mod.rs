//! ONNX files as graphs. What ONNX leaves open is resolved here: versions of operators, defaults, automatic padding,
//! operands that are attributes in disguise, model-local functions, the order of nodes.

mod attributes;
mod body;
mod branch;
mod external;
mod forms;
mod functions;
mod inputs;
pub(super) mod limits;
pub(super) mod module;
mod node;
mod order;
mod reader;
mod tensors;

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use prost::Message;

use self::functions::{Functions, domain};
use self::reader::Reader;
use super::proto::{GraphProto, ModelProto, OperatorSetIdProto};
use crate::engine::ModelBytes;
use crate::error::{Error, Result};
use crate::graph::{Graph, Header};

/// What a reader may choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Height and width of the image: for models that leave them open, or instead of the declared ones.
    pub size: Option<[usize; 2]>,
}

/// Reads a model.
///
/// Nodes that whycam does not model become [`Op::Opaque`](crate::Op::Opaque); nodes that no output needs are dropped.
///
/// # Errors
/// When the file is not a sound ONNX model, is larger than sensible, names data that is not there, or leaves open
/// what must be known.
pub fn read(model: &ModelBytes, options: &ReadOptions) -> Result<Graph> {
    let (proto, graph) = decode(&model.proto)?;
    let functions = Functions::decode(&proto.functions)?;
    let mut header = Header {
        ir_version: proto.ir_version,
        opsets: opsets(&proto.opset_import)?,
        producer: (proto.producer_name, proto.producer_version),
        name: graph.name.clone(),
        metadata: proto.metadata_props.into_iter().map(|e| (e.key, e.value)).collect(),
        functions: Vec::new(),
    };
    let items = functions.inline(&graph.node, &mut header.opsets)?;
    let given = given(&graph)?;
    let items = order::sort(items, &given)?;

    let mut reader = Reader::new(header, &items, &graph, &model.external)?;
    reader.files(&graph, &proto.functions)?;
    reader.inputs(&graph, options)?;
    reader.constants(&graph)?;
    for item in &items {
        reader.node(item)?;
    }
    reader.finish(&graph, functions.called_inside(items.iter().map(|item| &item.proto))?)
}

/// The files beside a model that it names, for the caller to load into [`ModelBytes::external`].
///
/// Every name is a plain relative path that stays in the model's folder, with `/` between its parts.
///
/// # Errors
/// When the file is not a sound ONNX model, or names a file elsewhere.
pub fn external_locations(proto: &Bytes) -> Result<Vec<String>> {
    let (model, graph) = decode(proto)?;
    external::locations(&graph, &model.functions)
}

pub(super) fn decode(bytes: &Bytes) -> Result<(ModelProto, GraphProto)> {
    limits::check(bytes)?;
    let mut model = ModelProto::decode(bytes.clone())
        .map_err(|e| Error::malformed(format!("it cannot be decoded: {e}")))?;
    match model.graph.take() {
        Some(graph) => Ok((model, graph)),
        None => Err(Error::malformed("the file holds no graph")),
    }
}

/// A size or count out of the file, within the limits.
fn size(n: i64) -> Option<usize> {
    usize::try_from(n).ok().filter(|&n| n <= limits::MAX_ELEMENTS)
}

fn opsets(imports: &[OperatorSetIdProto]) -> Result<BTreeMap<String, i64>> {
    let mut found = BTreeMap::new();
    for import in imports {
        let domain = domain(&import.domain);
        if found.insert(domain.to_owned(), import.version).is_some_and(|old| old != import.version) {
            return Err(Error::malformed(format!("two versions of the operators {domain:?} are imported")));
        }
    }
    Ok(found)
}

/// The names that stand for values before any node has run.
fn given(graph: &GraphProto) -> Result<HashSet<String>> {
    let mut names = HashSet::new();
    let sparse = graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref());
    for tensor in graph.initializer.iter().chain(sparse) {
        if tensor.name.is_empty() || !names.insert(tensor.name.clone()) {
            return Err(Error::malformed(format!("two initialisers are called {:?}", tensor.name)));
        }
    }
    names.extend(graph.input.iter().map(|input| input.name.clone()));
    Ok(names)
}
