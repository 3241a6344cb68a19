//! Integrated gradients: the score's change from a baseline to the image, shared out to the pixels.
//!
//! `IGᵢ = (xᵢ − x′ᵢ) · 1/m Σₖ ∂yᶜ(x′ + (k − ½)/m · (x − x′))/∂xᵢ`, `k = 1…m`: the integral of Sundararajan, Taly, Yan 2017
//! (arXiv 1703.01365, eq. 1) by the midpoint rule, `x′` the baseline. The values add up to `yᶜ(x) − yᶜ(x′)`, up to the
//! error of the sum.
//!
//! ```no_run
#![doc = include_str!("../../examples/integrated_gradients.rs")]
//! ```

use super::ensemble::{Ensemble, Samples};
use super::perturbation::FILLS;
use super::{Kind, MethodInfo, MethodOption, Space, Takes, signal_at_image};
use whycam_graph::derive::Formula;
use whycam_graph::diff::ReluRule;

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "integrated-gradients",
    about: "how the score's change from a baseline to the image is shared by its pixels",
    paper: "Sundararajan et al. 2017, arXiv 1703.01365",
    needs: "gradients of many copies",
    space: Space::Image,
    options: &[
        MethodOption {
            name: "steps",
            takes: Takes::Whole { default: 50, least: 1, most: 1_000_000 },
            about: "points between the baseline and the image",
        },
        MethodOption {
            name: "baseline",
            takes: Takes::Word(FILLS),
            about: "0 of the prepared image (the mean colour), grey, black, the image's own mean, or its blur",
        },
    ],
    kind: Kind::Ensemble(Ensemble {
        formula: |ask, _| Formula::Single(signal_at_image(ask, ReluRule::Gradient)),
        samples: |chosen, scene| {
            let baseline = scene.fill(chosen.word("baseline"))?;
            let difference = scene.value.values.iter().zip(&baseline).map(|(x, from)| x - from);
            let difference: Vec<f32> = difference.collect();
            let count = chosen.whole("steps");
            Ok(Samples {
                count,
                factor: Some(difference),
                squared: false,
                change: Box::new(move |index, image| {
                    let part = ((index as f64 + 0.5) / count as f64) as f32;
                    for (value, from) in image.iter_mut().zip(&baseline) {
                        *value = from + part * (*value - from);
                    }
                }),
            })
        },
    }),
};
