//! One image as methods are shown it: what runs it, the classes asked, and its values channel by channel.

use super::feed::Feed;
use crate::error::{Error, Result};
use crate::image::Align;
use crate::map::{channels_first, channels_last};
use crate::method::perturbation::Planes;
use crate::model::Model;

/// One image, and the classes whose scores are asked.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub model: &'a Model,
    pub feed: &'a Feed<'a>,
    /// The image in the model's layout.
    pub image: &'a [f32],
    pub classes: &'a [usize],
    pub align: Align,
}

impl Asking<'_> {
    /// The image `[C,H,W]`.
    pub fn planar(&self) -> Vec<f32> {
        let input = self.model.input();
        channels_first(self.image.to_vec(), &input.shape()[1..], input.layout).0
    }

    /// An image `[C,H,W]` in the model's layout.
    pub fn laid_out(&self, planar: Vec<f32>) -> Vec<f32> {
        let input = self.model.input();
        channels_last(planar, &input.shape()[1..], input.layout)
    }

    /// An image `[C,H,W]` as planes.
    pub fn planes<'v>(&self, planar: &'v [f32]) -> Planes<'v> {
        let input = self.model.input();
        Planes { values: planar, height: input.height, width: input.width }
    }

    /// A colour in the units of the image.
    pub fn colour(&self, rgb: [u8; 3]) -> Result<Vec<f32>> {
        let channels = self.model.input().channels;
        match self.model.prep() {
            Some((prep, _)) if matches!(channels, 1 | 3) => Ok(prep.colour(rgb, channels)),
            _ => Err(Error::ask(
                format!("nothing says what a colour is for {channels} channels"),
                "give --prep, or another fill: mean, image or blur",
            )),
        }
    }
}
