//! HiResCAM: gradient times activation, cell by cell.
//!
//! `L = ReLU(Σₖ ∂yᶜ/∂Aₖ ⊙ Aₖ)` (Draelos & Carin 2020, arXiv 2011.08891, eq. 3). For networks that end in one linear layer
//! on the cells, the map without its ReLU adds up to the score but for the bias.
//!
//! ```no_run
#![doc = include_str!("../../examples/hires_cam.rs")]
//! ```

use super::{Kind, MethodInfo, RELU, Space, at_layer};
use whycam_graph::derive::{Reduce, Weights};

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "hires-cam",
    about: "which cells the network used to raise the class score",
    paper: "Draelos & Carin 2020, arXiv 2011.08891",
    needs: "gradients",
    space: Space::Layer,
    options: &[RELU],
    kind: Kind::Gradient(|ask, chosen| {
        let reduce = Reduce::grad_cam(chosen.word("relu") == "on");
        at_layer(ask, Reduce { weights: Weights::Cell, ..reduce })
    }),
};
