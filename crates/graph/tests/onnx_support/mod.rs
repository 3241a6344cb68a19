//! Small ONNX files, made in memory.
#![allow(dead_code, reason = "no test uses all of it")]

#[path = "../../src/onnx/proto.rs"]
pub mod proto;

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use proto::*;
use whycam_graph::engine::ModelBytes;
use whycam_graph::onnx::{ReadOptions, read};
use whycam_graph::{Graph, Result};

pub const F32: i32 = 1;
pub const U8: i32 = 2;
pub const I64: i32 = 7;
pub const STRING: i32 = 8;
pub const BOOL: i32 = 9;
pub const F16: i32 = 10;

/// A file in the making.
#[derive(Clone)]
pub struct File {
    pub model: ModelProto,
    pub graph: GraphProto,
    pub external: BTreeMap<String, Bytes>,
}

/// An empty file with a version of ONNX's operators.
pub fn file(opset: i64) -> File {
    let import = OperatorSetIdProto { domain: String::new(), version: opset };
    let model = ModelProto { ir_version: 8, opset_import: vec![import], ..ModelProto::default() };
    File { model, graph: GraphProto::default(), external: BTreeMap::new() }
}

impl File {
    /// A graph input. Dimensions are joined by commas: `N,3,8,8`; `?` is not told.
    pub fn input(mut self, name: &str, dtype: i32, dims: &str) -> File {
        self.graph.input.push(value(name, dtype, Some(dims)));
        self
    }

    pub fn output(mut self, name: &str) -> File {
        self.graph.output.push(ValueInfoProto { name: name.into(), ..ValueInfoProto::default() });
        self
    }

    /// A declaration of a value in between.
    pub fn declare(mut self, name: &str, dtype: i32, dims: &str) -> File {
        self.graph.value_info.push(value(name, dtype, Some(dims)));
        self
    }

    pub fn init(mut self, tensor: TensorProto) -> File {
        self.graph.initializer.push(tensor);
        self
    }

    /// A constant of integers, in one dimension.
    pub fn ints(self, name: &str, values: &[i64]) -> File {
        self.init(int_tensor(name, &[values.len() as i64], values))
    }

    /// A constant of floats that count from 0.
    pub fn floats(self, name: &str, dims: &[i64]) -> File {
        let count = dims.iter().product::<i64>();
        let values: Vec<f32> = (0..count).map(|i| i as f32).collect();
        self.init(float_tensor(name, dims, &values))
    }

    pub fn node(self, op: &str, inputs: &[&str], outputs: &[&str], attributes: &[AttributeProto]) -> File {
        self.push(node(op, inputs, outputs, attributes))
    }

    pub fn push(mut self, node: NodeProto) -> File {
        self.graph.node.push(node.encode_to_vec().into());
        self
    }

    pub fn function(mut self, function: FunctionProto) -> File {
        self.model.functions.push(function.encode_to_vec().into());
        self
    }

    pub fn external(mut self, location: &str, bytes: &[u8]) -> File {
        self.external.insert(location.into(), Bytes::copy_from_slice(bytes));
        self
    }

    pub fn bytes(&self) -> ModelBytes {
        let model = ModelProto { graph: Some(self.graph.clone()), ..self.model.clone() };
        ModelBytes {
            proto: model.encode_to_vec().into(),
            external: self.external.clone(),
            ..ModelBytes::default()
        }
    }

    pub fn read(&self) -> Result<Graph> {
        read(&self.bytes(), &ReadOptions::default())
    }

    /// What the nodes of the file read as.
    pub fn nodes(&self) -> String {
        let graph = self.read().unwrap_or_else(|e| panic!("{e}"));
        node_lines(&graph)
    }

    /// The message that the file is refused with.
    pub fn refusal(&self) -> String {
        match self.read() {
            Ok(graph) => panic!("it was read:\n{graph}"),
            Err(error) => error.to_string(),
        }
    }
}

/// The lines of a graph's text that are nodes.
pub fn node_lines(graph: &Graph) -> String {
    let text = graph.to_string();
    let nodes = text.lines().filter(|l| !["input ", "const ", "output "].iter().any(|k| l.starts_with(k)));
    nodes.collect::<Vec<_>>().join("\n")
}

/// Why the node that makes a value is kept as it is; panics where it is not.
pub fn reason(graph: &Graph, value: &str) -> Option<String> {
    let id = graph.find(value).expect("the value is there");
    let node = graph.node(graph.value(id).producer.expect("a node makes it"));
    match &node.op {
        whycam_graph::Op::Opaque(opaque) => opaque.reason.clone(),
        op => panic!("{value} is modelled: {op}"),
    }
}

pub fn value(name: &str, dtype: i32, dims: Option<&str>) -> ValueInfoProto {
    let dim = |d: &str| DimensionProto {
        value: match (d, d.parse()) {
            ("?", _) => None,
            (_, Ok(n)) => Some(Dimension::Value(n)),
            (name, Err(_)) => Some(Dimension::Param(name.into())),
        },
    };
    let dims =
        dims.map(|d| TensorShapeProto { dim: d.split(',').filter(|d| !d.is_empty()).map(dim).collect() });
    let tensor = TensorTypeProto { elem_type: dtype, shape: dims };
    let about = TypeProto { tensor_type: Some(tensor) };
    ValueInfoProto { name: name.into(), r#type: Some(about.encode_to_vec().into()) }
}

pub fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[AttributeProto]) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        input: inputs.iter().map(|&s| s.into()).collect(),
        output: outputs.iter().map(|&s| s.into()).collect(),
        attribute: attributes.to_vec(),
        ..NodeProto::default()
    }
}

pub fn float_tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    TensorProto {
        name: name.into(),
        dims: dims.into(),
        data_type: F32,
        raw_data: raw.into(),
        ..TensorProto::default()
    }
}

pub fn int_tensor(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.into(),
        data_type: I64,
        int64_data: values.into(),
        ..TensorProto::default()
    }
}

/// A float tensor in a file beside the model.
pub fn external_tensor(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> TensorProto {
    let entry =
        |&(key, value): &(&str, &str)| StringStringEntryProto { key: key.into(), value: value.into() };
    TensorProto {
        name: name.into(),
        dims: dims.into(),
        data_type: F32,
        data_location: 1,
        external_data: entries.iter().map(entry).collect(),
        ..TensorProto::default()
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: kind.into(), ..AttributeProto::default() }
}

pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, AttributeType::Int) }
}

pub fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..attribute(name, AttributeType::Float) }
}

pub fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { s: Bytes::copy_from_slice(s.as_bytes()), ..attribute(name, AttributeType::String) }
}

pub fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { ints: ints.into(), ..attribute(name, AttributeType::Ints) }
}

pub fn floats(name: &str, floats: &[f32]) -> AttributeProto {
    AttributeProto { floats: floats.into(), ..attribute(name, AttributeType::Floats) }
}

pub fn tensor(name: &str, t: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(Box::new(t)), ..attribute(name, AttributeType::Tensor) }
}

pub fn body(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(Box::new(graph)), ..attribute(name, AttributeType::Graph) }
}

/// In a function's body: the call's attribute of that name.
pub fn reference(name: &str, to: &str) -> AttributeProto {
    AttributeProto { ref_attr_name: to.into(), ..attribute(name, AttributeType::Float) }
}

/// A graph inside a node.
pub fn inner(nodes: &[NodeProto], output: &str) -> GraphProto {
    GraphProto {
        name: "body".into(),
        node: nodes.iter().map(|n| n.encode_to_vec().into()).collect(),
        output: vec![value(output, F32, None)],
        ..GraphProto::default()
    }
}
