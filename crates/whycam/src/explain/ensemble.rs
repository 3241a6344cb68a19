//! Ensembles: a derived graph is run on changed copies of an image, in batches, and its maps are averaged.

use whycam_graph::Engine;
use whycam_graph::derive::{Classes, Formula};

use super::asking::Asking;
use super::derived::Derived;
use crate::error::Result;
use crate::map::Raw;
use crate::method::perturbation::Scene;
use crate::method::{Ensemble, Method};
use crate::model::Model;

/// The derived graphs of ensembles, one for each formula.
pub(super) struct Ensembles(Vec<(Formula, Derived)>);

impl Ensembles {
    pub fn new(
        model: &Model,
        engine: &dyn Engine,
        classes: usize,
        formulas: impl Iterator<Item = Formula>,
    ) -> Result<Ensembles> {
        let classes = Classes { top: 0, given: classes };
        let mut graphs: Vec<(Formula, Derived)> = Vec::new();
        for formula in formulas {
            if !graphs.iter().any(|(f, _)| *f == formula) {
                graphs.push((formula, Derived::new(model, engine, classes, &[formula])?));
            }
        }
        Ok(Ensembles(graphs))
    }

    /// The graph of a formula.
    pub fn graph(&self, formula: &Formula) -> Option<&Derived> {
        self.0.iter().find(|(f, _)| f == formula).map(|(_, graph)| graph)
    }

    /// The maps of a method for every class asked.
    pub fn maps(
        &self,
        asking: &Asking<'_>,
        method: &Method,
        (ensemble, formula): (&Ensemble, &Formula),
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Raw>> {
        let Some(graph) = self.graph(formula) else { return Ok(Vec::new()) };
        let (planar, batch) = (asking.planar(), asking.feed.batch());
        let colour = |rgb| asking.colour(rgb);
        let value = asking.planes(&planar);
        let samples =
            (ensemble.samples)(method, &Scene { value, layer: None, colour: &colour, align: asking.align })?;
        let mut means: Vec<Mean> = Vec::new();
        for start in (0..samples.count).step_by(batch) {
            let end = samples.count.min(start + batch);
            let mut images = Vec::new();
            for index in start..end {
                let mut copy = planar.clone();
                (samples.change)(index, &mut copy);
                images.extend(asking.laid_out(copy));
            }
            for said in graph.run(asking.feed, asking.model, &images, asking.classes)? {
                let maps = said.maps.into_iter().flatten();
                for (k, mut map) in maps.enumerate() {
                    if samples.squared {
                        map.values.iter_mut().for_each(|value| *value *= *value);
                    }
                    Mean::add(&mut means, k, map);
                }
            }
            progress(end, samples.count);
        }
        let finish = |mean: Mean| {
            let Raw { mut values, shape, .. } = mean.finish();
            for (value, factor) in values.iter_mut().zip(samples.factor.iter().flatten()) {
                *value *= factor;
            }
            Raw::of(values, shape)
        };
        Ok(means.into_iter().map(finish).collect())
    }
}

/// The mean of maps that come one by one.
pub(super) struct Mean {
    sum: Vec<f64>,
    count: usize,
    /// The last map, with the range of all.
    of: Raw,
}

impl Mean {
    /// Adds a map to the `index`-th mean.
    pub fn add(means: &mut Vec<Mean>, index: usize, map: Raw) {
        match means.get_mut(index) {
            Some(mean) => {
                for (sum, &value) in mean.sum.iter_mut().zip(&map.values) {
                    *sum += f64::from(value);
                }
                let [low, high] = mean.of.range;
                // NaN stays.
                mean.of.range = [
                    if map.range[0] >= low { low } else { map.range[0] },
                    if map.range[1] <= high { high } else { map.range[1] },
                ];
                mean.count += 1;
            }
            None => means.push(Mean {
                sum: map.values.iter().map(|&v| f64::from(v)).collect(),
                count: 1,
                of: map,
            }),
        }
    }

    pub fn finish(self) -> Raw {
        let values = self.sum.iter().map(|sum| (sum / self.count as f64) as f32).collect();
        Raw { values, ..self.of }
    }
}
