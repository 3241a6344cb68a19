//! A question made ready for a model.

use std::borrow::Cow;
use std::time::Duration;

use whycam_graph::derive::{Classes, Formula};
use whycam_graph::layer;
use whycam_graph::op::Coordinates;
use whycam_graph::{Engine, Tensor, ValueId};

use super::asking::Asking;
use super::derived::{Derived, Said};
use super::ensemble::Ensembles;
use super::feed::Feed;
use super::perturb::Perturber;
use super::scores::{Prediction, probabilities, top};
use super::smooth::smoothed;
use super::windows::Windows;
use super::{Explanation, Layers, Progress, Question};
use crate::error::{Error, Result};
use crate::image::{Align, Order};
use crate::map::{Map, Raw};
use crate::method::{Ask, Ensemble, Kind, Method, Perturbation};
use crate::model::{Image, Model};
use crate::target::{Aimed, Beside};
use crate::verdict::Verdict;

/// What stands for a layer where none is read.
const INPUT: &str = "input";

/// A method at a layer.
struct Asked {
    method: Method,
    name: String,
    layer: String,
    module: Option<String>,
    how: How,
}

impl Asked {
    /// Judges a map. Of a probability of 1 that is shared out, no more than rounding is nothing: where the two sides of a
    /// contrast cancel, `2⁻²³` bounds what is left in a cell.
    fn verdict(&self, values: &[f32], range: [f32; 2], rectified: bool) -> Verdict {
        let shares = matches!(&self.how, How::Formula(_, formula) if formula.is_excitation());
        if shares && range.iter().all(|v| v.abs() <= f32::EPSILON) {
            return Verdict::Blank;
        }
        Verdict::of(values, range, rectified)
    }
}

/// How a map comes about.
enum How {
    /// By a formula: the one of that index in the derived graph, or in a graph of its own where it is smoothed.
    Formula(Option<usize>, Formula),
    /// By the mean of a formula's maps over copies of the image.
    Ensemble(Ensemble, Formula),
    /// By perturbing the image or the layer.
    Perturbation(Perturbation, Option<ValueId>),
}

