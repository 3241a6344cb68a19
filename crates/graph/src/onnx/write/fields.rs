//! Encoded messages as lists of fields that stay encoded, so that what is not looked into stays as it is.

use bytes::Bytes;

use crate::error::Result;
use crate::onnx::read::limits::{take, varint};

/// A field of a message.
pub(super) struct Field {
    /// Its number.
    pub tag: u64,
    /// All of it, key and length included.
    pub whole: Bytes,
    /// What it holds, where that is a message, text or bytes; nothing for numbers.
    pub inside: Bytes,
}

/// The fields of a message, in the order of the file; slices of its bytes.
pub(super) fn fields(message: &Bytes) -> Result<Vec<Field>> {
    let mut rest: &[u8] = message;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let start = message.len() - rest.len();
        let key = varint(&mut rest)?;
        let mut length = 0;
        match key & 7 {
            0 => drop(varint(&mut rest)?),
            1 => drop(take(&mut rest, 8)?),
            2 => {
                length = varint(&mut rest)?;
                take(&mut rest, length)?;
            }
            _ => drop(take(&mut rest, 4)?),
        }
        let end = message.len() - rest.len();
        let inside = message.slice(end - length as usize..end);
        found.push(Field { tag: key >> 3, whole: message.slice(start..end), inside });
    }
    Ok(found)
}

/// Appends a field that holds a message of these parts.
pub(super) fn push(out: &mut Vec<u8>, tag: u32, parts: &[&[u8]]) {
    prost::encoding::encode_key(tag, prost::encoding::WireType::LengthDelimited, out);
    prost::encoding::encode_varint(parts.iter().map(|part| part.len() as u64).sum(), out);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}
