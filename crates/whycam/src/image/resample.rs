//! Changing the size of maps and pictures. The arithmetic is `fast_image_resize`'s; this file only says which
//! rectangle of the source becomes the destination.

use ::image::RgbImage;
use fast_image_resize::images::{Image, ImageRef, TypedImage, TypedImageRef};
use fast_image_resize::pixels::F32;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use super::load::check_size;
use super::{ImageError, Placement};

/// Which points of a small map and of its enlargement coincide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Align {
    /// The edges of the grids coincide: the centre of pixel `i` of `d` lies at `(i + ½)·s/d − ½` of `s`
    /// cells, and beyond the outermost cell centres the map continues with their value. What PyTorch, OpenCV
    /// and TensorFlow 2 do by default.
    #[default]
    HalfPixel,
    /// The centres of the corner cells coincide with those of the corner pixels: pixel `i` lies at
    /// `i·(s − 1)/(d − 1)`. What Torch7's `image.scale`, and so the pictures of the Grad-CAM paper, did.
    Corners,
}

impl Align {
    /// Every way, the default first.
    pub const ALL: [Align; 2] = [Align::HalfPixel, Align::Corners];

    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Align::HalfPixel => "half-pixel",
            Align::Corners => "corners",
        }
    }
}

/// The kernel with which a photo is resized. Both widen when shrinking (antialiasing), as in Pillow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// The triangle kernel; Pillow's `BILINEAR`.
    #[default]
    Bilinear,
    /// The cubic kernel with a = −½; Pillow's `BICUBIC`.
    Bicubic,
}

/// A 2-D map as it was computed: `height × width` values, row by row, of any range and sign.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field<'a> {
    values: &'a [f32],
    height: u32,
    width: u32,
}

impl<'a> Field<'a> {
    /// A view of `height × width` values.
    ///
    /// # Errors
    /// [`ImageError::Shape`] if the number of values is another; [`ImageError::Empty`] and
    /// [`ImageError::TooLarge`] for sizes that no picture may have.
    pub fn new(values: &'a [f32], height: usize, width: usize) -> Result<Field<'a>, ImageError> {
        check_size(width as u64, height as u64)?;
        if values.len() != height * width {
            return Err(ImageError::Shape { shape: format!("{height}×{width}"), found: values.len() });
        }
        Ok(Field { values, height: height as u32, width: width as u32 })
    }

    /// The values, row by row.
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height as usize
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width as usize
    }
}

/// Resizes a map bilinearly to `height × width` values, row by row.
///
/// `align` matters where an axis grows. Where it shrinks, both alignments take the same antialiased
/// (triangle) average of the cells under a pixel. A value that is not finite makes those around it not
/// finite; nothing else happens to them.
///
/// # Errors
/// [`ImageError::Empty`] and [`ImageError::TooLarge`] for the size asked for.
pub fn resample(field: Field<'_>, height: usize, width: usize, align: Align) -> Result<Vec<f32>, ImageError> {
    check_size(width as u64, height as u64)?;
    let (x, y) = match align {
        Align::HalfPixel => (Stretch::all(field.width), Stretch::all(field.height)),
        Align::Corners => {
            (Stretch::corners(field.width, width as u32), Stretch::corners(field.height, height as u32))
        }
    };
    resample_part(field, x, y, width as u32, height as u32)
}

/// The interval of a source axis, in edge coordinates, that becomes the whole destination axis. Always inside
/// the source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stretch {
    start: f64,
    length: f64,
}

impl Stretch {
    /// An axis of `size` cells.
    fn all(size: u32) -> Stretch {
        Stretch { start: 0.0, length: size.into() }
    }

    /// The part of `from` cells that lays their corner centres on those of `to` pixels.
    pub(super) fn corners(from: u32, to: u32) -> Stretch {
        if from < 2 || to <= from {
            return Stretch::all(from);
        }
        let step = f64::from(from - 1) / f64::from(to - 1);
        Stretch { start: 0.5 - 0.5 * step, length: f64::from(to) * step }
    }

