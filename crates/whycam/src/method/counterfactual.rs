//! The counterfactual explanation: which cells of a layer lower the class score.
//!
//! Grad-CAM of the negated score: `αₖ = (1/Z) Σᵢⱼ −∂yᶜ/∂Aₖᵢⱼ`, `L = ReLU(Σₖ αₖ·Aₖ)` (Selvaraju et al. 2017, arXiv
//! 1610.02391, §3.3). Where Grad-CAM is positive it is 0; the difference of the two is the map without its ReLU.
//!
//! ```no_run
#![doc = include_str!("../../examples/counterfactual.rs")]
//! ```

use super::{Kind, MethodInfo, RELU, Space, at_layer};
use whycam_graph::derive::{Part, Reduce};

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "counterfactual",
    about: "which regions lower the class score",
    paper: "Selvaraju et al. 2017, arXiv 1610.02391",
    needs: "gradients",
    space: Space::Layer,
    options: &[RELU],
    kind: Kind::Gradient(|ask, chosen| {
        let reduce = Reduce::grad_cam(chosen.word("relu") == "on");
        at_layer(ask, Reduce { part: Part::Negated, ..reduce })
    }),
};
