//! The graph: values and the nodes that make them.

mod build;

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

pub use self::build::{Build, NamedNode};
use crate::error::{Error, Result};
use crate::op::Op;
use crate::shape::{Int, Shape};
use crate::tensor::{DType, Tensor};

/// Names a value of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) u32);

impl ValueId {
    /// Its place among the values of its graph.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// Names a node of one graph; nodes are in topological order of their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

/// What is known about a value.
#[derive(Clone, Debug)]
pub struct Value {
    /// Unique in the graph.
    pub name: String,
    /// The element type; unknown behind opaque nodes at most.
    pub dtype: Option<DType>,
    /// The shape; unknown behind opaque nodes at most.
    pub shape: Option<Shape>,
    /// The data of a constant.
    pub constant: Option<Tensor>,
    /// The elements, where they are integers known while building.
    pub ints: Option<Vec<Int>>,
    /// The elements, where they are a few real numbers known while building.
    pub reals: Option<Vec<f64>>,
    /// The node that makes the value; none for inputs and constants.
    pub producer: Option<NodeId>,
}

/// An operation, its operands and its results.
#[derive(Clone, Debug)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// Operands; `None` where an optional one is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Results; `None` where an optional one is not wanted.
    pub outputs: Vec<Option<ValueId>>,
    /// The node's name in the file; may be empty.
    pub name: String,
    /// The path of the module that the node was written in (`layer4.2.conv1`), where the exporter tells.
    pub module: Option<String>,
}

impl Node {
    /// The operand at `index`.
    ///
    /// # Errors
    /// When it is left out.
    pub fn input(&self, index: usize) -> Result<ValueId> {
        self.inputs.get(index).copied().flatten().ok_or_else(|| Error::Operands {
            place: self.place(),
            what: format!("operand {index} is missing"),
        })
    }

    /// The node in words, for messages: its name and its operator.
    pub fn place(&self) -> String {
        match self.name.as_str() {
            "" => format!("a {} node", self.op.name()),
            name => format!("node {name:?} ({})", self.op.name()),
        }
    }
}

/// What an ONNX file says about itself beside its graph; kept on writing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// The version of the file format.
    pub ir_version: i64,
    /// Operator sets by domain; `""` is ONNX's own.
    pub opsets: BTreeMap<String, i64>,
    /// The program that wrote the file, and its version.
    pub producer: (String, String),
    /// The graph's name.
    pub name: String,
    /// Free metadata, by key.
    pub metadata: BTreeMap<String, String>,
    /// Encoded `FunctionProto`s that opaque nodes call.
    pub functions: Vec<Bytes>,
}

impl Header {
    /// The version of ONNX's own operator set.
    pub fn opset(&self) -> i64 {
        self.opsets.get("").copied().unwrap_or(0)
    }
}

/// An immutable graph. Nodes stand in topological order.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(crate) values: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) header: Header,
    pub(crate) buffers: BTreeMap<String, Bytes>,
}

impl Graph {
    /// The values that a run must be given.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The values that a run returns.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// What is known about a value of this graph.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0 as usize]
    }

    /// A node of this graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The nodes in topological order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(i, n)| (NodeId(i as u32), n))
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values.iter().enumerate().map(|(i, v)| (ValueId(i as u32), v))
    }

    /// The value of that name.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.values().find(|(_, v)| v.name == name).map(|(id, _)| id)
    }

    /// What the file says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The files beside the model that constants stand in, by location.
    pub fn buffers(&self) -> &BTreeMap<String, Bytes> {
        &self.buffers
    }

    /// The value's shape.
    ///
    /// # Errors
    /// When it is unknown, which happens behind opaque nodes only.
    pub fn shape(&self, id: ValueId) -> Result<&Shape> {
        known_shape(self.value(id))
    }

    /// The same graph with other data in some of its constants.
    ///
    /// # Errors
    /// When a value is no constant, or the data has another type or shape.
    pub fn with_constants(&self, data: impl IntoIterator<Item = (ValueId, Tensor)>) -> Result<Graph> {
        let mut graph = self.clone();
        for (id, tensor) in data {
            let value = &mut graph.values[id.0 as usize];
            match &mut value.constant {
                Some(old) if old.dtype() == tensor.dtype() && old.shape() == tensor.shape() => *old = tensor,
                _ => return Err(Error::tensor(format!("{tensor:?} cannot stand for {:?}", value.name))),
            }
        }
        Ok(graph)
    }

    /// The same graph with other outputs, and only the nodes and constants that they need.
    pub fn with_outputs(&self, outputs: &[ValueId]) -> Graph {
        let mut graph = self.clone();
        graph.outputs = outputs.to_vec();
        crate::pass::prune(&graph)
    }
}

