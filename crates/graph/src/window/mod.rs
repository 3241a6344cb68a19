//! Exact recomputation of what a patch of the image changes (Nakandala et al., Krypton, SIGMOD 2019, without its
//! approximation).
//!
//! A patch of the image changes a window of each feature map. [`windows`] makes of a network, for a grid of patches, three
//! graphs: one that computes the maps of the whole image once; one that computes the windows alone, up to the value
//! where the network is cut; and that value, above which the network runs on whole maps. What a convolution or pool sees
//! around a window are [`Halo`]s, cut out of the maps of the whole image by whoever runs the graphs, with the padding in
//! them. So windows end at the borders of their maps, and only cells that may change are computed.

mod cost;
mod feed;
mod local;
mod span;

use std::collections::{HashMap, HashSet};

pub use feed::Maps;
pub use span::{Kernel, Span};

use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Build, Graph, ValueId};
use crate::layer::is_constant;
use crate::op::Op;
use crate::tensor::DType;
use local::{Reach, grid, reach};

/// The spans of one value along both axes: a list for the rows of the grid of patches, and one for its columns.
pub type Spans = [Vec<Span>; 2];

/// The graphs that recompute windows.
#[derive(Debug)]
pub struct Windows {
    /// Computes the maps of the whole image that [`Halo::source`] names, and as its last output the one at the cut.
    pub whole: Graph,
    /// Computes the window of the value at the cut from [`Windows::patch`] and halos; the first axis is free.
    pub part: Graph,
    /// The input of `part` that holds the patches `[B,C,h,w]`.
    pub patch: String,
    /// The cells of the image that the patches cover.
    pub patches: Spans,
    /// The further inputs of `part`.
    pub halos: Vec<Halo>,
    /// The value at which the network is cut, by its name in the network.
    pub cut: String,
    /// The cells of that value that each patch changes.
    pub changed: Spans,
    /// How many times fewer operations this takes than running the whole network for each patch, by the cost model.
    pub saved: f64,
}

/// Cells around the windows of one value, as inputs of a graph, `[B,C,h,w]`.
#[derive(Clone, Debug)]
pub struct Halo {
    /// Which output of [`Windows::whole`] the cells are taken from.
    pub source: usize,
    /// What cells outside of it hold.
    pub padding: f32,
    /// The input of the cells above the window, as wide as `outer`, where there are any.
    pub above: Option<String>,
    /// The input of those left of it, as high as `inner`.
    pub left: Option<String>,
    /// The input of those right of it, as high as `inner`.
    pub right: Option<String>,
    /// The input of those below it, as wide as `outer`.
    pub below: Option<String>,
    /// The cells of the window.
    pub inner: Spans,
    /// The cells of the window and of its halo.
    pub outer: Spans,
}

impl Windows {
    /// Patches that can share a run, because all their windows have the same sizes, and halos too. Patches are counted row
    /// by row. No run is longer than `most`.
    pub fn runs(&self, most: usize) -> Vec<Vec<usize>> {
        let signature = |axis: usize, at: usize| -> Vec<[i64; 3]> {
            let halo = |halo: &Halo| {
                let (inner, outer) = (halo.inner[axis][at], halo.outer[axis][at]);
                [inner.first - outer.first, inner.end - inner.first, outer.end - inner.end]
            };
            let patch = self.patches[axis][at];
            self.halos.iter().map(halo).chain([[0, patch.end - patch.first, 0]]).collect()
        };
        let alike = |axis: usize| -> Vec<Vec<usize>> {
            let mut groups: Vec<(Vec<[i64; 3]>, Vec<usize>)> = Vec::new();
            for at in 0..self.changed[axis].len() {
                let signature = signature(axis, at);
                match groups.iter_mut().find(|(same, _)| *same == signature) {
                    Some((_, group)) => group.push(at),
                    None => groups.push((signature, vec![at])),
                }
            }
            groups.into_iter().map(|(_, group)| group).collect()
        };
        let (rows, columns, width) = (alike(0), alike(1), self.changed[1].len());
        let mut runs = Vec::new();
        for rows in &rows {
            for columns in &columns {
                let all: Vec<usize> = rows
                    .iter()
                    .flat_map(|row| columns.iter().map(move |column| row * width + column))
                    .collect();
                runs.extend(all.chunks(most.max(1)).map(<[usize]>::to_vec));
            }
        }
        runs
    }
}

