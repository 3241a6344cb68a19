//! A question made ready for a model: one derived graph, loaded once and run on images.

use std::time::{Duration, Instant};

use whycam_engine::load;
use whycam_graph::derive::{Classes, Formula, Ruled, TARGET, derive};
use whycam_graph::layer;
use whycam_graph::op::Coordinates;
use whycam_graph::{Engine, Program, Tensor, ValueId};

use super::scores::{Prediction, probabilities, top};
use super::{Explanation, Layers, Question};
use crate::error::{Error, Result};
use crate::image::{Align, Order, OverlayStyle};
use crate::map::{Map, channels_first};
use crate::method::{Ask, Method};
use crate::model::{Image, Model};
use crate::target::Target;
use crate::verdict::Verdict;

/// What stands for a layer where none is read.
const INPUT: &str = "input";

/// A method at a layer.
struct Asked {
    method: Method,
    layer: String,
    formula: Formula,
    ruled: Ruled,
}

/// A question, made ready for a model.
pub struct Explainer<'m> {
    model: &'m Model,
    program: Box<dyn Program>,
    given: Vec<usize>,
    targets: Vec<String>,
    asked: Vec<Asked>,
    align: Align,
}

impl<'m> Explainer<'m> {
    /// Derives the graph that answers the question, and loads it.
    ///
    /// # Errors
    /// When a layer, class or output does not exist, a node on the way cannot be differentiated, or
    /// the engine does not take the graph.
    pub fn new(model: &'m Model, engine: &dyn Engine, question: &Question) -> Result<Explainer<'m>> {
        let (graph, score) = (model.graph(), model.score());
        let top =
            question.targets.iter().map(|t| if let Target::Top(k) = t { *k } else { 0 }).max().unwrap_or(0);
        let mut given = Vec::new();
        let mut targets: Vec<String> = match top {
            1 => vec![Target::TOP1.to_string()],
            top => (1..=top).map(|rank| format!("top{rank}")).collect(),
        };
        for target in &question.targets {
            if let Some(index) = target.index(score.classes, model.labels())?
                && !given.contains(&index)
            {
                given.push(index);
                targets.push(target.to_string());
            }
        }
        let mut asked = Vec::new();
        let layers = self::layers(model, question)?;
        for method in &question.methods {
            let places: &[ValueId] =
                if method.info().space.reads_layer() { &layers } else { &[model.image()] };
            for &place in places {
                let ask = Ask { image: model.image(), layer: place, enlarge: coordinates(question.align) };
                let layer = if place == model.image() { INPUT } else { &graph.value(place).name };
                let Some(formula) = method.formula(&ask) else { continue };
                asked.push(Asked {
                    method: method.clone(),
                    layer: layer.to_owned(),
                    formula,
                    ruled: Ruled::default(),
                });
            }
        }
        let classes = Classes { top, given: given.len() };
        let formulas: Vec<Formula> = asked.iter().map(|a| a.formula).collect();
        let derived = derive(graph, model.image(), score, classes, &formulas)?;
        let program = load(engine, &derived.graph)?;
        for (asked, ruled) in asked.iter_mut().zip(derived.ruled) {
            asked.ruled = ruled;
        }
        Ok(Explainer { model, program, given, targets, asked, align: question.align })
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

    /// Explains one image; `further` are the model's other inputs.
    ///
    /// # Errors
    /// When an input is missing or does not fit, or the engine fails.
    pub fn explain(&self, image: &Image, further: &[(String, Tensor)]) -> Result<Explanation> {
        let model = self.model;
        if image.tensor.dtype().is_float() && image.tensor.to_f32s().iter().any(|v| !v.is_finite()) {
            // Engines differ in what a ReLU makes of NaN, so a map would look sound.
            return Err(Error::ask("the input holds NaN or infinity", "check how the tensor was prepared"));
        }
        let batch = model.input().batch.unwrap_or(1).max(1);
        let mut shape = image.tensor.shape().to_vec();
        shape[0] = batch;
        let tensor = Tensor::new(image.tensor.dtype(), shape, image.tensor.data().repeat(batch))?;
        let classes: Vec<i64> = self.given.iter().map(|&c| c as i64).collect();
        let target = Tensor::i64(&[batch, classes.len()], &classes.repeat(batch))?;
        let mut inputs = vec![(model.graph().value(model.image()).name.as_str(), tensor)];
        if !classes.is_empty() {
            inputs.push((TARGET, target));
        }
        for &id in model.graph().inputs().iter().filter(|&&id| id != model.image()) {
            let name = model.graph().value(id).name.as_str();
            let (_, tensor) = further.iter().find(|(n, _)| n == name).ok_or_else(|| {
                Error::ask(
                    format!("the model has a further input {name:?}, which is not given"),
                    format!("give --input {name}=FILE.npy"),
                )
            })?;
            inputs.push((name, tensor.clone()));
        }
        let start = Instant::now();
        let outputs = self.program.run(&inputs)?;
        let time = start.elapsed();
        self.answer(&outputs, batch, time)
    }

    /// The first row of every output, in words.
    fn answer(&self, outputs: &[Tensor], batch: usize, time: Duration) -> Result<Explanation> {
        let first = |tensor: &Tensor| -> (Vec<f32>, Vec<usize>) {
            let values = tensor.to_f32s();
            let size = values.len() / batch.max(1);
            (values.into_iter().take(size).collect(), tensor.shape()[1..].to_vec())
        };
        let [scores, classes, maps @ ..] = outputs else {
            return Err(Error::ask("the engine returned no scores", "please report this"));
        };
        let (scores, _) = first(scores);
        let kind = self.model.score().kind;
        let probabilities = probabilities(&scores, kind);
        let count = self.targets.len();
        let classes: Vec<usize> = first(classes).0.iter().map(|&c| c as usize).collect();
        let prediction = |class: usize| Prediction {
            class,
            label: self.model.label(class),
            score: scores.get(class).copied().unwrap_or(f32::NAN),
            probability: probabilities.get(class).copied().unwrap_or(f32::NAN),
        };
        let mut answer = Explanation { top: top(&scores).map(prediction).collect(), maps: Vec::new(), time };
        let read: Vec<_> = maps.chunks_exact(2).map(|pair| (first(&pair[0]), first(&pair[1]).0)).collect();
        for (k, target) in self.targets.iter().enumerate() {
            for (asked, ((values, shape), range)) in self.asked.iter().zip(&read) {
                let size = values.len() / count;
                let values = values[k * size..(k + 1) * size].to_vec();
                let (values, shape) = channels_first(values, &shape[1..], self.model.input().layout);
                let about = prediction(classes.get(k).copied().unwrap_or_default());
                let (values, shape, range) = match asked.method.finish() {
                    Some(finish) => {
                        let (values, shape) = finish(&asked.method, &values, &shape);
                        let range = extremes(&values);
                        (values, shape, range)
                    }
                    None => (values, shape, [range[2 * k], range[2 * k + 1]]),
                };
                answer.maps.push(Map {
                    method: asked.method.to_string(),
                    layer: asked.layer.clone(),
                    target: target.clone(),
                    class: about.class,
                    label: about.label,
                    score: about.score,
                    probability: about.probability,
                    score_kind: kind.name(),
                    shape,
                    min: extremes(&values)[0],
                    max: extremes(&values)[1],
                    sum: values.iter().map(|&v| f64::from(v)).sum(),
                    pre_relu_min: range[0],
                    pre_relu_max: range[1],
                    verdict: Verdict::of(&values, range, asked.formula.is_rectified()),
                    notes: self.notes(asked),
                    resize: self.align.name(),
                    values,
                    channel_order: self.model.prep().map_or(Order::Rgb, |(prep, _)| prep.order),
                    input_size: [self.model.input().height, self.model.input().width],
                    style: OverlayStyle { align: self.align, ..OverlayStyle::default() },
                });
            }
        }
        Ok(answer)
    }

    fn notes(&self, asked: &Asked) -> Vec<&'static str> {
        let mut notes = Vec::new();
        if self.model.is_quantised() {
            notes.push("quantised");
        }
        if asked.formula.changes_relu() {
            match (asked.ruled.acted, asked.ruled.passed) {
                (0, _) => notes.push("rule-had-no-effect"),
                (_, 0) => {}
                _ => notes.push("rule-partly-applied"),
            }
        }
        notes
    }
}

/// The least and the greatest of some numbers.
fn extremes(values: &[f32]) -> [f32; 2] {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    [least, values.iter().copied().fold(f32::NEG_INFINITY, f32::max)]
}

fn layers(model: &Model, question: &Question) -> Result<Vec<ValueId>> {
    if !question.methods.iter().any(|m| m.info().space.reads_layer()) {
        return Ok(Vec::new());
    }
    let (graph, image, score) = (model.graph(), model.image(), model.score());
    Ok(match &question.layers {
        Layers::Auto => vec![layer::automatic(graph, image, score)?],
        Layers::All => layer::layers(graph, image, score).into_iter().map(|l| l.value).collect(),
        Layers::Named(names) => {
            let mut found = Vec::new();
            for name in names {
                let value = match name.as_str() {
                    "auto" => layer::automatic(graph, image, score)?,
                    name => layer::find(graph, name)?,
                };
                if !found.contains(&value) {
                    found.push(value);
                }
            }
            found
        }
    })
}

fn coordinates(align: Align) -> Coordinates {
    match align {
        Align::HalfPixel => Coordinates::HalfPixel,
        Align::Corners => Coordinates::AlignCorners,
    }
}
