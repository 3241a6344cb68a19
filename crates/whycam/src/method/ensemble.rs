//! What an ensemble is: the mean of a formula's maps over changed copies of the image.

use whycam_graph::derive::Formula;

use super::perturbation::Scene;
use super::{Ask, Method};
use crate::error::Result;

/// An ensemble method, as data.
#[derive(Clone, Copy, Debug)]
pub struct Ensemble {
    /// The formula whose maps are averaged.
    pub formula: fn(&Ask, &Method) -> Formula,
    /// The copies of one image, and what is averaged.
    pub samples: fn(&Method, &Scene<'_>) -> Result<Samples>,
}

/// Makes the copy of that index out of the whole image, `[C,H,W]`.
pub type Change = Box<dyn Fn(usize, &mut [f32])>;

/// The copies of one image; the map is `factor · mean(g)`, or `factor · mean(g²)`.
pub struct Samples {
    /// How many there are.
    pub count: usize,
    /// Each is made when it is needed.
    pub change: Change,
    /// Whether the maps are squared before the mean.
    pub squared: bool,
    /// A factor for every cell of the mean.
    pub factor: Option<Vec<f32>>,
}
