//! Follows every cell of a grid through the graph: where each element of every value comes from.
//!
//! A grid begins where values have height and width: at the image, and anew behind every convolution and pool. From
//! there layout ops move cells, element-wise ops and normalisations keep them, and products keep the rows of their
//! first factor and the columns of their second, so that attention's results stand where its queries stood.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::places::Places;
use super::spread::taken;
use crate::graph::{Graph, Node, ValueId};
use crate::op::{Gemm, Op};
use crate::shape::{Dim, Int};

/// The number of images that stands for the symbol `N`: two can be told apart.
pub(super) const IMAGES: usize = 2;

/// Where the elements of every value come from.
pub(super) struct Trace<'a> {
    graph: &'a Graph,
    batch: Dim,
    places: HashMap<ValueId, Places>,
    /// Maps that were met, by their shape without channels.
    maps: HashMap<[usize; 3], Places>,
}

impl<'a> Trace<'a> {
    /// Follows the cells of an image.
    pub fn new(graph: &'a Graph, image: ValueId) -> Trace<'a> {
        let batch = graph.value(image).shape.as_ref().and_then(|s| s.0.first().copied());
        let mut trace = Trace {
            graph,
            batch: batch.unwrap_or(Dim::Fixed(1)),
            places: HashMap::new(),
            maps: HashMap::new(),
        };
        if let Some(dims) = trace.dims(image) {
            let last = super::channels_last(graph, image);
            let axes = if last { [0, 1, 2] } else { [0, 2, 3] };
            let places = if dims.len() == 4 { Places::of_map(&dims, axes) } else { None };
            places.and_then(|p| trace.places.insert(image, p));
        }
        trace.follow();
        trace
    }

    /// Shapes and indices alone: no cell has a place.
    pub fn shapes(graph: &'a Graph, batch: Dim) -> Trace<'a> {
        Trace { graph, batch, places: HashMap::new(), maps: HashMap::new() }
    }

    /// Follows the cells of a composite's operands through its body.
    pub fn inside<'b>(&self, node: &Node, body: &'b Graph) -> Trace<'b> {
        let operands = body.inputs().iter().zip(node.inputs.iter().flatten());
        let places =
            operands.filter_map(|(&input, operand)| Some((input, self.places.get(operand)?.clone())));
        let mut inner =
            Trace { graph: body, batch: self.batch, places: places.collect(), maps: self.maps.clone() };
        inner.follow();
        inner
    }

    fn follow(&mut self) {
        for (_, node) in self.graph.nodes() {
            let results = self.results(node).unwrap_or_default();
            for (output, places) in node.outputs.iter().zip(results) {
                if let (Some(output), Some(places)) = (*output, places)
                    && self.dims(output).as_deref() == Some(places.dims())
                {
                    self.places.insert(output, places);
                }
            }
        }
    }

    /// The places of a value's elements, where they have any.
    pub fn of(&self, value: ValueId) -> Option<&Places> {
        self.places.get(&value)
    }

    /// The batch of the image.
    pub fn batch(&self) -> Dim {
        self.batch
    }

    /// The shape of a value when there are [`IMAGES`] images; none when a part of it is unknown or empty.
    pub fn dims(&self, value: ValueId) -> Option<Vec<usize>> {
        let dims = self.graph.value(value).shape.as_ref()?.at(IMAGES);
        dims.iter().all(|&d| d > 0).then_some(dims)
    }

