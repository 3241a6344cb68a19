//! Attributes of the nodes that are written.

use bytes::Bytes;

use crate::onnx::proto::{AttributeProto, AttributeType, TensorProto};

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: kind.into(), ..AttributeProto::default() }
}

pub(super) fn int(name: &str, i: impl TryInto<i64>) -> AttributeProto {
    AttributeProto { i: whole(i), ..attribute(name, AttributeType::Int) }
}

pub(super) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..attribute(name, AttributeType::Float) }
}

pub(super) fn text(name: &str, s: &'static str) -> AttributeProto {
    AttributeProto { s: Bytes::from_static(s.as_bytes()), ..attribute(name, AttributeType::String) }
}

pub(super) fn ints(name: &str, list: &[usize]) -> AttributeProto {
    let ints = list.iter().map(|&i| whole(i)).collect();
    AttributeProto { ints, ..attribute(name, AttributeType::Ints) }
}

/// Padding, all sizes before and then all behind.
pub(super) fn pads(list: &[(usize, usize)]) -> AttributeProto {
    let all: Vec<usize> = list.iter().map(|p| p.0).chain(list.iter().map(|p| p.1)).collect();
    ints("pads", &all)
}

pub(super) fn tensor(name: &str, t: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(Box::new(t)), ..attribute(name, AttributeType::Tensor) }
}

/// A size as ONNX has it. Sizes come from files or from inference, which keep them far below the limit.
pub(super) fn whole(i: impl TryInto<i64>) -> i64 {
    i.try_into().unwrap_or(i64::MAX)
}
