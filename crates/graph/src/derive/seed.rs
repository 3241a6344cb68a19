//! What is put at the output: one cotangent for every target asked.

use super::{Classes, TARGET};
use crate::diff::Seed;
use crate::emit::Emit;
use crate::error::{Error, Result};
use crate::graph::{Build, ValueId};
use crate::layer::Score;
use crate::op::{BinaryFn, CompareFn, Op};
use crate::shape::{Dim, Shape};
use crate::tensor::{DType, Tensor};

pub(super) struct Seeded {
    pub scores: ValueId,
    pub classes: ValueId,
    pub seed: Seed,
    /// Whether the model has the classes, `bool[N,K]`; `None` where all are found in the graph.
    pub known: Option<ValueId>,
}

/// One-hot cotangents on the scores of the classes asked.
pub(super) fn seed(b: &mut Build, score: &Score, classes: Classes) -> Result<Seeded> {
    let shape = b.shape(score.value)?;
    let batch = if shape.rank() == 1 { Dim::Fixed(1) } else { shape.0[0] };
    let columns = score.classes + score.aims;
    let scores = b.reshape(score.told, Shape(vec![batch, Dim::Fixed(columns)]))?;
    let Classes { top, given } = classes;
    let k = top.saturating_add(given);
    if k == 0 || top > score.classes {
        return Err(Error::unfit(
            format!("the top {top} classes cannot be asked of a model with {}", score.classes),
            "ask for fewer",
        ));
    }
    let mut indices = Vec::new();
    if top > 0 {
        let classes = b.fit(scores, 1, 0, -(score.aims as i64))?;
        indices.push(b.nodes(Op::TopK { axis: 1, k: top }, &[Some(classes)])?[1]);
    }
    if given > 0 {
        indices.push(b.input(TARGET, DType::I64, Shape(vec![batch, Dim::Fixed(given)]))?);
    }
    let indices = if let [one] = indices[..] { one } else { b.emit(Op::Concat { axis: 1 }, &indices)? };
    let column = b.emit(Op::Unsqueeze { axes: vec![2] }, &[indices])?;
    let asked: Vec<i64> = (score.from as i64..columns as i64).collect();
    let all = b.constant(Tensor::i64(&[asked.len()], &asked)?);
    let hit = b.emit(Op::Compare(CompareFn::Equal), &[column, all])?;
    let dtype = Emit::dtype(b, score.value);
    let one_hot = b.emit(Op::Cast(dtype), &[hit])?;
    let mut cells = match score.from {
        0 => indices,
        from => {
            let from = b.constant(Tensor::i64(&[], &[from as i64])?);
            b.sub(indices, from)?
        }
    };
    let mut known = None;
    if given > 0 {
        // A cell that is looked up has to be there, whatever is given.
        let length = b.constant(Tensor::i64(&[], &[asked.len() as i64])?);
        let within = b.emit(Op::Binary(BinaryFn::Mod), &[cells, length])?;
        known = Some(b.emit(Op::Compare(CompareFn::Equal), &[cells, within])?);
        cells = within;
    }
    let (cotangent, cells, copies) = if k == 1 {
        (b.reshape(one_hot, shape.clone())?, cells, None)
    } else {
        let front = b.transpose(one_hot, &[1, 0, 2])?;
        let to = Shape(std::iter::once(Dim::Fixed(k)).chain(shape.0.iter().copied()).collect());
        (b.reshape(front, to)?, b.transpose(cells, &[1, 0])?, Some(k))
    };
    let hot = match shape.0.as_slice() {
        [images, Dim::Fixed(n)] if *n == asked.len() => {
            let to = copies.map(Dim::Fixed).into_iter().chain([*images]).collect();
            Some(b.reshape(cells, Shape(to))?)
        }
        _ => None,
    };
    let seed = Seed { target: score.value, cotangent, copies, hot };
    Ok(Seeded { scores, classes: indices, seed, known })
}
