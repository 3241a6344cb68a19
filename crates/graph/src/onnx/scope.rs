//! Names across the graphs inside nodes: what If and Loop bodies use from outside, and renaming it.

use std::collections::HashSet;

use bytes::Bytes;
use prost::Message;

use super::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto};
use crate::error::{Error, Result};

/// Decodes a node.
pub(super) fn node(bytes: &Bytes) -> Result<NodeProto> {
    NodeProto::decode(bytes.clone()).map_err(|e| Error::malformed(format!("a node cannot be decoded: {e}")))
}

/// Decodes a function.
pub(super) fn function(bytes: &Bytes) -> Result<FunctionProto> {
    FunctionProto::decode(bytes.clone())
        .map_err(|e| Error::malformed(format!("a function cannot be decoded: {e}")))
}

fn bodies(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|a| a.g.as_deref().into_iter().chain(&a.graphs))
}

/// The names that the graphs inside a node use, but do not define: values of the graph around it.
pub(super) fn captured(node: &NodeProto) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for body in bodies(node) {
        names.extend(free_names(body)?);
    }
    let mut seen = HashSet::new();
    names.retain(|n| seen.insert(n.clone()));
    Ok(names)
}

fn free_names(graph: &GraphProto) -> Result<Vec<String>> {
    let mut used = Vec::new();
    let mut defined: HashSet<String> = given(graph).map(str::to_owned).collect();
    for bytes in &graph.node {
        let node = node(bytes)?;
        used.extend(captured(&node)?);
        used.extend(node.input);
        defined.extend(node.output);
    }
    used.extend(graph.output.iter().map(|v| v.name.clone()));
    used.retain(|name| !name.is_empty() && !defined.contains(name));
    Ok(used)
}

/// Inputs and initialisers of a graph.
fn given(graph: &GraphProto) -> impl Iterator<Item = &str> {
    let sparse = graph.sparse_initializer.iter().flat_map(|s| &s.values);
    let tensors = graph.initializer.iter().chain(sparse).map(|t| t.name.as_str());
    graph.input.iter().map(|v| v.name.as_str()).chain(tensors)
}

/// The names that the graphs inside a node define, not counting graphs further inside.
pub(super) fn defined(node: &NodeProto) -> Result<HashSet<String>> {
    let mut names = HashSet::new();
    for body in bodies(node) {
        names.extend(given(body).map(str::to_owned));
        for bytes in &body.node {
            names.extend(self::node(bytes)?.output);
        }
    }
    names.remove("");
    Ok(names)
}

/// Calls `see` with every node in the graphs inside `node`.
pub(super) fn inner_nodes(node: &NodeProto, see: &mut dyn FnMut(&NodeProto) -> Result<()>) -> Result<()> {
    for body in bodies(node) {
        for bytes in &body.node {
            let inner = self::node(bytes)?;
            see(&inner)?;
            inner_nodes(&inner, see)?;
        }
    }
    Ok(())
}

/// Calls `see` with every tensor: initialisers and attributes, in the graphs inside nodes too.
pub(super) fn tensors(
    graph: &GraphProto,
    functions: &[Bytes],
    see: &mut dyn FnMut(&TensorProto) -> Result<()>,
) -> Result<()> {
    graph_tensors(graph, see)?;
    for bytes in functions {
        let function = function(bytes)?;
        function.attribute_proto.iter().try_for_each(|a| attribute_tensors(a, see))?;
        function.node.iter().try_for_each(|n| node_tensors(n, see))?;
    }
    Ok(())
}

fn graph_tensors(graph: &GraphProto, see: &mut dyn FnMut(&TensorProto) -> Result<()>) -> Result<()> {
    graph.initializer.iter().try_for_each(&mut *see)?;
    for sparse in &graph.sparse_initializer {
        sparse.values.iter().chain(&sparse.indices).try_for_each(&mut *see)?;
    }
    graph.node.iter().try_for_each(|n| node_tensors(n, see))
}

fn node_tensors(bytes: &Bytes, see: &mut dyn FnMut(&TensorProto) -> Result<()>) -> Result<()> {
    node(bytes)?.attribute.iter().try_for_each(|a| attribute_tensors(a, see))
}

fn attribute_tensors(a: &AttributeProto, see: &mut dyn FnMut(&TensorProto) -> Result<()>) -> Result<()> {
    a.t.as_deref().into_iter().chain(&a.tensors).try_for_each(&mut *see)?;
    for sparse in a.sparse_tensor.as_deref().into_iter().chain(&a.sparse_tensors) {
        sparse.values.iter().chain(&sparse.indices).try_for_each(&mut *see)?;
    }
    a.g.as_deref().into_iter().chain(&a.graphs).try_for_each(|g| graph_tensors(g, see))
}

/// Renames values in the graphs inside a node, not the node's own operands and results.
pub(super) fn rename_inside(node: &mut NodeProto, new: &dyn Fn(&mut String)) -> Result<()> {
    let in_graph = |graph: &mut GraphProto| {
        let values = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
        values.for_each(|v| new(&mut v.name));
        let sparse = graph.sparse_initializer.iter_mut().flat_map(|s| &mut s.values);
        graph.initializer.iter_mut().chain(sparse).for_each(|t| new(&mut t.name));
    };
    let in_node = |node: &mut NodeProto| node.input.iter_mut().chain(&mut node.output).for_each(new);
    change_inside(node, &in_graph, &in_node)
}

/// Changes every graph inside a node, and every node of those.
pub(super) fn change_inside(
    node: &mut NodeProto,
    in_graph: &dyn Fn(&mut GraphProto),
    in_node: &dyn Fn(&mut NodeProto),
) -> Result<()> {
    for attribute in &mut node.attribute {
        for body in attribute.g.as_deref_mut().into_iter().chain(&mut attribute.graphs) {
            in_graph(body);
            for bytes in &mut body.node {
                let mut inner = self::node(bytes)?;
                in_node(&mut inner);
                change_inside(&mut inner, in_graph, in_node)?;
                *bytes = inner.encode_to_vec().into();
            }
        }
    }
    Ok(())
}
