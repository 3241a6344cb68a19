//! `If` nodes whose condition is known while reading: the chosen branch takes the node's place.

use prost::Message;

use super::functions::{Item, domain};
use super::reader::Reader;
use crate::error::Result;
use crate::onnx::proto::{GraphProto, NodeProto};
use crate::onnx::scope;
use crate::shape::Int;

impl Reader<'_> {
    /// The branch that an `If` takes, where shape arithmetic tells.
    pub(super) fn chosen_branch(&self, node: &NodeProto) -> Option<GraphProto> {
        if !domain(&node.domain).is_empty() || node.op_type != "If" {
            return None;
        }
        let condition = self.known(node.input.first()?)?;
        let [Int::Lit(condition)] = condition else { return None };
        let name = if *condition != 0 { "then_branch" } else { "else_branch" };
        node.attribute.iter().find(|a| a.name == name)?.g.as_deref().cloned()
    }

    /// Adds the branch in the place of its node.
    pub(super) fn inline(&mut self, item: &Item, branch: &GraphProto) -> Result<()> {
        self.constants(branch)?;
        for raw in &branch.node {
            let proto = scope::node(raw)?;
            let captured = scope::captured(&proto)?;
            self.node(&Item { proto, raw: raw.clone(), opset: item.opset, captured })?;
        }
        for (inner, outer) in branch.output.iter().zip(&item.proto.output) {
            let proto = NodeProto {
                op_type: "Identity".into(),
                input: vec![inner.name.clone()],
                output: vec![outer.clone()],
                ..NodeProto::default()
            };
            let raw = proto.encode_to_vec().into();
            self.node(&Item { proto, raw, opset: item.opset, captured: Vec::new() })?;
        }
        Ok(())
    }
}
