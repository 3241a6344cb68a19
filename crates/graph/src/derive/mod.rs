//! Derives, from a model, the graph that explains it.

mod aim;
mod full;
mod head;
mod maps;
mod pooled;
mod reduce;
mod seed;

use std::collections::HashSet;

use crate::diff::{self, Rules};
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Build, Graph, ValueId};
use crate::layer::{Grids, Score};
use crate::op::{Coordinates, Op};
use crate::pass;

pub use aim::{Aim, aim, length};
pub use full::{Contribution, full_gradient};
use maps::{Maps, range};
pub use reduce::{Part, Reduce, Times, Weights};
use seed::{Seeded, seed};

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
    /// FullGrad (Srinivas & Fleuret 2019): `ψ(∂y/∂x ⊙ x) + Σ_b ψ(∂y/∂z_b ⊙ b)` over the image and every bias that lies
    /// on a grid, one number a pixel. `ψ` takes absolute values, moves and scales them to `[0,1]`, sums over channels and
    /// enlarges bilinearly to the image.
    FullGradient {
        /// The image.
        image: ValueId,
        /// How layers' maps are enlarged.
        enlarge: Coordinates,
    },
}

impl Formula {
    /// The recipes of the formula.
    pub fn recipes(&self) -> Vec<Recipe> {
        match *self {
            Formula::Single(recipe) => vec![recipe],
            Formula::Product { image, layer, .. } => vec![image, layer],
            Formula::FullGradient { .. } => Vec::new(),
        }
    }

    /// Whether an outer ReLU sets negative cells of the layer's map to 0.
    pub fn is_rectified(&self) -> bool {
        self.recipes().iter().any(|r| r.reduce.relu)
    }

    /// Whether cells of a layer's map speak for and against the score by their signs: it is a sum over channels without a
    /// ReLU, and no probability that is shared out.
    pub fn is_signed(&self) -> bool {
        let shares = diff::LinearRule::Excitation { contrastive: false };
        matches!(self, Formula::Single(r) if r.reduce.sum && !r.reduce.relu && r.rules.linear != shares)
    }

    /// Whether linear nodes share out a probability instead of sending their gradient.
    pub fn is_excitation(&self) -> bool {
        self.recipes().iter().any(|r| r.rules.linear != diff::LinearRule::Gradient)
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
#[derive(Clone, Debug)]
pub struct Derived {
    /// The graph; its inputs are the model's, and `target` when classes are given. Its outputs, each value once, are the
    /// scores `[N,classes+aims]`, the classes `i64[N,K]`, and those of the formulas. All cells of a given class that the model
    /// has not are NaN: a graph cannot say it otherwise, and a blank map would be one of a class that nothing speaks for.
    pub graph: Graph,
    /// For every formula, which outputs are its map (`[N,K,h,w]`, or `[N,K,…]` in the image's layout) and the values whose
    /// range tells of it, `[N,K,…]`: the map, before a ReLU if there is one.
    pub maps: Vec<[usize; 2]>,
    /// For every formula, how its ReLU rule fared.
    pub ruled: Vec<Ruled>,
}

impl Derived {
    /// The graph that tells ranges itself: its outputs are the scores, the classes, and for every formula `map` and
    /// `range [N,K,2]`, minimum and maximum before a ReLU, NaN where a cell is not finite.
    ///
    /// # Errors
    /// Never in practice.
    pub fn ranged(&self) -> Result<Graph> {
        let mut b = Build::extend(&self.graph);
        let made = self.graph.outputs();
        let mut outputs = made.iter().copied().take(2).collect();
        for &[map, raw] in &self.maps {
            publish(&mut b, made[map], "map", 0, &mut outputs)?;
            let range = range(&mut b, made[raw])?;
            publish(&mut b, range, "range", 0, &mut outputs)?;
        }
        Ok(pass::prune(&b.finish(outputs)))
    }
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
    let (grids, own) = (Grids::new(graph, image), graph.values().count());
    let mut build = Build::extend(graph);
    let b = &mut build;
    let Seeded { scores, classes, seed, known } = seed(b, score, classes)?;
    let mut outputs = Vec::new();
    publish(b, scores, "scores", own, &mut outputs)?;
    publish(b, classes, "classes", own, &mut outputs)?;
    let (mut ruled, mut told) = (Vec::new(), Vec::new());
    for formula in formulas {
        let mut maps = Maps { grids: &grids, image, seed, acted: HashSet::new(), passed: HashSet::new() };
        let (map, raw) = maps.formula(b, formula)?;
        let mut places = [0; 2];
        for (place, value) in places.iter_mut().zip([map, raw]) {
            let value = known.map_or(Ok(value), |known| only_of(b, known, value))?;
            *place = outputs.iter().skip(2).position(|&id| id == value).map_or(outputs.len(), |at| at + 2);
            if *place == outputs.len() {
                outputs.push(value);
            }
        }
        told.push(places);
        ruled.push(Ruled { acted: maps.acted.len(), passed: maps.passed.len() });
    }
    Ok(Derived { graph: pass::prune(&build.finish(outputs)), maps: told, ruled })
}

/// Values `[N,K,…]`, NaN where `known [N,K]` is false.
fn only_of(b: &mut Build, known: ValueId, values: ValueId) -> Result<ValueId> {
    let known = b.cast(known, Emit::dtype(b, values))?;
    let known = b.emit(Op::Unsqueeze { axes: (2..b.shape(values)?.rank()).collect() }, &[known])?;
    // 0/1 or 0/0, behind everything that could hide a NaN, as a ReLU may. Of one number rten makes a scalar, so that its axes
    // come first.
    let nothing = b.scalar(known, 0.0)?;
    let nothing = b.div(nothing, known)?;
    b.add(values, nothing)
}

/// Adds a value to the outputs, under the name or the next free one like it. One of the `own` values of a model keeps the name
/// that it has; what no node makes, or is an output already, is copied.
fn publish(b: &mut Build, id: ValueId, name: &str, own: usize, outputs: &mut Vec<ValueId>) -> Result<()> {
    let made = b.graph().value(id).producer.is_some() && !outputs.contains(&id);
    let output = if made { id } else { b.copy(id)? };
    outputs.push(output);
    if (output.0 as usize) < own {
        return Ok(());
    }
    let names = std::iter::once(name.to_owned()).chain((1..).map(|i| format!("{name}.{i}")));
    for name in names {
        if b.graph().find(&name).is_none() {
            return b.rename(output, &name);
        }
    }
    Ok(())
}
