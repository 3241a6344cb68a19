//! The graph: values and the nodes that make them, and [`Build`], the only way to make nodes.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::infer::{self, Inferred};
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

/// Makes graphs, node by node. Every node's types and shapes are inferred, and checked, at once.
#[derive(Debug, Default)]
pub struct Build {
    graph: Graph,
    names: HashSet<String>,
    fresh: usize,
    memo: HashMap<String, Vec<ValueId>>,
}

/// A node as a reader meets it, with the names of its file.
#[derive(Clone, Debug)]
pub struct NamedNode {
    /// The operation.
    pub op: Op,
    /// Operands.
    pub inputs: Vec<Option<ValueId>>,
    /// Names of the results; `None` where an optional one is not wanted.
    pub outputs: Vec<Option<String>>,
    /// The node's name.
    pub name: String,
    /// Its module path.
    pub module: Option<String>,
}

impl Build {
    /// An empty graph.
    pub fn new(header: Header) -> Build {
        Build { graph: Graph { header, ..Graph::default() }, ..Build::default() }
    }

    /// Goes on from a finished graph, whose value ids stay valid.
    pub fn extend(graph: &Graph) -> Build {
        let names = graph.values.iter().map(|v| v.name.clone()).collect();
        let mut graph = graph.clone();
        graph.outputs.clear();
        Build { graph, names, ..Build::default() }
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Changes what the file will say about itself.
    pub fn header_mut(&mut self) -> &mut Header {
        &mut self.graph.header
    }

    /// Keeps a file beside the model that external constants stand in.
    pub fn buffer(&mut self, location: &str, bytes: Bytes) {
        self.graph.buffers.insert(location.to_owned(), bytes);
    }

    /// Adds a graph input.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn input(&mut self, name: &str, dtype: DType, shape: Shape) -> Result<ValueId> {
        let id = self.value(
            name,
            Inferred { dtype: Some(dtype), shape: Some(shape), ..Inferred::default() },
            None,
        )?;
        self.graph.inputs.push(id);
        Ok(id)
    }

    /// Adds a graph input that may have any shape.
    ///
    /// # Errors
    /// When the name is taken.
    pub(crate) fn shapeless_input(&mut self, name: &str, dtype: DType) -> Result<ValueId> {
        let id = self.value(name, Inferred { dtype: Some(dtype), ..Inferred::default() }, None)?;
        self.graph.inputs.push(id);
        Ok(id)
    }