/// The graphs that recompute what patches of the `image` `[N,C,H,W]` change; the patches cover these rows and columns, each
/// of which with each. `None` where the network has no cut that saves anything.
///
/// # Errors
/// Those of making nodes.
pub fn windows(graph: &Graph, image: ValueId, patches: &Spans) -> Result<Option<Windows>> {
    let float = graph.value(image).dtype == Some(DType::F32);
    if !float
        || grid(graph, image).is_none()
        || patches.iter().any(|spans| spans.iter().any(|s| s.is_empty()))
    {
        return Ok(None);
    }
    let (spans, changing) = spread(graph, image, patches);
    let Some((cut, saved)) = cost::cut(graph, image, &spans, &changing) else { return Ok(None) };
    let mut part = Part {
        graph,
        spans: &spans,
        build: Build::new(graph.header().clone()),
        made: HashMap::new(),
        sources: Vec::new(),
        halos: Vec::new(),
        pasted: Vec::new(),
    };
    for (location, bytes) in graph.buffers() {
        part.build.buffer(location, bytes.clone());
    }
    graph.values().for_each(|(_, value)| part.build.avoid(&value.name));
    let patch = "whycam/patch".to_owned();
    let input = part.build.shapeless_input(&patch, DType::F32)?;
    part.made.insert(image, input);
    let needed = ancestors(graph, cut);
    for (_, node) in graph.nodes() {
        let Some(&output) = node.outputs.iter().flatten().next() else { continue };
        if !needed.contains(&output) || !spans.contains_key(&output) || output == image {
            continue;
        }
        let to = &spans[&output];
        let Some(reach) = reach(graph, node, |id| changing.contains(&id)) else { continue };
        let mut operands = Vec::new();
        let (op, outer, padding) = match reach {
            Reach::Cell => (node.op.clone(), to.clone(), 0.0),
            Reach::Kernel { along, padding, bare } => {
                let from = &spans[&node.input(0)?];
                let seen = |axis: usize| {
                    to[axis].iter().zip(&from[axis]).map(|(&to, &from)| along[axis].seen(to, from)).collect()
                };
                (bare, [seen(0), seen(1)], padding)
            }
        };
        for &operand in &node.inputs {
            operands.push(match operand {
                Some(id) if spans.contains_key(&id) => Some(part.bring(id, &outer, padding)?),
                Some(id) => Some(part.parameter(id)?),
                None => None,
            });
        }
        let made = part.build.nodes(op, &operands)?;
        part.made.insert(output, made[0]);
    }
    let Part { build, made, sources, halos, .. } = part;
    let Some(&window) = made.get(&cut) else { return Ok(None) };
    let part = build.finish(vec![window]);
    let mut build = Build::extend(graph);
    let outputs = sources.iter().chain([&cut]).map(|&id| build.copy(id)).collect::<Result<_>>()?;
    let whole = crate::pass::prune(&build.finish(outputs));
    let (cut_name, changed) = (graph.value(cut).name.clone(), spans[&cut].clone());
    Ok(Some(Windows { whole, part, patch, patches: patches.clone(), halos, cut: cut_name, changed, saved }))
}

/// The spans of every value that patches change locally, and all values that they change.
fn spread(graph: &Graph, image: ValueId, patches: &Spans) -> (HashMap<ValueId, Spans>, HashSet<ValueId>) {
    let mut spans = HashMap::from([(image, patches.clone())]);
    let mut changing = HashSet::from([image]);
    for (_, node) in graph.nodes() {
        if !node.inputs.iter().flatten().any(|id| changing.contains(id)) {
            continue;
        }
        changing.extend(node.outputs.iter().flatten());
        let changed: Vec<ValueId> =
            node.inputs.iter().flatten().copied().filter(|id| changing.contains(id)).collect();
        let from: Option<Vec<&Spans>> = changed.iter().map(|id| spans.get(id)).collect();
        let (Some(from), &[Some(output)]) = (from, node.outputs.as_slice()) else { continue };
        let reach = reach(graph, node, |id| changing.contains(&id));
        let (Some(reach), Some(cells)) = (reach, grid(graph, output)) else { continue };
        let along = |axis: usize| -> Vec<Span> {
            let join = |at: usize| from.iter().map(|spans| spans[axis][at]).reduce(Span::union);
            let joined = (0..patches[axis].len()).filter_map(join);
            match &reach {
                Reach::Cell => joined.collect(),
                Reach::Kernel { along, .. } => joined.map(|s| along[axis].reached(s, cells[axis])).collect(),
            }
        };
        spans.insert(output, [along(0), along(1)]);
    }
    (spans, changing)
}

