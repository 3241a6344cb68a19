//! RISE: what random parts of the image have in common when the class is still seen in them.
//!
//! `S(λ) = 1/(p·N) Σᵢ f(I ⊙ Mᵢ)·Mᵢ(λ)` over `N` random masks (Petsiuk, Das, Saenko 2018, arXiv 1806.07421, eq. 6), `f`
//! the class probability. A mask (§3.2) is a grid of `s×s` cells, each 1 with probability `p` and else 0, enlarged
//! bilinearly to `(s+1)·⌈H/s⌉ × (s+1)·⌈W/s⌉` and cropped to the image at a random place within one cell. Where a mask is
//! 0 the image is 0 of the prepared image, the mean colour.
//!
//! ```no_run
#![doc = include_str!("../../examples/rise.rs")]
//! ```

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::perturbation::{Copies, On, Perturbation, Planes, Scored};
use super::{Kind, MethodInfo, MethodOption, Space, Takes};
use crate::error::Result;
use crate::image::{Align, Field, resample};
use crate::map::Raw;

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "rise",
    about: "what random parts of the image show when the class is seen in them",
    paper: "Petsiuk et al. 2018, arXiv 1806.07421",
    needs: "many forward passes",
    space: Space::Pixels,
    options: &[
        MethodOption {
            name: "masks",
            takes: Takes::Whole { default: 4000, least: 1, most: 1_000_000 },
            about: "how many random masks; fewer are faster and noisier",
        },
        MethodOption {
            name: "cells",
            takes: Takes::Whole { default: 7, least: 1, most: 256 },
            about: "cells of a mask along a side of the image",
        },
        MethodOption {
            name: "keep",
            takes: Takes::Number { default: 0.5, least: 0.01, most: 1.0 },
            about: "probability that a cell shows the image",
        },
        MethodOption {
            name: "score",
            takes: Takes::Word(&["probability", "logit"]),
            about: "which score weighs a mask",
        },
        super::SEED,
    ],
    kind: Kind::Perturbation(Perturbation {
        on: On::Image,
        legend: None,
        scored: |chosen| match chosen.word("score") {
            "logit" => Scored::Logit,
            _ => Scored::Probability,
        },
        patches: |_, _| None,
        copies: |chosen, scene| {
            let Planes { height, width, .. } = scene.value;
            let masks = Masks {
                count: chosen.whole("masks"),
                cells: chosen.whole("cells").max(1),
                keep: chosen.number("keep"),
                seed: chosen.whole("seed") as u64,
                image: [height, width],
            };
            masks.mask(0)?;
            Ok(Box::new(masks))
        },
    }),
};

struct Masks {
    count: usize,
    cells: usize,
    keep: f64,
    seed: u64,
    image: [usize; 2],
}

impl Masks {
    /// The `index`-th mask, `[H,W]`. It depends on the seed and its index alone.
    fn mask(&self, index: usize) -> Result<Vec<f32>> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(index as u64);
        let draw = |_| if random.random_bool(self.keep) { 1.0 } else { 0.0 };
        let grid: Vec<f32> = (0..self.cells * self.cells).map(draw).collect();
        let cell = self.image.map(|side| side.div_ceil(self.cells));
        let [high, wide] = cell.map(|side| side * (self.cells + 1));
        let large = resample(Field::new(&grid, self.cells, self.cells)?, high, wide, Align::HalfPixel)?;
        let [down, right] = cell.map(|side| random.random_range(0..side));
        let [height, width] = self.image;
        let row = |y: usize| large[(y + down) * wide + right..].iter().take(width).copied();
        Ok((0..height).flat_map(row).collect())
    }
}

impl Copies for Masks {
    fn count(&self) -> usize {
        self.count
    }

    fn take_away(&self, index: usize, value: &mut [f32]) -> Result<()> {
        let mask = self.mask(index)?;
        for channel in value.chunks_exact_mut(mask.len()) {
            for (value, mask) in channel.iter_mut().zip(&mask) {
                *value *= mask;
            }
        }
        Ok(())
    }

    fn map(&self, _: f32, scores: &[f32]) -> Result<Raw> {
        let mut sum = vec![0.0; self.image.iter().product()];
        for (index, &score) in scores.iter().enumerate() {
            for (sum, mask) in sum.iter_mut().zip(self.mask(index)?) {
                *sum += f64::from(score) * f64::from(mask);
            }
        }
        let share = 1.0 / (self.keep * self.count as f64);
        Ok(Raw::of(sum.iter().map(|sum| (sum * share) as f32).collect(), self.image.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASKS: Masks = Masks { count: 300, cells: 4, keep: 0.3, seed: 5, image: [21, 30] };

    #[test]
    fn masks_are_bilinear_grids_that_keep_their_share() {
        let mut total = 0.0;
        for index in 0..MASKS.count {
            let mask = MASKS.mask(index).expect("small");
            assert_eq!(mask.len(), 21 * 30);
            assert!(mask.iter().all(|m| (0.0..=1.0).contains(m)));
            // A cell has 6 × 8 pixels and its neighbour is 0 or 1 at most: no step is steeper than that, but for rounding.
            assert!(
                mask.chunks(30).all(|row| row.windows(2).all(|w| (w[0] - w[1]).abs() < 1.0 / 8.0 + 1e-5))
            );
            total += mask.iter().map(|&m| f64::from(m)).sum::<f64>() / mask.len() as f64;
        }
        // 16 cells a mask, 300 masks: the standard deviation of the mean is 0.007 and a bit for uneven weights.
        assert!((total / 300.0 - 0.3).abs() < 0.03, "{total}");
    }

    #[test]
    fn a_mask_depends_on_seed_and_index_alone() {
        let again = Masks { count: 7, ..MASKS };
        assert_eq!(again.mask(6).expect("small"), MASKS.mask(6).expect("small"));
        assert_ne!(MASKS.mask(5).expect("small"), MASKS.mask(6).expect("small"));
        assert_ne!(Masks { seed: 6, ..MASKS }.mask(6).expect("small"), MASKS.mask(6).expect("small"));
    }

    /// Equation 6, term by term.
    #[test]
    fn the_map_is_the_mean_of_masks_by_score() {
        let masks = Masks { count: 3, ..MASKS };
        let scores = [0.5, -1.0, 2.0];
        let map = masks.map(9.0, &scores).expect("small");
        assert_eq!(map.shape, [21, 30]);
        for (cell, &value) in map.values.iter().enumerate() {
            let terms = (0..3).map(|i| scores[i] * masks.mask(i).expect("small")[cell]);
            assert!((value - terms.sum::<f32>() / (0.3 * 3.0)).abs() < 1e-5);
        }
    }
}
