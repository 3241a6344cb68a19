//! The values and nodes of a file, one after another, into [`Build`].

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use prost::Message;

use super::attributes::Attributes;
use super::functions::{Item, domain};
use super::inputs::{Declared, Symbols, declared};
use super::limits::Spent;
use super::node::{Cx, Form, Refusal, Told, beyond_batch, not_modelled, place};
use super::{ReadOptions, external, forms, module, size, tensors};
use crate::error::{Error, Result};
use crate::graph::{Build, Graph, Header, NamedNode, ValueId};
use crate::onnx::UNUSED;
use crate::onnx::proto::{AttributeProto, AttributeType, GraphProto, NodeProto};
use crate::onnx::scope;
use crate::op::{Composite, Op, Opaque};
use crate::shape::{Int, Shape};

/// Versions of ONNX's own operators that are understood.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

pub(super) struct Reader<'a> {
    build: Build,
    values: HashMap<String, ValueId>,
    /// Names that anything uses.
    used: HashSet<String>,
    declared: HashMap<&'a str, Declared>,
    symbols: Symbols,
    files: &'a BTreeMap<String, Bytes>,
    spent: Spent,
}

impl<'a> Reader<'a> {
    pub fn new(
        header: Header,
        items: &'a [Item],
        graph: &'a GraphProto,
        files: &'a BTreeMap<String, Bytes>,
    ) -> Result<Reader<'a>> {
        let mut declarations: HashMap<&str, Declared> = HashMap::new();
        for info in graph.value_info.iter().chain(&graph.output) {
            declarations.entry(&info.name).or_default().fill(declared(info)?);
        }
        let mut build = Build::new(header);
        // Names that whycam made up when it wrote this file.
        items.iter().flat_map(|i| &i.proto.output).for_each(|name| build.avoid(name));
        let mut reader = Reader {
            build,
            values: HashMap::new(),
            used: graph.output.iter().map(|o| o.name.clone()).collect(),
            declared: declarations,
            symbols: Symbols::default(),
            files,
            spent: Spent::default(),
        };
        reader.uses(items);
        Ok(reader)
    }

    /// Takes note of the names that nodes use.
    pub fn uses(&mut self, items: &[Item]) {
        self.used.extend(items.iter().flat_map(|i| i.proto.input.iter().chain(&i.captured)).cloned());
    }

    /// Checks and keeps the files that tensors stand in.
    pub fn files(&mut self, graph: &GraphProto, functions: &[Bytes]) -> Result<()> {
        let files = self.files;
        scope::tensors(graph, functions, &mut |tensor| external::check(tensor, files))?;
        for location in external::locations(graph, functions)? {
            if let Some(bytes) = files.get(&location) {
                self.build.buffer(&location, bytes.clone());
            }
        }
        Ok(())
    }

    /// Adds the inputs that a run must be given: those that are no constants.
    pub fn inputs(&mut self, graph: &GraphProto, options: &ReadOptions) -> Result<()> {
        let constants: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        for info in graph.input.iter().filter(|i| !constants.contains(i.name.as_str())) {
            let (dtype, shape) = self.symbols.input(info, options.size)?;
            let id = self.build.input(&info.name, dtype, shape)?;
            self.made(&info.name, id)?;
        }
        if options.size.is_some() && !self.symbols.spatial {
            return Err(Error::unfit("no input of the model has a height and a width", "leave --size out"));
        }
        Ok(())
    }

    /// Adds the initialisers.
    pub fn constants(&mut self, graph: &GraphProto) -> Result<()> {
        for proto in &graph.initializer {
            if let Some(tensor) = tensors::tensor(proto, self.files)? {
                let id = self.build.named_constant(&proto.name, tensor)?;
                self.made(&proto.name, id)?;
            } else {
                let value = AttributeProto {
                    name: "value".into(),
                    t: Some(Box::new(proto.clone())),
                    r#type: AttributeType::Tensor.into(),
                    ..AttributeProto::default()
                };
                self.foreign(&proto.name, value)?;
            }
        }
        for sparse in &graph.sparse_initializer {
            let value = AttributeProto {
                name: "sparse_value".into(),
                sparse_tensor: Some(Box::new(sparse.clone())),
                r#type: AttributeType::SparseTensor.into(),
                ..AttributeProto::default()
            };
            self.foreign(sparse.values.as_ref().map_or("", |v| &v.name), value)?;
        }
        Ok(())
    }

    /// A constant that [`Tensor`](crate::Tensor) cannot hold, as an opaque node.
    fn foreign(&mut self, name: &str, value: AttributeProto) -> Result<()> {
        let proto = NodeProto {
            op_type: "Constant".into(),
            output: vec![name.to_owned()],
            attribute: vec![value],
            ..NodeProto::default()
        };
        let raw = proto.encode_to_vec().into();
        let opset = self.build.graph().header().opset();
        self.opaque(&Item { proto, raw, opset, captured: Vec::new() }, None)
    }

    /// Adds a node.
    pub fn node(&mut self, item: &Item) -> Result<()> {
        let node = &item.proto;
        if let Some(branch) = self.chosen_branch(node) {
            return self.inline(item, branch);
        }
        let mut inputs =
            node.input.iter().map(|name| self.operand(node, name)).collect::<Result<Vec<_>>>()?;
        while inputs.last().is_some_and(Option::is_none) {
            inputs.pop();
        }
        let form = match domain(&node.domain) {
            "" | forms::MICROSOFT => self.form(item, &inputs),
            _ => Err(Refusal::Unknown),
        };
        let made = match form {
            Ok(Form::Constant(tensor)) => {
                let name = node.output.first().map_or("", String::as_str);
                let id = self.build.named_constant(name, tensor)?;
                return self.made(name, id);
            }
            Ok(Form::Op(op, operands)) => self.modelled(node, op, operands),
            Ok(Form::Composite(body, constants)) => self.composite(item, *body, constants, inputs),
            Err(refusal) => Err(refusal),
        };
        match made {
            Ok(()) => Ok(()),
            Err(Refusal::Unknown) => self.opaque(item, None),
            Err(Refusal::NotModelled(reason)) => self.opaque(item, Some(reason)),
            Err(Refusal::Malformed(what)) => Err(Error::malformed(format!("{}: {what}", place(node)))),
            Err(Refusal::Error(Error::Operands { what, .. })) if self.symbols.resized => Err(Error::unfit(
                format!("the model does not fit that size: {}: {what}", place(node)),
                "leave --size out, or try a multiple of the model's own size",
            )),
            Err(Refusal::Error(Error::Operands { what, .. })) => {
                Err(Error::Operands { place: place(node), what })
            }
            Err(Refusal::Error(error)) => Err(error),
        }
    }

    /// Ends the graph.
    pub fn finish(mut self, graph: &GraphProto, functions: Vec<Bytes>) -> Result<Graph> {
        let mut outputs = Vec::new();
        for output in &graph.output {
            let id = self.values.get(&output.name).copied();
            outputs.push(
                id.ok_or_else(|| Error::malformed(format!("nothing makes the output {:?}", output.name)))?,
            );
        }
        self.build.header_mut().functions = functions;
        self.name_dequantised();
        Ok(crate::pass::prune(&self.build.finish(outputs)))
    }

    /// Calls what was de-quantised in operators on levels as onnxruntime calls it where nodes of their own do that.
    fn name_dequantised(&mut self) {
        let graph = self.build.graph();
        let names: Vec<(ValueId, String)> = graph
            .nodes()
            .filter(|(_, node)| matches!(node.op, Op::DequantizeLinear { .. }) && node.name.is_empty())
            .filter_map(|(_, node)| {
                let (q, x) =
                    (node.inputs.first().copied().flatten()?, node.outputs.first().copied().flatten()?);
                let levels = graph.value(q);
                let real = levels.name.strip_suffix("_quantized").unwrap_or(&levels.name);
                let made = graph.value(x).name.starts_with("whycam/") && levels.producer.is_some();
                made.then(|| (x, format!("{real}_DequantizeLinear_Output")))
            })
            .collect();
        for (id, name) in names {
            // Where the file has a value of that name, the one that was made up will do.
            let _ = self.build.rename(id, &name);
        }
    }

    /// The integers of a value, where they are known.
    pub(super) fn known(&self, name: &str) -> Option<&[Int]> {
        self.build.graph().value(*self.values.get(name)?).ints.as_deref()
    }

    /// Whether a value has that name.
    pub(super) fn is_taken(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    fn operand(&self, node: &NodeProto, name: &str) -> Result<Option<ValueId>> {
        match (name, self.values.get(name)) {
            ("", _) => Ok(None),
            (_, Some(&id)) => Ok(Some(id)),
            (_, None) => Err(Error::malformed(format!("{} uses {name:?}, which nothing makes", place(node)))),
        }
    }

    /// What a node of a known domain becomes.
    fn form(&mut self, item: &Item, inputs: &[Option<ValueId>]) -> Told<Form> {
        let node = &item.proto;
        if !OPSETS.contains(&item.opset) {
            let (first, last) = (OPSETS.start(), OPSETS.end());
            return Err(Refusal::Error(Error::unfit(
                format!(
                    "the model uses version {} of ONNX's operators; {first} to {last} are read",
                    item.opset
                ),
                "convert it with onnx.version_converter",
            )));
        }
        let mut cx = Cx {
            build: &mut self.build,
            attributes: Attributes::new(node)?,
            inputs: inputs.to_vec(),
            outputs: node.output.len(),
            used: node.output.iter().rposition(|o| self.used.contains(o)).map_or(0, |last| last + 1),
            opset: item.opset,
            files: self.files,
            spent: &mut self.spent,
        };
        let batch = inputs
            .iter()
            .flatten()
            .any(|&id| cx.build.graph().value(id).shape.as_ref().is_some_and(|s| s.to_fixed().is_none()));
        let form = match forms::form(domain(&node.domain), &node.op_type, &mut cx) {
            // What is sound for one image cannot always be said for a batch of `N`.
            Err(Refusal::Error(Error::Operands { what, .. })) if batch => return not_modelled(what),
            form => form?,
        };
        let results = match &form {
            Form::Op(op, _) => results(op),
            Form::Constant(_) => 1,
            Form::Composite(body, _) => body.outputs().len(),
        };
        if let Some(i) = (results..node.output.len()).find(|&i| self.used.contains(node.output[i].as_str())) {
            return not_modelled(format!("its result {i} is used"));
        }
        match cx.attributes.unread() {
            None => Ok(form),
            Some(name) if !domain(&node.domain).is_empty() => {
                not_modelled(format!("it has an attribute {name:?}, which whycam does not know"))
            }
            Some(name) => Err(Refusal::Error(Error::unfit(
                format!(
                    "{} has an attribute {name:?}, which version {} of the operator does not have",
                    place(node),
                    item.opset
                ),
                "check the file with onnx.checker, or export it again",
            ))),
        }
    }

    fn modelled(&mut self, node: &NodeProto, op: Op, operands: Vec<Option<ValueId>>) -> Told<()> {
        let name = |i| node.output.get(i).filter(|n: &&String| !n.is_empty());
        let wanted = |n: &&String| self.used.contains(n.as_str()) || !n.starts_with(UNUSED);
        let outputs = (0..results(&op)).map(|i| name(i).filter(wanted).cloned()).collect();
        let named =
            NamedNode { op, inputs: operands, outputs, name: node.name.clone(), module: module::path(node) };
        if let Some(reason) = beyond_batch(self.build.graph(), &named.op, &named.inputs) {
            return not_modelled(reason);
        }
        let ids = self.build.named(named)?;
        Ok(self.results(node, &ids)?)
    }

    /// Keeps a node as it is, with what it means.
    fn composite(
        &mut self,
        item: &Item,
        body: Graph,
        constants: usize,
        operands: Vec<Option<ValueId>>,
    ) -> Told<()> {
        if !self.spent.body(body.nodes().len(), constants) {
            return not_modelled("the model has too many nodes that stand for others");
        }
        let op = Op::Composite(Box::new(Composite { kept: kept(item, None), opset: item.opset, body }));
        self.modelled(&item.proto, op, operands)
    }

    /// Keeps a node as it is.
    fn opaque(&mut self, item: &Item, reason: Option<String>) -> Result<()> {
        let node = &item.proto;
        let names = node.input.iter().chain(&item.captured);
        let named = NamedNode {
            inputs: names.map(|name| self.operand(node, name)).collect::<Result<_>>()?,
            op: Op::Opaque(Box::new(kept(item, reason))),
            outputs: node.output.iter().map(|n| Some(n.clone()).filter(|n| !n.is_empty())).collect(),
            name: node.name.clone(),
            module: module::path(node),
        };
        let ids = self.build.named(named)?;
        if let ("Constant", [Some(id)], [value]) =
            (node.op_type.as_str(), ids.as_slice(), node.attribute.as_slice())
            && let Some(tensor) = &value.t
            && let Some(dims) = tensor.dims.iter().map(|&d| size(d)).collect::<Option<Vec<_>>>()
        {
            self.build.declare(*id, None, Some(Shape::fixed(&dims)));
        }
        self.results(node, &ids)
    }

    /// Takes note of a node's results, and fills in from declarations what is not known of them.
    fn results(&mut self, node: &NodeProto, ids: &[Option<ValueId>]) -> Result<()> {
        for (name, id) in node.output.iter().zip(ids) {
            let Some(id) = *id else { continue };
            if let Some(declared) = self.declared.get(name.as_str()) {
                self.build.declare(id, declared.dtype, self.symbols.shape(declared));
            }
            self.made(name, id)?;
        }
        Ok(())
    }

    fn made(&mut self, name: &str, id: ValueId) -> Result<()> {
        self.spent.check(self.build.graph(), id)?;
        self.values.insert(name.to_owned(), id);
        Ok(())
    }
}

/// A node as the file has it.
fn kept(item: &Item, reason: Option<String>) -> Opaque {
    Opaque {
        op_type: item.proto.op_type.clone(),
        domain: domain(&item.proto.domain).to_owned(),
        proto: item.raw.clone(),
        captured: item.captured.clone(),
        reason,
    }
}

/// How many results an op has.
fn results(op: &Op) -> usize {
    match op {
        Op::Split { sizes, .. } => sizes.len(),
        Op::TopK { .. } => 2,
        Op::Composite(c) => c.body.outputs().len(),
        _ => 1,
    }
}
