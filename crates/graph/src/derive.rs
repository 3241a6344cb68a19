//! Derives, from a model, the graph that explains it.

use std::collections::HashSet;

use crate::diff::{self, Rules, Seed};
use crate::emit::Emit;
use crate::error::{Error, Result};
use crate::graph::{Build, Graph, ValueId};
use crate::layer::{Score, channels_last, grid_of};
use crate::op::{CompareFn, Coordinates, Op, ReduceKind, Resize, ResizeMode, UnaryFn};
use crate::pass;
use crate::shape::{Dim, Shape};
use crate::tensor::{DType, Tensor};

/// One backward explanation: where signal is read, how it gets there, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Recipe {
    /// The value whose signal is read.
    pub read_at: ValueId,
    /// How each kind of node sends signal back.
    pub rules: Rules,
    /// How the signal becomes a map.
    pub reduce: Reduce,
}

/// How the signal `g` at the value `A` becomes a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduce {
    /// `g` itself: image-shaped when read at the image.
    Signal,
    /// Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2): `αₖ = mean over space of gₖ`, `L = ReLU(Σₖ αₖ·Aₖ)`.
    GradCam {
        /// Whether the outer ReLU is applied.
        relu: bool,
    },
}

/// How recipes make one map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Formula {
    /// One recipe's map.
    Single(Recipe),
    /// An image-shaped map times a layer's map enlarged bilinearly to the image (Guided Grad-CAM).
    Product {
        /// The image-shaped factor.
        image: Recipe,
        /// The layer's factor.
        layer: Recipe,
        /// How the layer's map is enlarged.
        enlarge: Coordinates,
    },
}

impl Formula {
    /// The recipes of the formula.
    pub fn recipes(&self) -> Vec<Recipe> {
        match *self {
            Formula::Single(recipe) => vec![recipe],
            Formula::Product { image, layer, .. } => vec![image, layer],
        }
    }

    /// Whether an outer ReLU sets negative cells of the layer's map to 0.
    pub fn is_rectified(&self) -> bool {
        self.recipes().iter().any(|r| r.reduce == Reduce::GradCam { relu: true })
    }

    /// Whether a ReLU sends something else than its gradient.
    pub fn changes_relu(&self) -> bool {
        self.recipes().iter().any(|r| r.rules.relu != diff::ReluRule::Gradient)
    }
}

/// Which classes are explained, the same number `K = top + given` for every image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Classes {
    /// The classes with the highest scores, found in the graph; they come first.
    pub top: usize,
    /// Classes whose indices are given at run time, as the input `target: i64[N,given]`.
    pub given: usize,
}

/// A derived graph and what was noticed on the way.
///
/// Its outputs are `scores [N,classes]`, `classes i64[N,K]`, and for every formula its map
/// (`[N,K,h,w]`, or `[N,K,…]` in the image's layout) and the range `[N,K,2]` of its values: minimum
/// and maximum, before a ReLU if there is one.
#[derive(Clone, Debug)]
pub struct Derived {
    /// The graph; its inputs are the model's, and `target` when classes are given.
    pub graph: Graph,
    /// For every formula, how its ReLU rule fared.
    pub ruled: Vec<Ruled>,
}

/// How often a ReLU rule acted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ruled {
    /// Activations on the path that the rule acted on.
    pub acted: usize,
    /// Activations on the path that it does not apply to.
    pub passed: usize,
}

/// The name of the input that holds the given classes.
pub const TARGET: &str = "target";

