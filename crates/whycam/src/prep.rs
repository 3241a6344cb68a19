//! Picture → tensor: how a model wants its photos prepared.
//!
//! A [`Prep`] is data. It is written on the command line (`--prep`), in a model's ONNX metadata
//! (`whycam.prep`), in a file beside the model (`model.whycam.toml`) and into every result's JSON; the keys
//! are the same everywhere.
//!
//! | key | values | meaning |
//! |---|---|---|
//! | `resize` | `short:N`, `warp:N`, `none` | keep the aspect with N pixels on the short side; N × N whatever the aspect; not at all |
//! | `filter` | `bilinear`, `bicubic` | the kernel, antialiased as in Pillow |
//! | `crop` | N | the input size for which `resize` is meant; see below |
//! | `range` | `1`, `255` | the white level in which `mean` and `std` are given |
//! | `mean`, `std` | 1 or 3 numbers | each value becomes `(value − mean) / std`, in the model's channel order |
//! | `order` | `rgb`, `bgr` | the model's channel order |
//!
//! On the command line pairs are joined by `:` and a preset's name may come first: `imagenet`,
//! `imagenet:filter=bicubic`, `resize=short:256:crop=224:range=255:mean=127:std=128`. A part without `=`
//! belongs to the value before it.
//!
//! **Size.** A tensor always has exactly the model's height and width, cut out of the middle of the resized
//! photo. `crop` says for which input size the number of `resize` is meant, so that one preset serves models
//! of every input size: `resize=short:256:crop=224` resizes to a short side of 256 for an input of 224, 512
//! for 448, 342 for 299. Without `crop` the number is taken as it is.

mod grammar;
mod nodes;
mod presets;

use serde::{Deserialize, Serialize};

pub use crate::image::{Filter, Order};
pub use presets::{PRESETS, Preset};

use crate::image::{ImageError, Photo, Placement, resample_rgb};

/// Greatest number that `resize` and `crop` take, and greatest height and width of an input.
pub const MAX_SIZE: u32 = 8192;

/// How a photo becomes a model's input. The fields are the keys of the [module](self)'s table.
///
/// ```
/// use whycam::image::{Photo, RgbImage};
/// use whycam::prep::{Layout, Prep};
///
/// let photo = Photo::from_rgb(RgbImage::new(640, 480))?;
/// let prep: Prep = "imagenet:filter=bicubic".parse()?;
/// let prepared = prep.apply(&photo, 224, 224, 3, Layout::Nchw)?;
/// assert_eq!(prepared.shape, [1, 3, 224, 224]);
/// assert_eq!(prepared.placement.height, 420.0); // 224/256 of the short side, in photo pixels
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "grammar::Draft")]
pub struct Prep {
    /// What happens to the photo's size and aspect.
    pub resize: Resize,
    /// The resizing kernel.
    pub filter: Filter,
    /// The input size for which the number of `resize` is meant, in pixels; without it the number is taken as
    /// it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<u32>,
    /// The white level in which `mean` and `std` are given.
    pub range: Range,
    /// Subtracted, per channel in the model's order; one value serves every channel.
    pub mean: Vec<f32>,
    /// Divided by afterwards; as `mean`, never 0.
    pub std: Vec<f32>,
    /// The model's channel order; without effect for one channel.
    pub order: Order,
}

/// What happens to a photo's size and aspect before the middle is cut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Resize {
    /// Keeps the aspect; the short side gets this many pixels (for an input that is not square: the photo
    /// just covers an input of this many pixels on its short side). The long side is rounded down, as in
    /// torchvision.
    Short(u32),
    /// Both sides get this many pixels, whatever the aspect (for an input that is not square: its short side
    /// does, the other in proportion).
    Warp(u32),
    /// The photo keeps its size.
    None,
}

/// The value of white before `mean` and `std` are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub enum Range {
    /// 0 to 1.
    #[default]
    One,
    /// 0 to 255.
    TwoFiftyFive,
}

/// The order of a model input's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// Batch, channel, row, column.
    #[default]
    Nchw,
    /// Batch, row, column, channel.
    Nhwc,
}

