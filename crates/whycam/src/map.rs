//! A map, and where it comes from.

use serde::Serialize;

use crate::error::Result;
use crate::explain::Fused;
use crate::image::{
    Align, Colormap, Field, Order, OverlayStyle, Pixels, Placement, RgbImage, map_alone, overlay, picture,
};
use crate::method::Space;
use crate::model::Image;
use crate::note::{Note, Share};
use crate::prep::Layout;
use crate::sees::Sees;
use crate::verdict::Verdict;

/// The values of a map before they are told of.
#[derive(Clone, Debug, PartialEq)]
pub struct Raw {
    /// Row by row.
    pub values: Vec<f32>,
    /// `[h,w]`, or `[C,H,W]` for a map of the image.
    pub shape: Vec<usize>,
    /// Least and greatest value, before the ReLU if there is one; NaN where a value is not finite.
    pub range: [f32; 2],
    /// Whether a ReLU sets negative cells to 0.
    pub rectified: bool,
}

impl Raw {
    /// A map without a ReLU.
    pub fn of(values: Vec<f32>, shape: Vec<usize>) -> Raw {
        let range = range(&values);
        Raw { values, shape, range, rectified: false }
    }

    /// Behind a ReLU, which leaves NaN as it is.
    pub fn rectified(mut self) -> Raw {
        for value in self.values.iter_mut().filter(|value| **value < 0.0) {
            *value = 0.0;
        }
        Raw { rectified: true, ..self }
    }
}

/// The least and the greatest of some values; NaN where one is not finite.
pub(crate) fn range(values: &[f32]) -> [f32; 2] {
    // Without an early end, which would keep a compiler from taking several at once.
    match values.iter().fold(true, |all, v| all & v.is_finite()) {
        true => extremes(values),
        false => [f32::NAN; 2],
    }
}

/// The least and the greatest of some numbers.
pub(crate) fn extremes(values: &[f32]) -> [f32; 2] {
    // Several at once, for the same reason.
    let (mut least, mut greatest) = ([f32::INFINITY; 16], [f32::NEG_INFINITY; 16]);
    for chunk in values.chunks(16) {
        for ((least, greatest), &v) in least.iter_mut().zip(&mut greatest).zip(chunk) {
            (*least, *greatest) = (least.min(v), greatest.max(v));
        }
    }
    [least.into_iter().fold(f32::INFINITY, f32::min), greatest.into_iter().fold(f32::NEG_INFINITY, f32::max)]
}

/// A map as computed: not normalised, at the resolution of its layer, with its provenance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Map {
    /// The method with its options.
    pub method: String,
    /// The layer that was read; `input` for methods that read none.
    pub layer: String,
    /// The module that made the layer (`layer4.2`), where the model tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// What a cell of the layer sees of the image, where one layer is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receptive_field: Option<Sees>,
    /// The layers, where the map is made of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fused: Option<Fused>,
    /// The target as it was asked.
    pub target: String,
    /// The class that was explained, where it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<usize>,
    /// Its name; the target where it is no class.
    pub label: String,
    /// Its score: the value that was differentiated.
    pub score: f32,
    /// Its probability, by softmax or sigmoid, where the score is that of a class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f32>,
    /// What the model makes of the score, `logit` (nothing), `softmax` or `sigmoid`; of other targets what the score is:
    /// `log-probability`, `element`, `region`, `box` or `cosine`.
    pub score_kind: &'static str,
    /// `[h,w]`, or `[C,H,W]` for a map of the image.
    pub shape: Vec<usize>,
    /// Least value.
    pub min: f32,
    /// Greatest value.
    pub max: f32,
    /// Sum of all values.
    pub sum: f64,
    /// Least value before the ReLU.
    pub pre_relu_min: f32,
    /// Greatest value before the ReLU.
    pub pre_relu_max: f32,
    /// What it is worth at first sight.
    pub verdict: Verdict,
    /// At how many of the activations between the score and what is read the method's ReLU rule acted, where it has
    /// one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relu_rule: Option<Share>,
    /// Things worth knowing.
    pub notes: Vec<Note>,
    /// What the colours of a signed map mean; `None` for maps whose cells are not negative by nature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legend: Option<&'static str>,
    /// How the map is enlarged to the image: `half-pixel` or `corners`.
    pub resize: &'static str,
    /// The values, row by row.
    #[serde(skip)]
    pub values: Vec<f32>,
    /// The column of the scores that was explained.
    #[serde(skip)]
    pub(crate) column: usize,
    #[serde(skip)]
    pub(crate) channel_order: Order,
    /// Height and width of the model's image.
    #[serde(skip)]
    pub(crate) input_size: [usize; 2],
    #[serde(skip)]
    pub(crate) align: Align,
}

impl Map {
    /// How the map is painted when nobody says otherwise: jet, or blue and red about zero where there is a legend for
    /// them.
    pub fn style(&self) -> OverlayStyle {
        let colormap = if self.legend.is_some() { Colormap::CoolWarm } else { Colormap::default() };
        OverlayStyle::of(colormap, self.align)
    }

