//! Grad-CAM++: weights that count every positive gradient, so that several instances are seen alike.
//!
//! `wₖ = Σᵢⱼ αₖᵢⱼ·ReLU(∂yᶜ/∂Aₖᵢⱼ)`, `L = ReLU(Σₖ wₖ·Aₖ)`; for `Y = exp(yᶜ)` and a network that is linear piece by piece,
//! with `g = ∂yᶜ/∂A`: `αᵢⱼ = gᵢⱼ²/(2gᵢⱼ² + Σₐᵦ Aₐᵦ·gᵢⱼ³) = 1/(2 + gᵢⱼ·Σₐᵦ Aₐᵦ)` (Chattopadhay et al. 2018, arXiv
//! 1710.11063, eq. 5 to 7 and 19). The factor `exp(yᶜ)`, the same for all cells, is left out. Nothing is added to the
//! denominator; an `ε` there, as in some libraries, changes maps whose gradients are small.
//!
//! ```no_run
#![doc = include_str!("../../examples/grad_cam_plus_plus.rs")]
//! ```

use super::{Kind, MethodInfo, RELU, Space, at_layer};
use whycam_graph::derive::{Reduce, Weights};

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "grad-cam++",
    about: "which regions raise the class score, several instances of a class alike",
    paper: "Chattopadhay et al. 2018, arXiv 1710.11063",
    needs: "gradients",
    space: Space::Layer,
    options: &[RELU],
    kind: Kind::Gradient(|ask, chosen| {
        let reduce = Reduce::grad_cam(chosen.word("relu") == "on");
        at_layer(ask, Reduce { weights: Weights::PlusPlus, ..reduce })
    }),
};
