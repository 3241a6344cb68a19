//! c-MWP, contrastive excitation backprop: MWP of the class less MWP of its dual, which tells classes apart.
//!
//! The last linear layer sends `P − P̄`, `P̄` through its negated weights with a normaliser of its own; then as MWP, and
//! `L = max(0, Σₖ Pₖ)`; without the ReLU the map adds up to 0 (Zhang et al. 2016 and 2018, arXiv 1608.00507, §3.3).
//! Without a name the layer is one resolution stage below Grad-CAM's. Where the last weights are a 1×1 convolution that
//! makes a map for every class (SqueezeNet), both sides of the contrast have the same sum in every cell directly below it,
//! so what is left there is rounding, and the map is called blank; behind a global average they differ there already.
//! It is refused where activations are signed. The authors call the method patent-pending in the README of their code.
//!
//! ```no_run
#![doc = include_str!("../../examples/c_mwp.rs")]
//! ```

use super::{Kind, MethodInfo, RELU, Space, excitation};

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "c-mwp",
    about: "which cells speak for the class rather than against it",
    paper: "Zhang et al. 2016, arXiv 1608.00507",
    needs: "activations that are never negative",
    space: Space::Layer,
    options: &[RELU],
    kind: Kind::Gradient(|ask, chosen| excitation(ask, true, chosen.word("relu") == "on")),
};
