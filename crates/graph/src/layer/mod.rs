//! Finding things in a graph: the image, the class scores, and layers by name or automatically.
//!
//! A layer is any value that layout ops fold back to a map: `[N,C,H,W]`, `[N,H,W,C]`, token sequences, windows.

mod automatic;
mod bypass;
mod field;
mod fold;
mod live;
mod names;
mod places;
mod score;
mod spread;
mod sweep;
mod trace;

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::op::Op;
use crate::shape::Dim;
use crate::tensor::DType;

pub use automatic::{automatic, automatic_below, between, layers};
pub use bypass::bypassed;
pub use field::{ReceptiveField, ReceptiveFields};
pub use fold::Fold;
pub use names::find;
pub use score::{Score, ScoreKind, output, outputs, score};
pub use sweep::{matching, sweep};

use trace::Trace;

/// A value that can be read as a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The value.
    pub value: ValueId,
    /// Channels.
    pub channels: usize,
    /// Height and width of the map.
    pub grid: [usize; 2],
    /// How the value becomes a map `[N,C,h,w]`.
    pub fold: Fold,
}

/// The grids of a graph's values: which cell of the image each of their elements stands for.
pub struct Grids<'a> {
    graph: &'a Graph,
    image: ValueId,
    trace: Trace<'a>,
}

impl<'a> Grids<'a> {
    /// Follows the cells of an image through the graph.
    pub fn new(graph: &'a Graph, image: ValueId) -> Grids<'a> {
        Grids { graph, image, trace: Trace::new(graph, image) }
    }

    /// The value as a layer, when it has a grid of more than one cell.
    pub fn layer(&self, value: ValueId) -> Option<Layer> {
        let places = self.trace.of(value)?;
        let about = self.graph.value(value);
        let fold = Fold::of(about.shape.as_ref()?, places, self.trace.batch())?;
        match fold.shape().0[..] {
            [_, Dim::Fixed(channels), Dim::Fixed(h), Dim::Fixed(w)]
                if h * w > 1 && about.dtype.is_none_or(DType::is_float) =>
            {
                Some(Layer { value, channels, grid: [h, w], fold })
            }
            _ => None,
        }
    }
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

/// Whether an image is `[N,H,W,C]`: its last axis looks like colours, its second does not, and no convolution or pool
/// takes it as it is.
pub fn channels_last(graph: &Graph, image: ValueId) -> bool {
    let colours = |d: Dim| matches!(d, Dim::Fixed(1 | 3 | 4));
    let shape = graph.value(image).shape.as_ref().map_or(&[][..], |s| &s.0);
    let taken = |node: &Node| {
        let first = node.inputs.first().copied().flatten();
        first == Some(image) && (node.op.is_pool() || matches!(node.op, Op::Conv(_) | Op::Resize(_)))
    };
    matches!(*shape, [_, second, _, last] if colours(last) && !colours(second))
        && !graph.nodes().any(|(_, node)| taken(node))
}

/// Whether the value depends on no input.
pub(crate) fn is_constant(graph: &Graph, id: ValueId) -> bool {
    !is_made_of(graph, id, |id| graph.value(id).producer.is_none() && graph.value(id).constant.is_none())
}

/// Whether it is so of the value, or of any that it is computed from.
pub(crate) fn is_made_of(graph: &Graph, id: ValueId, so: impl Fn(ValueId) -> bool) -> bool {
    // Every value once: the ways to it double with every node that takes a value twice.
    let (mut seen, mut open) = (HashSet::from([id]), vec![id]);
    while let Some(id) = open.pop() {
        if so(id) {
            return true;
        }
        if let Some(node) = graph.value(id).producer {
            open.extend(graph.node(node).inputs.iter().flatten().filter(|&&i| seen.insert(i)));
        }
    }
    false
}
