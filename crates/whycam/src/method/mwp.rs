//! MWP, the marginal winning probability of excitation backprop: where the evidence for the class comes from.
//!
//! All of the probability starts at the class; a node `aᵢ = φ(Σⱼ wᵢⱼ·aⱼ + bᵢ)` with `aⱼ ≥ 0` shares it out,
//! `P(aⱼ) = Σᵢ aⱼ·w⁺ᵢⱼ·P(aᵢ) / Σₖ aₖ·w⁺ᵢₖ`, and `L = Σₖ Pₖ` over channels (Zhang et al. 2016 and 2018, arXiv 1608.00507).
//! It is refused where activations are signed. The authors call the method patent-pending in the README of their code.
//!
//! ```no_run
#![doc = include_str!("../../examples/mwp.rs")]
//! ```

use super::{Kind, MethodInfo, Space, excitation};

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "mwp",
    about: "which cells a winning class owes its score to, as a probability",
    paper: "Zhang et al. 2016, arXiv 1608.00507",
    needs: "activations that are never negative",
    space: Space::Layer,
    options: &[],
    kind: Kind::Gradient(|ask, _| excitation(ask, false, false)),
};
