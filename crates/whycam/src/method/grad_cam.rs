//! Grad-CAM: which cells of a layer raise the class score.
//!
//! `αₖ = (1/Z) Σᵢⱼ ∂yᶜ/∂Aₖᵢⱼ`, `L = ReLU(Σₖ αₖ·Aₖ)` (Selvaraju et al. 2017, arXiv 1610.02391, eq. 1 and 2),
//! `yᶜ` the score before softmax, `A` the rectified layer, `Z` its number of cells. The ReLU comes before
//! any resizing. The options are the ablations of the paper's supplement (Table A2): no ReLU, the sum or the signed
//! maximum of the gradient instead of its mean, absolute gradients, and another rule for the ReLUs above the layer.
//!
//! ```no_run
#![doc = include_str!("../../examples/grad_cam.rs")]
//! ```

use super::{Ask, Kind, Method, MethodInfo, MethodOption, RELU, Space, Takes};
use whycam_graph::derive::{Formula, Part, Recipe, Reduce, Weights};
use whycam_graph::diff::{ReluRule, Rules};

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "grad-cam",
    about: "which regions raise the class score",
    paper: "Selvaraju et al. 2017, arXiv 1610.02391",
    needs: "gradients",
    space: Space::Layer,
    options: &[
        RELU,
        MethodOption {
            name: "pool",
            takes: Takes::Word(&["mean", "sum", "max"]),
            about: "what a channel's gradients become: their mean, their sum, or their signed maximum",
        },
        MethodOption {
            name: "abs",
            takes: Takes::Word(&["off", "on"]),
            about: "whether the absolute values of the gradients are pooled",
        },
        MethodOption {
            name: "backward",
            takes: Takes::Word(&["gradient", "deconvnet", "guided"]),
            about: "how the ReLUs above the layer send signal back",
        },
    ],
    kind: Kind::Gradient(|ask, chosen| Formula::Single(recipe(ask, chosen))),
};

fn recipe(ask: &Ask, chosen: &Method) -> Recipe {
    let weights = match chosen.word("pool") {
        "sum" => Weights::Sum,
        "max" => Weights::Max,
        _ => Weights::Mean,
    };
    let part = if chosen.word("abs") == "on" { Part::Absolute } else { Part::Whole };
    let relu = match chosen.word("backward") {
        "deconvnet" => ReluRule::Deconvnet,
        "guided" => ReluRule::Guided,
        _ => ReluRule::Gradient,
    };
    let reduce = Reduce { part, weights, ..Reduce::grad_cam(chosen.word("relu") == "on") };
    Recipe { read_at: ask.layer, rules: Rules { relu, ..Rules::default() }, reduce }
}
