//! Grad-CAM: which cells of a layer raise the class score.
//!
//! `αₖ = (1/Z) Σᵢⱼ ∂yᶜ/∂Aₖᵢⱼ`, `L = ReLU(Σₖ αₖ·Aₖ)` (Selvaraju et al. 2017, arXiv 1610.02391, eq. 1 and 2),
//! `yᶜ` the score before softmax, `A` the rectified layer, `Z` its number of cells. The ReLU comes before
//! any resizing.
//!
//! ```no_run
#![doc = include_str!("../../examples/grad_cam.rs")]
//! ```

use super::{Ask, Kind, Method, MethodInfo, MethodOption, Space, Takes};
use whycam_graph::derive::{Formula, Recipe, Reduce};
use whycam_graph::diff::Rules;

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "grad-cam",
    about: "which regions raise the class score",
    paper: "Selvaraju et al. 2017, arXiv 1610.02391",
    needs: "gradients",
    space: Space::Layer,
    options: &[MethodOption {
        name: "relu",
        takes: Takes::Word(&["on", "off"]),
        about: "whether negative cells are set to 0; `off` keeps the signed map",
    }],
    kind: Kind::Gradient(|ask, chosen| Formula::Single(recipe(ask, chosen))),
};

fn recipe(ask: &Ask, chosen: &Method) -> Recipe {
    Recipe {
        read_at: ask.layer,
        rules: Rules::default(),
        reduce: Reduce::grad_cam(chosen.word("relu") == "on"),
    }
}
