//! Gradient × input: what every channel of every pixel contributes, to first order.
//!
//! `∂yᶜ/∂x ⊙ x` (Shrikumar et al. 2016, arXiv 1605.01713), `x` the prepared image: a pixel of the mean colour is 0 there
//! and contributes nothing. For a network without biases that is linear piece by piece, it adds up to the score.
//!
//! ```no_run
#![doc = include_str!("../../examples/gradient_x_input.rs")]
//! ```

use super::{Kind, MethodInfo, Space};
use whycam_graph::derive::{Formula, Recipe, Reduce, Times};
use whycam_graph::diff::Rules;

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "gradient-x-input",
    about: "what every pixel contributes to the class score, to first order",
    paper: "Shrikumar et al. 2016, arXiv 1605.01713",
    needs: "gradients",
    space: Space::Image,
    options: &[],
    kind: Kind::Gradient(|ask, _| {
        Formula::Single(Recipe {
            read_at: ask.image,
            rules: Rules::default(),
            reduce: Reduce { times: Times::Activation, ..Reduce::SIGNAL },
        })
    }),
};
