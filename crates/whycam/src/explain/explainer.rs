//! A question made ready for a model.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use whycam_graph::derive::Classes;
use whycam_graph::layer::{self, Grids, ReceptiveFields};
use whycam_graph::{Engine, Tensor};

use super::asked::{Asked, How, INPUT, Shown, layers};
use super::asking::Asking;
use super::derived::{Derived, Said};
use super::ensemble::Ensembles;
use super::feed::Feed;
use super::perturb::Perturber;
use super::smooth::smoothed;
use super::windows::Windows;
use super::{Explanation, Fuse, Progress, Question};
use crate::error::{Error, Result};
use crate::image::Align;
use crate::map::Raw;
use crate::method::{Ask, Kind, Method};
use crate::model::{Image, Model};
use crate::target::{Aimed, Beside};

/// A question, made ready for a model.
pub struct Explainer<'m> {
    pub(super) model: Cow<'m, Model>,
    pub(super) derived: Arc<Derived>,
    pub(super) ensembles: Ensembles,
    perturber: Option<Perturber>,
    given: Vec<usize>,
    pub(super) targets: Vec<String>,
    pub(super) beside: Vec<Beside>,
    pub(super) asked: Vec<Asked>,
    pub(super) shown: Vec<Shown>,
    pub(super) fuse: Option<Fuse>,
    pub(super) align: Align,
    batch: usize,
}

