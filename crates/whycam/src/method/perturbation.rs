//! What a perturbation method is: copies of a value with a part taken away, and how their scores become a map.

use super::Method;
pub use super::fill::FILLS;
use crate::error::Result;
use crate::image::Align;
use crate::map::Raw;

/// A perturbation method, as data.
#[derive(Clone, Copy, Debug)]
pub struct Perturbation {
    /// What is perturbed.
    pub on: On,
    /// What the colours of a signed map mean; `None` for maps without negative cells.
    pub legend: Option<&'static str>,
    /// Which score of a copy counts.
    pub scored: fn(&Method) -> Scored,
    /// The patches that copies of an image of that height and width differ in; `None` where they differ in more, or whole
    /// images are to be run.
    pub patches: fn(&Method, [usize; 2]) -> Option<Grid>,
    /// The copies of one value.
    pub copies: fn(&Method, &Scene<'_>) -> Result<Box<dyn Copies>>,
}

/// Patches of an image.
#[derive(Clone, Debug)]
pub struct Grid {
    /// The rows that they cover, each `[first, one behind the last]`, and the columns; each of the rows with each of the
    /// columns, row by row.
    pub along: [Vec<[usize; 2]>; 2],
    /// Whether they are run by windows without timing whole images.
    pub forced: bool,
}

/// What is perturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// The image.
    Image,
    /// The channels of the layer, as a factor for each, 1 before; only the part of the network above it is run again.
    Channels,
}

/// Which score of a copy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scored {
    /// The score itself, before a softmax or sigmoid.
    Logit,
    /// Its probability.
    Probability,
}

/// What a method is shown of one image.
pub struct Scene<'a> {
    /// The image, or for [`On::Channels`] the factors `[C,1,1]`.
    pub value: Planes<'a>,
    /// The layer, for methods that read one.
    pub layer: Option<Planes<'a>>,
    /// A colour, 0 to 255, in the units of the image, a number for each channel.
    pub colour: &'a dyn Fn([u8; 3]) -> Result<Vec<f32>>,
    /// How a layer's map is enlarged to the image.
    pub align: Align,
}

/// Values `[C,H,W]`.
#[derive(Clone, Copy, Debug)]
pub struct Planes<'a> {
    /// Row by row, channel by channel.
    pub values: &'a [f32],
    /// Height.
    pub height: usize,
    /// Width.
    pub width: usize,
}

impl<'a> Planes<'a> {
    /// The number of cells of a channel.
    pub fn area(&self) -> usize {
        self.height * self.width
    }

    /// The channels, one after the other.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &'a [f32]> {
        self.values.chunks_exact(self.area().max(1))
    }
}

/// The copies of one value. Each is made when it is needed, so that many cost no memory.
pub trait Copies: Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// Makes the `index`-th copy out of `value`, which holds the whole value, `[C,H,W]`.
    ///
    /// # Errors
    /// When a mask has a size that no picture may have.
    fn take_away(&self, index: usize, value: &mut [f32]) -> Result<()>;

    /// The map, from the score of the whole value and those of the copies.
    ///
    /// # Errors
    /// When the map has no size that a picture may have.
    fn map(&self, whole: f32, scores: &[f32]) -> Result<Raw>;
}

/// `ReLU(Σₖ αₖ·Aₖ)`.
pub(super) fn weighted(layer: Planes<'_>, weights: impl Iterator<Item = f64>) -> Raw {
    let mut sum = vec![0.0; layer.area()];
    for (channel, weight) in layer.channels().zip(weights) {
        for (sum, &value) in sum.iter_mut().zip(channel) {
            *sum += weight * f64::from(value);
        }
    }
    Raw::of(sum.into_iter().map(|sum| sum as f32).collect(), vec![layer.height, layer.width]).rectified()
}
