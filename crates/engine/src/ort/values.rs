//! Tensors to and from ONNX Runtime's.

use std::fmt::Debug;

use ::ort::value::{DynValue, PrimitiveTensorElementType, Tensor as Value, TensorElementType, TensorRef};
use half::{bf16, f16};
use whycam_graph::{DType, Tensor};

type Result<T> = std::result::Result<T, String>;

pub(super) fn to_ort(tensor: &Tensor) -> Result<DynValue> {
    match tensor.dtype() {
        DType::F32 => value(tensor, f32::from_le_bytes),
        DType::F64 => value(tensor, f64::from_le_bytes),
        DType::F16 => value(tensor, f16::from_le_bytes),
        DType::Bf16 => value(tensor, bf16::from_le_bytes),
        DType::I64 => value(tensor, i64::from_le_bytes),
        DType::I32 => value(tensor, i32::from_le_bytes),
        DType::I16 => value(tensor, i16::from_le_bytes),
        DType::I8 => value(tensor, i8::from_le_bytes),
        DType::U64 => value(tensor, u64::from_le_bytes),
        DType::U32 => value(tensor, u32::from_le_bytes),
        DType::U16 => value(tensor, u16::from_le_bytes),
        DType::U8 => value(tensor, u8::from_le_bytes),
        DType::Bool => value(tensor, |[byte]: [u8; 1]| byte != 0),
    }
}

fn value<T, const B: usize>(tensor: &Tensor, read: fn([u8; B]) -> T) -> Result<DynValue>
where
    T: PrimitiveTensorElementType + Clone + Debug + 'static,
{
    let values: Vec<T> = tensor.data().as_chunks::<B>().0.iter().map(|&bytes| read(bytes)).collect();
    let value = Value::from_array((tensor.shape(), values)).map_err(|e| e.to_string())?;
    Ok(value.into_dyn())
}

/// A float32 tensor as ONNX Runtime's, without a copy; `None` for other types, and where its bytes are not aligned.
pub(super) fn lent(tensor: &Tensor) -> Option<TensorRef<'_, f32>> {
    if tensor.dtype() != DType::F32 || cfg!(target_endian = "big") {
        return None;
    }
    let values: &[f32] = bytemuck::try_cast_slice(tensor.data()).ok()?;
    TensorRef::from_array_view((tensor.shape(), values)).ok()
}

/// What ONNX Runtime calls a type.
pub(super) fn element(dtype: DType) -> TensorElementType {
    match dtype {
        DType::F32 => TensorElementType::Float32,
        DType::F64 => TensorElementType::Float64,
        DType::F16 => TensorElementType::Float16,
        DType::Bf16 => TensorElementType::Bfloat16,
        DType::I64 => TensorElementType::Int64,
        DType::I32 => TensorElementType::Int32,
        DType::I16 => TensorElementType::Int16,
        DType::I8 => TensorElementType::Int8,
        DType::U64 => TensorElementType::Uint64,
        DType::U32 => TensorElementType::Uint32,
        DType::U16 => TensorElementType::Uint16,
        DType::U8 => TensorElementType::Uint8,
        DType::Bool => TensorElementType::Bool,
    }
}

pub(super) fn from_ort(value: &DynValue) -> Result<Tensor> {
    let element = value.dtype().tensor_type();
    match element {
        Some(TensorElementType::Float32) => tensor(value, DType::F32, f32::to_le_bytes),
        Some(TensorElementType::Float64) => tensor(value, DType::F64, f64::to_le_bytes),
        Some(TensorElementType::Float16) => tensor(value, DType::F16, f16::to_le_bytes),
        Some(TensorElementType::Bfloat16) => tensor(value, DType::Bf16, bf16::to_le_bytes),
        Some(TensorElementType::Int64) => tensor(value, DType::I64, i64::to_le_bytes),
        Some(TensorElementType::Int32) => tensor(value, DType::I32, i32::to_le_bytes),
        Some(TensorElementType::Int16) => tensor(value, DType::I16, i16::to_le_bytes),
        Some(TensorElementType::Int8) => tensor(value, DType::I8, i8::to_le_bytes),
        Some(TensorElementType::Uint64) => tensor(value, DType::U64, u64::to_le_bytes),
        Some(TensorElementType::Uint32) => tensor(value, DType::U32, u32::to_le_bytes),
        Some(TensorElementType::Uint16) => tensor(value, DType::U16, u16::to_le_bytes),
        Some(TensorElementType::Uint8) => tensor(value, DType::U8, u8::to_le_bytes),
        Some(TensorElementType::Bool) => tensor(value, DType::Bool, |b: bool| [b.into()]),
        _ => Err(format!("a result has the type {}, which is no tensor of numbers", value.dtype())),
    }
}

fn tensor<T, const B: usize>(value: &DynValue, dtype: DType, write: fn(T) -> [u8; B]) -> Result<Tensor>
where
    T: PrimitiveTensorElementType + Copy,
{
    let (shape, values) = value.try_extract_tensor::<T>().map_err(|e| e.to_string())?;
    let data = values.iter().map(|&value| write(value)).collect::<Vec<[u8; B]>>().into_flattened();
    let shape: std::result::Result<Vec<usize>, _> = shape.iter().map(|&d| usize::try_from(d)).collect();
    let shape = shape.map_err(|_| "a result has a negative dimension".to_owned())?;
    Tensor::new(dtype, shape, data).map_err(|e| e.to_string())
}