impl<'m> Explainer<'m> {
    /// Derives the graphs that answer the question, and loads them.
    ///
    /// # Errors
    /// When a layer, class or output does not exist, a node on the way cannot be differentiated, or
    /// the engine does not take a graph.
    pub fn new(model: &'m Model, engine: &dyn Engine, question: &Question) -> Result<Explainer<'m>> {
        let Aimed { model: aimed, top, given, names: targets, beside } =
            Aimed::new(model, &question.targets)?;
        let model = aimed.as_ref();
        let graph = model.graph();
        let sees = ReceptiveFields::new(&Grids::new(graph, model.image()));
        let mut asked = Vec::new();
        let (mut formulas, mut averaged, mut perturbations) = (Vec::new(), Vec::new(), Vec::new());
        for method in question.methods.iter().flat_map(Method::each) {
            let reads_layer = method.info().space.reads_layer();
            let places =
                if reads_layer { layers(model, &method, &question.layers)? } else { vec![model.image()] };
            let around = match reads_layer {
                true => layer::bypassed(graph, model.image(), model.scored()?, &places),
                false => Vec::new(),
            };
            for place in places {
                let bypassed = around.contains(&place);
                let ask = Ask { image: model.image(), layer: place, enlarge: question.align.into() };
                let layer = if place == model.image() { INPUT } else { &graph.value(place).name };
                let how = match method.info().kind {
                    Kind::Gradient(formula) | Kind::Finished(formula, _) if method.is_smoothed() => {
                        averaged.push(formula(&ask, &method));
                        How::Formula(None, formula(&ask, &method))
                    }
                    Kind::Gradient(formula) | Kind::Finished(formula, _) => {
                        formulas.push(formula(&ask, &method));
                        How::Formula(Some(formulas.len() - 1), formula(&ask, &method))
                    }
                    Kind::Ensemble(ensemble) => {
                        averaged.push((ensemble.formula)(&ask, &method));
                        How::Ensemble(ensemble, (ensemble.formula)(&ask, &method))
                    }
                    Kind::Perturbation(perturbation) => {
                        let layer = reads_layer.then_some(place);
                        perturbations.push((method.clone(), perturbation, layer));
                        How::Perturbation(perturbation, layer)
                    }
                };
                let (name, layer) = (method.to_string(), layer.to_owned());
                let module = graph.value(place).producer.and_then(|node| graph.node(node).module.clone());
                let sees = reads_layer.then(|| sees.of(place).into());
                asked.push(Asked { method: method.clone(), name, layer, module, sees, bypassed, how });
            }
        }
        let shown = Shown::all(&asked, question.fuse)?;
        let ensembles = Ensembles::new(model, engine, targets.len(), averaged.into_iter())?;
        let classes = Classes { top, given: given.len() };
        // Without formulas the program that scores copies is the one that scores the image.
        let shared = if formulas.is_empty() { classes } else { Classes { top: 0, given: targets.len() } };
        let perturber = match perturbations.as_slice() {
            [] => None,
            perturbations => Some(Perturber::new(model, engine, shared, perturbations)?),
        };
        let derived = match &perturber {
            Some(perturber) if formulas.is_empty() => perturber.scores(),
            _ => Arc::new(Derived::new(model, engine, classes, &formulas)?),
        };
        let Question { fuse, align, batch, .. } = *question;
        let batch = if model.mixes_images() { 1 } else { batch };
        Ok(Explainer {
            model: aimed,
            derived,
            ensembles,
            perturber,
            given,
            targets,
            beside,
            asked,
            shown,
            fuse,
            align,
            batch,
        })
    }

    /// The layers that are read, in order, each once.
    pub fn layers(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for Asked { layer, .. } in &self.asked {
            if layer != INPUT && !names.contains(&layer.as_str()) {
                names.push(layer);
            }
        }
        names
    }

    /// Method, layer and target of every map, as an [`Explanation`] has them.
    pub fn keys(&self) -> Vec<[&str; 3]> {
        let mut keys = Vec::new();
        for target in &self.targets {
            keys.extend(
                self.shown
                    .iter()
                    .map(|Shown { of, layer }| [&self.asked[of[0]].name, layer, target].map(String::as_str)),
            );
        }
        keys
    }

    /// Explains one image; `further` are the model's other inputs.
    ///
    /// # Errors
    /// When an input is missing or does not fit, or the engine fails.
    pub fn explain(&self, image: &Image, further: &[(String, Tensor)]) -> Result<Explanation> {
        self.explain_with(image, further, &mut |_| ())
    }

    /// As [`Explainer::explain`]; `progress` is told how far methods are that run the image many times.
    ///
    /// # Errors
    /// As [`Explainer::explain`].
    pub fn explain_with(
        &self,
        image: &Image,
        further: &[(String, Tensor)],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Explanation> {
        let answers = self.explain_batch(std::slice::from_ref(image), further, progress);
        answers.into_iter().next().unwrap_or_else(|| Err(no_answer()))
    }

    /// How many images are worth giving to [`Explainer::explain_batch`] at once: [`Question::batch`], or the model's own
    /// batch; one where a method fills its runs with copies of a single image, or the model rounds in the range of a batch.
    pub fn batch(&self) -> usize {
        if self.runs_copies() { 1 } else { self.model.input().batch.unwrap_or(self.batch).max(1) }
    }

    /// Whether a method runs the model on copies of the image.
    fn runs_copies(&self) -> bool {
        let runs =
            |asked: &Asked| asked.method.is_smoothed() || !matches!(asked.how, How::Formula(Some(_), _));
        self.asked.iter().any(runs)
    }

    /// Explains images, each as if it were alone, but with up to [`Question::batch`] of them in a run, or as many as the
    /// model's batch has. There is one answer for every image; one that fails does not fail the others.
    ///
    /// # Errors
    /// As [`Explainer::explain`], for every image.
    pub fn explain_batch(
        &self,
        images: &[Image],
        further: &[(String, Tensor)],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Vec<Result<Explanation>> {
        let feed = Feed::new(&self.model, further, self.batch);
        let mut answers = Vec::with_capacity(images.len());
        for images in images.chunks(feed.together()) {
            let checked: Vec<_> = images.iter().map(|image| self.checked(image)).collect();
            let sound: Vec<&Tensor> = checked.iter().flatten().copied().collect();
            let mut said = self.said(&feed, &sound).into_iter();
            for checked in checked {
                answers.push(checked.and_then(|image| {
                    let (said, time) = said.next().unwrap_or_else(|| Err(no_answer()))?;
                    self.explained(&feed, image, &said, time, progress)
                }));
            }
        }
        answers
    }

    /// The tensor of an image, whose values are all finite.
    fn checked<'i>(&self, image: &'i Image) -> Result<&'i Tensor> {
        let (tensor, shape) = (&image.tensor, self.model.input().shape());
        if tensor.len() != shape.iter().product::<usize>() {
            let what = format!("an image {tensor:?} is not the model's {shape:?}");
            return Err(Error::ask(what, "check how the tensor was prepared"));
        }
        if !tensor.is_finite() {
            // Engines differ in what a ReLU makes of NaN, so a map would look sound.
            return Err(Error::ask("the input holds NaN or infinity", "check how the tensor was prepared"));
        }
        Ok(tensor)
    }

    /// What the derived graph says to images in one run, and each one's share of the time; to each of them alone when that
    /// fails, so that it fails for those alone whose fault it is.
    fn said(&self, feed: &Feed<'_>, images: &[&Tensor]) -> Vec<Result<(Said, Duration)>> {
        if images.is_empty() {
            return Vec::new();
        }
        let before = feed.spent();
        let run = |input| self.derived.run_as(feed, &self.model, input, images.len(), &self.given);
        match feed.tensors(images).and_then(run) {
            Ok(said) => {
                let share = (feed.spent() - before) / images.len() as u32;
                said.into_iter().map(|said| Ok((said, share))).collect()
            }
            Err(_) if images.len() > 1 => images.iter().flat_map(|image| self.said(feed, &[image])).collect(),
            Err(error) => vec![Err(error)],
        }
    }

    /// The answer for one image, to which the derived graph said something in that time.
    fn explained(
        &self,
        feed: &Feed<'_>,
        image: &Tensor,
        said: &Said,
        time: Duration,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Explanation> {
        let before = feed.spent();
        let image = if self.runs_copies() { image.to_f32s() } else { Vec::new() };
        let asking =
            Asking { model: &self.model, feed, image: &image, classes: &said.classes, align: self.align };
        let mut maps = Vec::new();
        for asked in &self.asked {
            let mut told = |done, of| {
                let how = self.windows(asked).and_then(Windows::how);
                progress(Progress { method: &asked.name, done, of, how: how.as_deref() });
            };
            maps.push(match asked.how {
                How::Formula(Some(index), _) => {
                    finished(&asked.method, said.maps.get(index).cloned().unwrap_or_default())
                }
                _ if asked.method.is_smoothed() => {
                    smoothed(&asking, |asking| self.maps(asked, asking, &mut told))?
                }
                _ => self.maps(asked, &asking, &mut told)?,
            });
        }
        self.answer(said, &maps, time + feed.spent() - before)
    }

    /// The maps of a method for an image, one for every class.
    fn maps(
        &self,
        asked: &Asked,
        asking: &Asking<'_>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Raw>> {
        match (&asked.how, &self.perturber) {
            (How::Formula(_, formula), _) => {
                let Some(graph) = self.ensembles.graph(formula) else { return Ok(Vec::new()) };
                let said = graph.run(asking.feed, asking.model, asking.image, asking.classes)?;
                Ok(finished(&asked.method, said.into_iter().flat_map(|said| said.maps).flatten().collect()))
            }
            (How::Ensemble(ensemble, formula), _) => {
                self.ensembles.maps(asking, &asked.method, (ensemble, formula), progress)
            }
            (How::Perturbation(perturbation, layer), Some(perturber)) => {
                perturber.maps(asking, &asked.method, perturbation, *layer, progress)
            }
            (How::Perturbation(..), None) => Ok(Vec::new()),
        }
    }

    /// What recomputes windows alone for a method, where anything does.
    pub(super) fn windows(&self, asked: &Asked) -> Option<&Windows> {
        self.perturber.as_ref()?.windows(&asked.method.to_string())
    }
}

pub(super) fn no_answer() -> Error {
    Error::ask("the engine returned nothing for an image", "please report this")
}

/// What a method makes of its formula's maps outside of the derived graph.
fn finished(method: &Method, maps: Vec<Raw>) -> Vec<Raw> {
    let Some(finish) = method.finish() else { return maps };
    let one = |raw: Raw| {
        let (values, shape) = finish(method, &raw.values, &raw.shape);
        Raw { rectified: raw.rectified, ..Raw::of(values, shape) }
    };
    maps.into_iter().map(one).collect()
}