/// A question, made ready for a model.
pub struct Explainer<'m> {
    model: Cow<'m, Model>,
    derived: Derived,
    ensembles: Ensembles,
    perturber: Option<Perturber>,
    given: Vec<usize>,
    targets: Vec<String>,
    beside: Vec<Beside>,
    asked: Vec<Asked>,
    align: Align,
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
        let mut asked = Vec::new();
        let (mut formulas, mut averaged, mut perturbations) = (Vec::new(), Vec::new(), Vec::new());
        for method in question.methods.iter().flat_map(Method::each) {
            let reads_layer = method.info().space.reads_layer();
            let places =
                if reads_layer { layers(model, &method, &question.layers)? } else { vec![model.image()] };
            for place in places {
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
                asked.push(Asked { method: method.clone(), name, layer, module, how });
            }
        }
        let derived = Derived::new(model, engine, Classes { top, given: given.len() }, &formulas)?;
        let ensembles = Ensembles::new(model, engine, targets.len(), averaged.into_iter())?;
        let perturber = match perturbations.as_slice() {
            [] => None,
            perturbations => Some(Perturber::new(model, engine, targets.len(), perturbations)?),
        };
        let Question { align, batch, .. } = *question;
        let model = aimed;
        Ok(Explainer { model, derived, ensembles, perturber, given, targets, beside, asked, align, batch })
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
                self.asked.iter().map(|asked| [&asked.name, &asked.layer, target].map(String::as_str)),
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
    /// batch; one where a method fills its runs with copies of a single image.
    pub fn batch(&self) -> usize {
        let fills =
            |asked: &Asked| asked.method.is_smoothed() || !matches!(asked.how, How::Formula(Some(_), _));
        if self.asked.iter().any(fills) { 1 } else { self.model.input().batch.unwrap_or(self.batch).max(1) }
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
            let values: Vec<_> = images.iter().map(|image| self.values(image)).collect();
            let sound: Vec<&[f32]> = values.iter().flatten().map(Vec::as_slice).collect();
            let mut said = self.said(&feed, &sound).into_iter();
            for values in values {
                answers.push(values.and_then(|values| {
                    let (said, time) = said.next().unwrap_or_else(|| Err(no_answer()))?;
                    self.explained(&feed, &values, &said, time, progress)
                }));
            }
        }
        answers
    }

    /// The values of an image, all of them finite.
    fn values(&self, image: &Image) -> Result<Vec<f32>> {
        let values = image.tensor.to_f32s();
        let shape = self.model.input().shape();
        if values.len() != shape.iter().product::<usize>() {
            let what = format!("an image {:?} is not the model's {shape:?}", image.tensor);
            return Err(Error::ask(what, "check how the tensor was prepared"));
        }
        if image.tensor.dtype().is_float() && values.iter().any(|v| !v.is_finite()) {
            // Engines differ in what a ReLU makes of NaN, so a map would look sound.
            return Err(Error::ask("the input holds NaN or infinity", "check how the tensor was prepared"));
        }
        Ok(values)
    }

    /// What the derived graph says to images in one run, and each one's share of the time; to each of them alone when that
    /// fails, so that it fails for those alone whose fault it is.
    fn said(&self, feed: &Feed<'_>, images: &[&[f32]]) -> Vec<Result<(Said, Duration)>> {
        if images.is_empty() {
            return Vec::new();
        }
        let before = feed.spent();
        match self.derived.run(feed, &self.model, &images.concat(), &self.given) {
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
        image: &[f32],
        said: &Said,
        time: Duration,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Explanation> {
        let before = feed.spent();
        let asking = Asking { model: &self.model, feed, image, classes: &said.classes, align: self.align };
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

    /// Scores and maps in words.
    fn answer(&self, said: &Said, maps: &[Vec<Raw>], time: Duration) -> Result<Explanation> {
        let score = self.model.scored()?;
        let classes = score.classes.min(said.scores.len());
        let scores = &said.scores[..classes];
        let probabilities = probabilities(scores, score);
        let prediction = |class: usize| Prediction {
            class,
            label: self.model.label(class),
            score: scores.get(class).copied().unwrap_or(f32::NAN),
            probability: probabilities.get(class).copied().unwrap_or(f32::NAN),
        };
        let mut answer = Explanation { top: top(scores).map(prediction).collect(), maps: Vec::new(), time };
        for (k, (target, &class)) in self.targets.iter().zip(&said.classes).enumerate() {
            let column = class;
            let (label, class, probability, kind) = match column.checked_sub(classes) {
                None => {
                    let Prediction { class, label, probability, .. } = prediction(column);
                    (label, Some(class), Some(probability), score.kind.name())
                }
                Some(index) => {
                    let about = self.beside.get(index).ok_or_else(no_answer)?;
                    (about.label.clone(), about.class, None, about.kind)
                }
            };
            let score = said.scores.get(column).copied().unwrap_or(f32::NAN);
            if column >= classes && score == 0.0 && self.beside[column - classes].own_region {
                return Err(Error::ask(
                    format!("{target}: no cell of the image has {label:?} for its likeliest class"),
                    "give a mask, as in segment:CLASS@FILE, or another class",
                ));
            }
            for (asked, raw) in
                self.asked.iter().zip(maps).filter_map(|(asked, maps)| Some((asked, maps.get(k)?)))
            {
                let Raw { values, shape, range, rectified } = raw.clone();
                answer.maps.push(Map {
                    method: asked.name.clone(),
                    layer: asked.layer.clone(),
                    module: asked.module.clone(),
                    target: target.clone(),
                    class,
                    label: label.clone(),
                    score,
                    probability,
                    score_kind: kind,
                    shape,
                    min: extremes(&values)[0],
                    max: extremes(&values)[1],
                    sum: values.iter().map(|&v| f64::from(v)).sum(),
                    pre_relu_min: range[0],
                    pre_relu_max: range[1],
                    verdict: asked.verdict(&values, range, rectified),
                    notes: self.notes(asked),
                    legend: match asked.how {
                        How::Formula(..) | How::Ensemble(..) => None,
                        How::Perturbation(perturbation, _) => perturbation.legend,
                    },
                    resize: self.align.name(),
                    values,
                    column,
                    channel_order: self.model.prep().map_or(Order::Rgb, |(prep, _)| prep.order),
                    input_size: [self.model.input().height, self.model.input().width],
                    align: self.align,
                });
            }
        }
        Ok(answer)
    }

    /// What recomputes windows alone for a method, where anything does.
    fn windows(&self, asked: &Asked) -> Option<&Windows> {
        self.perturber.as_ref()?.windows(&asked.method.to_string())
    }

    fn notes(&self, asked: &Asked) -> Vec<&'static str> {
        let mut notes = Vec::new();
        if self.model.is_quantised() {
            notes.push("quantised");
        }
        match self.windows(asked).and_then(Windows::chosen) {
            Some(true) => notes.push("run-by-windows"),
            Some(false) => notes.push("run-by-whole-images"),
            None => {}
        }
        if let How::Formula(index, formula) = asked.how
            && formula.changes_relu()
        {
            let ruled = match index {
                Some(index) => self.derived.ruled.get(index),
                None => self.ensembles.graph(&formula).and_then(|graph| graph.ruled.first()),
            };
            let ruled = ruled.copied().unwrap_or_default();
            match (ruled.acted, ruled.passed) {
                (0, _) => notes.push("rule-had-no-effect"),
                (_, 0) => {}
                _ => notes.push("rule-partly-applied"),
            }
        }
        notes
    }
}

fn no_answer() -> Error {
    Error::ask("the engine returned nothing for an image", "please report this")
}

/// The least and the greatest of some numbers.
fn extremes(values: &[f32]) -> [f32; 2] {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    [least, values.iter().copied().fold(f32::NEG_INFINITY, f32::max)]
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

/// The layers that a method reads.
fn layers(model: &Model, method: &Method, layers: &Layers) -> Result<Vec<ValueId>> {
    let (graph, image, score) = (model.graph(), model.image(), model.scored()?);
    Ok(match layers {
        Layers::Auto => vec![method.automatic_layer(graph, image, score)?],
        Layers::All => layer::sweep(graph, image, score),
        Layers::Named(names) => {
            let mut found = Vec::new();
            for name in names {
                let values = match name.as_str() {
                    "auto" => vec![method.automatic_layer(graph, image, score)?],
                    "all" => layer::sweep(graph, image, score),
                    name if name.contains('*') && graph.find(name).is_none() => {
                        layer::matching(graph, image, score, name)?
                    }
                    name => vec![layer::find(graph, name)?],
                };
                for value in values {
                    if !found.contains(&value) {
                        found.push(value);
                    }
                }
            }
            found
        }
    })
}

impl From<Align> for Coordinates {
    fn from(align: Align) -> Coordinates {
        match align {
            Align::HalfPixel => Coordinates::HalfPixel,
            Align::Corners => Coordinates::AlignCorners,
        }
    }
}