    /// Adds a constant under a name of its own.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn named_constant(&mut self, name: &str, tensor: Tensor) -> Result<ValueId> {
        let about = infer::of_constant(&tensor);
        let id = self.value(name, about, None)?;
        self.graph.values[id.0 as usize].constant = Some(tensor);
        Ok(id)
    }

    /// Adds a constant; equal small constants are shared.
    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        let key = (tensor.len() <= 64).then(|| format!("{tensor:?}{:?}", tensor.data()));
        if let Some(ids) = key.as_ref().and_then(|k| self.memo.get(k)) {
            return ids[0];
        }
        let name = self.fresh_name();
        let about = infer::of_constant(&tensor);
        let id = self.push_value(name, about, None);
        self.graph.values[id.0 as usize].constant = Some(tensor);
        if let Some(key) = key {
            self.memo.insert(key, vec![id]);
        }
        id
    }

    /// Adds a node with the names of its file.
    ///
    /// # Errors
    /// When operands do not fit the operation, or a name is taken.
    pub fn named(&mut self, node: NamedNode) -> Result<Vec<Option<ValueId>>> {
        let inferred = self.infer(&node.op, &node.inputs, &node.name)?;
        let id = NodeId(self.graph.nodes.len() as u32);
        let mut outputs = Vec::new();
        for (i, name) in node.outputs.iter().enumerate() {
            let about = inferred.get(i).cloned().unwrap_or_default();
            outputs.push(name.as_ref().map(|name| self.value(name, about, Some(id))).transpose()?);
        }
        self.graph.nodes.push(Node {
            op: node.op,
            inputs: node.inputs,
            outputs: outputs.clone(),
            name: node.name,
            module: node.module,
        });
        Ok(outputs)
    }

    /// Adds a node with fresh names and returns all its results. The same op on the same operands is the same node.
    ///
    /// # Errors
    /// When operands do not fit the operation.
    pub fn nodes(&mut self, op: Op, inputs: &[Option<ValueId>]) -> Result<Vec<ValueId>> {
        let key = format!("{op}{inputs:?}");
        if let Some(ids) = self.memo.get(&key) {
            return Ok(ids.clone());
        }
        let outputs = self.fresh_node(op, inputs)?;
        self.memo.insert(key, outputs.clone());
        Ok(outputs)
    }

    /// A copy of a value that is shared with nothing, to be renamed.
    ///
    /// # Errors
    /// Never in practice.
    pub fn copy(&mut self, id: ValueId) -> Result<ValueId> {
        Ok(self.fresh_node(Op::Identity, &[Some(id)])?[0])
    }

    /// Adds the nodes of another graph, on these operands instead of its inputs, and returns its outputs.
    ///
    /// # Errors
    /// When the operands do not fit.
    pub fn inline(&mut self, body: &Graph, operands: &[ValueId]) -> Result<Vec<ValueId>> {
        let mut ids: HashMap<ValueId, ValueId> =
            body.inputs().iter().copied().zip(operands.iter().copied()).collect();
        for (id, value) in body.values() {
            if let Some(constant) = &value.constant {
                ids.insert(id, self.constant(constant.clone()));
            }
        }
        for (_, node) in body.nodes() {
            let inputs: Vec<_> = node.inputs.iter().map(|i| i.and_then(|i| ids.get(&i).copied())).collect();
            let made = self.nodes(node.op.clone(), &inputs)?;
            ids.extend(node.outputs.iter().zip(made).filter_map(|(o, made)| Some(((*o)?, made))));
        }
        Ok(body.outputs().iter().filter_map(|o| ids.get(o).copied()).collect())
    }

    fn fresh_node(&mut self, op: Op, inputs: &[Option<ValueId>]) -> Result<Vec<ValueId>> {
        let inferred = self.infer(&op, inputs, "")?;
        let id = NodeId(self.graph.nodes.len() as u32);
        let mut outputs = Vec::new();
        for about in inferred {
            let name = self.fresh_name();
            outputs.push(self.push_value(name, about, Some(id)));
        }
        self.graph.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.iter().copied().map(Some).collect(),
            name: String::new(),
            module: None,
        });
        Ok(outputs)
    }

    /// Gives a value another name.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn rename(&mut self, id: ValueId, name: &str) -> Result<()> {
        self.claim(name)?;
        self.graph.values[id.0 as usize].name = name.to_owned();
        Ok(())
    }

    /// States what inference cannot know: the type and shape of an opaque node's result.
    pub fn declare(&mut self, id: ValueId, dtype: Option<DType>, shape: Option<Shape>) {
        let value = &mut self.graph.values[id.0 as usize];
        value.dtype = value.dtype.or(dtype);
        if value.shape.is_none() {
            value.shape = shape;
        }
    }

    /// States the integers of an input that are known before it is.
    pub(crate) fn know(&mut self, id: ValueId, ints: Option<Vec<Int>>) {
        self.graph.values[id.0 as usize].ints = ints;
    }

    /// Makes fresh names differ from `name`, which will be used later, or elsewhere.
    pub fn avoid(&mut self, name: &str) {
        if let Some(number) = name.strip_prefix("whycam/").and_then(|n| n.parse::<u32>().ok()) {
            self.fresh = self.fresh.max(number as usize);
        }
    }

    /// Ends the graph.
    pub fn finish(mut self, outputs: Vec<ValueId>) -> Graph {
        self.graph.outputs = outputs;
        self.graph
    }

    fn infer(&self, op: &Op, inputs: &[Option<ValueId>], name: &str) -> Result<Vec<Inferred>> {
        let operands: Vec<Option<&Value>> = inputs.iter().map(|i| i.map(|id| self.graph.value(id))).collect();
        infer::infer(op, &operands).map_err(|what| Error::Operands {
            place: match name {
                "" => format!("a {} node", op.name()),
                name => format!("node {name:?} ({})", op.name()),
            },
            what: format!("{what}; operands: {}", crate::text::operands(&operands)),
        })
    }

    fn value(&mut self, name: &str, about: Inferred, producer: Option<NodeId>) -> Result<ValueId> {
        self.claim(name)?;
        Ok(self.push_value(name.to_owned(), about, producer))
    }

    fn claim(&mut self, name: &str) -> Result<()> {
        if !self.names.insert(name.to_owned()) {
            return Err(Error::malformed(format!("two values are called {name:?}")));
        }
        Ok(())
    }

    fn push_value(&mut self, name: String, about: Inferred, producer: Option<NodeId>) -> ValueId {
        let id = ValueId(self.graph.values.len() as u32);
        let Inferred { dtype, shape, ints, reals } = about;
        self.graph.values.push(Value { name, dtype, shape, constant: None, ints, reals, producer });
        id
    }

    fn fresh_name(&mut self) -> String {
        loop {
            self.fresh += 1;
            let name = format!("whycam/{}", self.fresh);
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }
}
