//! XGrad-CAM: gradients weighed by the activations they belong to.
//!
//! `wₖ = Σᵢⱼ (Aₖᵢⱼ/Σₐᵦ Aₖₐᵦ)·∂yᶜ/∂Aₖᵢⱼ`, `L = ReLU(Σₖ wₖ·Aₖ)` (Fu et al. 2020, arXiv 2008.02312, eq. 8). A channel
//! whose activations add up to 0 weighs nothing.
//!
//! ```no_run
#![doc = include_str!("../../examples/xgrad_cam.rs")]
//! ```

use super::{Kind, MethodInfo, RELU, Space, at_layer};
use whycam_graph::derive::{Reduce, Weights};

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "xgrad-cam",
    about: "which regions raise the class score, gradients weighed by activations",
    paper: "Fu et al. 2020, arXiv 2008.02312",
    needs: "gradients",
    space: Space::Layer,
    options: &[RELU],
    kind: Kind::Gradient(|ask, chosen| {
        let reduce = Reduce::grad_cam(chosen.word("relu") == "on");
        at_layer(ask, Reduce { weights: Weights::Share, ..reduce })
    }),
};