    fn results(&mut self, node: &Node) -> Option<Vec<Option<Places>>> {
        let input = |i: usize| node.inputs.get(i).copied().flatten();
        let place = |trace: &Trace<'_>, i: usize| trace.places.get(&input(i)?).cloned();
        let output = node.outputs.first().copied().flatten();
        let one = |places: Option<Places>| Some(vec![places]);
        match &node.op {
            Op::Unary(_)
            | Op::PRelu
            | Op::Cast(_)
            | Op::Identity
            | Op::Dropout
            | Op::BatchNorm { .. }
            | Op::Lrn(_)
            | Op::Softmax { .. }
            | Op::LogSoftmax { .. }
            | Op::DequantizeLinear { .. }
            | Op::QuantizeLinear { .. } => one(place(self, 0)),
            Op::Binary(_) | Op::Compare(_) | Op::Where => {
                let dims = self.dims(output?)?;
                let combine =
                    |all: Option<Places>, i| Places::combined(all.as_ref(), place(self, i).as_ref(), &dims);
                one((0..node.inputs.len()).fold(None, combine))
            }
            Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::MaxPool(_)
            | Op::AveragePool { .. }
            | Op::GlobalAveragePool
            | Op::GlobalMaxPool
            | Op::DepthToSpace { .. }
            | Op::Resize(_) => one(self.spatial(input(0)?, output?)),
            Op::MatMul => one(self.product(input(0)?, input(1)?, output?)),
            Op::Gemm(gemm) => one(self.matrices(*gemm, input(0)?, input(1)?, output?)),
            Op::Reduce { axes, .. } => {
                let mixed = axes.iter().try_fold(place(self, 0)?, |p, &axis| p.mixed(axis))?;
                let dims = self.dims(output?)?;
                one(mixed.moved(|l| l.reshape(&dims)))
            }
            Op::TopK { axis, k } => {
                let mixed = place(self, 0)?.mixed(*axis)?;
                let both = mixed.moved(|l| Some(l.stretched(*axis, *k)));
                Some(vec![both.clone(), both])
            }
            Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze { .. } | Op::Unsqueeze { .. } => {
                let dims = self.dims(output?)?;
                one(place(self, 0)?.moved(|l| l.reshape(&dims)))
            }
            Op::Transpose { perm } => one(place(self, 0)?.moved(|l| l.transpose(perm))),
            Op::Expand { .. } => {
                let dims = self.dims(output?)?;
                one(place(self, 0)?.moved(|l| l.broadcast(&dims)))
            }
            Op::Concat { axis } => {
                let parts: Vec<Option<Places>> = (0..node.inputs.len()).map(|i| place(self, i)).collect();
                let shapes: Option<Vec<_>> = node.inputs.iter().flatten().map(|&i| self.dims(i)).collect();
                one(Places::concat(&parts, &shapes?, *axis))
            }
            Op::Split { axis, sizes } => {
                let places = place(self, 0)?;
                let mut start = 0;
                let piece = |&size: &usize| {
                    let indices: Vec<_> = (start..start + size).map(Some).collect();
                    start += size;
                    places.take(*axis, &indices)
                };
                Some(sizes.iter().map(piece).collect())
            }
            Op::Slice(ranges) => {
                let places = place(self, 0)?;
                let strided = ranges.iter().any(|r| r.step.unsigned_abs() > 1);
                let sliced =
                    ranges.iter().try_fold(places, |p, r| p.take(r.axis, &taken(r, p.dims()[r.axis])?))?;
                // Every second cell is a coarser grid; a range of cells is a part of the same.
                one(if strided { sliced.compact().or(Some(sliced)) } else { Some(sliced) })
            }
            Op::Pad { before, after, .. } => {
                let pad = |places: Places, axis: usize| {
                    let size = i64::try_from(places.dims()[axis]).ok()?;
                    let added = before[axis].checked_neg()?..size.checked_add(after[axis])?;
                    if !places.varying().contains(&axis) {
                        return places.moved(|l| Some(l.stretched(axis, added.count())));
                    }
                    let inside = |i: i64| usize::try_from(i).ok().filter(|_| i < size);
                    places.take(axis, &added.map(inside).collect::<Vec<_>>())
                };
                one((0..before.len()).try_fold(place(self, 0)?, pad))
            }
            Op::Gather { axis } => {
                let places = place(self, 0)?;
                let indices = self.indices(node, places.dims()[*axis])?;
                let dims = self.dims(output?)?;
                one(places.take(*axis, &indices)?.moved(|l| l.reshape(&dims)))
            }
            Op::Composite(c) => {
                let inner = self.inside(node, &c.body);
                Some(c.body.outputs().iter().map(|&o| inner.of(o).cloned()).collect())
            }
            Op::GatherNd { .. }
            | Op::ScatterNd { .. }
            | Op::ArgMax { .. }
            | Op::Shape { .. }
            | Op::ConstantOfShape(_)
            | Op::Range
            | Op::Opaque(_) => None,
        }
    }

