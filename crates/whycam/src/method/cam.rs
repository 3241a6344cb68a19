//! CAM: the weights of the class in the last linear layer, times the layer before the average.
//!
//! `Mᵢⱼ = Σₖ wₖᶜ·Aₖᵢⱼ`, `wᶜ` the class's weights in the one linear layer (or 1×1 convolution) behind or before the mean
//! over the whole grid; the bias is left out (Zhou et al. 2016, arXiv 1512.04150, eq. 2). No ReLU, as in the paper. For
//! these networks CAM is `Z` times Grad-CAM without its ReLU, `Z` the number of cells; for others it is refused.
//!
//! ```no_run
#![doc = include_str!("../../examples/cam.rs")]
//! ```

use super::{Kind, MethodInfo, MethodOption, Space, Takes, at_layer};
use whycam_graph::derive::{Reduce, Weights};

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "cam",
    about: "which regions the last linear layer counts for and against the class",
    paper: "Zhou et al. 2016, arXiv 1512.04150",
    needs: "global average and one linear layer",
    space: Space::Layer,
    options: &[MethodOption {
        name: "relu",
        takes: Takes::Word(&["off", "on"]),
        about: "whether negative cells are set to 0",
    }],
    kind: Kind::Gradient(|ask, chosen| {
        let reduce = Reduce::grad_cam(chosen.word("relu") == "on");
        at_layer(ask, Reduce { weights: Weights::Class, ..reduce })
    }),
};
