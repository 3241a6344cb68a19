//! The gradient of the class score with respect to every pixel.
//!
//! `S = ∂yᶜ/∂x`; the ReLU passes `g · [x > 0]` (Simonyan et al. 2014, arXiv 1312.6034).
//!
//! ```no_run
#![doc = include_str!("../../examples/gradient.rs")]
//! ```

use super::{Kind, MethodInfo, Space, signal_at_image};
use whycam_graph::derive::Formula;
use whycam_graph::diff::ReluRule;

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "gradient",
    about: "how the class score changes with every pixel",
    paper: "Simonyan et al. 2014, arXiv 1312.6034",
    needs: "gradients",
    space: Space::Image,
    options: &[],
    kind: Kind::Gradient(|ask, _| Formula::Single(signal_at_image(ask, ReluRule::Gradient))),
};
