//! SmoothGrad: the mean gradient of noisy copies of the image.
//!
//! `M̂(x) = 1/n Σ M(x + 𝒩(0, σ²))`, `M` the gradient of the class score (Smilkov et al. 2017, arXiv 1706.03825, §3), the
//! noise level `σ/(max x − min x)`. Squared, `1/n Σ M(x + 𝒩(0, σ²))²` (Hooker et al. 2019, arXiv 1806.10758, §3).
//!
//! ```no_run
#![doc = include_str!("../../examples/smoothgrad.rs")]
//! ```

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::ensemble::{Ensemble, Samples};
use super::{Kind, MethodInfo, MethodOption, Space, Takes, signal_at_image};
use whycam_graph::derive::Formula;
use whycam_graph::diff::ReluRule;

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "smoothgrad",
    about: "the mean gradient of noisy copies of the image",
    paper: "Smilkov et al. 2017, arXiv 1706.03825",
    needs: "gradients of many copies",
    space: Space::Image,
    options: &[
        MethodOption {
            name: "samples",
            takes: Takes::Whole { default: 50, least: 1, most: 1_000_000 },
            about: "how many noisy copies",
        },
        MethodOption {
            name: "noise",
            takes: Takes::Number { default: 0.15, least: 0.0, most: 10.0 },
            about: "standard deviation of the noise, in parts of the range of the image's values",
        },
        MethodOption {
            name: "square",
            takes: Takes::Word(&["off", "on"]),
            about: "whether gradients are squared before the mean",
        },
        super::SEED,
    ],
    kind: Kind::Ensemble(Ensemble {
        formula: |ask, _| Formula::Single(signal_at_image(ask, ReluRule::Gradient)),
        samples: |chosen, scene| {
            let least = scene.value.values.iter().copied().fold(f32::INFINITY, f32::min);
            let most = scene.value.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let deviation = (chosen.number("noise") as f32) * (most - least);
            let seed = chosen.whole("seed") as u64;
            Ok(Samples {
                count: chosen.whole("samples"),
                change: Box::new(move |index, image| add_noise(image, deviation, seed, index as u64)),
                squared: chosen.word("square") == "on",
                factor: None,
            })
        },
    }),
};

/// Noise that depends on the seed and the index of the copy alone.
fn add_noise(image: &mut [f32], deviation: f32, seed: u64, index: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(index);
    for value in image {
        let noise: f32 = StandardNormal.sample(&mut random);
        *value += deviation * noise;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_normal_and_repeatable() {
        let noise = |index| {
            let mut image = vec![3.0_f32; 20_000];
            add_noise(&mut image, 0.5, 7, index);
            image
        };
        let (a, b) = (noise(0), noise(1));
        assert_eq!(a, noise(0));
        assert_ne!(a, b);
        let mean = |v: &[f32]| v.iter().map(|&x| f64::from(x)).sum::<f64>() / v.len() as f64;
        let squares: Vec<f32> = a.iter().map(|x| (x - 3.0).powi(2)).collect();
        let product: Vec<f32> = a.iter().zip(&b).map(|(a, b)| (a - 3.0) * (b - 3.0)).collect();
        // Of 20 000 draws with σ = ½ the mean has a standard deviation of 0.0035, the variance one of 0.0025.
        assert!((mean(&a) - 3.0).abs() < 0.015 && (mean(&squares) - 0.25).abs() < 0.01);
        assert!(mean(&product).abs() < 0.01, "copies do not share their noise");
    }
}