/// A model's input, and where on the photo it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The values, in the order of `shape`.
    pub tensor: Vec<f32>,
    /// `[1, C, H, W]` or `[1, H, W, C]`.
    pub shape: [usize; 4],
    /// The part of the photo that became the input.
    pub placement: Placement,
}

/// Why a preparation is not understood or not possible. Each message ends in a `hint:` line.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PrepError {
    /// A word that is neither a preset nor `key=value`.
    #[error(
        "there is no preparation preset `{name}`\nhint: one of {known}; or key=value pairs joined by `:`"
    )]
    UnknownPreset {
        /// What was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A key that does not exist.
    #[error("a preparation has no key `{key}`\nhint: the keys are {known}")]
    UnknownKey {
        /// What was written.
        key: String,
        /// The keys that exist.
        known: String,
    },
    /// A key that was given twice.
    #[error("`{key}` is given twice\nhint: give each key once")]
    Repeated {
        /// The key.
        key: String,
    },
    /// A value that the key does not take.
    #[error("`{key}` cannot be `{value}`\nhint: {key} takes {allowed}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// What was written.
        value: String,
        /// What the key takes.
        allowed: &'static str,
    },
    /// Keys that contradict each other.
    #[error("{what}\nhint: {hint}")]
    Contradiction {
        /// What contradicts what.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// The model's input is nothing a photo can become.
    #[error(
        "a photo cannot become an input of {channels} channels, {height}×{width}\n\
         hint: 1 or 3 channels and sides of 1 to {MAX_SIZE} can be made; give other inputs as .npy tensors"
    )]
    Input {
        /// Channels of the input.
        channels: usize,
        /// Height of the input.
        height: usize,
        /// Width of the input.
        width: usize,
    },
    /// The resized photo is smaller than the input.
    #[error(
        "the photo, resized by `{resize}` to {from}, does not fill the model's input of {to}\nhint: {hint}"
    )]
    TooSmall {
        /// The resize rule.
        resize: Resize,
        /// Size of the resized photo.
        from: String,
        /// Size of the input.
        to: String,
        /// What to do.
        hint: &'static str,
    },
    /// The pixels could not be resized.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl Default for Prep {
    /// The preset `unit`: the whole photo warped to the input, RGB from 0 to 1.
    fn default() -> Prep {
        presets::UNIT.prep()
    }
}

impl Prep {
    /// The preset of this name; [`PRESETS`] lists them.
    ///
    /// # Errors
    /// [`PrepError::UnknownPreset`], which lists the names.
    pub fn preset(name: &str) -> Result<Prep, PrepError> {
        let known = || PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ");
        let found = PRESETS.iter().find(|preset| preset.name == name);
        found
            .map(Preset::prep)
            .ok_or_else(|| PrepError::UnknownPreset { name: name.to_owned(), known: known() })
    }

    /// Makes the input of a model that takes `channels` (1 or 3) × `height` × `width`.
    ///
    /// The photo is resized on 8-bit pixels, antialiased, and the middle is cut out (an odd rest is split as
    /// torchvision does, rounding half to even); then each value becomes `(value·range/255 − mean) / std`.
    /// One channel is the luma `(299 R + 587 G + 114 B) / 1000` of the resized photo, rounded.
    ///
    /// # Errors
    /// [`PrepError::Input`] for other channels or sizes beyond [`MAX_SIZE`]; [`PrepError::TooSmall`] if the
    /// resized photo does not fill the input; [`PrepError::BadValue`] and [`PrepError::Contradiction`] if a
    /// field breaks the rules of the [module](self)'s table, or `mean` or `std` has 3 values for 1 channel.
    pub fn apply(
        &self,
        photo: &Photo,
        height: usize,
        width: usize,
        channels: usize,
        layout: Layout,
    ) -> Result<Prepared, PrepError> {
        self.validate()?;
        self.check_channels(channels)?;
        let side = |size: usize| u32::try_from(size).ok().filter(|size| (1..=MAX_SIZE).contains(size));
        let (Some(to_width), Some(to_height), 1 | 3) = (side(width), side(height), channels) else {
            return Err(PrepError::Input { channels, height, width });
        };
        let placement = self.placement(photo, to_width, to_height)?;
        let resized = resample_rgb(photo.rgb(), &placement, (to_width, to_height), self.filter)?;
        let planes = self.planes(channels);
        let (tensor, shape) = match layout {
            Layout::Nchw => {
                let tensor =
                    planes.iter().flat_map(|plane| resized.pixels().map(|pixel| plane.value(pixel.0)));
                (tensor.collect(), [1, channels, height, width])
            }
            Layout::Nhwc => {
                let tensor =
                    resized.pixels().flat_map(|pixel| planes.iter().map(|plane| plane.value(pixel.0)));
                (tensor.collect(), [1, height, width, channels])
            }
        };
        Ok(Prepared { tensor, shape, placement })
    }

