//! Constant data: element types and shared buffers.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use half::{bf16, f16};

use crate::error::{Error, Result};

/// The element types of ONNX tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum DType {
    F32,
    F64,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 | DType::U64 => 8,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F16 | DType::Bf16 | DType::I16 | DType::U16 => 2,
            DType::I8 | DType::U8 | DType::Bool => 1,
        }
    }

    /// Whether values are real numbers, the ones that have gradients.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::Bf16)
    }

    /// Whether there are negative values.
    pub fn is_signed(self) -> bool {
        !matches!(self, DType::U64 | DType::U32 | DType::U16 | DType::U8 | DType::Bool)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::I16 => "i16",
            DType::I8 => "i8",
            DType::U64 => "u64",
            DType::U32 => "u32",
            DType::U16 => "u16",
            DType::U8 => "u8",
            DType::Bool => "bool",
        })
    }
}

/// A dense, row-major tensor over a shared little-endian buffer. Cloning is cheap.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Bytes,
    external: Option<External>,
}

/// Where a tensor's bytes stand in a file beside the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// The file's name, relative to the model.
    pub location: Arc<str>,
    /// First byte.
    pub offset: u64,
}

impl Tensor {
    /// A tensor over `data`, which holds exactly the bytes that `dtype` and `shape` ask for.
    ///
    /// # Errors
    /// When the sizes differ or overflow.
    pub fn new(dtype: DType, shape: Vec<usize>, data: impl Into<Bytes>) -> Result<Tensor> {
        let data = data.into();
        let wanted = shape
            .iter()
            .try_fold(dtype.size(), |n, &d| n.checked_mul(d))
            .ok_or_else(|| Error::tensor(format!("the shape {shape:?} overflows")))?;
        if wanted != data.len() {
            return Err(Error::tensor(format!(
                "{dtype}{shape:?} takes {wanted} bytes, but there are {}",
                data.len()
            )));
        }
        Ok(Tensor { dtype, shape, data, external: None })
    }

    /// The same tensor, remembered to stand in a file beside the model.
    pub fn with_external(mut self, external: External) -> Tensor {
        self.external = Some(external);
        self
    }

    /// A float32 tensor.
    ///
    /// # Errors
    /// When `values` does not fill `shape`.
    pub fn f32(shape: &[usize], values: &[f32]) -> Result<Tensor> {
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Tensor::new(DType::F32, shape.to_vec(), data)
    }

    /// An int64 tensor.
    ///
    /// # Errors
    /// When `values` does not fill `shape`.
    pub fn i64(shape: &[usize], values: &[i64]) -> Result<Tensor> {
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Tensor::new(DType::I64, shape.to_vec(), data)
    }

    /// Floats in the type `dtype`, rounded to it; integer types get float32.
    ///
    /// # Errors
    /// When `values` does not fill `shape`.
    pub fn floats(dtype: DType, shape: &[usize], values: &[f32]) -> Result<Tensor> {
        let data: Vec<u8> = match dtype {
            DType::F64 => values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect(),
            DType::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
            DType::Bf16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
            _ => return Tensor::f32(shape, values),
        };
        Tensor::new(dtype, shape.to_vec(), data)
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The little-endian bytes.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Where the bytes stand, when that is a file beside the model.
    pub fn external(&self) -> Option<&External> {
        self.external.as_ref()
    }

    /// The same bytes in another shape.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshape(&self, shape: Vec<usize>) -> Result<Tensor> {
        Tensor::new(self.dtype, shape, self.data.clone())
    }

    /// The elements as float32: exact for f16, bf16, small integers and bool, rounded otherwise.
    pub fn to_f32s(&self) -> Vec<f32> {
        match self.dtype {
            DType::F32 => self.chunks::<4>().map(f32::from_le_bytes).collect(),
            _ => self.to_f64s().into_iter().map(|v| v as f32).collect(),
        }
    }

    /// The elements as float64: exact for all but large 64-bit integers.
    pub fn to_f64s(&self) -> Vec<f64> {
        match self.dtype {
            DType::F32 => self.chunks::<4>().map(|b| f32::from_le_bytes(b).into()).collect(),
            DType::F64 => self.chunks::<8>().map(f64::from_le_bytes).collect(),
            DType::F16 => self.chunks::<2>().map(|b| f16::from_le_bytes(b).to_f64()).collect(),
            DType::Bf16 => self.chunks::<2>().map(|b| bf16::from_le_bytes(b).to_f64()).collect(),
            DType::U64 => self.chunks::<8>().map(|b| u64::from_le_bytes(b) as f64).collect(),
            _ => self.to_i64s().unwrap_or_default().into_iter().map(|v| v as f64).collect(),
        }
    }

    /// The elements as int64; `None` for floats. Unsigned 64-bit values saturate.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        Some(match self.dtype {
            DType::I64 => self.chunks::<8>().map(i64::from_le_bytes).collect(),
            DType::I32 => self.chunks::<4>().map(|b| i32::from_le_bytes(b).into()).collect(),
            DType::I16 => self.chunks::<2>().map(|b| i16::from_le_bytes(b).into()).collect(),
            DType::I8 => self.chunks::<1>().map(|b| i8::from_le_bytes(b).into()).collect(),
            DType::U64 => {
                self.chunks::<8>().map(|b| i64::try_from(u64::from_le_bytes(b)).unwrap_or(i64::MAX)).collect()
            }
            DType::U32 => self.chunks::<4>().map(|b| u32::from_le_bytes(b).into()).collect(),
            DType::U16 => self.chunks::<2>().map(|b| u16::from_le_bytes(b).into()).collect(),
            DType::U8 => self.data.iter().map(|&b| b.into()).collect(),
            DType::Bool => self.data.iter().map(|&b| (b != 0).into()).collect(),
            DType::F32 | DType::F64 | DType::F16 | DType::Bf16 => return None,
        })
    }

    /// Whether no element is negative; −0 is not, and NaN counts by its sign.
    pub fn is_nonnegative(&self) -> bool {
        let size = self.dtype.size();
        let negative = |element: &[u8]| match element {
            [low @ .., 0x80] if self.dtype.is_float() => low.iter().any(|&b| b != 0),
            [.., high] => high & 0x80 != 0,
            [] => false,
        };
        // The sign is the highest bit of the last byte in every signed type.
        !self.dtype.is_signed() || !self.data.chunks_exact(size).any(negative)
    }

    /// Whether no element is NaN or infinite as float32.
    pub fn is_finite(&self) -> bool {
        match self.dtype {
            // Without an early end, which would keep a compiler from taking several at once.
            DType::F32 => self.chunks::<4>().fold(true, |all, b| all & f32::from_le_bytes(b).is_finite()),
            dtype => !dtype.is_float() || self.to_f32s().iter().all(|v| v.is_finite()),
        }
    }

    fn chunks<const B: usize>(&self) -> impl Iterator<Item = [u8; B]> + '_ {
        self.data.as_chunks::<B>().0.iter().copied()
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}
