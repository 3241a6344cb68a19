//! Tensors out of the file, in any of the forms that ONNX has for them.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::external;
use super::size;
use crate::error::{Error, Result};
use crate::onnx::dtype;
use crate::onnx::proto::TensorProto;
use crate::tensor::{DType, Tensor};

/// The tensor, or `None` where its element type is one that whycam does not know.
pub(super) fn tensor(proto: &TensorProto, files: &BTreeMap<String, Bytes>) -> Result<Option<Tensor>> {
    let fail = |what: String| Error::tensor(format!("{:?}: {what}", proto.name));
    let Some(dtype) = dtype::from_number(proto.data_type) else {
        return Ok(None);
    };
    if proto.segment.is_some() {
        return Err(fail("it is cut in segments, which ONNX has given up".into()));
    }
    let shape: Vec<usize> = proto
        .dims
        .iter()
        .map(|&d| size(d))
        .collect::<Option<_>>()
        .ok_or_else(|| fail(format!("{:?} is not a shape", proto.dims)))?;
    let bytes = shape.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d));
    let wanted = bytes.ok_or_else(|| fail(format!("the shape {shape:?} overflows")))?;
    if external::is_external(proto) {
        let (data, place) = external::data(proto, wanted, files)?;
        return Ok(Some(Tensor::new(dtype, shape, data)?.with_external(place)));
    }
    let data = match typed(proto, dtype).map_err(fail)? {
        Some(typed) if proto.raw_data.is_empty() => typed,
        Some(_) => return Err(fail("it has data twice".into())),
        None => proto.raw_data.clone(),
    };
    Tensor::new(dtype, shape, data).map(Some).map_err(|error| match error {
        Error::Tensor { what } => fail(what),
        other => other,
    })
}

/// The data in the typed list of its element type, little-endian; `None` where all lists are empty.
fn typed(proto: &TensorProto, dtype: DType) -> std::result::Result<Option<Bytes>, String> {
    let lists = [
        proto.float_data.len(),
        proto.int32_data.len(),
        proto.string_data.len(),
        proto.int64_data.len(),
        proto.double_data.len(),
        proto.uint64_data.len(),
    ];
    if lists.iter().all(|&n| n == 0) {
        return Ok(None);
    }
    fn all<T: Copy, const B: usize>(list: &[T], bytes: impl Fn(T) -> Option<[u8; B]>) -> Option<Vec<u8>> {
        let list: Option<Vec<[u8; B]>> = list.iter().map(|&v| bytes(v)).collect();
        Some(list?.concat())
    }
    let (floats, ints) = (&proto.float_data, &proto.int32_data);
    let (data, used) = match dtype {
        DType::F32 => (all(floats, |v| Some(v.to_le_bytes())), lists[0]),
        DType::I32 => (all(ints, |v| Some(v.to_le_bytes())), lists[1]),
        DType::I16 => (all(ints, |v| Some(i16::try_from(v).ok()?.to_le_bytes())), lists[1]),
        DType::I8 => (all(ints, |v| Some(i8::try_from(v).ok()?.to_le_bytes())), lists[1]),
        DType::U16 | DType::F16 | DType::Bf16 => {
            (all(ints, |v| Some(u16::try_from(v).ok()?.to_le_bytes())), lists[1])
        }
        DType::U8 | DType::Bool => (all(ints, |v| Some(u8::try_from(v).ok()?.to_le_bytes())), lists[1]),
        DType::I64 => (all(&proto.int64_data, |v| Some(v.to_le_bytes())), lists[3]),
        DType::F64 => (all(&proto.double_data, |v| Some(v.to_le_bytes())), lists[4]),
        DType::U64 => (all(&proto.uint64_data, |v| Some(v.to_le_bytes())), lists[5]),
        DType::U32 => (all(&proto.uint64_data, |v| Some(u32::try_from(v).ok()?.to_le_bytes())), lists[5]),
    };
    if used != lists.iter().sum::<usize>() {
        return Err(format!("its data is not in the list for {dtype}"));
    }
    data.map(|d| Some(d.into())).ok_or_else(|| format!("a number is outside {dtype}"))
}
