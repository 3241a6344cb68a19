//! FullGrad: what the image and every bias of the network contribute, added up at the size of the image.
//!
//! `S = ψ(∂yᶜ/∂x ⊙ x) + Σ_b ψ(∂yᶜ/∂z_b ⊙ b)` over all biases on a grid, those of batch norm included; `ψ` takes absolute
//! values, moves and scales them to `[0,1]` over all channels, adds channels up and enlarges bilinearly (Srinivas &
//! Fleuret 2019, arXiv 1905.00780, eq. 3 and 6). Before `ψ`, and with the biases on no grid, the contributions add up to
//! the score. Activations that are not homogeneous, such as a clip, have implicit biases (their §3.1), and count.
//!
//! ```no_run
#![doc = include_str!("../../examples/full_grad.rs")]
//! ```

use super::{Kind, MethodInfo, Space};
use whycam_graph::derive::Formula;

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "full-grad",
    about: "what the image and all biases contribute to the class score",
    paper: "Srinivas & Fleuret 2019, arXiv 1905.00780",
    needs: "gradients",
    space: Space::Pixels,
    options: &[],
    kind: Kind::Gradient(|ask, _| Formula::FullGradient { image: ask.image, enlarge: ask.enlarge }),
};
