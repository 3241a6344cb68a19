//! Score-CAM: the channels of a layer, each weighed by how the image scores where the channel is active.
//!
//! `Hₖ = s(Up(Aₖ))`, `Up` the bilinear enlargement to the image and `s` the scaling to 0…1; `αₖ = softmaxₖ yᶜ(X ∘ Hₖ)`;
//! `L = ReLU(Σₖ αₖ·Aₖ)` (Wang et al. 2020, arXiv 1910.01279, eq. 5 and 6 and algorithm 1, in whose softmax the baseline
//! score cancels). A channel with one value everywhere hides all of the image.
//!
//! ```no_run
#![doc = include_str!("../../examples/score_cam.rs")]
//! ```

use super::perturbation::{Copies, On, Perturbation, Planes, Scene, Scored, weighted};
use super::{Kind, MethodInfo, Space};
use crate::error::Result;
use crate::image::{Align, Field, resample};
use crate::map::Raw;

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "score-cam",
    about: "the regions of a layer, weighed by the score of the image seen through them",
    paper: "Wang et al. 2020, arXiv 1910.01279",
    needs: "a forward pass for every channel",
    space: Space::Layer,
    options: &[],
    kind: Kind::Perturbation(Perturbation {
        on: On::Image,
        legend: None,
        scored: |_| Scored::Logit,
        patches: |_, _| None,
        copies: |_, scene| Ok(Box::new(Channels::of(scene))),
    }),
};

struct Channels {
    layer: Vec<f32>,
    grid: [usize; 2],
    image: [usize; 2],
    align: Align,
}

impl Channels {
    fn of(scene: &Scene<'_>) -> Channels {
        let Planes { height, width, .. } = scene.value;
        let layer = scene.layer.unwrap_or(scene.value);
        Channels {
            layer: layer.values.to_vec(),
            grid: [layer.height, layer.width],
            image: [height, width],
            align: scene.align,
        }
    }

    fn planes(&self) -> Planes<'_> {
        Planes { values: &self.layer, height: self.grid[0], width: self.grid[1] }
    }

    /// `Hₖ`.
    fn mask(&self, index: usize) -> Result<Vec<f32>> {
        let [height, width] = self.image;
        let channel = self.planes().channels().nth(index).unwrap_or_default();
        let mut mask = resample(Field::new(channel, self.grid[0], self.grid[1])?, height, width, self.align)?;
        let least = mask.iter().copied().fold(f32::INFINITY, f32::min);
        let reach = mask.iter().copied().fold(f32::NEG_INFINITY, f32::max) - least;
        for value in &mut mask {
            *value = if reach > 0.0 { (*value - least) / reach } else { 0.0 };
        }
        Ok(mask)
    }
}

impl Copies for Channels {
    fn count(&self) -> usize {
        self.planes().channels().len()
    }

    fn take_away(&self, index: usize, value: &mut [f32]) -> Result<()> {
        let mask = self.mask(index)?;
        for channel in value.chunks_exact_mut(mask.len().max(1)) {
            for (value, mask) in channel.iter_mut().zip(&mask) {
                *value *= mask;
            }
        }
        Ok(())
    }

    fn map(&self, _: f32, scores: &[f32]) -> Result<Raw> {
        let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f64> = scores.iter().map(|score| f64::from(score - most).exp()).collect();
        let total: f64 = powers.iter().sum();
        Ok(weighted(self.planes(), powers.iter().map(|power| power / total)))
    }
}
