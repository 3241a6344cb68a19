//! Whether a map depends on what it should depend on: the weights, and the class.
//!
//! The sanity checks of Adebayo et al. 2018 (arXiv 1810.03292). *Cascading randomisation*: weights are replaced by noise
//! of the same mean and deviation, from the scores down to the image; a map that stays as it was does not show what the
//! network has learned. *Random class*: a map that is the same for another class does not explain the class. Guided
//! backpropagation and Guided Grad-CAM are known to fail the first.

mod randomise;
mod similarity;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use whycam_graph::weights::weighted;
use whycam_graph::{Engine, Tensor};

pub use similarity::Similarity;

use crate::error::{Error, Result};
use crate::explain::{Explainer, Question};
use crate::image::{Align, Curve, Field, RgbImage, normalise, plot, resample};
use crate::map::Map;
use crate::model::{Image, Model};
use crate::target::{Aimed, Target};
use randomise::randomised;

/// Steps of a cascade that tell enough and do not take too long.
pub const STEPS: usize = 16;

/// A map is insensitive when its rank correlation with the true one stays at or above this, on average over the steps
/// of the upper half of the cascade, in which the network no longer knows its classes. The paper gives curves and no
/// bound; this one is whycam's, and the curves are told beside the verdict.
pub const ALIKE: f64 = 0.5;

/// How one map fared.
#[derive(Clone, Debug, Serialize)]
pub struct Sanity {
    /// The method with its options.
    pub method: String,
    /// The layer that was read.
    pub layer: String,
    /// The target as it was asked.
    pub target: String,
    /// The class that was explained, where it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<usize>,
    /// Likeness to the true map after every step, from the top down.
    pub cascade: Vec<Step>,
    /// Likeness to the map of another class; none for a model with a single class.
    pub random_class: Option<OtherClass>,
    /// Whether the method is known to fail the check, whatever came of it here.
    pub known_to_fail: bool,
    /// Whether the map depends on the weights, by this draw of noise.
    pub verdict: Sensitivity,
    /// The same in one sentence.
    pub sentence: String,
}

/// Whether a map depends on the weights of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sensitivity {
    /// It changes when weights are randomised.
    Sensitive,
    /// It stays much as it was.
    Insensitive,
}

/// One step of the cascade.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The lowest layer whose weights are noise: that and all above it.
    pub down_to: String,
    /// How many layers have noise for weights.
    pub layers: usize,
    /// Likeness to the true map.
    #[serde(flatten)]
    pub likeness: Similarity,
}

/// The map of a class drawn at random.
#[derive(Clone, Debug, Serialize)]
pub struct OtherClass {
    /// Which class.
    pub class: usize,
    /// Its name.
    pub label: String,
    /// Likeness to the true map.
    #[serde(flatten)]
    pub likeness: Similarity,
}

/// What is checked, and how noise is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    /// The maps.
    pub question: &'a Question,
    /// Most steps of the cascade; networks with more layers take several a step.
    pub steps: usize,
    /// The same seed draws the same noise.
    pub seed: u64,
}

impl Sanity {
    /// The likeness after every step of the cascade, with that to the map of another class as a level.
    ///
    /// # Errors
    /// Never in practice.
    pub fn plot(&self) -> Result<RgbImage> {
        let curve = |name, of: fn(&Similarity) -> f64| Curve {
            name,
            values: std::iter::once(1.0).chain(self.cascade.iter().map(|s| of(&s.likeness))).collect(),
            level: self.random_class.as_ref().map(|other| of(&other.likeness)),
        };
        let curves = [curve("rank correlation", |s| s.spearman), curve("SSIM", |s| s.ssim)];
        Ok(plot(&curves, "steps from the scores to the image, weights replaced by noise")?)
    }
}