/// Derives the graph that computes, for every class asked, the map of every formula.
///
/// # Errors
/// When a node on the way cannot be differentiated, no signal arrives, or a layer has no grid.
pub fn derive(
    graph: &Graph,
    image: ValueId,
    score: &Score,
    classes: Classes,
    formulas: &[Formula],
) -> Result<Derived> {
    let mut build = Build::extend(graph);
    let b = &mut build;
    let seed = seed(b, score, classes)?;
    let mut outputs = vec![("scores", seed.scores), ("classes", seed.classes)];
    let mut ruled = Vec::new();
    for formula in formulas {
        let mut maps = Maps { image, seed: seed.seed, acted: HashSet::new(), passed: HashSet::new() };
        let (map, raw) = maps.formula(b, formula)?;
        outputs.push(("map", map));
        outputs.push(("range", range(b, raw)?));
        ruled.push(Ruled { acted: maps.acted.len(), passed: maps.passed.len() });
    }
    let mut named = Vec::new();
    for (name, id) in outputs {
        named.push(publish(b, id, name)?);
    }
    Ok(Derived { graph: pass::prune(&build.finish(named)), ruled })
}

/// A copy of the value under the name, or under the next free one like it.
fn publish(b: &mut Build, id: ValueId, name: &str) -> Result<ValueId> {
    let copy = b.copy(id)?;
    let names = std::iter::once(name.to_owned()).chain((1..).map(|i| format!("{name}.{i}")));
    for name in names {
        if b.graph().find(&name).is_none() {
            b.rename(copy, &name)?;
            break;
        }
    }
    Ok(copy)
}

struct Seeded {
    scores: ValueId,
    classes: ValueId,
    seed: Seed,
}

/// One-hot cotangents on the scores of the classes asked.
fn seed(b: &mut Build, score: &Score, classes: Classes) -> Result<Seeded> {
    let shape = b.shape(score.value)?;
    let batch = if shape.rank() == 1 { Dim::Fixed(1) } else { shape.0[0] };
    let count = Dim::Fixed(score.classes);
    let scores = b.reshape(score.value, Shape(vec![batch, count]))?;
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
        indices.push(b.nodes(Op::TopK { axis: 1, k: top }, &[Some(scores)])?[1]);
    }
    if given > 0 {
        indices.push(b.input(TARGET, DType::I64, Shape(vec![batch, Dim::Fixed(given)]))?);
    }
    let indices = if let [one] = indices[..] { one } else { b.emit(Op::Concat { axis: 1 }, &indices)? };
    let column = b.emit(Op::Unsqueeze { axes: vec![2] }, &[indices])?;
    let all = b.constant(Tensor::i64(&[score.classes], &(0..score.classes as i64).collect::<Vec<_>>())?);
    let hit = b.emit(Op::Compare(CompareFn::Equal), &[column, all])?;
    let dtype = Emit::dtype(b, score.value);
    let one_hot = b.emit(Op::Cast(dtype), &[hit])?;
    let (cotangent, copies) = if k == 1 {
        (b.reshape(one_hot, shape)?, None)
    } else {
        let front = b.transpose(one_hot, &[1, 0, 2])?;
        let to = Shape(std::iter::once(Dim::Fixed(k)).chain(shape.0).collect());
        (b.reshape(front, to)?, Some(k))
    };
    Ok(Seeded { scores, classes: indices, seed: Seed { target: score.value, cotangent, copies } })
}

/// The maps of one formula in the making.
struct Maps {
    image: ValueId,
    seed: Seed,
    acted: HashSet<crate::graph::NodeId>,
    passed: HashSet<crate::graph::NodeId>,
}

impl Maps {
    /// The map, and the values whose range is told.
    fn formula(&mut self, b: &mut Build, formula: &Formula) -> Result<(ValueId, ValueId)> {
        match *formula {
            Formula::Single(recipe) => self.recipe(b, recipe),
            Formula::Product { image, layer, enlarge } => {
                let (signal, _) = self.recipe(b, image)?;
                let (map, raw) = self.recipe(b, layer)?;
                let shape = b.shape(image.read_at)?;
                let (height, width, channels) = match shape.0[..] {
                    [_, h, w, _] if channels_last(&shape) => (h, w, 4),
                    [_, _, h, w] => (h, w, 2),
                    _ => {
                        return Err(Error::unfit(
                            "the image has no height and width",
                            "see `whycam inspect`",
                        ));
                    }
                };
                let (Some(h), Some(w)) = (height.fixed(), width.fixed()) else {
                    return Err(Error::unfit("the size of the image is not known", "give --size"));
                };
                let resize =
                    Resize { mode: ResizeMode::Linear, coordinates: enlarge, size: [h, w], scales: None };
                let large = b.emit(Op::Resize(resize), &[map])?;
                let over_channels = b.emit(Op::Unsqueeze { axes: vec![channels] }, &[large])?;
                Ok((b.mul(signal, over_channels)?, raw))
            }
        }
    }

