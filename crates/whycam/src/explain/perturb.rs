//! Perturbations: an image's copies are run in batches, and their scores become a map.

use whycam_graph::derive::Classes;
use whycam_graph::{Engine, ValueId};

use super::asking::Asking;
use super::derived::{Derived, Said};
use super::layers::ReadLayer;
use super::scores::probabilities;
use super::windows::Windows;
use crate::error::Result;
use crate::map::Raw;
use crate::method::Method;
use crate::method::perturbation::{On, Perturbation, Planes, Scene, Scored};
use crate::model::Model;

/// The programs that score copies.
pub(super) struct Perturber {
    scores: Derived,
    layers: Vec<ReadLayer>,
    /// For methods whose copies differ from the image in a patch, by name.
    windows: Vec<(String, Windows)>,
}

impl Perturber {
    /// Programs for perturbations of the image, and of layers.
    pub fn new(
        model: &Model,
        engine: &dyn Engine,
        classes: usize,
        asked: &[(Method, Perturbation, Option<ValueId>)],
    ) -> Result<Perturber> {
        let classes = Classes { top: 0, given: classes };
        let mut layers: Vec<ReadLayer> = Vec::new();
        for (_, _, layer) in asked {
            let Some(value) = layer.filter(|value| !layers.iter().any(|l| l.value == *value)) else {
                continue;
            };
            let above = asked.iter().any(|(_, p, l)| p.on == On::Channels && *l == Some(value));
            layers.push(ReadLayer::new(model, engine, value, above.then_some(classes))?);
        }
        let mut windows = Vec::new();
        let image = [model.input().height, model.input().width];
        for (method, perturbation, _) in asked {
            if let Some(patches) = (perturbation.patches)(method, image)
                // An engine that does not take the windows' graphs may take the whole one.
                && let Ok(Some(made)) = Windows::new(model, engine, classes.given, &patches)
            {
                windows.push((method.to_string(), made));
            }
        }
        Ok(Perturber { scores: Derived::new(model, engine, classes, &[])?, layers, windows })
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
        let said = |copies: Vec<Vec<f32>>| -> Result<Vec<Said>> {
            match above {
                Some((layer, activation)) => layer.scores(asking, activation, &copies.concat()),
                None => {
                    let images: Vec<f32> = copies.into_iter().flat_map(|c| asking.laid_out(c)).collect();
                    self.scores.run(feed, model, &images, classes)
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
        let scores: Vec<Vec<f32>> =
            match windows.and_then(|w| w.said(asking, copies.as_ref(), &mut images, progress)) {
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