impl Graph {
    /// The nodes that `target` needs, in topological order, when copies of other values stand for some nodes' results.
    pub(crate) fn standing(&self, copies: &HashMap<NodeId, Vec<ValueId>>, target: ValueId) -> Graph {
        let mut nodes = Vec::new();
        for (id, node) in self.nodes() {
            let Some(results) = copies.get(&id) else {
                nodes.push(node.clone());
                continue;
            };
            for (result, output) in results.iter().zip(&node.outputs) {
                let (inputs, outputs) = (vec![Some(*result)], vec![*output]);
                nodes.push(Node { op: Op::Identity, inputs, outputs, ..node.clone() });
            }
        }
        let mut makers: HashMap<ValueId, usize> = HashMap::new();
        for (i, node) in nodes.iter().enumerate() {
            makers.extend(node.outputs.iter().flatten().map(|&o| (o, i)));
        }
        // Depth first, without recursion: a node is placed when all of its operands are.
        let (mut order, mut seen) = (Vec::new(), vec![false; nodes.len()]);
        let mut todo: Vec<(usize, bool)> = makers.get(&target).map(|&i| (i, false)).into_iter().collect();
        while let Some((i, ready)) = todo.pop() {
            if ready {
                order.push(i);
            } else if !std::mem::replace(&mut seen[i], true) {
                todo.push((i, true));
                let operands = nodes[i].inputs.iter().flatten().filter_map(|id| makers.get(id));
                todo.extend(operands.map(|&maker| (maker, false)));
            }
        }
        let mut graph = Graph { nodes: Vec::new(), ..self.clone() };
        graph.values.iter_mut().for_each(|v| v.producer = None);
        let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
        for node in order.into_iter().filter_map(|i| nodes[i].take()) {
            let id = NodeId(graph.nodes.len() as u32);
            for output in node.outputs.iter().flatten() {
                graph.values[output.0 as usize].producer = Some(id);
            }
            graph.nodes.push(node);
        }
        graph
    }

    /// The graph on inputs of other types, where `typed` says so by their names; they are cast to its own.
    pub(crate) fn given(&self, typed: &dyn Fn(&str) -> Option<DType>) -> Graph {
        let mut graph = self.clone();
        let taken: HashSet<String> = graph.values.iter().map(|v| v.name.clone()).collect();
        let mut fresh = (1..).map(|i| format!("whycam/input/{i}")).filter(|name| !taken.contains(name));
        let mut casts = Vec::new();
        for i in 0..graph.inputs.len() {
            let input = graph.inputs[i];
            let given = graph.value(input).clone();
            let (Some(to), Some(from)) = (given.dtype, typed(&given.name)) else { continue };
            let (true, Some(name)) = (to != from, fresh.next()) else { continue };
            let new = ValueId(graph.values.len() as u32);
            graph.values.push(Value { dtype: Some(from), ..given });
            graph.inputs[i] = new;
            graph.values[input.0 as usize].name = name;
            let (inputs, outputs) = (vec![Some(new)], vec![Some(input)]);
            casts.push(Node { op: Op::Cast(to), inputs, outputs, name: String::new(), module: None });
        }
        let count = casts.len() as u32;
        graph.values.iter_mut().filter_map(|v| v.producer.as_mut()).for_each(|id| id.0 += count);
        for (i, made) in casts.iter().filter_map(|cast| cast.outputs[0]).enumerate() {
            graph.values[made.0 as usize].producer = Some(NodeId(i as u32));
        }
        graph.nodes.splice(0..0, casts);
        graph
    }
}

fn known_shape(value: &Value) -> Result<&Shape> {
    value.shape.as_ref().ok_or_else(|| {
        Error::unfit(
            format!("the shape of {:?} is unknown, because a node before it is not modelled", value.name),
            "choose a --layer behind it (see `whycam inspect`)",
        )
    })
}
