//! Bytes → an upright 8-bit RGB photo, and a picture → PNG bytes.

use std::io::Cursor;

use ::image::codecs::png::{CompressionType, FilterType, PngEncoder};
use ::image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageReader, Limits, RgbImage};

use super::ImageError;

/// Most pixels a picture may have: 100 megapixels.
pub const MAX_PIXELS: u64 = 100_000_000;

/// Most pixels along one side, which is also the most that a JPEG can hold.
pub const MAX_SIDE: u64 = 65_535;

/// Most bytes a decoder may allocate: enough for [`MAX_PIXELS`] of 16-bit RGBA.
const MAX_DECODER_BYTES: u64 = 1 << 30;

/// An upright 8-bit RGB picture of 1 to [`MAX_PIXELS`] pixels.
#[derive(Clone, PartialEq, Eq)]
pub struct Photo {
    pixels: RgbImage,
}

impl Photo {
    /// Decodes a JPEG, PNG or WebP file; the format is told by the content, never by a name.
    ///
    /// The EXIF orientation is applied. Grey is repeated in the three channels and alpha is dropped, as the
    /// reference pipelines do (the colours under a transparent pixel become visible); 16-bit samples are
    /// rounded to 8 bits and CMYK JPEGs converted. Colour profiles are not applied. Of an animation the first
    /// frame is taken.
    ///
    /// # Errors
    /// [`ImageError`] if the bytes are no picture, of another format, damaged or incomplete, or if the
    /// picture is empty or larger than [`MAX_PIXELS`] or [`MAX_SIDE`], which is checked before its pixels are
    /// allocated.
    pub fn decode(bytes: &[u8]) -> Result<Photo, ImageError> {
        let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(decode_error)?;
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(MAX_DECODER_BYTES);
        reader.limits(limits);
        let format = reader.format().ok_or(ImageError::NotAPicture)?;
        if !format.reading_enabled() {
            return Err(ImageError::UnsupportedFormat { format: format!("{format:?}") });
        }
        if format == ::image::ImageFormat::Jpeg && !jpeg_reaches_its_end(bytes) {
            return Err(ImageError::Truncated);
        }
        let mut decoder = reader.into_decoder().map_err(decode_error)?;
        let (width, height) = decoder.dimensions();
        check_size(width.into(), height.into())?;
        let orientation = decoder.orientation().map_err(decode_error)?;
        let mut picture = DynamicImage::from_decoder(decoder).map_err(decode_error)?;
        picture.apply_orientation(orientation);
        Photo::from_rgb(picture.into_rgb8())
    }

    /// How many pixels a picture has by its header, which is all that is read; `None` where that is not understood.
    pub fn pixels(bytes: &[u8]) -> Option<u64> {
        let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
        let (width, height) = reader.into_dimensions().ok()?;
        Some(u64::from(width) * u64::from(height))
    }

    /// Takes pixels that are in memory already.
    ///
    /// # Errors
    /// [`ImageError::Empty`] and [`ImageError::TooLarge`], as for [`Photo::decode`].
    pub fn from_rgb(pixels: RgbImage) -> Result<Photo, ImageError> {
        check_size(pixels.width().into(), pixels.height().into())?;
        Ok(Photo { pixels })
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.pixels.width()
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.pixels.height()
    }

    /// The pixels: 8-bit RGB, rows from the top, as the photo is meant to be looked at.
    pub fn rgb(&self) -> &RgbImage {
        &self.pixels
    }
}

impl std::fmt::Debug for Photo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Photo({}×{})", self.width(), self.height())
    }
}

/// Encodes a picture as an 8-bit RGB PNG file, with the fast compression: an eighth of the default's time for
/// a file larger by a fifth to two fifths.
///
/// # Errors
/// [`ImageError::Empty`] for a picture without pixels; [`ImageError::Encode`] if the encoder refuses.
pub fn encode_png(picture: &RgbImage) -> Result<Vec<u8>, ImageError> {
    let (width, height) = picture.dimensions();
    check_size(width.into(), height.into())?;
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive)
        .write_image(picture.as_raw(), width, height, ExtendedColorType::Rgb8)
        .map_err(|error| ImageError::Encode { reason: error.to_string() })?;
    Ok(bytes)
}

/// Refuses sizes that are empty or beyond [`MAX_SIDE`] or [`MAX_PIXELS`].
pub(super) fn check_size(width: u64, height: u64) -> Result<(), ImageError> {
    if width == 0 || height == 0 {
        Err(ImageError::Empty { width, height })
    } else if width.max(height) > MAX_SIDE || width * height > MAX_PIXELS {
        Err(ImageError::TooLarge { width, height })
    } else {
        Ok(())
    }
}

fn decode_error(error: impl std::fmt::Display) -> ImageError {
    ImageError::Decode { reason: error.to_string() }
}

/// Whether a walk over the JPEG's segments meets the end marker. The decoder itself fills what is missing
/// with grey and reports nothing. The walk skips segments by their length, so an embedded thumbnail's end
/// marker does not count.
fn jpeg_reaches_its_end(bytes: &[u8]) -> bool {
    const END: u8 = 0xD9;
    // Stuffing, fill bytes and the markers that have no length: TEM, RST0 to RST7, SOI.
    let starts_a_segment =
        |pair: &[u8]| matches!(pair, [0xFF, kind] if !matches!(kind, 0x00 | 0x01 | 0xD0..=0xD8 | 0xFF));
    let mut rest = bytes;
    while let Some(at) = rest.windows(2).position(starts_a_segment) {
        rest = rest.get(at + 1..).unwrap_or_default();
        match rest {
            [END, ..] => return true,
            [_, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                rest = rest.get(1 + length..).unwrap_or_default();
            }
            _ => return false,
        }
    }
    false
}