    /// Where the map lies.
    pub fn space(&self) -> Space {
        if self.shape.len() == 2 { Space::Layer } else { Space::Image }
    }

    /// The map as a picture: over the photo for a layer's map, by itself for one of the image, whose channels
    /// are added up where they are no colours, and which a photo of fewer pixels than the model's image would blur to grey: its
    /// picture is so many times as large.
    ///
    /// # Errors
    /// When the picture would be too large.
    pub fn render(&self, image: &Image, style: &OverlayStyle) -> Result<RgbImage> {
        Ok(match (self.shape.as_slice(), &image.photo) {
            (&[h, w], Some((photo, placement))) => {
                overlay(photo, Field::new(&self.values, h, w)?, placement, style)?
            }
            (&[h, w], None) => {
                let [height, width] = self.input_size;
                map_alone(Field::new(&self.values, h, w)?, height, width, style)?
            }
            (&[channels, h, w], photo) => {
                let total;
                let pixels = match channels {
                    1 | 3 => Pixels::new(&self.values, channels, h, w, self.channel_order)?,
                    _ => {
                        total = over_channels(&self.values, h * w);
                        Pixels::new(&total, 1, h, w, self.channel_order)?
                    }
                };
                let whole = (Placement::whole(w as u32, h as u32), (w as u32, h as u32));
                let (placement, canvas) = match photo {
                    Some((photo, placement)) => fine((photo.width(), photo.height()), placement, [h, w]),
                    None => whole,
                };
                picture(pixels, canvas, &placement)?
            }
            _ => RgbImage::new(1, 1),
        })
    }

    /// As [`Map::render`] in the map's own style, encoded as PNG.
    ///
    /// # Errors
    /// As [`Map::render`].
    pub fn picture(&self, image: &Image) -> Result<Vec<u8>> {
        Ok(crate::image::encode_png(&self.render(image, &self.style())?)?)
    }
}

/// The longest side of a picture that is drawn larger than its photo.
const LARGEST: u32 = 4096;

/// Where a map of the image lies on a canvas, which is the photo, or a multiple of it where the photo has less than half as
/// many pixels both ways as the map has cells.
fn fine((width, height): (u32, u32), placement: &Placement, [h, w]: [usize; 2]) -> (Placement, (u32, u32)) {
    let cells = (h as f64 / placement.height).min(w as f64 / placement.width);
    let times = if cells > 2.0 { cells.ceil() as u32 } else { 1 };
    let times = times.min(LARGEST / width.max(height).max(1)).max(1);
    let Placement { x0, y0, width: across, height: down } = *placement;
    let [x0, y0, across, down] = [x0, y0, across, down].map(|length| length * f64::from(times));
    (Placement { x0, y0, width: across, height: down }, (width * times, height * times))
}

/// `[C,area]` summed over channels.
fn over_channels(values: &[f32], area: usize) -> Vec<f32> {
    let mut total = vec![0.0; area];
    for channel in values.chunks(area.max(1)) {
        for (sum, value) in total.iter_mut().zip(channel) {
            *sum += value;
        }
    }
    total
}

/// Values `[H,W,C]` as `[C,H,W]`; others as they are.
pub(crate) fn channels_first(values: Vec<f32>, shape: &[usize], layout: Layout) -> (Vec<f32>, Vec<usize>) {
    match (layout, shape) {
        (Layout::Nhwc, &[h, w, c]) => {
            let at = |channel: usize| values.iter().skip(channel).step_by(c).copied();
            ((0..c).flat_map(at).collect(), vec![c, h, w])
        }
        _ => (values, shape.to_vec()),
    }
}

/// Values `[C,H,W]` as `[H,W,C]` where the layout, whose `shape` it is, says so.
pub(crate) fn channels_last(values: Vec<f32>, shape: &[usize], layout: Layout) -> Vec<f32> {
    match (layout, shape) {
        (Layout::Nhwc, &[h, w, _]) => {
            let area = h * w;
            (0..area).flat_map(|cell| values.iter().skip(cell).step_by(area.max(1)).copied()).collect()
        }
        _ => values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_photo_does_not_blur_a_map_of_the_image() {
        let whole = Placement::whole(9, 7);
        let (placement, canvas) = fine((9, 7), &whole, [224, 224]);
        assert_eq!((canvas, placement), ((225, 175), Placement::whole(225, 175)));
        let middle = Placement { x0: 2.0, y0: 0.0, width: 7.0, height: 7.0 };
        assert_eq!(
            fine((11, 7), &middle, [28, 28]).0,
            Placement { x0: 8.0, y0: 0.0, width: 28.0, height: 28.0 }
        );
        // One that is large one way keeps its size, and so does one that is nearly as large as the map.
        for (size, placement) in
            [((1800, 7), Placement::whole(1800, 7)), ((120, 120), Placement::whole(120, 120))]
        {
            assert_eq!(fine(size, &placement, [224, 224]), (placement, size));
        }
        // A crop of a long photo: the canvas stays small.
        let crop = Placement { x0: 0.0, y0: 0.0, width: 4.0, height: 4.0 };
        assert_eq!(fine((4000, 4), &crop, [224, 224]).1, (4000, 4));
    }
}