    /// The interval of an axis of `size` cells, clipped to the axis; the whole axis if it is not finite.
    pub(super) fn clipped(start: f64, length: f64, size: u32) -> Stretch {
        let limit = f64::from(size);
        if !(start.is_finite() && length.is_finite()) {
            return Stretch::all(size);
        }
        let first = start.clamp(0.0, limit);
        let mut length = (start + length).clamp(0.0, limit) - first;
        if length <= 1e-9 {
            // Nothing is left: take the cell that is there.
            return Stretch { start: first.floor().min(limit - 1.0), length: 1.0 };
        }
        if first + length > limit {
            length = length.next_down();
        }
        Stretch { start: first, length }
    }
}

/// Resizes a part of a map bilinearly to `width × height`, which [`check_size`] has passed.
pub(super) fn resample_part(
    field: Field<'_>,
    x: Stretch,
    y: Stretch,
    width: u32,
    height: u32,
) -> Result<Vec<f32>, ImageError> {
    let cells: Vec<F32> = field.values.iter().copied().map(F32::new).collect();
    let source = TypedImageRef::new(field.width, field.height, &cells).map_err(refused)?;
    let mut target: TypedImage<'_, F32> = TypedImage::new(width, height);
    Resizer::new()
        .resize_typed(&source, &mut target, &options(x, y, FilterType::Bilinear))
        .map_err(refused)?;
    Ok(target.pixels().iter().map(|cell| cell.0).collect())
}

/// Resizes a part of a picture to `to = (width, height)` pixels, on 8-bit samples. Pixels around the part
/// take part in the kernel, so that the result is what resizing everything and cropping afterwards gives,
/// without the large intermediate.
///
/// Rows first, then columns, rounding to 8 bits in between: Pillow's order. (The library's own is the other,
/// which is as good, but differs from Pillow by one step in every seventh sample.)
pub(crate) fn resample_rgb(
    picture: &RgbImage,
    part: &Placement,
    to: (u32, u32),
    filter: Filter,
) -> Result<RgbImage, ImageError> {
    let x = Stretch::clipped(part.x0, part.width, picture.width());
    let y = Stretch::clipped(part.y0, part.height, picture.height());
    let narrow = stretch_rgb(picture, x, Stretch::all(picture.height()), (to.0, picture.height()), filter)?;
    stretch_rgb(&narrow, Stretch::all(to.0), y, to, filter)
}

fn stretch_rgb(
    picture: &RgbImage,
    x: Stretch,
    y: Stretch,
    to: (u32, u32),
    filter: Filter,
) -> Result<RgbImage, ImageError> {
    let (width, height) = picture.dimensions();
    check_size(width.into(), height.into())?;
    check_size(to.0.into(), to.1.into())?;
    let kernel = match filter {
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Bicubic => FilterType::CatmullRom,
    };
    let source = ImageRef::new(width, height, picture.as_raw(), PixelType::U8x3).map_err(refused)?;
    let mut target = Image::new(to.0, to.1, PixelType::U8x3);
    Resizer::new().resize(&source, &mut target, &options(x, y, kernel)).map_err(refused)?;
    RgbImage::from_raw(to.0, to.1, target.into_vec()).ok_or_else(|| refused("the result has a wrong size"))
}

fn options(x: Stretch, y: Stretch, kernel: FilterType) -> ResizeOptions {
    ResizeOptions::new().resize_alg(ResizeAlg::Convolution(kernel)).crop(x.start, y.start, x.length, y.length)
}