    /// What a pixel of this colour becomes, a number for each of `channels` (1 or 3).
    pub(crate) fn colour(&self, rgb: [u8; 3], channels: usize) -> Vec<f32> {
        self.planes(channels).iter().map(|plane| plane.value(rgb)).collect()
    }

    /// What is left to do for a model that takes the bytes of a resized photo.
    pub(crate) fn of_bytes(&self) -> Prep {
        let (mean, std) = (vec![0.0], vec![1.0]);
        Prep { range: Range::TwoFiftyFive, mean, std, order: Order::Rgb, ..self.clone() }
    }

    /// Whether the values of photos stay what they are, so that a model of bytes can take them.
    pub(crate) fn keeps_bytes(&self) -> bool {
        let all = |values: &[f32], value| values.iter().all(|&v| v == value);
        self.range == Range::TwoFiftyFive && all(&self.mean, 0.0) && all(&self.std, 1.0)
    }

    /// The part of the photo that becomes the input.
    fn placement(&self, photo: &Photo, width: u32, height: u32) -> Result<Placement, PrepError> {
        let resized = self.resized(photo, width, height);
        let too_small = resized.0 < u64::from(width) || resized.1 < u64::from(height);
        if too_small {
            return Err(self.too_small(resized, width, height));
        }
        let cut = |resized: u64, input: u32, photo: u32| {
            let (resized, start) = (resized as f64, centred(resized - u64::from(input)) as f64);
            (start * f64::from(photo) / resized, f64::from(input) * f64::from(photo) / resized)
        };
        let (x0, width) = cut(resized.0, width, photo.width());
        let (y0, height) = cut(resized.1, height, photo.height());
        Ok(Placement { x0, y0, width, height })
    }

    /// Width and height of the photo after resizing, before cropping.
    fn resized(&self, photo: &Photo, width: u32, height: u32) -> (u64, u64) {
        let (photo_width, photo_height) = (u64::from(photo.width()), u64::from(photo.height()));
        let meant_for = u64::from(self.crop.unwrap_or(width.min(height))).max(1);
        let scaled =
            |number: u32, side: u32| (u64::from(number) * u64::from(side) + meant_for / 2) / meant_for;
        match self.resize {
            Resize::None => (photo_width, photo_height),
            Resize::Warp(number) => (scaled(number, width), scaled(number, height)),
            Resize::Short(number) => {
                let (box_width, box_height) = (scaled(number, width), scaled(number, height));
                if photo_width * box_height >= photo_height * box_width {
                    (box_height * photo_width / photo_height, box_height)
                } else {
                    (box_width, box_width * photo_height / photo_width)
                }
            }
        }
    }

    fn too_small(&self, resized: (u64, u64), width: u32, height: u32) -> PrepError {
        let hint = match self.resize {
            Resize::None => "use a larger photo, or let it be resized: resize=short:N or resize=warp:N",
            _ => "raise the number of `resize`, or say with crop=N for which input size it is meant",
        };
        PrepError::TooSmall {
            resize: self.resize,
            from: format!("{}×{}", resized.0, resized.1),
            to: format!("{width}×{height}"),
            hint,
        }
    }

    fn check_channels(&self, channels: usize) -> Result<(), PrepError> {
        for (key, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != 1 && values.len() != channels {
                return Err(PrepError::Contradiction {
                    what: format!(
                        "{key} has {} values, but the model takes {channels} channels",
                        values.len()
                    ),
                    hint: "give one value, or one for each channel",
                });
            }
        }
        Ok(())
    }

