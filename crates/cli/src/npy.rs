//! NumPy's `.npy` files.

use npyz::{DType as NpyType, Deserialize, NpyFile, TypeChar, WriterBuilder};
use whycam::graph::{DType, Tensor};

use crate::fail::Fail;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header that is read, as in NumPy; that of a plain array takes 128 bytes.
const MAX_HEADER: usize = 10_000;

/// Most brackets that a header opens; that of a plain array opens two.
const MAX_BRACKETS: usize = 4;

/// Whether a file that starts so is a `.npy` file.
pub fn is_npy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads an array of float32, float64, uint8, int32 or int64, of either byte order, in C or Fortran order.
///
/// # Errors
/// When the bytes are no such file, or more or fewer than their header says.
pub fn read(bytes: &[u8]) -> Result<Tensor, Fail> {
    check_header(bytes)?;
    let file = NpyFile::new(bytes).map_err(|e| broken(&e))?;
    let NpyType::Plain(item) = file.dtype() else { return Err(unread(&file)) };
    match (item.type_char(), item.size_field()) {
        (TypeChar::Float, 4) => tensor(file, DType::F32, f32::to_le_bytes),
        (TypeChar::Float, 8) => tensor(file, DType::F64, f64::to_le_bytes),
        (TypeChar::Uint, 1) => tensor(file, DType::U8, u8::to_le_bytes),
        (TypeChar::Int, 4) => tensor(file, DType::I32, i32::to_le_bytes),
        (TypeChar::Int, 8) => tensor(file, DType::I64, i64::to_le_bytes),
        _ => Err(unread(&file)),
    }
}

/// Writes float32 values in C order.
///
/// # Errors
/// When `values` does not fill `shape`.
pub fn write(shape: &[usize], values: &[f32]) -> Result<Vec<u8>, Fail> {
    let shape: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes);
    let written = options.begin_nd().and_then(|mut writer| {
        writer.extend(values.iter().copied())?;
        writer.finish()
    });
    written
        .map(|()| bytes)
        .map_err(|e| Fail::input(format!("a map cannot be written: {e}"), "please report this"))
}

/// The elements in C order.
fn tensor<T: Deserialize + Copy, const B: usize>(
    file: NpyFile<&[u8]>,
    dtype: DType,
    bytes: fn(T) -> [u8; B],
) -> Result<Tensor, Fail> {
    let sizes = |of: &[u64]| -> Vec<usize> { of.iter().map(|&n| n as usize).collect() };
    let (shape, strides) = (sizes(file.shape()), sizes(file.strides()));
    let count = shape.iter().product::<usize>();
    let values: Vec<T> = file.into_vec().map_err(|e| broken(&e))?;
    let place = |mut i: usize| {
        let mut place = 0;
        for (size, stride) in shape.iter().zip(&strides).rev() {
            place += i % size * stride;
            i /= size;
        }
        place
    };
    let data: Vec<u8> = (0..count).flat_map(|i| bytes(values[place(i)])).collect();
    Ok(Tensor::new(dtype, shape, data)?)
}

/// Refuses headers that would make a parser allocate, recurse or multiply without end, and files
/// that are longer or shorter than it says. All numbers of an array's header, the size of an element and the shape, multiply to its number of bytes.
fn check_header(bytes: &[u8]) -> Result<(), Fail> {
    let start = match (is_npy(bytes), bytes.get(6)) {
        (true, Some(1)) => 10,
        (true, Some(2 | 3)) => 12,
        _ => return Err(broken(&"it does not begin as one of version 1, 2 or 3")),
    };
    let length =
        bytes.get(8..start).unwrap_or_default().iter().rev().fold(0, |n, &b| n << 8 | usize::from(b));
    let (header, data) = match bytes.get(start..).and_then(|rest| rest.split_at_checked(length)) {
        Some(parts) if length <= MAX_HEADER => parts,
        Some(_) => return Err(broken(&format!("its header takes {length} bytes"))),
        None => return Err(broken(&"it ends within its header")),
    };
    let brackets = header.iter().filter(|b| matches!(b, b'(' | b'[' | b'{')).count();
    let odd_number =
        |pair: &[u8]| pair[0].is_ascii_digit() && (pair[1].is_ascii_alphabetic() || pair[1] == b'_');
    if brackets > MAX_BRACKETS || header.windows(2).any(odd_number) {
        return Err(broken(&"its header is not that of an array"));
    }
    let mut numbers = header.split(|b| !b.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let product = numbers.try_fold(1usize, |product, digits| {
        let number: usize = str::from_utf8(digits).ok()?.parse().ok()?;
        product.checked_mul(number.max(1))
    });
    match product {
        Some(size) if size == data.len() => Ok(()),
        Some(size) => {
            Err(broken(&format!("its header speaks of {size} bytes of data, but there are {}", data.len())))
        }
        None => Err(broken(&"its header speaks of more data than there can be")),
    }
}

fn broken(what: &dyn std::fmt::Display) -> Fail {
    Fail::input(format!("not a sound .npy file: {what}"), "write it again with numpy.save")
}

fn unread(file: &NpyFile<&[u8]>) -> Fail {
    let what = format!("arrays of type {} are not read", file.dtype().descr());
    Fail::input(what, "float32, float64, uint8, int32 and int64 are; convert it with numpy's astype")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let values = [1.0, -2.5, f32::MAX, 0.0, f32::MIN_POSITIVE, 7.0];
        let bytes = write(&[2, 3], &values).unwrap();
        let tensor = read(&bytes).unwrap();
        assert_eq!((tensor.shape(), tensor.to_f32s().as_slice()), ([2, 3].as_slice(), values.as_slice()));
        assert!(write(&[2, 2], &values).is_err());
    }

    proptest! {
        #[test]
        fn no_header_panics(
            descr in "'[<>|=]?[fiucbSUOV][0-9]{0,20}'|\\[\\('a', '<f4'(, \\(9,9\\))?\\)\\]|[a-z0-9]*",
            order in "True|False|[0-9]",
            shape in "\\(([0-9]{1,22}, ?){0,6}\\)|[-_0-9xLe(,). ]{0,20}",
            version in 0u8..5,
            data in prop::collection::vec(any::<u8>(), 0..99),
        ) {
            let header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}");
            let mut bytes = [MAGIC, &[version, 0]].concat();
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(if version > 1 { [0, 0].as_slice() } else { &[] });
            bytes.extend(header.as_bytes());
            bytes.extend(data);
            let _ = read(&bytes);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&[MAGIC, &[1, 0, 50, 0], &bytes].concat());
        }
    }
}
