//! [`Build`], the only way to make nodes.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::{Graph, Header, Node, NodeId, Value, ValueId};
use crate::error::{Error, Result};
use crate::infer::{self, Inferred};
use crate::op::Op;
use crate::shape::{Int, Shape};
use crate::tensor::{DType, Tensor};

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
