//! The signal of a deconvnet: only positive signal passes a ReLU, whatever its input was.
//!
//! The ReLU passes `g · [g > 0]` (Zeiler & Fergus 2014, arXiv 1311.2901); all other layers send their gradient.
//!
//! ```no_run
#![doc = include_str!("../../examples/deconvnet.rs")]
//! ```

use super::{Kind, MethodInfo, Space, signal_at_image};
use whycam_graph::derive::Formula;
use whycam_graph::diff::ReluRule;

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "deconvnet",
    about: "what a deconvolutional network would draw for the class",
    paper: "Zeiler & Fergus 2014, arXiv 1311.2901",
    needs: "gradients",
    space: Space::Image,
    options: &[],
    kind: Kind::Gradient(|ask, _| Formula::Single(signal_at_image(ask, ReluRule::Deconvnet))),
};
