//! Where a file lies in memory.

use bytes::{Bytes, BytesMut};

use super::dtype;
use super::read::decode;
use super::write::LENT;

/// The largest element.
const ALIGNMENT: usize = 8;

/// A file's bytes, moved by up to seven, so that as many bytes of its large weights as possible lie at multiples of their
/// elements' size: an engine can read such weights where they are, where protobuf puts them anywhere. What is no ONNX
/// file stays as it is.
pub fn align(file: Vec<u8>) -> Bytes {
    let bytes = Bytes::from(file);
    let shift = shift(&bytes);
    // Nobody else has seen these bytes, so that they can move.
    match (shift, bytes.try_into_mut()) {
        (0, Ok(bytes)) => bytes.freeze(),
        (_, Ok(bytes)) => moved(bytes, shift),
        (_, Err(bytes)) => bytes,
    }
}

/// By how many bytes the file is best moved.
fn shift(file: &Bytes) -> usize {
    let Ok((_, graph)) = decode(file) else { return 0 };
    let mut aligned = [0usize; ALIGNMENT];
    for tensor in graph.initializer.iter().filter(|tensor| tensor.raw_data.len() >= LENT) {
        let Some(dtype) = dtype::from_number(tensor.data_type) else { continue };
        let place = tensor.raw_data.as_ptr() as usize;
        for (shift, aligned) in aligned.iter_mut().enumerate() {
            if (place + shift).is_multiple_of(dtype.size()) {
                *aligned += tensor.raw_data.len();
            }
        }
    }
    // The first of the best.
    (0..ALIGNMENT).rev().max_by_key(|&shift| aligned[shift]).unwrap_or(0)
}

fn moved(mut file: BytesMut, shift: usize) -> Bytes {
    let size = file.len();
    file.resize(size + shift, 0);
    file.copy_within(..size, shift);
    file.freeze().slice(shift..)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::onnx::proto::{GraphProto, ModelProto, TensorProto};

    fn file(name: &str, weights: &[(i32, usize)]) -> Vec<u8> {
        let tensor = |(at, &(data_type, size)): (usize, &(i32, usize))| TensorProto {
            name: format!("w{at}"),
            data_type,
            raw_data: vec![at as u8 + 1; size].into(),
            ..TensorProto::default()
        };
        let initializer = weights.iter().enumerate().map(tensor).collect();
        let graph = GraphProto { name: name.into(), initializer, ..GraphProto::default() };
        ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec()
    }

    #[test]
    fn the_largest_weights_are_aligned_whatever_stands_before_them() {
        let (float, double) = (1, 11);
        for length in 0..9 {
            let name = "n".repeat(length);
            let whole = file(&name, &[(float, 3 * LENT), (double, 8 * LENT), (float, 1 + LENT), (1, 64)]);
            let aligned = align(whole.clone());
            assert_eq!(aligned, whole);
            let (_, graph) = decode(&aligned).unwrap();
            assert_eq!(graph.initializer[1].raw_data.as_ptr() as usize % 8, 0);
        }
    }

    #[test]
    fn other_files_stay_as_they_are() {
        for bytes in [vec![], vec![1, 2, 3], file("small", &[(1, 64)])] {
            assert_eq!(align(bytes.clone()), bytes);
        }
    }
}