fn refused(error: impl std::fmt::Display) -> ImageError {
    ImageError::Resample { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One axis of the library's work, from the formulas: the weights of `from` cells for pixel `index` of
    /// `to`.
    fn weights(index: usize, from: usize, to: usize, align: Align) -> Vec<f64> {
        let (from_size, to_size) = (from as f64, to as f64);
        let (centre, scale) = match align {
            Align::Corners if to > from => (index as f64 * (from_size - 1.0) / (to_size - 1.0), 1.0),
            _ => ((index as f64 + 0.5) * from_size / to_size - 0.5, (from_size / to_size).max(1.0)),
        };
        let triangle = |cell: usize| (1.0 - ((cell as f64 - centre) / scale).abs()).max(0.0);
        let raw: Vec<f64> = (0..from).map(triangle).collect();
        let total: f64 = raw.iter().sum();
        raw.iter().map(|weight| weight / total).collect()
    }

    /// [`resample`] as two nested sums.
    fn slow(values: &[f32], from: (usize, usize), to: (usize, usize), align: Align) -> Vec<f32> {
        let mut out = Vec::new();
        for y in 0..to.0 {
            for x in 0..to.1 {
                let (down, across) = (weights(y, from.0, to.0, align), weights(x, from.1, to.1, align));
                let cells = values.iter().enumerate();
                let parts = cells.map(|(i, &value)| f64::from(value) * down[i / from.1] * across[i % from.1]);
                out.push(parts.sum::<f64>() as f32);
            }
        }
        out
    }

    fn fast(values: &[f32], from: (usize, usize), to: (usize, usize), align: Align) -> Vec<f32> {
        resample(Field::new(values, from.0, from.1).unwrap(), to.0, to.1, align).unwrap()
    }

    /// Specification §1, acceptance check 5.
    #[test]
    fn two_by_two_to_three_by_three() {
        for align in [Align::Corners, Align::HalfPixel] {
            let found = fast(&[0.0, 1.0, 2.0, 3.0], (2, 2), (3, 3), align);
            assert_eq!(
                [found[0], found[2], found[4], found[6], found[8]],
                [0.0, 1.0, 1.5, 2.0, 3.0],
                "{align:?}"
            );
        }
    }

    #[test]
    fn the_two_alignments_differ_by_half_a_cell_at_the_border() {
        let ramp: Vec<f32> = (0..14).map(|cell| cell as f32).collect();
        let half = fast(&ramp, (1, 14), (1, 224), Align::HalfPixel);
        let corners = fast(&ramp, (1, 14), (1, 224), Align::Corners);
        let most = half.iter().zip(&corners).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!((most - 0.44).abs() < 0.03, "{most}");
        assert_eq!((half[0], corners[0], half[223], corners[223]), (0.0, 0.0, 13.0, 13.0));
    }

    #[test]
    fn wrong_shapes_are_errors() {
        assert!(matches!(Field::new(&[0.0; 5], 2, 3), Err(ImageError::Shape { found: 5, .. })));
        assert!(matches!(Field::new(&[], 0, 3), Err(ImageError::Empty { .. })));
        assert!(matches!(Field::new(&[], usize::MAX, usize::MAX), Err(ImageError::TooLarge { .. })));
        let field = Field::new(&[1.0], 1, 1).unwrap();
        assert!(matches!(resample(field, 0, 4, Align::Corners), Err(ImageError::Empty { .. })));
        assert!(matches!(resample(field, 1, 1 << 40, Align::Corners), Err(ImageError::TooLarge { .. })));
    }

    #[test]
    fn values_that_are_not_finite_stay_where_they_are() {
        let mut values = [1.0; 49];
        values[0] = f32::NAN;
        values[3] = f32::INFINITY;
        let found = fast(&values, (7, 7), (70, 70), Align::HalfPixel);
        assert!(found[0].is_nan() && !found[35].is_finite());
        assert!(found[10 * 70 * 2..].iter().all(|&value| value == 1.0));
    }

    proptest! {
        #[test]
        fn is_the_formula(
            from in (1usize..9, 1usize..9),
            to in (1usize..24, 1usize..24),
            corners in any::<bool>(),
            seed in prop::collection::vec(-10f32..10.0, 64),
        ) {
            let align = if corners { Align::Corners } else { Align::HalfPixel };
            let values = &seed[..from.0 * from.1];
            let (found, expected) = (fast(values, from, to, align), slow(values, from, to, align));
            prop_assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(&expected) {
                prop_assert!((a - b).abs() < 1e-4, "{} {}", a, b);
            }
        }

        #[test]
        fn constant_maps_stay_constant(from in (1usize..9, 1usize..9), to in (1usize..24, 1usize..24), value in -9f32..9.0) {
            for align in [Align::HalfPixel, Align::Corners] {
                let found = fast(&vec![value; from.0 * from.1], from, to, align);
                prop_assert!(found.iter().all(|&other| (other - value).abs() <= 1e-6 * value.abs()));
            }
        }

        #[test]
        fn clipped_intervals_are_inside(start in any::<f64>(), length in any::<f64>(), size in 1u32..10_000) {
            let found = Stretch::clipped(start, length, size);
            prop_assert!(found.start >= 0.0 && found.length > 0.0 && found.start + found.length <= f64::from(size));
        }
    }
}
