//! `If` nodes whose condition is known while reading: the chosen branch takes the node's place.

use std::collections::HashMap;

use prost::Message;

use super::functions::{Item, domain};
use super::reader::Reader;
use crate::error::Result;
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto};
use crate::onnx::scope;
use crate::shape::Int;

impl Reader<'_> {
    /// The branch that an `If` takes, where shape arithmetic tells.
    pub(super) fn chosen_branch(&self, node: &NodeProto) -> Option<AttributeProto> {
        if !domain(&node.domain).is_empty() || node.op_type != "If" {
            return None;
        }
        let condition = self.known(node.input.first()?)?;
        let [Int::Lit(condition)] = condition else { return None };
        let name = if *condition != 0 { "then_branch" } else { "else_branch" };
        node.attribute.iter().find(|a| a.name == name && a.g.is_some()).cloned()
    }

    /// Adds the branch in the place of its node.
    pub(super) fn inline(&mut self, item: &Item, branch: AttributeProto) -> Result<()> {
        let branch = self.renamed(item, branch)?;
        self.constants(&branch)?;
        let mut items = Vec::new();
        for raw in &branch.node {
            let proto = scope::node(raw)?;
            let captured = scope::captured(&proto)?;
            items.push(Item { proto, raw: raw.clone(), opset: item.opset, captured });
        }
        for (inner, outer) in branch.output.iter().zip(&item.proto.output) {
            let proto = NodeProto {
                op_type: "Identity".into(),
                input: vec![inner.name.clone()],
                output: vec![outer.clone()],
                ..NodeProto::default()
            };
            let raw = proto.encode_to_vec().into();
            items.push(Item { proto, raw, opset: item.opset, captured: Vec::new() });
        }
        self.uses(&items);
        items.iter().try_for_each(|item| self.node(item))
    }

    /// The branch with other names for what is taken: different branches may use the same ones.
    fn renamed(&self, item: &Item, branch: AttributeProto) -> Result<GraphProto> {
        let mut carrier = NodeProto { attribute: vec![branch], ..NodeProto::default() };
        let prefix = item.proto.output.first().map_or("", String::as_str);
        let taken = scope::defined(&carrier)?.into_iter().filter(|name| self.is_taken(name));
        let taken: HashMap<String, String> =
            taken.map(|name| (name.clone(), format!("{prefix}/{name}"))).collect();
        if !taken.is_empty() {
            scope::rename_inside(&mut carrier, &|name| {
                if let Some(new) = taken.get(name) {
                    new.clone_into(name);
                }
            })?;
        }
        Ok(carrier.attribute.pop().and_then(|a| a.g).map(|g| *g).unwrap_or_default())
    }
}
