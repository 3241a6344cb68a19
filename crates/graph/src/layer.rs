//! Finding things in a graph: the image, the class scores, and layers by name or automatically.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::graph::{Graph, Node, NodeId, ValueId};
use crate::op::{Op, ReduceKind, UnaryFn};
use crate::shape::{Dim, Shape};
use crate::tensor::DType;

/// The class scores of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The value that is differentiated: the scores before a final softmax or sigmoid.
    pub value: ValueId,
    /// The model output it leads to.
    pub output: ValueId,
    /// How many classes there are.
    pub classes: usize,
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

/// A value that can be read as a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The value.
    pub value: ValueId,
    /// Channels.
    pub channels: usize,
    /// Height and width of the map.
    pub grid: [usize; 2],
}

/// The input that holds the image: the first float or byte input with two spatial axes.
///
/// # Errors
/// When there is none.
pub fn image_input(graph: &Graph) -> Result<ValueId> {
    let is_image = |id: &ValueId| {
        let value = graph.value(*id);
        let typed = value.dtype.is_some_and(|d| d.is_float() || d == DType::U8);
        typed && value.shape.as_ref().is_some_and(|s| s.rank() == 4)
    };
    graph.inputs().iter().copied().find(is_image).ok_or_else(|| {
        Error::unfit(
            "the model has no image input (four axes)",
            "whycam explains vision models; see `whycam inspect`",
        )
    })
}

/// Whether an image of this shape is `[N,H,W,C]`: its last axis looks like colours, and its second does not.
pub fn channels_last(shape: &Shape) -> bool {
    let colours = |d: Dim| matches!(d, Dim::Fixed(1 | 3 | 4));
    matches!(shape.0[..], [_, second, _, last] if colours(last) && !colours(second))
}

/// The class scores at the named output, or at the first output that ends in a class axis.
///
/// # Errors
/// When there is no such output, or it holds no class scores.
pub fn score(graph: &Graph, output: Option<&str>) -> Result<Score> {
    let outputs = || {
        let told = graph.outputs().iter().map(|&id| {
            let value = graph.value(id);
            let shape = value.shape.as_ref().map_or("[?]".into(), Shape::to_string);
            format!("{} {shape}", value.name)
        });
        format!("the model's outputs are: {}", told.collect::<Vec<_>>().join(", "))
    };
    let Some(name) = output else {
        let found = graph.outputs().iter().find_map(|&id| score_at(graph, id));
        return found.ok_or_else(|| Error::unfit("no output ends in a class axis", outputs()));
    };
    let id = graph.outputs().iter().copied().find(|&id| graph.value(id).name == name);
    let id =
        id.ok_or_else(|| Error::Name { what: format!("there is no output {name:?}"), hint: outputs() })?;
    score_at(graph, id)
        .ok_or_else(|| Error::unfit(format!("output {name:?} holds no class scores"), outputs()))
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
    let classes = classes(graph.value(value).shape.as_ref()?)?;
    let float = graph.value(value).dtype.is_none_or(DType::is_float);
    float.then_some(Score { value, output, classes, kind })
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

/// The layers that can be read for this score, from the image to the score.
pub fn layers(graph: &Graph, image: ValueId, score: &Score) -> Vec<Layer> {
    let between = Between::new(graph, image, score.value);
    between
        .nodes
        .iter()
        .filter_map(|&id| grid_of(graph, graph.node(id).outputs.first().copied().flatten()?))
        .collect()
}

/// The value as a layer, when it has a grid of more than one cell.
pub fn grid_of(graph: &Graph, value: ValueId) -> Option<Layer> {
    let about = graph.value(value);
    match about.shape.as_ref()?.0.as_slice() {
        &[_, Dim::Fixed(channels), Dim::Fixed(h), Dim::Fixed(w)]
            if h.saturating_mul(w) > 1 && about.dtype.is_none_or(DType::is_float) =>
        {
            Some(Layer { value, channels, grid: [h, w] })
        }
        _ => None,
    }
}

/// The layer that is read when none is named: the value nearest the score that has a grid, lies on
/// every path from the image to the score, is not a mere pooling, resizing, padding or copy of
/// another, and is not yet a class map.
///
/// # Errors
/// When there is none.
pub fn automatic(graph: &Graph, image: ValueId, score: &Score) -> Result<ValueId> {
    let between = Between::new(graph, image, score.value);
    let mut learned = false;
    for &id in between.nodes.iter().rev() {
        let node = graph.node(id);
        let Some(value) = node.outputs.first().copied().flatten() else { continue };
        let copied = node.op.is_pool()
            || matches!(node.op, Op::Resize(_) | Op::Pad { .. } | Op::Dropout | Op::Identity)
            || matches!(node.op, Op::Reduce { kind: ReduceKind::Mean | ReduceKind::Max, .. });
        if learned && !copied && grid_of(graph, value).is_some() && between.all_paths_cross(graph, value) {
            return Ok(value);
        }
        learned |= is_learned(graph, node);
    }
    Err(Error::unfit(
        "no layer of the model has a grid that all of the image passes through",
        "name one with --layer (see `whycam inspect`)",
    ))
}

/// Whether the node multiplies by weights.
fn is_learned(graph: &Graph, node: &Node) -> bool {
    match node.op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_) => true,
        Op::MatMul => node.inputs.iter().flatten().any(|&i| is_constant(graph, i)),
        _ => false,
    }
}

