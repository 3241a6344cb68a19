//! Model-local functions: their calls are replaced by their bodies.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use prost::Message;

use super::limits::{MAX_DEPTH, MAX_NODES};
use super::{module, opsets};
use crate::error::{Error, Result};
use crate::onnx::proto::{AttributeProto, FunctionProto, NodeProto};
use crate::onnx::scope;

/// Bodies take at most this many bytes when all calls are replaced.
const MAX_EXPANDED: usize = 256 << 20;

/// A node of the graph, after inlining.
pub(super) struct Item {
    pub proto: NodeProto,
    /// The encoded form, as the file has it where nothing was renamed.
    pub raw: Bytes,
    /// The version of ONNX's own operators that the node was written for.
    pub opset: i64,
    /// Outer values that the graphs inside the node use.
    pub captured: Vec<String>,
}

/// Domain, name, overload.
type Key = (String, String, String);

struct Function {
    proto: FunctionProto,
    raw: Bytes,
    opsets: BTreeMap<String, i64>,
}

/// The model-local functions.
pub(super) struct Functions(HashMap<Key, Function>);

impl Functions {
    pub fn decode(encoded: &[Bytes]) -> Result<Functions> {
        let mut all = HashMap::new();
        for raw in encoded {
            let proto = scope::function(raw)?;
            let key = (domain(&proto.domain).to_owned(), proto.name.clone(), proto.overload.clone());
            let name = proto.name.clone();
            let opsets = opsets(&proto.opset_import)?;
            if all.insert(key, Function { proto, raw: raw.clone(), opsets }).is_some() {
                return Err(Error::malformed(format!("two functions are called {name:?}")));
            }
        }
        Ok(Functions(all))
    }

    fn get(&self, node: &NodeProto) -> Option<&Function> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&(domain(&node.domain).to_owned(), node.op_type.clone(), node.overload.clone()))
    }

    /// Replaces calls by bodies, recursively.
    pub fn inline(&self, nodes: &[Bytes], opsets: &mut BTreeMap<String, i64>) -> Result<Vec<Item>> {
        let opset = opsets.get("").copied().unwrap_or_default();
        let mut inlining = Inlining { functions: self, items: Vec::new(), opsets, calls: 0, bytes: 0 };
        for raw in nodes {
            inlining.node(scope::node(raw)?, raw.clone(), opset, 0)?;
        }
        Ok(inlining.items)
    }

    /// The functions that graphs inside these nodes call, directly or through each other.
    pub fn called_inside<'a>(&self, nodes: impl Iterator<Item = &'a NodeProto>) -> Result<Vec<Bytes>> {
        let mut seen: HashSet<*const Function> = HashSet::new();
        let mut found = Vec::new();
        let mut todo: Vec<&Function> = Vec::new();
        for node in nodes {
            scope::inner_nodes(node, &mut |inner| {
                todo.extend(self.get(inner));
                Ok(())
            })?;
        }
        while let Some(function) = todo.pop() {
            if !seen.insert(function) {
                continue;
            }
            found.push(function.raw.clone());
            for bytes in &function.proto.node {
                let node = scope::node(bytes)?;
                todo.extend(self.get(&node));
                scope::inner_nodes(&node, &mut |inner| {
                    todo.extend(self.get(inner));
                    Ok(())
                })?;
            }
        }
        Ok(found)
    }
}

/// The domain, with one spelling for ONNX's own.
pub(super) fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

struct Inlining<'a> {
    functions: &'a Functions,
    items: Vec<Item>,
    opsets: &'a mut BTreeMap<String, i64>,
    calls: usize,
    bytes: usize,
}

impl Inlining<'_> {
    fn node(&mut self, proto: NodeProto, raw: Bytes, opset: i64, depth: usize) -> Result<()> {
        if let Some(function) = self.functions.get(&proto) {
            return self.call(&proto, function, depth + 1);
        }
        if self.items.len() >= MAX_NODES {
            return Err(Error::limit(format!("more than {MAX_NODES} nodes when functions are inlined")));
        }
        let captured = scope::captured(&proto)?;
        self.items.push(Item { proto, raw, opset, captured });
        Ok(())
    }

    fn call(&mut self, call: &NodeProto, function: &Function, depth: usize) -> Result<()> {
        let Function { proto, opsets, .. } = function;
        if depth > MAX_DEPTH {
            let what = format!("functions call functions more than {MAX_DEPTH} deep, at {:?}", proto.name);
            return Err(Error::limit(what));
        }
        if call.input.len() > proto.input.len() || call.output.len() > proto.output.len() {
            return Err(Error::malformed(format!(
                "node {:?} gives {:?} too many operands",
                call.name, proto.name
            )));
        }
        for (domain, &version) in opsets {
            self.opsets.entry(domain.clone()).or_insert(version);
        }
        self.calls += 1;
        let base = if call.name.is_empty() { &proto.name } else { &call.name };
        let prefix = format!("{base}#{}/", self.calls);
        let mut names: HashMap<&str, &str> = HashMap::new();
        for (i, formal) in proto.input.iter().enumerate() {
            names.insert(formal, call.input.get(i).map_or("", String::as_str));
        }
        let opset = opsets.get("").copied().unwrap_or_default();
        for (formal, actual) in proto.output.iter().zip(&call.output).filter(|(_, actual)| !actual.is_empty())
        {
            if let Some(&input) = names.get(formal.as_str()) {
                // The function hands an operand through.
                let proto = NodeProto {
                    op_type: "Identity".into(),
                    input: vec![input.to_owned()],
                    output: vec![actual.clone()],
                    ..NodeProto::default()
                };
                let raw = proto.encode_to_vec().into();
                self.node(proto, raw, opset, depth)?;
            } else {
                names.insert(formal, actual);
            }
        }
        let rename = |name: &mut String| {
            if let Some(actual) = names.get(name.as_str()) {
                (*actual).clone_into(name);
            } else if !name.is_empty() {
                name.insert_str(0, &prefix);
            }
        };
        let fill = |node: &mut NodeProto| fill_attributes(node, call, &proto.attribute_proto);
        for bytes in &proto.node {
            let mut node = scope::node(bytes)?;
            node.input.iter_mut().chain(&mut node.output).for_each(rename);
            scope::rename_inside(&mut node, &rename)?;
            fill(&mut node);
            scope::change_inside(&mut node, &|_| (), &fill)?;
            if !node.name.is_empty() {
                node.name.insert_str(0, &prefix);
            }
            module::inherit(&mut node, call);
            let raw: Bytes = node.encode_to_vec().into();
            self.bytes = self.bytes.saturating_add(raw.len());
            if self.bytes > MAX_EXPANDED {
                return Err(Error::limit(format!(
                    "functions take more than {MAX_EXPANDED} bytes when inlined"
                )));
            }
            self.node(node, raw, opset, depth)?;
        }
        Ok(())
    }
}

/// Puts the call's attributes, or the function's defaults, where a node of the body refers to them.
fn fill_attributes(node: &mut NodeProto, call: &NodeProto, defaults: &[AttributeProto]) {
    node.attribute = std::mem::take(&mut node.attribute)
        .into_iter()
        .filter_map(|a| {
            if a.ref_attr_name.is_empty() {
                return Some(a);
            }
            let given = call.attribute.iter().chain(defaults).find(|g| g.name == a.ref_attr_name)?;
            Some(AttributeProto { name: a.name, ..given.clone() })
        })
        .collect();
}