    fn recipe(&mut self, b: &mut Build, recipe: Recipe) -> Result<(ValueId, ValueId)> {
        let swept = diff::backward(b, self.seed, &[recipe.read_at], recipe.rules)?;
        self.acted.extend(swept.ruled);
        self.passed.extend(swept.unruled);
        let signal = self.per_image(b, swept.signals[0])?;
        match recipe.reduce {
            Reduce::Signal => Ok((signal, signal)),
            Reduce::GradCam { relu } => {
                let raw = grad_cam(b, recipe.read_at, signal, self.image)?;
                Ok((if relu { b.unary(UnaryFn::Relu, raw)? } else { raw }, raw))
            }
        }
    }

    /// `[K,N,…]` or `[N,…]` as `[N,K,…]`.
    fn per_image(&self, b: &mut Build, signal: ValueId) -> Result<ValueId> {
        let rank = b.shape(signal)?.rank();
        match self.seed.copies {
            None => b.emit(Op::Unsqueeze { axes: vec![1] }, &[signal]),
            Some(_) => {
                let perm: Vec<usize> = [1, 0].into_iter().chain(2..rank).collect();
                b.transpose(signal, &perm)
            }
        }
    }
}

/// `Σₖ αₖ·Aₖ` as `[N,K,h,w]`, from `A [N,C,h,w]` and its signal `[N,K,C,h,w]`.
fn grad_cam(b: &mut Build, layer: ValueId, signal: ValueId, image: ValueId) -> Result<ValueId> {
    let name = b.graph().value(layer).name.clone();
    if layer == image || grid_of(b.graph(), layer).is_none() {
        return Err(Error::unfit(
            format!("{name:?} is not a layer with a grid of cells, so it has no map"),
            "choose a --layer of shape [N,C,H,W] (see `whycam inspect`)",
        ));
    }
    let shape = b.shape(layer)?;
    let classes = b.shape(signal)?.0[1];
    let alpha = b.emit(Op::Reduce { kind: ReduceKind::Mean, axes: vec![3, 4], keep: false }, &[signal])?;
    let cells = shape.0[2].times(shape.0[3]).unwrap_or(Dim::Fixed(1));
    let flat = b.reshape(layer, Shape(vec![shape.0[0], shape.0[1], cells]))?;
    let map = b.matmul(alpha, flat)?;
    b.reshape(map, Shape(vec![shape.0[0], classes, shape.0[2], shape.0[3]]))
}

/// Minimum and maximum of each map, `[N,K,2]`; NaN when a cell is NaN or infinite.
fn range(b: &mut Build, maps: ValueId) -> Result<ValueId> {
    let axes: Vec<usize> = (2..b.shape(maps)?.rank()).collect();
    let mut ends = Vec::new();
    for kind in [ReduceKind::Min, ReduceKind::Max] {
        let end = b.emit(Op::Reduce { kind, axes: axes.clone(), keep: false }, &[maps])?;
        ends.push(b.emit(Op::Unsqueeze { axes: vec![2] }, &[end])?);
    }
    let range = b.emit(Op::Concat { axis: 2 }, &ends)?;
    // Engines differ in whether a minimum sees NaN; 0 · Σ is 0, or NaN where a cell is not finite.
    let total = b.sum(maps, &axes, false)?;
    let nothing = b.scale(total, 0.0)?;
    let nothing = b.emit(Op::Unsqueeze { axes: vec![2] }, &[nothing])?;
    b.add(range, nothing)
}