/// Whether the value depends on no input.
pub(crate) fn is_constant(graph: &Graph, id: ValueId) -> bool {
    let value = graph.value(id);
    match value.producer {
        None => value.constant.is_some(),
        Some(node) => graph.node(node).inputs.iter().flatten().all(|&i| is_constant(graph, i)),
    }
}

/// The nodes on a way from the image to the score, in order.
pub(crate) fn between(graph: &Graph, image: ValueId, score: ValueId) -> Vec<NodeId> {
    Between::new(graph, image, score).nodes
}

/// The nodes on a way from the image to the score.
struct Between {
    image: ValueId,
    score: ValueId,
    nodes: Vec<NodeId>,
}

impl Between {
    fn new(graph: &Graph, image: ValueId, score: ValueId) -> Between {
        let mut reached = HashSet::from([image]);
        let mut nodes: Vec<NodeId> = Vec::new();
        for (id, node) in graph.nodes() {
            if node.inputs.iter().flatten().any(|i| reached.contains(i)) {
                reached.extend(node.outputs.iter().flatten());
                nodes.push(id);
            }
        }
        let mut needed = HashSet::from([score]);
        nodes.reverse();
        nodes.retain(|&id| {
            let node = graph.node(id);
            let on_way = node.outputs.iter().flatten().any(|o| needed.contains(o));
            // A shape is not a way for the image.
            if on_way && !matches!(node.op, Op::Shape { .. }) {
                needed.extend(node.inputs.iter().flatten());
            }
            on_way
        });
        nodes.reverse();
        Between { image, score, nodes }
    }

    fn all_paths_cross(&self, graph: &Graph, value: ValueId) -> bool {
        let mut reached = HashSet::from([self.image]);
        for &id in &self.nodes {
            let node = graph.node(id);
            if !matches!(node.op, Op::Shape { .. })
                && node.inputs.iter().flatten().any(|i| reached.contains(i))
            {
                reached.extend(node.outputs.iter().flatten().filter(|&&o| o != value));
            }
        }
        !reached.contains(&self.score)
    }
}

/// The value that a name stands for: a value, a node's first result, or the last value of a module.
///
/// # Errors
/// When nothing is called so; candidates are listed.
pub fn find(graph: &Graph, name: &str) -> Result<ValueId> {
    if let Some(id) = graph.find(name) {
        return Ok(id);
    }
    let inside =
        |module: &str| module.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let result = |node: &Node| node.outputs.iter().flatten().next().copied();
    let by_name = graph.nodes().find(|(_, n)| n.name == name).and_then(|(_, n)| result(n));
    let last = || graph.nodes().rev().find(|(_, n)| n.module.as_deref().is_some_and(inside));
    by_name.or_else(|| last().and_then(|(_, n)| result(n))).ok_or_else(|| Error::Name {
        what: format!("there is no layer {name:?}"),
        hint: match similar(graph, name) {
            names if names.is_empty() => "see `whycam inspect` for the layers of the model".into(),
            names => format!("did you mean {}? (all: `whycam inspect`)", names.join(", ")),
        },
    })
}

/// Up to eight module paths and value names that contain the name, or share its last word.
fn similar(graph: &Graph, name: &str) -> Vec<String> {
    let wanted = name.to_lowercase();
    let modules = graph.nodes().filter_map(|(_, n)| n.module.as_deref());
    let values = graph
        .nodes()
        .flat_map(|(_, n)| n.outputs.iter().flatten())
        .filter(|&&o| !is_constant(graph, o))
        .map(|&o| graph.value(o).name.as_str());
    let mut found: Vec<String> = Vec::new();
    for known in modules.chain(values) {
        let lower = known.to_lowercase();
        if (lower.contains(&wanted) || wanted.contains(&lower)) && !found.iter().any(|f| f == known) {
            found.push(known.to_owned());
        }
        if found.len() == 8 {
            break;
        }
    }
    found
}
