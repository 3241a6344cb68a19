//! What can go wrong with a picture.

use super::load::{MAX_PIXELS, MAX_SIDE};

/// Why a picture could not be read, made or written. Each message says what is wrong and ends in a `hint:`
/// line. The caller, who knows the file's name, says where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The bytes start like no picture format.
    #[error(
        "not a picture: its first bytes belong to no known format\nhint: JPEG, PNG and WebP files are read"
    )]
    NotAPicture,
    /// A picture format that is known but not read.
    #[error("{format} pictures are not read\nhint: convert it to PNG, JPEG or WebP")]
    UnsupportedFormat {
        /// Name of the format, such as `Gif`.
        format: String,
    },
    /// The decoder refused the data.
    #[error(
        "the picture cannot be decoded: {reason}\nhint: the file is damaged or incomplete; copy or export it again"
    )]
    Decode {
        /// The decoder's own words.
        reason: String,
    },
    /// JPEG data without their end marker. Decoders paint the missing part grey, and a grey half would be
    /// explained.
    #[error(
        "the JPEG data stop before their end marker\nhint: the file is incomplete; copy or download it again"
    )]
    Truncated,
    /// More pixels than are accepted; nothing was allocated.
    #[error(
        "a picture of {width}×{height} pixels is too large\n\
         hint: at most {} megapixels and {MAX_SIDE} pixels a side; make it smaller first",
        MAX_PIXELS / 1_000_000
    )]
    TooLarge {
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
    },
    /// The plotting library failed.
    #[error("the curves cannot be drawn: {reason}\nhint: please report it")]
    Plot {
        /// The library's own words.
        reason: String,
    },
    /// No pixels at all.
    #[error("a picture of {width}×{height} has no pixels\nhint: width and height must be at least 1")]
    Empty {
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
    },
    /// The number of values does not fit the shape given with them.
    #[error(
        "{found} values cannot be a map of shape {shape}\n\
         hint: the sizes multiply to the number of values; an image-shaped map has 1 or 3 channels"
    )]
    Shape {
        /// The shape asked for, such as `7×7`.
        shape: String,
        /// How many values there were.
        found: usize,
    },
    /// A sheet of no panels.
    #[error("a contact sheet needs at least one panel\nhint: pass at least one picture")]
    NoPanels,
    /// The name is no colour map.
    #[error("there is no colour map `{name}`\nhint: one of {known}")]
    UnknownColormap {
        /// What was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The resampling library refused; this is a defect of whycam.
    #[error("resampling failed: {reason}\nhint: please report this together with the picture's size")]
    Resample {
        /// The library's own words.
        reason: String,
    },
    /// The PNG encoder refused.
    #[error(
        "the picture cannot be written as PNG: {reason}\nhint: please report this together with the picture's size"
    )]
    Encode {
        /// The encoder's own words.
        reason: String,
    },
}
