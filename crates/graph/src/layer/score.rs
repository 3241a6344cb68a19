//! The class scores of a model.

use crate::error::{Error, Result};
use crate::graph::{Graph, ValueId};
use crate::op::{Op, UnaryFn};
use crate::shape::{Dim, Shape};
use crate::tensor::DType;

/// The class scores of a model, and the aims that are appended to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The value that is differentiated: the scores before a final softmax or sigmoid, with the aims behind them, or the
    /// aims alone.
    pub value: ValueId,
    /// The value that is told, `[N,classes+aims]`; without aims the same.
    pub told: ValueId,
    /// The model output it leads to.
    pub output: ValueId,
    /// How many classes there are; 0 for a model without class scores.
    pub classes: usize,
    /// How many aims there are ([`derive::aim`](crate::derive::aim)).
    pub aims: usize,
    /// The first column that is differentiated: 0, or the first aim.
    pub from: usize,
    /// What turns the scores into the output.
    pub kind: ScoreKind,
}

/// What a model does with its scores at the very end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreKind {
    /// Nothing: the output holds scores.
    Logit,
    /// A softmax, or its logarithm.
    Softmax,
    /// A sigmoid for every class.
    Sigmoid,
}

impl ScoreKind {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            ScoreKind::Logit => "logit",
            ScoreKind::Softmax => "softmax",
            ScoreKind::Sigmoid => "sigmoid",
        }
    }
}

/// The class scores at the named output, or at the first output that ends in a class axis.
///
/// # Errors
/// When there is no such output, or it holds no class scores.
pub fn score(graph: &Graph, output: Option<&str>) -> Result<Score> {
    let outputs = || outputs(graph);
    let Some(name) = output else {
        let found = graph.outputs().iter().find_map(|&id| score_at(graph, id));
        return found.ok_or_else(|| Error::unfit("no output ends in a class axis", outputs()));
    };
    let id = self::output(graph, name)?;
    score_at(graph, id)
        .ok_or_else(|| Error::unfit(format!("output {name:?} holds no class scores"), outputs()))
}

/// The output of that name.
///
/// # Errors
/// When there is none; the outputs are listed.
pub fn output(graph: &Graph, name: &str) -> Result<ValueId> {
    let id = graph.outputs().iter().copied().find(|&id| graph.value(id).name == name);
    id.ok_or_else(|| Error::Name { what: format!("there is no output {name:?}"), hint: outputs(graph) })
}

/// The outputs in words, with their shapes.
pub fn outputs(graph: &Graph) -> String {
    let told = graph.outputs().iter().map(|&id| {
        let value = graph.value(id);
        let shape = value.shape.as_ref().map_or("[?]".into(), Shape::to_string);
        format!("{} {shape}", value.name)
    });
    format!("the model's outputs are: {}", told.collect::<Vec<_>>().join(", "))
}

fn score_at(graph: &Graph, output: ValueId) -> Option<Score> {
    let mut value = output;
    let mut kind = ScoreKind::Logit;
    let mut behind = output;
    while let Some(id) = graph.value(behind).producer {
        let node = graph.node(id);
        let Some(input) = node.inputs.first().copied().flatten() else { break };
        match node.op {
            Op::Softmax { .. } | Op::LogSoftmax { .. } => kind = ScoreKind::Softmax,
            Op::Unary(UnaryFn::Sigmoid) => kind = ScoreKind::Sigmoid,
            ref op if op.is_layout() => {
                behind = input;
                continue;
            }
            _ => break,
        }
        value = input;
        break;
    }
    let shape = graph.value(value).shape.as_ref()?;
    let classes = classes(shape)?;
    // Rows of something else than images, as the regions of a detector are.
    let rows = |shape: &Shape| shape.0.first().and_then(|d| d.fixed());
    let images = super::image_input(graph).ok().and_then(|image| rows(graph.value(image).shape.as_ref()?));
    if let (Some(images), Some(own)) = (images, rows(shape).filter(|_| shape.rank() > 1))
        && images != own
    {
        return None;
    }
    let float = graph.value(value).dtype.is_none_or(DType::is_float);
    float.then_some(Score { value, told: value, output, classes, aims: 0, from: 0, kind })
}

/// The size of the class axis of `[N, classes]`, `[N, classes, 1, 1]` or `[classes]`.
fn classes(shape: &Shape) -> Option<usize> {
    let ones = |dims: &[Dim]| dims.iter().all(|d| *d == Dim::Fixed(1));
    match shape.0.as_slice() {
        [Dim::Fixed(classes)] => Some(*classes),
        [_, Dim::Fixed(classes), rest @ ..] if ones(rest) && *classes > 0 => Some(*classes),
        _ => None,
    }
}