    /// For each channel of the model, what it reads of a pixel.
    fn planes(&self, channels: usize) -> Vec<Plane> {
        let sources = match (channels, self.order) {
            (1, _) => vec![Source::Luma],
            (_, Order::Rgb) => vec![Source::Sample(0), Source::Sample(1), Source::Sample(2)],
            (_, Order::Bgr) => vec![Source::Sample(2), Source::Sample(1), Source::Sample(0)],
        };
        let of = |values: &[f32], index: usize| values.get(index).or(values.first()).copied();
        let plane = |(index, source)| {
            let (mean, std) = (of(&self.mean, index).unwrap_or(0.0), of(&self.std, index).unwrap_or(1.0));
            Plane { source, table: std::array::from_fn(|sample| (self.range.of(sample as u8) - mean) / std) }
        };
        sources.into_iter().enumerate().map(plane).collect()
    }
}

/// One channel of the input: what it reads of a pixel, and the prepared value of each of the 256 samples.
struct Plane {
    source: Source,
    table: [f32; 256],
}

enum Source {
    /// The red, green or blue sample.
    Sample(usize),
    Luma,
}

impl Plane {
    fn value(&self, pixel: [u8; 3]) -> f32 {
        let sample = match self.source {
            Source::Sample(index) => pixel[index],
            Source::Luma => luma(pixel),
        };
        self.table[usize::from(sample)]
    }
}

impl Range {
    /// An 8-bit sample in this range.
    fn of(self, sample: u8) -> f32 {
        match self {
            Range::One => f32::from(sample) / 255.0,
            Range::TwoFiftyFive => f32::from(sample),
        }
    }
}

/// ITU-R 601 luma, as Pillow's `L`.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let thousandfold = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    ((thousandfold + 500) / 1000) as u8
}

