//! One node after another, as `NodeProto`.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use prost::Message;

use super::opaque;
use crate::error::Result;
use crate::graph::{Graph, Node, ValueId};
use crate::onnx::proto::{AttributeProto, NodeProto, StringStringEntryProto, TensorProto};
use crate::onnx::read::module;
use crate::onnx::{MODULE_KEY, UNUSED};
use crate::op::Op;
use crate::tensor::DType;

/// Collects the nodes of a file, and the constants that they need beside the graph's.
pub(super) struct Writer<'a> {
    pub graph: &'a Graph,
    pub opset: i64,
    pub params: Vec<TensorProto>,
    /// Names of [`Writer::params`] by type, shape and data.
    pub shared: HashMap<(DType, Vec<usize>, Bytes), String>,
    /// The value that holds the batch size, once it was asked for.
    pub batch: Option<String>,
    nodes: Vec<Bytes>,
    names: HashSet<&'a str>,
    fresh: usize,
}

/// A node about to be written.
pub(super) struct Draft {
    pub op_type: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: Vec<AttributeProto>,
}

impl<'a> Writer<'a> {
    pub fn new(graph: &'a Graph, opset: i64) -> Writer<'a> {
        Writer {
            graph,
            opset,
            params: Vec::new(),
            shared: HashMap::new(),
            batch: None,
            nodes: Vec::new(),
            names: graph.values().map(|(_, v)| v.name.as_str()).collect(),
            fresh: 0,
        }
    }

    /// Keeps off names that are taken beside those of the graph.
    pub fn avoid(&mut self, names: impl IntoIterator<Item = &'a str>) {
        self.names.extend(names);
    }

    /// The nodes and the additional constants.
    pub fn finish(self) -> (Vec<Bytes>, Vec<TensorProto>) {
        (self.nodes, self.params)
    }

    /// Writes a node of the graph.
    pub fn node(&mut self, node: &Node) -> Result<()> {
        let (inputs, mut outputs) = (self.named(&node.inputs), self.named(&node.outputs));
        if let Op::Opaque(kept) = &node.op {
            self.nodes.push(opaque::proto(kept, &inputs, &outputs)?);
            return Ok(());
        }
        if let Op::Composite(c) = &node.op {
            trim(&mut outputs);
            self.nodes.push(opaque::proto(&c.kept, &inputs, &outputs)?);
            return Ok(());
        }
        // No op that is written may leave out a result.
        for output in outputs.iter_mut().filter(|name| name.is_empty()) {
            *output = self.fresh(UNUSED);
        }
        let mut draft = Draft { op_type: node.op.name().to_owned(), inputs, outputs, attributes: Vec::new() };
        self.complete(node, &mut draft)?;
        trim(&mut draft.inputs);
        let mut metadata_props = Vec::new();
        if module::of_name(&node.name).filter(|m| !m.is_empty()) != node.module {
            metadata_props.push(scopes(node.module.as_deref().unwrap_or_default()));
        }
        self.push(draft, &node.name, metadata_props);
        Ok(())
    }

    /// Writes a node that the graph does not have, and returns the name of its result.
    pub fn helper(&mut self, op_type: &str, inputs: Vec<String>, attributes: Vec<AttributeProto>) -> String {
        let output = self.fresh("whycam/value/");
        let draft = Draft { op_type: op_type.to_owned(), inputs, outputs: vec![output.clone()], attributes };
        self.push(draft, "", Vec::new());
        output
    }

    /// A name that nothing has.
    pub fn fresh(&mut self, prefix: &str) -> String {
        loop {
            self.fresh += 1;
            let name = format!("{prefix}{}", self.fresh);
            if !self.names.contains(name.as_str()) {
                return name;
            }
        }
    }

    fn push(&mut self, draft: Draft, name: &str, metadata_props: Vec<StringStringEntryProto>) {
        let Draft { op_type, inputs, outputs, attributes } = draft;
        let proto = NodeProto {
            op_type,
            input: inputs,
            output: outputs,
            attribute: attributes,
            name: name.to_owned(),
            metadata_props,
            ..NodeProto::default()
        };
        self.nodes.push(proto.encode_to_vec().into());
    }

    fn named(&self, ids: &[Option<ValueId>]) -> Vec<String> {
        ids.iter().map(|id| id.map_or_else(String::new, |id| self.graph.value(id).name.clone())).collect()
    }
}

fn trim(names: &mut Vec<String>) {
    while names.last().is_some_and(String::is_empty) {
        names.pop();
    }
}

/// The module path, as PyTorch's newer exporter writes it.
fn scopes(module: &str) -> StringStringEntryProto {
    let quoted = module.replace('\\', r"\\").replace('\'', r"\'");
    StringStringEntryProto { key: MODULE_KEY.into(), value: format!("['{quoted}', '']") }
}