    /// The indices that a Gather takes of an axis of `size`, where they are known.
    pub fn indices(&self, node: &Node, size: usize) -> Option<Vec<Option<usize>>> {
        let index = |i: &Int| {
            let i = i.lit()?;
            let i = if i < 0 { i.checked_add(i64::try_from(size).ok()?)? } else { i };
            usize::try_from(i).ok().filter(|&i| i < size).map(Some)
        };
        self.graph.value(node.input(1).ok()?).ints.as_ref()?.iter().map(index).collect()
    }

    /// The places behind a convolution, pool or resize: a new grid, unless what goes in is no picture of the image.
    fn spatial(&mut self, input: ValueId, output: ValueId) -> Option<Places> {
        let dims = self.dims(output)?;
        let places = self.places.get(&input);
        let whole = match (places, dims.len()) {
            (_, 0..=2) => return None,
            (Some(places), 4) => places.in_order([0, 2, 3]),
            (None, 4) => self.graph.value(output).shape.as_ref()?.0[0] == self.batch,
            _ => false,
        };
        if whole {
            return self.map([dims[0], dims[2], dims[3]], &dims);
        }
        // Tokens in a row, or windows: cells stay what they are where their number stays.
        let places = places?;
        let kept = places.dims()[2..] == dims[2..] && !places.varying().contains(&1);
        kept.then(|| places.moved(|l| Some(l.stretched(1, dims[1])))).flatten()
    }

    fn map(&mut self, key: [usize; 3], dims: &[usize]) -> Option<Places> {
        let map = match self.maps.entry(key) {
            Entry::Occupied(met) => met.into_mut(),
            Entry::Vacant(new) => new.insert(Places::of_map(dims, [0, 2, 3])?),
        };
        map.moved(|l| Some(l.stretched(1, dims[1])))
    }

    /// Rows follow the first factor's rows; where these are nowhere, columns follow the second's.
    fn product(&self, a: ValueId, b: ValueId, output: ValueId) -> Option<Places> {
        let dims = self.dims(output)?;
        let [a, b] = [a, b].map(|id| self.places.get(&id));
        let rows = || {
            let a = a?;
            let (rank, size) = (a.dims().len(), *dims.last()?);
            // A vector has no rows.
            (rank > 1).then_some(())?;
            let rows = a.mixed(rank - 1)?.moved(|l| Some(l.stretched(rank - 1, size)))?;
            rows.moved(|l| l.broadcast(&dims))
        };
        let columns = || {
            let b = b?;
            let (rank, size) = (b.dims().len(), *dims.get(dims.len().checked_sub(2)?)?);
            (rank > 1).then_some(())?;
            let columns = b.mixed(rank - 2)?.moved(|l| Some(l.stretched(rank - 2, size)))?;
            columns.moved(|l| l.broadcast(&dims))
        };
        rows().or_else(columns)
    }

    fn matrices(&self, gemm: Gemm, a: ValueId, b: ValueId, output: ValueId) -> Option<Places> {
        let dims = self.dims(output)?;
        let turned = |id: ValueId, is: bool| {
            let places = self.places.get(&id)?;
            if is { places.moved(|l| l.transpose(&[1, 0])) } else { Some(places.clone()) }
        };
        let stretched =
            |p: Places, mixed: usize| p.mixed(mixed)?.moved(|l| Some(l.stretched(mixed, dims[mixed])));
        let rows = turned(a, gemm.trans_a).and_then(|p| stretched(p, 1));
        rows.or_else(|| turned(b, gemm.trans_b).and_then(|p| stretched(p, 0)))
    }
}
