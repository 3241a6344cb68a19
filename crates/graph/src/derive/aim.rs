//! Aims: what is asked of a model that is not the score of a class. An aim is a piece of forward graph behind an output of
//! the model; it makes one number of every image, a further column behind the class scores.

use crate::emit::Emit;
use crate::error::{Error, Result};
use crate::graph::{Build, Graph, ValueId};
use crate::layer::{Grids, Score, ScoreKind};
use crate::op::{CompareFn, Op, Range, ReduceKind, UnaryFn};
use crate::shape::{Dim, Shape};
use crate::tensor::{DType, Tensor};

/// One number of every image that can be differentiated.
#[derive(Clone, Debug, PartialEq)]
pub enum Aim {
    /// One element of an output.
    Element {
        /// The output.
        output: ValueId,
        /// Its index; the axis of images may be left out, or is 0.
        index: Vec<usize>,
    },
    /// The sum of a class's map over a region: `y = Σ_{(i,j)∈M} x_c(i,j)` (Vinogradova et al. 2020, arXiv 2002.11434, eq. 2).
    Region {
        /// An output that is a map with a channel for every class.
        output: ValueId,
        /// The class `c`.
        class: usize,
        /// Whether each cell lies in `M`, row by row on the map's grid; where none is given, `M` are the cells at which no
        /// class has a greater value, the first of equals.
        mask: Option<Vec<bool>>,
    },
    /// The cosine of the angle between an output and a vector: `y = x·e / (‖x‖·‖e‖)`.
    Similarity {
        /// The output.
        output: ValueId,
        /// The vector `e`.
        to: Vec<f32>,
    },
    /// The logarithm of a class's probability: `y = x_c − ln Σ_k exp x_k` of the scores, and `y = −ln(1 + exp −x_c)` where
    /// every class has a sigmoid, or there is one class alone.
    LogProbability {
        /// The class.
        class: usize,
    },
}

/// Appends aims to a model whose class scores, where it has any, are `scores`. With `with_classes` these are still asked
/// too; else they are told, but nothing is sent through them.
///
/// # Errors
/// When an aim does not fit its output.
pub fn aim(
    graph: &Graph,
    image: ValueId,
    scores: Option<&Score>,
    aims: &[Aim],
    with_classes: bool,
) -> Result<(Graph, Score)> {
    let mut b = Build::extend(graph);
    let batch = graph.shape(image)?.0.first().copied().unwrap_or(Dim::Fixed(1));
    let classes = match scores {
        Some(score) => Some(b.reshape(score.told, Shape(vec![batch, Dim::Fixed(score.classes)]))?),
        None => None,
    };
    let mut columns = Vec::new();
    for aim in aims {
        let y = match aim {
            Aim::Element { output, index } => element(&mut b, batch, *output, index)?,
            Aim::Region { output, class, mask } => {
                region(&mut b, &Grids::new(graph, image), *output, *class, mask.as_deref())?
            }
            Aim::Similarity { output, to } => similarity(&mut b, batch, *output, to)?,
            Aim::LogProbability { class } => {
                let (Some(score), Some(x)) = (scores, classes) else {
                    return Err(Error::unfit("the model has no class scores", "see `whycam inspect`"));
                };
                log_probability(&mut b, score, x, *class)?
            }
        };
        let y = b.reshape(y, Shape(vec![batch, Dim::Fixed(1)]))?;
        let dtype = Emit::dtype(&b, *columns.first().or(classes.as_ref()).unwrap_or(&y));
        columns.push(b.cast(y, dtype)?);
    }
    let aimed = joined(&mut b, &columns)?;
    let told = match classes {
        Some(classes) => joined(&mut b, &[classes, aimed])?,
        None => aimed,
    };
    let (count, kind) = scores.map_or((0, ScoreKind::Logit), |score| (score.classes, score.kind));
    let (value, from) = if with_classes { (told, 0) } else { (aimed, count) };
    let output = scores.map(|s| s.output).or(graph.outputs().first().copied()).unwrap_or(value);
    let score = Score { value, told, output, classes: count, kind, aims: aims.len(), from };
    Ok((b.finish(graph.outputs().to_vec()), score))
}

fn joined(b: &mut Build, columns: &[ValueId]) -> Result<ValueId> {
    match columns {
        [one] => Ok(*one),
        several => b.emit(Op::Concat { axis: 1 }, several),
    }
}

/// The cells from `at` to `at + 1` of some axes.
fn slice(b: &mut Build, x: ValueId, at: impl Iterator<Item = (usize, usize)>) -> Result<ValueId> {
    let range = |(axis, at): (usize, usize)| Range { axis, start: at as i64, end: at as i64 + 1, step: 1 };
    b.emit(Op::Slice(at.map(range).collect()), &[x])
}

/// Whether the first axis of an output tells images apart.
///
/// # Errors
/// When its elements cannot be told apart by images.
fn has_batch(b: &Build, batch: Dim, output: ValueId) -> Result<bool> {
    let value = b.graph().value(output);
    let shape = b.graph().shape(output)?;
    let fixed = |dims: &[Dim]| dims.iter().all(|dim| dim.fixed().is_some_and(|size| size > 0));
    if !value.dtype.is_none_or(DType::is_float) {
        return Err(Error::unfit(
            format!("the output {:?} is of no floating point type, so it has no gradient", value.name),
            "choose another output (see `whycam inspect`)",
        ));
    }
    match shape.0.as_slice() {
        [first, rest @ ..] if *first == batch && fixed(rest) => Ok(true),
        dims if batch == Dim::Fixed(1) && fixed(dims) => Ok(false),
        _ => Err(Error::unfit(
            format!("the output {:?}, {shape}, has no elements of each image", value.name),
            format!("its first axis must be that of the image, {batch}"),
        )),
    }
}

