//! External data: tensors that stand in files beside the model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::onnx::proto::{GraphProto, TensorProto};
use crate::onnx::scope;
use crate::tensor::External;

/// What a tensor says about the place of its data.
struct Entry<'a> {
    location: &'a str,
    offset: u64,
    length: Option<u64>,
}

/// The files that tensors name, each once.
pub(super) fn locations(graph: &GraphProto, functions: &[Bytes]) -> Result<Vec<String>> {
    let mut found = BTreeSet::new();
    scope::tensors(graph, functions, &mut |tensor| {
        if is_external(tensor) {
            found.insert(entry(tensor)?.location.to_owned());
        }
        Ok(())
    })?;
    Ok(found.into_iter().collect())
}

/// Checks that the file that a tensor stands in is there, and long enough.
pub(super) fn check(tensor: &TensorProto, files: &BTreeMap<String, Bytes>) -> Result<()> {
    if !is_external(tensor) {
        return Ok(());
    }
    let Entry { length, .. } = entry(tensor)?;
    let length = usize::try_from(length.unwrap_or_default()).unwrap_or(usize::MAX);
    range(tensor, length, files).map(drop)
}

/// Whether a tensor's data stands in another file.
pub(super) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == 1
}

/// The `wanted` bytes of an external tensor.
pub(super) fn data(
    tensor: &TensorProto,
    wanted: usize,
    files: &BTreeMap<String, Bytes>,
) -> Result<(Bytes, External)> {
    if let Entry { location, length: Some(length), .. } = entry(tensor)?
        && length != wanted as u64
    {
        let what = format!("tensor {:?} takes {wanted} bytes there, not {length}", tensor.name);
        return Err(Error::External { location: location.to_owned(), what, hint: "export the model again" });
    }
    range(tensor, wanted, files)
}

/// So many bytes from where a tensor begins.
fn range(tensor: &TensorProto, length: usize, files: &BTreeMap<String, Bytes>) -> Result<(Bytes, External)> {
    let Entry { location, offset, .. } = entry(tensor)?;
    let name = &tensor.name;
    let fail = |what, hint| Error::External { location: location.to_owned(), what, hint };
    let file = files.get(location).ok_or_else(|| {
        fail(
            format!("tensor {name:?} stands there, but the file is missing"),
            "keep the file beside the model",
        )
    })?;
    let start = usize::try_from(offset).ok();
    let range =
        start.and_then(|start| Some(start..start.checked_add(length)?)).filter(|r| r.end <= file.len());
    let range = range.ok_or_else(|| {
        let have = file.len();
        fail(
            format!("tensor {name:?} takes {length} bytes from byte {offset}, but there are {have}"),
            "the file is cut short or belongs to another model; export the model again",
        )
    })?;
    Ok((file.slice(range), External { location: Arc::from(location), offset }))
}

fn entry(tensor: &TensorProto) -> Result<Entry<'_>> {
    let mut found = Entry { location: "", offset: 0, length: None };
    for e in &tensor.external_data {
        let number = || {
            let what = format!("tensor {:?}: its external {} {:?} is no size", tensor.name, e.key, e.value);
            e.value.parse::<u64>().map_err(|_| Error::tensor(what))
        };
        match e.key.as_str() {
            "location" => found.location = &e.value,
            "offset" => found.offset = number()?,
            "length" => found.length = Some(number()?),
            // "checksum", and what exporters add for themselves.
            _ => {}
        }
    }
    check_location(found.location).map_err(|what| Error::External {
        location: found.location.to_owned(),
        what: format!("tensor {:?} stands there, but {what}", tensor.name),
        hint: "only files in the model's own folder are read",
    })?;
    Ok(found)
}

/// Whether a location is a plain path inside the model's folder, on every system.
fn check_location(location: &str) -> std::result::Result<(), &'static str> {
    if location.is_empty() {
        return Err("the location is empty");
    }
    if location.starts_with('/') || location.contains(['\\', ':', '\0']) {
        return Err("the location is not a relative path");
    }
    match location.split('/').any(|part| matches!(part, "" | "..")) || location.ends_with('.') {
        true => Err("the location does not lie in the model's folder"),
        false => Ok(()),
    }
}
