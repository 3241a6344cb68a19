//! Perturbations: an image's copies are run in batches, and their scores become a map.

use std::sync::Arc;

use whycam_graph::derive::{Classes, derive};
use whycam_graph::{Engine, ValueId, pass};

use super::asking::Asking;
use super::derived::{Derived, Said};
use super::feed::Loaded;
use super::layers::ReadLayer;
use super::scores::probabilities;
use super::windows::{Halves, Windows};
use crate::error::{Error, Result};
use crate::map::Raw;
use crate::method::Method;
use crate::method::perturbation::{On, Perturbation, Planes, Scene, Scored};
use crate::model::Model;

/// The programs that score copies.
pub(super) struct Perturber {
    scores: Arc<Derived>,
    /// How many classes the scores' program is told.
    given: usize,
    layers: Vec<ReadLayer>,
    /// For methods whose copies differ from the image in a patch, by name.
    windows: Vec<(String, Windows)>,
}

impl Perturber {
    /// Programs for perturbations of the image, and of layers.
    pub fn new(
        model: &Model,
        engine: &dyn Engine,
        classes: Classes,
        asked: &[(Method, Perturbation, Option<ValueId>)],
    ) -> Result<Perturber> {
        let all = Classes { top: 0, given: classes.top + classes.given };
        let mut layers: Vec<ReadLayer> = Vec::new();
        for (_, _, layer) in asked {
            let Some(value) = layer.filter(|value| !layers.iter().any(|l| l.value == *value)) else {
                continue;
            };
            let above = asked.iter().any(|(_, p, l)| p.on == On::Channels && *l == Some(value));
            layers.push(ReadLayer::new(model, engine, value, above.then_some(all))?);
        }
        let derived = derive(model.graph(), model.image(), model.scored()?, classes, &[])?;
        let graph = pass::lower(&derived.graph, engine.name())?;
        let mut halves = Halves::default();
        let mut windows = Vec::new();
        let image = [model.input().height, model.input().width];
        for (method, perturbation, _) in asked {
            let Some(patches) = (perturbation.patches)(method, image) else { continue };
            match Windows::new(model, engine, &graph, &patches, &mut halves) {
                Ok(Some(made)) => windows.push((method.to_string(), made)),
                Ok(None) if patches.forced => {
                    return Err(Error::ask(
                        format!("{method}: the network has no windows that save anything"),
                        "leave out by=windows",
                    ));
                }
                Err(error) if patches.forced => return Err(error),
                // An engine that does not take the windows' graphs may take the whole one.
                _ => (),
            }
        }
        let scores = match halves.into_first() {
            Some(halves) => halves,
            None => Arc::new(Derived::of_scores(Loaded::for_many(engine, &graph)?)),
        };
        Ok(Perturber { scores, given: classes.given, layers, windows })
    }

    /// The program that scores images.
    pub fn scores(&self) -> Arc<Derived> {
        self.scores.clone()
    }

    /// How the copies of a method are run, once that is settled.
    pub fn windows(&self, method: &str) -> Option<&Windows> {
        self.windows.iter().find(|(name, _)| name == method).map(|(_, windows)| windows)
    }

    /// The maps of a method for every class asked.
    pub fn maps(
        &self,
        asking: &Asking<'_>,
        method: &Method,
        perturbation: &Perturbation,
        layer: Option<ValueId>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Raw>> {
        let &Asking { model, feed, classes, align, .. } = asking;
        let layer = layer.and_then(|value| self.layers.iter().find(|l| l.value == value));
        let layer = match layer {
            Some(layer) => Some((layer, layer.activation(asking)?)),
            None => None,
        };
        let shown = layer.as_ref().map(|(_, activation)| activation.planes());
        let above = layer.as_ref().filter(|_| perturbation.on == On::Channels);
        let value = above.map_or_else(|| asking.planar(), |(layer, _)| layer.factors());
        let planes = match above {
            Some(_) => Planes { values: &value, height: 1, width: 1 },
            None => asking.planes(&value),
        };
        let colour = |rgb| asking.colour(rgb);
        let scene = Scene { value: planes, layer: shown, colour: &colour, align };
        let copies = (perturbation.copies)(method, &scene)?;
        let scored = (perturbation.scored)(method);

        let of_classes = |said: &Said| -> Vec<f32> {
            let scores = match scored {
                Scored::Logit => said.scores.clone(),
                Scored::Probability => {
                    model.score().map_or_else(Vec::new, |s| probabilities(&said.scores, s))
                }
            };
            classes.iter().map(|&class| scores.get(class).copied().unwrap_or(f32::NAN)).collect()
        };
        let told = Asking { classes: &classes[classes.len().saturating_sub(self.given)..], ..*asking };
        let said = |copies: Vec<Vec<f32>>| -> Result<Vec<Said>> {
            match above {
                Some((layer, activation)) => layer.scores(asking, activation, &copies.concat()),
                None => {
                    let images: Vec<f32> = copies.into_iter().flat_map(|c| asking.laid_out(c)).collect();
                    self.scores.run(feed, model, &images, told.classes)
                }
            }
        };
        let copy = |index: usize| -> Result<Vec<f32>> {
            let mut copy = value.clone();
            copies.take_away(index, &mut copy)?;
            Ok(copy)
        };
        let mut images = |places: &[usize]| said(places.iter().map(|&at| copy(at)).collect::<Result<_>>()?);
        let count = copies.count();
        let windows = self.windows(&method.to_string());
        let by_windows = match windows {
            Some(windows) => windows.said(&told, copies.as_ref(), &mut images, progress)?,
            None => None,
        };
        let scores: Vec<Vec<f32>> = match by_windows {
            Some(said) => said.iter().map(of_classes).collect(),
            None => {
                let mut scores = Vec::with_capacity(count);
                for start in (0..count).step_by(feed.batch()) {
                    let places: Vec<usize> = (start..count.min(start + feed.batch())).collect();
                    scores.extend(images(&places)?.iter().map(of_classes));
                    progress(scores.len(), count);
                }
                scores
            }
        };
        let whole = said(vec![value.clone()])?.first().map(of_classes).unwrap_or_default();
        let map = |(k, &whole): (usize, &f32)| {
            let of_class: Vec<f32> = scores.iter().filter_map(|s| s.get(k).copied()).collect();
            copies.map(whole, &of_class)
        };
        whole.iter().enumerate().map(map).collect()
    }
}