/// Checks every map of the question on one image; `further` are the model's other inputs. `progress` is told how many
/// of how many runs are done.
///
/// # Errors
/// When the model has no weights that can be replaced, or as [`Explainer::new`] and [`Explainer::explain`].
pub fn sanity(
    model: &Model,
    engine: &dyn Engine,
    check: Check<'_>,
    image: &Image,
    further: &[(String, Tensor)],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Sanity>> {
    let aimed = Aimed::new(model, &check.question.targets)?;
    if let Some(own) = aimed.beside.iter().find(|beside| beside.own_region) {
        return Err(Error::ask(
            format!("the region of {:?} is where the model sees it, which weights of noise move", own.label),
            "give a mask, as in segment:CLASS@FILE",
        ));
    }
    let mut layers = weighted(aimed.model.graph(), model.image(), aimed.model.scored()?);
    // What is asked beside classes is appended to the model's graph, and is no weight.
    let own = model.graph().values().count();
    layers.retain(|layer| (layer.result.number() as usize) < own);
    if layers.is_empty() {
        return Err(Error::ask(
            "the model has no weights that could be randomised",
            "the sanity check is for networks of convolutions and matrix products",
        ));
    }
    let truth = Explainer::new(model, engine, check.question)?.explain(image, further)?.maps;
    let count = model.score().map_or(0, |score| score.classes);
    // The columns that are classes; the others are asked by name.
    let mut classes: Vec<usize> = truth.iter().map(|m| m.column).filter(|&column| column < count).collect();
    classes.sort_unstable();
    classes.dedup();
    let beside: Vec<Target> = check.question.targets.iter().filter(|t| !t.is_class()).cloned().collect();
    let again = |model: &Model, classes: &[usize]| -> Result<Vec<Map>> {
        let classes = classes.iter().map(|&class| Target::Index(class));
        let targets = classes.chain(beside.iter().cloned()).collect();
        let question = Question { targets, ..check.question.clone() };
        Ok(Explainer::new(model, engine, &question)?.explain(image, further)?.maps)
    };

    let steps = layers.len().min(check.steps.max(1));
    let mut random = ChaCha8Rng::seed_from_u64(check.seed);
    let others = others(&classes, count, &mut random);
    let of_others = match others.is_empty() {
        true => Vec::new(),
        false => again(model, &others.iter().map(|(_, other)| *other).collect::<Vec<_>>())?,
    };
    progress(1, steps + 1);
    let mut cascades: Vec<Vec<Step>> = vec![Vec::new(); truth.len()];
    for step in 1..=steps {
        let count = layers.len() * step / steps;
        let noisy = &layers[layers.len() - count..];
        let graph = randomised(model.graph(), noisy, check.seed)?;
        let maps = again(&model.with_graph(graph), &classes)?;
        for (map, cascade) in truth.iter().zip(&mut cascades) {
            let likeness =
                same_place(map, map.column, &maps).map(|other| likeness(map, other)).transpose()?;
            if let (Some(likeness), Some(lowest)) = (likeness, noisy.first()) {
                let down_to = model.graph().value(lowest.result).name.clone();
                cascade.push(Step { down_to, layers: count, likeness });
            }
        }
        progress(step + 1, steps + 1);
    }

    let mut found = Vec::new();
    for (map, cascade) in truth.iter().zip(cascades) {
        let other = others.iter().find(|(class, _)| *class == map.column).map(|(_, other)| *other);
        let random_class = match other.and_then(|other| same_place(map, other, &of_others)) {
            Some(other) => Some(OtherClass {
                class: other.column,
                label: other.label.clone(),
                likeness: likeness(map, other)?,
            }),
            None => None,
        };
        let (verdict, sentence) = judge(&map.method, &cascade, random_class.as_ref());
        found.push(Sanity {
            method: map.method.clone(),
            layer: map.layer.clone(),
            target: map.target.clone(),
            class: map.class,
            cascade,
            random_class,
            known_to_fail: known_to_fail(&map.method),
            verdict,
            sentence,
        });
    }
    Ok(found)
}

/// For every class another one, drawn among the rest.
fn others(classes: &[usize], count: usize, random: &mut ChaCha8Rng) -> Vec<(usize, usize)> {
    if count < 2 {
        return Vec::new();
    }
    let other = |&class: &usize| (class, (class + random.random_range(1..count)) % count);
    classes.iter().map(other).collect()
}

/// The map of the same method at the same layer for a column of the scores.
fn same_place<'a>(map: &Map, column: usize, maps: &'a [Map]) -> Option<&'a Map> {
    maps.iter().find(|m| m.method == map.method && m.layer == map.layer && m.column == column)
}

/// Rank correlation of the cells; structural similarity of the pictures, enlarged to the model's image and stretched
/// to `[0,1]`. Of a map with colours, the sum of absolute values over them.
fn likeness(a: &Map, b: &Map) -> Result<Similarity> {
    let (a, b) = (cells(a), cells(b));
    let [height, width] = a.size;
    let picture = |cells: &Cells| -> Result<Vec<f32>> {
        let [h, w] = cells.size;
        let [to_height, to_width] = cells.image;
        let large = resample(Field::new(&cells.values, h, w)?, to_height, to_width, Align::HalfPixel)?;
        Ok(normalise(&large))
    };
    if b.size != [height, width] {
        return Err(Error::ask("the maps to be compared differ in size", "please report this"));
    }
    let [to_height, to_width] = a.image;
    Ok(Similarity {
        ssim: similarity::ssim(&picture(&a)?, &picture(&b)?, to_height, to_width),
        spearman: similarity::spearman(&a.values, &b.values),
    })
}

struct Cells {
    values: Vec<f32>,
    size: [usize; 2],
    image: [usize; 2],
}

fn cells(map: &Map) -> Cells {
    let (values, size) = match map.shape[..] {
        [channels, h, w] => {
            let sum = |i: usize| (0..channels).map(|c| map.values[c * h * w + i].abs()).sum();
            ((0..h * w).map(sum).collect(), [h, w])
        }
        [h, w] => (map.values.clone(), [h, w]),
        _ => (map.values.clone(), [1, map.values.len()]),
    };
    Cells { values, size, image: map.input_size }
}

/// Whether Adebayo et al. 2018 found that the method does not depend on the weights.
fn known_to_fail(method: &str) -> bool {
    let name = method.split(':').next().unwrap_or_default();
    ["guided-backprop", "guided-grad-cam"].contains(&name)
}

/// The verdict, and what to make of it.
fn judge(method: &str, cascade: &[Step], other: Option<&OtherClass>) -> (Sensitivity, String) {
    let half = cascade.len().div_ceil(2);
    let upper: f64 = cascade.iter().take(half).map(|s| s.likeness.spearman).sum::<f64>() / half.max(1) as f64;
    let verdict = if upper >= ALIKE { Sensitivity::Insensitive } else { Sensitivity::Sensitive };
    let mut sentence = match verdict {
        Sensitivity::Sensitive => {
            format!("passes: the map changes with the weights (rank correlation {upper:.2}")
        }
        Sensitivity::Insensitive => {
            format!("fails: the map hardly changes with the weights (rank correlation {upper:.2}")
        }
    };
    match other {
        Some(other) => {
            sentence.push_str(&format!("; with the class {:?} {:.2})", other.label, other.likeness.spearman));
        }
        None => sentence.push(')'),
    }
    if known_to_fail(method) {
        sentence.push_str(match verdict {
            Sensitivity::Insensitive => ", as guided methods are known to do (Adebayo et al. 2018)",
            Sensitivity::Sensitive => {
                "; by this draw of noise only: guided methods are known to fail (Adebayo et al. 2018)"
            }
        });
    }
    (verdict, sentence)
}
