//! Constants of the file that is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::attributes::whole;
use crate::error::{Error, Result};
use crate::onnx::dtype;
use crate::onnx::proto::{StringStringEntryProto, TensorProto};
use crate::tensor::{DType, External, Tensor};

/// A constant: in the file that it was read from, or inline.
pub(super) fn proto(name: &str, tensor: &Tensor) -> TensorProto {
    let mut proto = bare(name, tensor);
    match tensor.external() {
        Some(place) => point(&mut proto, place, tensor.data().len()),
        None => proto.raw_data = tensor.data().clone(),
    }
    proto
}

/// A constant that is all that a file of that location holds.
pub(super) fn apart(name: &str, tensor: &Tensor, location: &str) -> TensorProto {
    let mut proto = bare(name, tensor);
    point(&mut proto, &External { location: location.into(), offset: 0 }, tensor.data().len());
    proto
}

/// A constant without its data.
fn bare(name: &str, tensor: &Tensor) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: tensor.shape().iter().map(|&d| whole(d)).collect(),
        data_type: dtype::number(tensor.dtype()),
        ..TensorProto::default()
    }
}

/// A location that no file has yet.
pub(super) fn unused(stem: &str, files: &BTreeMap<String, Bytes>) -> String {
    (0..)
        .map(|i| if i == 0 { format!("{stem}.data") } else { format!("{stem}.{i}.data") })
        .find(|location| !files.contains_key(location))
        .unwrap_or_default()
}

/// One number everywhere, in any element type.
pub(super) fn filled(dtype: DType, shape: &[usize], value: f32) -> Result<Tensor> {
    let count = shape.iter().product();
    match dtype.is_float() {
        true => Tensor::floats(dtype, shape, &vec![value; count]),
        false => {
            // The low bytes of a wide integer are the narrow one.
            let cell = &(value as i64).to_le_bytes()[..dtype.size()];
            Tensor::new(dtype, shape.to_vec(), cell.repeat(count))
        }
    }
}

fn point(proto: &mut TensorProto, place: &External, length: usize) {
    let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
    proto.data_location = 1;
    proto.external_data = vec![
        entry("location", place.location.to_string()),
        entry("offset", place.offset.to_string()),
        entry("length", length.to_string()),
    ];
}

/// Moves the largest inline constants into a file beside the model, until the model is small enough.
pub(super) fn move_out(
    constants: &mut [TensorProto],
    nodes: &[Bytes],
    max_proto: usize,
    files: &mut BTreeMap<String, Bytes>,
) -> Result<()> {
    let inline: usize = constants.iter().map(|c| c.raw_data.len()).sum();
    let mut size = inline + nodes.iter().map(Bytes::len).sum::<usize>();
    if size <= max_proto {
        return Ok(());
    }
    let mut largest: Vec<&mut TensorProto> =
        constants.iter_mut().filter(|c| !c.raw_data.is_empty()).collect();
    largest.sort_by_key(|c| std::cmp::Reverse(c.raw_data.len()));
    let location = unused("weights", files);
    let mut data = BytesMut::with_capacity(size - max_proto);
    for constant in largest {
        if size <= max_proto {
            break;
        }
        let raw = std::mem::take(&mut constant.raw_data);
        size -= raw.len();
        let place = External { location: Arc::from(location.as_str()), offset: data.len() as u64 };
        point(constant, &place, raw.len());
        data.extend_from_slice(&raw);
    }
    if size > max_proto {
        return Err(Error::limit(format!(
            "the nodes alone take {size} bytes, more than a protobuf file may have"
        )));
    }
    files.insert(location, data.freeze());
    Ok(())
}
