//! Element types as ONNX numbers them.

use crate::tensor::DType;

const NUMBERS: [(i32, DType); 13] = [
    (1, DType::F32),
    (2, DType::U8),
    (3, DType::I8),
    (4, DType::U16),
    (5, DType::I16),
    (6, DType::I32),
    (7, DType::I64),
    (9, DType::Bool),
    (10, DType::F16),
    (11, DType::F64),
    (12, DType::U32),
    (13, DType::U64),
    (16, DType::Bf16),
];

/// The element type of that number; `None` for those that whycam does not know (strings, complex, float8, int4, …).
pub(super) fn from_number(number: i32) -> Option<DType> {
    NUMBERS.iter().find(|(n, _)| *n == number).map(|(_, dtype)| *dtype)
}

/// The number of an element type.
pub(super) fn number(dtype: DType) -> i32 {
    NUMBERS.iter().find(|(_, d)| *d == dtype).map_or(0, |(n, _)| *n)
}