/// A value, and all that it is made of.
fn ancestors(graph: &Graph, value: ValueId) -> HashSet<ValueId> {
    let mut needed = HashSet::from([value]);
    for (_, node) in graph.nodes().rev() {
        if node.outputs.iter().flatten().any(|o| needed.contains(o)) {
            needed.extend(node.inputs.iter().flatten());
        }
    }
    needed
}

/// The graph of windows, in the making.
struct Part<'g> {
    graph: &'g Graph,
    spans: &'g HashMap<ValueId, Spans>,
    build: Build,
    made: HashMap<ValueId, ValueId>,
    sources: Vec<ValueId>,
    halos: Vec<Halo>,
    /// For every halo, the value, and the window with the halo around it.
    pasted: Vec<(ValueId, ValueId)>,
}

impl Part<'_> {
    /// The window of a value, with all that lies around it in `outer`.
    fn bring(&mut self, id: ValueId, outer: &Spans, padding: f32) -> Result<ValueId> {
        let inner = &self.spans[&id];
        if inner == outer {
            return Ok(self.made[&id]);
        }
        let same = |((halo, pasted), of): ((&Halo, ValueId), ValueId)| {
            (of == id && halo.padding.to_bits() == padding.to_bits() && halo.outer == *outer)
                .then_some(pasted)
        };
        let known = self.halos.iter().zip(&self.pasted);
        if let Some(pasted) = known.map(|(halo, &(of, pasted))| ((halo, pasted), of)).find_map(same) {
            return Ok(pasted);
        }
        let source = self.sources.iter().position(|&s| s == id).unwrap_or(self.sources.len());
        if source == self.sources.len() {
            self.sources.push(id);
        }
        let number = self.halos.len();
        let mut input = |axis: usize, side: &str, behind: bool| -> Result<Option<(String, ValueId)>> {
            let cells = |inner: &Span, outer: &Span| match behind {
                true => outer.end - inner.end,
                false => inner.first - outer.first,
            };
            if inner[axis].iter().zip(&outer[axis]).all(|(inner, outer)| cells(inner, outer) == 0) {
                return Ok(None);
            }
            let name = format!("whycam/halo/{number}/{side}");
            let id = self.build.shapeless_input(&name, DType::F32)?;
            Ok(Some((name, id)))
        };
        let (above, below) = (input(0, "above", false)?, input(0, "below", true)?);
        let (left, right) = (input(1, "left", false)?, input(1, "right", true)?);
        let mut pasted = self.made[&id];
        for (axis, first, last) in [(3, &left, &right), (2, &above, &below)] {
            let parts: Vec<ValueId> = [first.as_ref().map(|f| f.1), Some(pasted), last.as_ref().map(|l| l.1)]
                .into_iter()
                .flatten()
                .collect();
            if parts.len() > 1 {
                pasted = self.build.emit(Op::Concat { axis }, &parts)?;
            }
        }
        let name = |input: Option<(String, ValueId)>| input.map(|(name, _)| name);
        let [above, left, right, below] = [above, left, right, below].map(name);
        let (inner, outer) = (inner.clone(), outer.clone());
        self.halos.push(Halo { source, padding, above, left, right, below, inner, outer });
        self.pasted.push((id, pasted));
        Ok(pasted)
    }

    /// A constant, or what is computed from constants.
    fn parameter(&mut self, id: ValueId) -> Result<ValueId> {
        if let Some(&made) = self.made.get(&id) {
            return Ok(made);
        }
        debug_assert!(is_constant(self.graph, id));
        let value = self.graph.value(id);
        let made = match (&value.constant, value.producer) {
            (Some(constant), _) => self.build.named_constant(&value.name, constant.clone())?,
            (None, producer) => {
                let node =
                    self.graph.node(producer.ok_or_else(|| crate::Error::tensor("a parameter has no data"))?);
                let mut operands = Vec::new();
                for operand in &node.inputs {
                    operands.push(operand.map(|id| self.parameter(id)).transpose()?);
                }
                let results = self.build.nodes(node.op.clone(), &operands)?;
                let at = node.outputs.iter().position(|o| *o == Some(id)).unwrap_or(0);
                results[at.min(results.len() - 1)]
            }
        };
        self.made.insert(id, made);
        Ok(made)
    }
}