fn element(b: &mut Build, batch: Dim, output: ValueId, index: &[usize]) -> Result<ValueId> {
    let first = usize::from(has_batch(b, batch, output)?);
    let shape = b.shape(output)?;
    let misfit = |what: &str| {
        let name = &b.graph().value(output).name;
        let written: Vec<String> = index.iter().map(usize::to_string).collect();
        let hint = format!("the output is {name}: {shape}; its axis of images may be left out, or is 0");
        Err(Error::unfit(format!("{name}[{}] {what}", written.join(",")), hint))
    };
    let own = match index.len() + first == shape.rank() {
        true => index,
        false if first == 1 && index.len() == shape.rank() => match index.split_first() {
            Some((0, own)) => own,
            _ => return misfit("is not in the first row, but each image is asked by itself"),
        },
        false => return misfit("has another number of axes than the output"),
    };
    let inside = |(&at, dim): (&usize, &Dim)| dim.fixed().is_some_and(|size| at < size);
    if !own.iter().zip(&shape.0[first..]).all(inside) {
        return misfit("lies outside of the output");
    }
    slice(b, output, own.iter().enumerate().map(|(i, &at)| (first + i, at)))
}

fn region(
    b: &mut Build,
    grids: &Grids<'_>,
    output: ValueId,
    class: usize,
    mask: Option<&[bool]>,
) -> Result<ValueId> {
    let name = b.graph().value(output).name.clone();
    let layer = grids.layer(output).ok_or_else(|| {
        Error::unfit(
            format!("the output {name:?} is no map of classes"),
            "a segmentation model has an output [N,classes,h,w] (see `whycam inspect`)",
        )
    })?;
    if class >= layer.channels {
        let hint = format!("the map has the classes 0 to {}", layer.channels.saturating_sub(1));
        return Err(Error::unfit(format!("there is no class {class} in the output {name:?}"), hint));
    }
    let map = layer.fold.apply(b, output, None)?;
    let of_class = slice(b, map, std::iter::once((1, class)))?;
    let inside = match mask {
        Some(mask) => {
            let [h, w] = layer.grid;
            if !mask.contains(&true) {
                return Err(Error::unfit("the mask is empty", "a cell that is not 0 lies in it"));
            }
            let cells: Vec<f32> = mask.iter().map(|&is| f32::from(u8::from(is))).collect();
            let mask = b.floats(of_class, &[1, 1, h, w], &cells)?;
            b.mul(of_class, mask)?
        }
        None => {
            let best = b.emit(Op::ArgMax { axis: 1, keep: true }, &[map])?;
            let class = b.constant(Tensor::i64(&[], &[class as i64])?);
            let is = b.emit(Op::Compare(CompareFn::Equal), &[best, class])?;
            b.keep_where(is, of_class)?
        }
    };
    b.sum(inside, &[1, 2, 3], false)
}

fn similarity(b: &mut Build, batch: Dim, output: ValueId, to: &[f32]) -> Result<ValueId> {
    has_batch(b, batch, output)?;
    let length = length(b.graph(), batch, output).unwrap_or(0);
    let name = b.graph().value(output).name.clone();
    let norm = to.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    if length != to.len() {
        return Err(Error::unfit(
            format!("the embedding has {} numbers, and the output {name:?} {length}", to.len()),
            "it must come from the same model",
        ));
    }
    if !norm.is_finite() || norm == 0.0 {
        return Err(Error::unfit("the embedding has no direction", "its numbers are all 0, or not finite"));
    }
    let unit: Vec<f32> = to.iter().map(|&v| (f64::from(v) / norm) as f32).collect();
    let x = b.reshape(output, Shape(vec![batch, Dim::Fixed(length)]))?;
    let unit = b.floats(x, &[length, 1], &unit)?;
    let along = b.matmul(x, unit)?;
    let norm = b.emit(Op::Reduce { kind: ReduceKind::L2, axes: vec![1], keep: true }, &[x])?;
    b.div(along, norm)
}

/// How many numbers of an image an output holds; none where it cannot be told.
pub fn length(graph: &Graph, batch: Dim, output: ValueId) -> Option<usize> {
    let dims = &graph.value(output).shape.as_ref()?.0;
    let own = if dims.first() == Some(&batch) { &dims[1..] } else { dims };
    own.iter().try_fold(1usize, |n, dim| n.checked_mul(dim.fixed()?))
}

fn log_probability(b: &mut Build, score: &Score, x: ValueId, class: usize) -> Result<ValueId> {
    let at = std::iter::once((1, class));
    if score.kind == ScoreKind::Sigmoid || score.classes == 1 {
        let x = slice(b, x, at)?;
        let below = b.unary(UnaryFn::Neg, x)?;
        let y = b.unary(UnaryFn::Softplus, below)?;
        return b.unary(UnaryFn::Neg, y);
    }
    let y = b.emit(Op::LogSoftmax { axis: 1 }, &[x])?;
    slice(b, y, at)
}
