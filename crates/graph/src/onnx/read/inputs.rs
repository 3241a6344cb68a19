//! What the file declares of values, and the shapes of its inputs.

use std::collections::HashSet;

use prost::Message;

use super::size;
use crate::error::{Error, Result};
use crate::onnx::dtype;
use crate::onnx::proto::{Dimension, TypeProto, ValueInfoProto};
use crate::shape::{Dim, N, Shape};
use crate::tensor::DType;

/// What a file declares of a value.
#[derive(Clone, Default)]
pub(super) struct Declared {
    pub dtype: Option<DType>,
    pub dims: Option<Vec<Declaration>>,
}

impl Declared {
    /// Takes over what another declaration of the same value tells in addition.
    pub fn fill(&mut self, other: Declared) {
        self.dtype = self.dtype.or(other.dtype);
        self.dims = self.dims.take().or(other.dims);
    }
}

/// A declared dimension.
#[derive(Clone, PartialEq)]
pub(super) enum Declaration {
    Fixed(usize),
    Named(String),
    Open,
}

/// Reads a declaration. A type that whycam does not know is as good as none.
pub(super) fn declared(info: &ValueInfoProto) -> Result<Declared> {
    let Some(bytes) = &info.r#type else { return Ok(Declared::default()) };
    let decoded = TypeProto::decode(bytes.clone())
        .map_err(|e| Error::malformed(format!("the type of {:?} cannot be decoded: {e}", info.name)))?;
    let Some(tensor) = decoded.tensor_type else { return Ok(Declared::default()) };
    let Some(dtype) = dtype::from_number(tensor.elem_type) else { return Ok(Declared::default()) };
    let dim = |value: &Option<Dimension>| match value {
        Some(Dimension::Value(n)) if *n > 0 => size(*n)
            .map(Declaration::Fixed)
            .ok_or_else(|| Error::limit(format!("a dimension of {:?} is {n}", info.name))),
        Some(Dimension::Param(name)) if !name.is_empty() => Ok(Declaration::Named(name.clone())),
        _ => Ok(Declaration::Open),
    };
    let dims =
        tensor.shape.map(|s| s.dim.iter().map(|d| dim(&d.value)).collect::<Result<_>>()).transpose()?;
    Ok(Declared { dtype: Some(dtype), dims })
}

/// How declared dimensions are understood.
#[derive(Default)]
pub(super) struct Symbols {
    /// Names that stand for `N`.
    batch: HashSet<String>,
    /// Whether `--size` made an input differ from its declaration, so that declared shapes do not hold.
    pub resized: bool,
    /// Whether an input has a height and a width.
    pub spatial: bool,
}

impl Symbols {
    /// The type and shape of an input: its first axis may be `N`, the spatial axes of an image are `hw` if given.
    pub fn input(&mut self, info: &ValueInfoProto, hw: Option<[usize; 2]>) -> Result<(DType, Shape)> {
        let name = &info.name;
        let told = declared(info)?;
        let (Some(dtype), Some(dims)) = (told.dtype, told.dims) else {
            return Err(Error::unfit(
                format!("input {name:?} is not declared as a tensor of numbers with a shape"),
                "export the model with typed inputs",
            ));
        };
        let image = spatial_axes(&dims);
        self.spatial |= image.is_some();
        let mut shape = Vec::new();
        for (axis, dim) in dims.iter().enumerate() {
            let side = image.and_then(|axes| axes.iter().position(|&a| a == axis));
            let wanted = side.and_then(|side| hw.map(|hw| hw[side]));
            shape.push(match (dim, wanted) {
                (Declaration::Fixed(n), None) => Dim::Fixed(*n),
                (dim, Some(wanted)) => {
                    self.resized |= matches!(dim, Declaration::Fixed(n) if *n != wanted);
                    Dim::Fixed(wanted)
                }
                (dim, None) if axis == 0 => {
                    if let Declaration::Named(name) = dim {
                        self.batch.insert(name.clone());
                    }
                    N
                }
                (_, None) if side.is_some() => {
                    return Err(Error::unfit(
                        format!("input {name:?} leaves its height and width open"),
                        "give --size HEIGHTxWIDTH",
                    ));
                }
                (_, None) => {
                    return Err(Error::unfit(
                        format!("input {name:?} leaves axis {axis} open; only the first axis, and height and width of an image, may be"),
                        "export the model with a fixed size of that axis",
                    ));
                }
            });
        }
        Ok((dtype, Shape(shape)))
    }

    /// A declared shape, where every dimension is a number or a multiple of `N`.
    pub fn shape(&self, declared: &Declared) -> Option<Shape> {
        if self.resized {
            return None;
        }
        let dim = |d: &Declaration| match d {
            Declaration::Fixed(n) => Some(Dim::Fixed(*n)),
            Declaration::Named(name) => self.batch_multiple(name).map(Dim::Batch),
            Declaration::Open => None,
        };
        declared.dims.as_ref()?.iter().map(dim).collect::<Option<_>>().map(Shape)
    }

    fn batch_multiple(&self, name: &str) -> Option<usize> {
        if self.batch.contains(name) {
            return Some(1);
        }
        let symbol = name.trim_start_matches(|c: char| c.is_ascii_digit());
        let factor = name.strip_suffix(symbol)?.parse().ok().filter(|&c| c > 0)?;
        self.batch.contains(symbol).then_some(factor)
    }
}

/// Height and width of an image: of `[N,C,H,W]`, or of `[N,H,W,C]` where that is evident.
fn spatial_axes(dims: &[Declaration]) -> Option<[usize; 2]> {
    let channels = |d: &Declaration| matches!(d, Declaration::Fixed(1 | 3 | 4));
    let side = |d: &Declaration| !matches!(d, Declaration::Fixed(0..8));
    match dims {
        [_, h, w, last] if channels(last) && side(h) && side(w) => Some([1, 2]),
        [_, _, _, _] => Some([2, 3]),
        _ => None,
    }
}
