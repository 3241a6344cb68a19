//! Explaining: methods, layers and targets of a model become programs, loaded once and run on images.
//!
//! All gradient methods share one derived graph and one forward pass ([`derived`]). Ensembles and perturbations run many
//! copies of the image, in batches ([`ensemble`], [`perturb`]); any method may be averaged over a few ([`smooth`]).

mod answer;
mod asked;
mod asking;
mod derived;
mod ensemble;
mod explainer;
mod feed;
mod fuse;
mod layers;
mod perturb;
mod scores;
mod smooth;
mod windows;

use std::time::Duration;

use whycam_engine::{EngineOptions, engine};

use crate::error::{Error, Result};
use crate::image::Align;
use crate::map::Map;
use crate::method::Method;
use crate::model::{Image, Model};
use crate::target::Target;

pub use explainer::Explainer;
pub use fuse::{Fuse, Fused, Part};
pub use scores::Prediction;

/// What is asked of a model.
#[derive(Clone, Debug)]
pub struct Question {
    /// The methods.
    pub methods: Vec<Method>,
    /// The layers.
    pub layers: Layers,
    /// How the maps of a method at several layers become one, where they shall.
    pub fuse: Option<Fuse>,
    /// The targets.
    pub targets: Vec<Target>,
    /// How layers' maps are enlarged to the image.
    pub align: Align,
    /// Most images, or copies of one, that are run at once, which bounds memory; models with a fixed batch take that.
    pub batch: usize,
}

/// How far a method is that runs an image many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The method with its options.
    pub method: &'a str,
    /// Copies that were run.
    pub done: usize,
    /// Copies in all.
    pub of: usize,
    /// How they are run, where there is a choice, and why so.
    pub how: Option<&'a str>,
}

impl Default for Question {
    /// Grad-CAM of the top class at the automatic layer.
    fn default() -> Question {
        Question {
            methods: crate::method::METHODS.first().map(|m| Method::from(*m)).into_iter().collect(),
            layers: Layers::Auto,
            fuse: None,
            targets: vec![Target::TOP1],
            align: Align::HalfPixel,
            batch: 8,
        }
    }
}

/// Which layers are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layers {
    /// For each method, its [`automatic_layer`](Method::automatic_layer).
    Auto,
    /// Those of a [sweep](whycam_graph::layer::sweep), from the image to the score.
    All,
    /// Layers by name, by patterns as `layer4.*` (see [`whycam_graph::layer::matching`]), or the words `auto` and `all`.
    Named(Vec<String>),
}

/// The answer for one image.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The classes with the highest scores, at most five.
    pub top: Vec<Prediction>,
    /// The maps: for every target, every method at every layer.
    pub maps: Vec<Map>,
    /// How long the engine ran; an equal share where several images were run at once.
    pub time: Duration,
}

/// One map of one target, by the default engine at the automatic layer.
///
/// # Errors
/// As [`Explainer::new`] and [`Explainer::explain`].
pub fn explain(model: &Model, image: &Image, target: &Target, method: &Method) -> Result<Map> {
    let question =
        Question { methods: vec![method.clone()], targets: vec![target.clone()], ..Question::default() };
    let engine = engine("auto", EngineOptions::default())?;
    let answer = Explainer::new(model, engine.as_ref(), &question)?.explain(image, &[])?;
    answer.maps.into_iter().next().ok_or_else(|| Error::ask("no class was asked", "ask for top1"))
}
