//! Nodes that were kept as they were read, with the names that their values have now.

use bytes::Bytes;
use prost::Message;

use crate::error::Result;
use crate::onnx::scope;
use crate::op::Opaque;

/// The encoded node; as the file had it, where no name has changed.
pub(super) fn proto(node: &Opaque, inputs: &[String], outputs: &[String]) -> Result<Bytes> {
    let mut proto = scope::node(&node.proto)?;
    let (declared, captured) = inputs.split_at(inputs.len().saturating_sub(node.captured.len()));
    let renamed: Vec<_> = node.captured.iter().zip(captured).filter(|(old, new)| old != new).collect();
    if proto.input == declared && proto.output == outputs && renamed.is_empty() {
        return Ok(node.proto.clone());
    }
    proto.input = declared.to_vec();
    proto.output = outputs.to_vec();
    scope::rename_inside(&mut proto, &|name| {
        if let Some((_, new)) = renamed.iter().find(|(old, _)| *old == name) {
            (*new).clone_into(name);
        }
    })?;
    Ok(proto.encode_to_vec().into())
}
