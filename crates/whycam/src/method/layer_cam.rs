//! LayerCAM: positive gradient times activation, cell by cell, which holds up in early layers too.
//!
//! `L = ReLU(Σₖ ReLU(∂yᶜ/∂Aₖ) ⊙ Aₖ)` (Jiang et al. 2021, IEEE TIP 30, doi 10.1109/TIP.2021.3089943, eq. 4 to 6).
//!
//! ```no_run
#![doc = include_str!("../../examples/layer_cam.rs")]
//! ```

use super::{Kind, MethodInfo, RELU, Space, at_layer};
use whycam_graph::derive::{Part, Reduce, Weights};

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "layer-cam",
    about: "which cells raise the class score, fit for early layers",
    paper: "Jiang et al. 2021, doi 10.1109/TIP.2021.3089943",
    needs: "gradients",
    space: Space::Layer,
    options: &[RELU],
    kind: Kind::Gradient(|ask, chosen| {
        let reduce = Reduce::grad_cam(chosen.word("relu") == "on");
        at_layer(ask, Reduce { part: Part::Positive, weights: Weights::Cell, ..reduce })
    }),
};
