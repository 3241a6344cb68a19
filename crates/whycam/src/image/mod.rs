//! Pictures: reading photos, colouring maps, laying them on photos, contact sheets.
//!
//! This room knows pixels and nothing else: no graph, no engine, no model and no file system (byte slices
//! come in, pictures and PNG bytes go out). Everything here is *display*: nothing it computes flows back into
//! a map.
//!
//! | step | item |
//! |---|---|
//! | bytes → upright 8-bit RGB photo | [`Photo`] |
//! | a 2-D map over the photo | [`overlay`] |
//! | a 2-D map without a photo | [`map_alone`] |
//! | an image-shaped map (guided backpropagation, …) | [`picture`] |
//! | several pictures with captions on one page | [`sheet`] |
//! | curves over steps | [`plot`] |
//! | picture → PNG bytes | [`encode_png`] |
//!
//! Where a model's input lies on the photo is a [`Placement`]; [`crate::prep::Prep::apply`] returns it.

mod color;
mod error;
mod load;
mod overlay;
mod placement;
mod plot;
mod resample;
mod sheet;
mod text;

pub use color::{Colormap, NOT_A_NUMBER, NOT_A_PIXEL, Order, normalise, normalise_symmetric};
pub use error::ImageError;
pub use load::{MAX_PIXELS, MAX_SIDE, Photo, encode_png};
pub use overlay::{OverlayStyle, Pixels, map_alone, overlay, picture};
pub use placement::Placement;
pub use plot::{Curve, plot};
pub(crate) use resample::resample_rgb;
pub use resample::{Align, Field, Filter, resample};
pub use sheet::{Panel, Section, sheet, thumbnail};

/// The picture type of this crate's interface, from the `image` crate: 8-bit RGB, rows from the top.
pub use ::image::RgbImage;
