//! Guided Grad-CAM: the details of guided backpropagation in the regions of Grad-CAM.
//!
//! The guided-backpropagation tensor times the Grad-CAM map enlarged bilinearly to the image, the map
//! not normalised before (Selvaraju et al. 2017, arXiv 1610.02391, §3.2).
//!
//! ```no_run
#![doc = include_str!("../../examples/guided_grad_cam.rs")]
//! ```

use super::{Kind, MethodInfo, Space, signal_at_image};
use whycam_graph::derive::{Formula, Recipe, Reduce};
use whycam_graph::diff::{ReluRule, Rules};

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "guided-grad-cam",
    about: "sharp details in the regions that raise the class score",
    paper: "Selvaraju et al. 2017, arXiv 1610.02391",
    needs: "gradients",
    space: Space::LayerAndImage,
    options: &[],
    kind: Kind::Gradient(|ask, _| Formula::Product {
        image: signal_at_image(ask, ReluRule::Guided),
        layer: Recipe { read_at: ask.layer, rules: Rules::default(), reduce: Reduce::grad_cam(true) },
        enlarge: ask.enlarge,
    }),
};
