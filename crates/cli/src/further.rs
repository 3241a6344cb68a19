//! The inputs of a model beside the image, from `--input NAME=FILE.npy`.

use std::fs;
use std::path::{Path, PathBuf};

use whycam::Model;
use whycam::graph::{DType, Dim, Shape, Tensor, Value, ValueId};

use crate::fail::Fail;
use crate::npy;

/// Reads the arrays, one for every input of the model but the image.
///
/// # Errors
/// When one is missing, unknown or given twice, cannot be read, or does not fit.
pub fn read(model: &Model, files: &[(String, PathBuf)]) -> Result<Vec<(String, Tensor)>, Fail> {
    let graph = model.graph();
    let name = |id: ValueId| graph.value(id).name.as_str();
    let wanted: Vec<ValueId> = graph.inputs().iter().copied().filter(|&id| id != model.image()).collect();
    let list = || match wanted.as_slice() {
        [] => "the model has no input but the image".to_owned(),
        ids => format!(
            "its further inputs are {}",
            ids.iter().map(|&id| name(id)).collect::<Vec<_>>().join(", ")
        ),
    };
    for (index, (given, _)) in files.iter().enumerate() {
        if files[..index].iter().any(|(earlier, _)| earlier == given) {
            return Err(Fail::usage(format!("--input {given} is given twice"), "give each input once"));
        }
        if !wanted.iter().any(|&id| name(id) == given) {
            return Err(Fail::usage(format!("the model has no further input {given:?}"), list()));
        }
    }
    let tensor = |&id: &ValueId| {
        let (name, path) = files.iter().find(|(given, _)| given == name(id)).ok_or_else(|| {
            let what = format!("the model has a further input {:?}, which is not given", name(id));
            Fail::usage(what, format!("give --input {}=FILE.npy", name(id)))
        })?;
        let tensor = fitting(model, id, path).map_err(|fail| fail.at(format!("--input {name}")))?;
        Ok((name.clone(), tensor))
    };
    wanted.iter().map(tensor).collect()
}

/// The array as the input takes it.
fn fitting(model: &Model, id: ValueId, path: &Path) -> Result<Tensor, Fail> {
    let bytes = fs::read(path).map_err(|e| Fail::read(path, &e).into_usage())?;
    let tensor = npy::read(&bytes)?;
    let value = model.graph().value(id);
    let misfit = || format!("an array {tensor:?} does not fit the input {}", told(value));
    let fits = |(dim, size): (&Dim, &usize)| dim.fixed().is_none_or(|fixed| fixed == *size);
    let same = |dims: &[Dim]| dims.len() == tensor.shape().len() && dims.iter().zip(tensor.shape()).all(fits);
    if !value.shape.as_ref().is_none_or(|shape| same(&shape.0)) {
        return Err(Fail::usage(misfit(), "its shape must be that of the input"));
    }
    match value.dtype.unwrap_or(tensor.dtype()) {
        dtype if dtype == tensor.dtype() => Ok(tensor),
        dtype if dtype.is_float() => Ok(Tensor::floats(dtype, tensor.shape(), &tensor.to_f32s())?),
        DType::I64 => match tensor.to_i64s() {
            Some(values) => Ok(Tensor::i64(tensor.shape(), &values)?),
            None => Err(Fail::usage(misfit(), "its elements must be integers")),
        },
        _ => Err(Fail::usage(
            misfit(),
            "its elements must be of the input's type; convert it with numpy's astype",
        )),
    }
}

/// A value in words: its name, type and shape.
pub fn told(value: &Value) -> String {
    let dtype = value.dtype.map_or("?".to_owned(), |dtype| dtype.to_string());
    let shape = value.shape.as_ref().map_or("[?]".to_owned(), Shape::to_string);
    format!("{}: {dtype}{shape}", value.name)
}
