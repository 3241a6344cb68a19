//! The answer: scores and maps in words.

use std::time::Duration;

use super::Explanation;
use super::asked::{Asked, How, Shown};
use super::derived::Said;
use super::explainer::{Explainer, no_answer};
use super::fuse::{Fused, Part, fused};
use super::scores::{Prediction, probabilities, top};
use super::windows::Windows;
use crate::error::{Error, Result};
use crate::image::Order;
use crate::map::{Map, Raw, extremes};
use crate::note::{Note, Share};
use crate::verdict::Verdict;

impl Explainer<'_> {
    /// Scores and maps in words.
    pub(super) fn answer(&self, said: &Said, maps: &[Vec<Raw>], time: Duration) -> Result<Explanation> {
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
            let raws = |shown: &Shown| -> Option<Vec<&Raw>> {
                shown.of.iter().map(|&i| maps.get(i)?.get(k)).collect()
            };
            for (shown, raws) in self.shown.iter().filter_map(|shown| Some((shown, raws(shown)?))) {
                let (asked, fused) = (&self.asked[shown.of[0]], self.fused(shown, &raws)?);
                let (Raw { values, shape, range, .. }, verdict, fused) = match fused {
                    None => (raws[0].clone(), asked.verdict(raws[0]), None),
                    Some((raw, of)) => (raw.clone(), Verdict::of(&raw.values, raw.range, false), Some(of)),
                };
                let mut notes: Vec<Note> = Vec::new();
                for note in shown.of.iter().flat_map(|&index| self.notes(&self.asked[index])) {
                    if !notes.iter().any(|n| n.code() == note.code()) {
                        notes.push(note);
                    }
                }
                notes.extend(fused.as_ref().and_then(Note::of_fused));
                let single = fused.is_none();
                let [min, max] = extremes(&values);
                answer.maps.push(Map {
                    method: asked.name.clone(),
                    layer: shown.layer.clone(),
                    module: asked.module.clone().filter(|_| single),
                    receptive_field: asked.sees.filter(|_| single),
                    fused,
                    target: target.clone(),
                    class,
                    label: label.clone(),
                    score,
                    probability,
                    score_kind: kind,
                    min,
                    max,
                    sum: values.iter().map(|&v| f64::from(v)).sum(),
                    pre_relu_min: range[0],
                    pre_relu_max: range[1],
                    verdict,
                    relu_rule: self.relu_rule(asked).filter(|_| single),
                    notes,
                    legend: asked.legend().filter(|_| single),
                    resize: self.align.name(),
                    shape,
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

    /// The maps of several layers as one, and what it is made of; `None` for a single one.
    fn fused(&self, shown: &Shown, raws: &[&Raw]) -> Result<Option<(Raw, Fused)>> {
        let Some(how) = self.fuse.filter(|_| raws.len() > 1) else { return Ok(None) };
        let part = |(&index, raw): (&usize, &&Raw)| {
            let asked = &self.asked[index];
            let (layer, module) = (asked.layer.clone(), asked.module.clone());
            Part { layer, module, shape: raw.shape.clone(), verdict: asked.verdict(raw) }
        };
        let layers = shown.of.iter().zip(raws).map(part).collect();
        Ok(Some((fused(how, raws, self.align)?, Fused { how, layers })))
    }

    /// What is worth knowing about the maps of a method at a layer, whatever the image.
    fn notes(&self, asked: &Asked) -> Vec<Note> {
        let mut notes = Vec::new();
        if self.model.is_quantised() {
            notes.push(Note::Quantised);
        }
        notes.extend(self.windows(asked).and_then(Windows::chosen).map(|windows| match windows {
            true => Note::RunByWindows,
            false => Note::RunByWholeImages,
        }));
        notes.extend(self.relu_rule(asked).and_then(Note::of_rule));
        notes.extend(asked.bypassed.then_some(Note::LayerIsBypassed));
        notes
    }

    /// At how many of the activations on the way the ReLU rule of a method acts, where it has one.
    fn relu_rule(&self, asked: &Asked) -> Option<Share> {
        let How::Formula(index, formula) = asked.how else { return None };
        if !formula.changes_relu() {
            return None;
        }
        let ruled = match index {
            Some(index) => self.derived.ruled.get(index),
            None => self.ensembles.graph(&formula).and_then(|graph| graph.ruled.first()),
        };
        Some(ruled.copied().unwrap_or_default().into())
    }
}
