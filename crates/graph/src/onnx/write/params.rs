//! Parameters that ONNX wants as operands: small shared constants, and shapes that depend on the batch size.

use super::attributes::{int, whole};
use super::node::Writer;
use super::tensors;
use crate::error::{Error, Result};
use crate::shape::{Dim, N};
use crate::tensor::{DType, Tensor};

impl Writer<'_> {
    /// The name of a 1-D int64 constant.
    pub fn ints(&mut self, values: &[i64]) -> Result<String> {
        Ok(self.param(Tensor::i64(&[values.len()], values)?))
    }

    /// As [`Writer::ints`], for sizes and axes.
    pub fn sizes(&mut self, values: &[usize]) -> Result<String> {
        self.ints(&values.iter().map(|&v| whole(v)).collect::<Vec<_>>())
    }

    /// The name of a scalar constant of an element type.
    pub fn scalar(&mut self, dtype: DType, value: f32) -> Result<String> {
        Ok(self.param(tensors::filled(dtype, &[], value)?))
    }

    /// The name of a constant; equal ones are shared.
    pub fn param(&mut self, tensor: Tensor) -> String {
        let key = (tensor.dtype(), tensor.shape().to_vec(), tensor.data().clone());
        if let Some(name) = self.shared.get(&key) {
            return name.clone();
        }
        let name = self.fresh("whycam/param/");
        self.params.push(tensors::proto(&name, &tensor));
        self.shared.insert(key, name.clone());
        name
    }

    /// The name of a 1-D int64 value with these dimensions: a constant, or computed where they depend on `N`.
    pub fn dims(&mut self, dims: &[Dim]) -> Result<String> {
        if let Some(fixed) = dims.iter().map(|d| d.fixed()).collect::<Option<Vec<_>>>() {
            return self.sizes(&fixed);
        }
        let mut parts = Vec::new();
        for run in dims.chunk_by(|a, b| a.fixed().is_some() && b.fixed().is_some()) {
            parts.push(match run {
                [Dim::Batch(1)] => self.batch()?,
                [Dim::Batch(factor)] => {
                    let (batch, factor) = (self.batch()?, self.sizes(&[*factor])?);
                    self.helper("Mul", vec![batch, factor], Vec::new())
                }
                fixed => self.sizes(&fixed.iter().filter_map(|d| d.fixed()).collect::<Vec<_>>())?,
            });
        }
        match parts.len() {
            1 => Ok(parts.remove(0)),
            _ => Ok(self.helper("Concat", parts, vec![int("axis", 0)])),
        }
    }

    /// The name of a value `[N]`: the batch size, taken from an input that has it.
    fn batch(&mut self) -> Result<String> {
        if let Some(name) = &self.batch {
            return Ok(name.clone());
        }
        let inputs = self.graph.inputs().iter().map(|&id| self.graph.value(id));
        let found =
            inputs.filter_map(|v| Some((v.name.clone(), v.shape.as_ref()?.0.iter().position(|&d| d == N)?)));
        let Some((input, axis)) = found.min_by_key(|(_, axis)| *axis) else {
            return Err(Error::unfit(
                "a shape depends on the batch size, but no input of the graph has it",
                "keep an input whose first axis is the batch",
            ));
        };
        let name = if self.opset >= 15 {
            self.helper("Shape", vec![input], vec![int("start", axis), int("end", axis + 1)])
        } else {
            let shape = self.helper("Shape", vec![input], Vec::new());
            let (start, end) = (self.sizes(&[axis])?, self.sizes(&[axis + 1])?);
            self.helper("Slice", vec![shape, start, end], Vec::new())
        };
        self.batch = Some(name.clone());
        Ok(name)
    }
}