/// Half of `rest`, a half rounded to even.
fn centred(rest: u64) -> u64 {
    let half = rest / 2;
    if rest % 2 == 1 { half + half % 2 } else { half }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::RgbImage;
    use ::image::Rgb;
    use proptest::prelude::*;

    fn plain(width: u32, height: u32, colour: [u8; 3]) -> Photo {
        Photo::from_rgb(RgbImage::from_pixel(width, height, Rgb(colour))).unwrap()
    }

    fn place(prep: &str, photo: (u32, u32), input: (usize, usize)) -> Placement {
        let prep: Prep = prep.parse().unwrap();
        prep.apply(&plain(photo.0, photo.1, [0; 3]), input.1, input.0, 3, Layout::Nchw).unwrap().placement
    }

    #[test]
    fn rests_are_halved_as_in_python() {
        let found: Vec<u64> = (0..8).map(centred).collect();
        assert_eq!(found, [0, 0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn placements_are_torchvisions() {
        // Resize(256) makes 384 × 256 of 451 × 300, and CenterCrop(224) starts at (80, 16).
        let (x, y) = (|at: f64| at * 451.0 / 384.0, |at: f64| at * 300.0 / 256.0);
        let expected = Placement { x0: x(80.0), y0: y(16.0), width: x(224.0), height: y(224.0) };
        assert_eq!(place("imagenet", (451, 300), (224, 224)), expected);
        // The same view, for an input of twice the size.
        let twice = place("imagenet", (451, 300), (448, 448));
        assert!((twice.x0 - expected.x0).abs() < 0.5 && twice.y0 == expected.y0);
        // A number given alone is taken as it is.
        assert_eq!(place("imagenet:resize=short:300", (451, 300), (299, 299)).width, 299.0);
        assert_eq!(place("caffe", (451, 300), (227, 227)), Placement::whole(451, 300));
        assert_eq!(place("caffe", (451, 300), (321, 100)), Placement::whole(451, 300));
        let (x0, y0) = (76.0, 76.0 / 2.0);
        assert_eq!(
            place("resize=none", (451, 300), (299, 224)),
            Placement { x0, y0, width: 299.0, height: 224.0 }
        );
    }

    #[test]
    fn the_mean_colour_becomes_zero() {
        let colour = plain(30, 20, [124, 117, 104]);
        for (prep, layout) in [
            ("mean=104,117,124:range=255:order=bgr", Layout::Nchw),
            ("mean=124,117,104:range=255", Layout::Nhwc),
        ] {
            let prepared = prep.parse::<Prep>().unwrap().apply(&colour, 4, 6, 3, layout).unwrap();
            assert!(prepared.tensor.iter().all(|&value| value == 0.0), "{prep}");
        }
    }

    #[test]
    fn layouts_orders_and_channels() {
        let colour = plain(30, 20, [255, 102, 0]);
        let apply = |prep: &str, channels, layout| {
            let prepared = prep.parse::<Prep>().unwrap().apply(&colour, 1, 2, channels, layout).unwrap();
            (prepared.shape, prepared.tensor)
        };
        assert_eq!(apply("unit", 3, Layout::Nchw), ([1, 3, 1, 2], vec![1.0, 1.0, 0.4, 0.4, 0.0, 0.0]));
        assert_eq!(apply("unit", 3, Layout::Nhwc), ([1, 1, 2, 3], vec![1.0, 0.4, 0.0, 1.0, 0.4, 0.0]));
        assert_eq!(apply("order=bgr:range=255", 3, Layout::Nhwc).1, [0.0, 102.0, 255.0, 0.0, 102.0, 255.0]);
        // 0.299 · 255 + 0.587 · 102 = 136.1
        assert_eq!(apply("range=255", 1, Layout::Nchw), ([1, 1, 1, 2], vec![136.0; 2]));
        assert_eq!(apply("tf", 3, Layout::Nchw).1, [1.0, 1.0, -0.2, -0.2, -1.0, -1.0]);
    }

    #[test]
    fn impossible_inputs_are_errors() {
        let photo = plain(100, 50, [0; 3]);
        let apply = |prep: &str, height, width, channels| {
            prep.parse::<Prep>().unwrap().apply(&photo, height, width, channels, Layout::Nchw).unwrap_err()
        };
        assert!(matches!(apply("unit", 8, 8, 4), PrepError::Input { channels: 4, .. }));
        assert!(matches!(apply("unit", 0, 8, 3), PrepError::Input { .. }));
        assert!(matches!(apply("unit", 8, usize::MAX, 3), PrepError::Input { .. }));
        assert!(matches!(apply("imagenet", 8, 8, 1), PrepError::Contradiction { .. }));
        let error = apply("resize=none", 60, 60, 3).to_string();
        assert!(
            error.contains("`none` to 100×50") && error.contains("of 60×60\nhint: use a larger photo"),
            "{error}"
        );
        let error = apply("resize=short:256", 299, 299, 3).to_string();
        assert!(error.contains("`short:256` to 512×256") && error.contains("crop=N"), "{error}");
        let broken = Prep { std: vec![], ..Prep::default() };
        assert!(matches!(
            broken.apply(&photo, 8, 8, 3, Layout::Nchw),
            Err(PrepError::BadValue { key: "std", .. })
        ));
    }

    #[test]
    fn a_very_long_photo_costs_no_more_than_its_middle() {
        let found = place("imagenet", (60_000, 2), (224, 224));
        assert_eq!((found.height, found.width), (1.75, 1.75));
    }

    proptest! {
        #[test]
        fn always_exactly_the_input(
            photo in (1u32..90, 1u32..90),
            input in (1usize..40, 1usize..40),
            preset in 0..PRESETS.len(),
        ) {
            let photo = plain(photo.0, photo.1, [30, 60, 90]);
            let prep = PRESETS[preset].prep();
            let prepared = prep.apply(&photo, input.0, input.1, 3, Layout::Nchw).unwrap();
            prop_assert_eq!(prepared.tensor.len(), 3 * input.0 * input.1);
            let Placement { x0, y0, width, height } = prepared.placement;
            prop_assert!(x0 >= 0.0 && x0 + width <= f64::from(photo.width()) + 1e-9);
            prop_assert!(y0 >= 0.0 && y0 + height <= f64::from(photo.height()) + 1e-9);
        }
    }
}
