//! Ablation-CAM: the channels of a layer, each weighed by how far the score falls without it.
//!
//! `wₖ = (yᶜ − yᶜₖ) / yᶜ`, `yᶜₖ` the score with channel `k` of the layer set to 0; `L = ReLU(Σₖ wₖ·Aₖ)` (Desai &
//! Ramaswamy 2020, WACV, eq. 2 and 3). Only the part of the network above the layer is run again.
//!
//! ```no_run
#![doc = include_str!("../../examples/ablation_cam.rs")]
//! ```

use super::perturbation::{Copies, On, Perturbation, Planes, Scored, weighted};
use super::{Kind, MethodInfo, Space};
use crate::error::{Error, Result};
use crate::map::Raw;

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "ablation-cam",
    about: "the regions of a layer, weighed by how far the score falls without them",
    paper: "Desai & Ramaswamy 2020, WACV",
    needs: "a forward pass above the layer for every channel",
    space: Space::Layer,
    options: &[],
    kind: Kind::Perturbation(Perturbation {
        on: On::Channels,
        legend: None,
        scored: |_| Scored::Logit,
        patches: |_, _| None,
        copies: |_, scene| {
            let Planes { values, height, width } = scene.layer.unwrap_or(scene.value);
            Ok(Box::new(Ablated { layer: values.to_vec(), grid: [height, width] }))
        },
    }),
};

struct Ablated {
    layer: Vec<f32>,
    grid: [usize; 2],
}

impl Ablated {
    fn planes(&self) -> Planes<'_> {
        Planes { values: &self.layer, height: self.grid[0], width: self.grid[1] }
    }
}

impl Copies for Ablated {
    fn count(&self) -> usize {
        self.planes().channels().len()
    }

    fn take_away(&self, index: usize, value: &mut [f32]) -> Result<()> {
        value[index] = 0.0;
        Ok(())
    }

    fn map(&self, whole: f32, scores: &[f32]) -> Result<Raw> {
        if whole == 0.0 {
            return Err(Error::ask(
                "the score is 0, by which Ablation-CAM divides",
                "ask for another target or method",
            ));
        }
        let whole = f64::from(whole);
        Ok(weighted(self.planes(), scores.iter().map(|&score| (whole - f64::from(score)) / whole)))
    }
}
