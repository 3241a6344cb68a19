//! Guided backpropagation: positive signal passes a ReLU where its input was positive.
//!
//! The ReLU passes `g · [x > 0] · [g > 0]` (Springenberg et al. 2015, arXiv 1412.6806); all other layers send their gradient.
//!
//! ```no_run
#![doc = include_str!("../../examples/guided_backprop.rs")]
//! ```

use super::{Kind, MethodInfo, Space, signal_at_image};
use whycam_graph::derive::Formula;
use whycam_graph::diff::ReluRule;

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "guided-backprop",
    about: "sharp details that raise the class score",
    paper: "Springenberg et al. 2015, arXiv 1412.6806",
    needs: "gradients",
    space: Space::Image,
    options: &[],
    kind: Kind::Gradient(|ask, _| Formula::Single(signal_at_image(ask, ReluRule::Guided))),
};
