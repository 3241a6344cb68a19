//! Maps → pictures. Normalisation and colour happen here, after the resize, and for display only.

use ::image::{Rgb, RgbImage};

use super::color::{NOT_A_PIXEL, Order, to_byte};
use super::load::check_size;
use super::placement::Span;
use super::resample::{Stretch, resample_part};
use super::{Align, Colormap, Field, Filter, ImageError, Photo, Placement, resample, resample_rgb};

/// How a 2-D map is painted. The default is what readers of the paper know: jet, half transparent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverlayStyle {
    /// The colours. A diverging colour map also makes zero its middle.
    pub colormap: Colormap,
    /// From 0 (the photo alone) to 1 (the colours alone); clamped, NaN counts as 0.
    pub opacity: f32,
    /// How the map is enlarged.
    pub align: Align,
}

impl Default for OverlayStyle {
    fn default() -> OverlayStyle {
        OverlayStyle::of(Colormap::Jet, Align::HalfPixel)
    }
}

impl OverlayStyle {
    /// Those colours at their usual opacity.
    pub fn of(colormap: Colormap, align: Align) -> OverlayStyle {
        OverlayStyle { colormap, opacity: colormap.opacity(), align }
    }
}

/// Lays a map over the part of the photo that the model saw.
///
/// As in the reference pipeline, the map is resized bilinearly, then normalised to its least and greatest
/// value ([`Colormap::normalise`]), then coloured. Each pixel becomes `photo·(1 − opacity) + colour·opacity`;
/// nothing else changes the photo's brightness. What lies outside the model's view (the margins of a centre
/// crop) keeps the photo's pixels, so that nobody takes "not looked at" for "no evidence". Cells that are not
/// finite are painted [`super::NOT_A_NUMBER`].
///
/// The map lies where `placement` says to within half a pixel of the photo. With [`Align::Corners`] the
/// corner cells' centres lie on the corner pixels of the painted part.
///
/// # Errors
/// [`ImageError::Resample`] if the resampling library refuses, which is not known to happen.
pub fn overlay(
    photo: &Photo,
    map: Field<'_>,
    placement: &Placement,
    style: &OverlayStyle,
) -> Result<RgbImage, ImageError> {
    let (columns, rows) = placement.pixels(photo.width(), photo.height());
    let (cells_x, cells_y) = (map.width() as u32, map.height() as u32);
    let (x, y) = match style.align {
        Align::HalfPixel => (
            under(columns, placement.x0, placement.width, cells_x),
            under(rows, placement.y0, placement.height, cells_y),
        ),
        Align::Corners => (Stretch::corners(cells_x, columns.length), Stretch::corners(cells_y, rows.length)),
    };
    let values = resample_part(map, x, y, columns.length, rows.length)?;
    let colours = painted(&values, style.colormap, columns.length, rows.length);
    Ok(blend(photo.rgb().clone(), &colours, columns, rows, style.opacity))
}

/// Paints a map alone, for inputs without a photo: `height × width` pixels, all of them colour; the style's
/// opacity plays no part.
///
/// # Errors
/// [`ImageError::Empty`] and [`ImageError::TooLarge`] for the size asked for.
pub fn map_alone(
    map: Field<'_>,
    height: usize,
    width: usize,
    style: &OverlayStyle,
) -> Result<RgbImage, ImageError> {
    let values = resample(map, height, width, style.align)?;
    Ok(painted(&values, style.colormap, width as u32, height as u32))
}

/// An image-shaped map, such as a guided-backpropagation tensor: `channels × height × width` values, channel
/// by channel, of any range and sign.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pixels<'a> {
    values: &'a [f32],
    channels: usize,
    height: u32,
    width: u32,
    order: Order,
}

impl<'a> Pixels<'a> {
    /// A view of `channels × height × width` values. Of 3 channels, `order` tells which is which.
    ///
    /// # Errors
    /// [`ImageError::Shape`] if the number of values is another or `channels` is not 1 or 3;
    /// [`ImageError::Empty`] and [`ImageError::TooLarge`] for sizes that no picture may have.
    pub fn new(
        values: &'a [f32],
        channels: usize,
        height: usize,
        width: usize,
        order: Order,
    ) -> Result<Pixels<'a>, ImageError> {
        check_size(width as u64, height as u64)?;
        if !matches!(channels, 1 | 3) || values.len() != channels * height * width {
            return Err(ImageError::Shape {
                shape: format!("{channels}×{height}×{width}"),
                found: values.len(),
            });
        }
        Ok(Pixels { values, channels, height: height as u32, width: width as u32, order })
    }
}

/// Paints an image-shaped map where it lies on a canvas of `canvas = (width, height)` pixels; without a
/// photo, use the map's own size and [`Placement::whole`].
///
/// Zero is mid grey, so that signs are seen, and so is the canvas outside the placement. The magnitude that
/// one value in two hundred exceeds, of **all channels together**, becomes 0 and 255: a few large values
/// would leave everything else grey. One channel is painted grey. Pixels that are not finite are painted
/// [`super::NOT_A_PIXEL`].
///
/// # Errors
/// [`ImageError::Empty`] and [`ImageError::TooLarge`] for the canvas.
pub fn picture(
    pixels: Pixels<'_>,
    canvas: (u32, u32),
    placement: &Placement,
) -> Result<RgbImage, ImageError> {
    check_size(canvas.0.into(), canvas.1.into())?;
    let reach = reach(pixels.values);
    let level = |value: f64| {
        if reach > 0.0 { to_byte((0.5 + 0.5 * value / reach).clamp(0.0, 1.0) as f32) } else { 128 }
    };
    let (columns, rows) = placement.pixels(canvas.0, canvas.1);
    let part = Placement::whole(pixels.width, pixels.height);
    let tile = resample_rgb(&tile(pixels, level), &part, (columns.length, rows.length), Filter::Bilinear)?;
    let mut page = RgbImage::from_pixel(canvas.0, canvas.1, Rgb([level(0.0); 3]));
    ::image::imageops::replace(&mut page, &tile, columns.start.into(), rows.start.into());
    Ok(page)
}

/// The magnitude that one finite value in two hundred exceeds; where that is 0, the largest one.
fn reach(values: &[f32]) -> f64 {
    let mut magnitudes: Vec<f32> = values.iter().map(|value| value.abs()).filter(|m| m.is_finite()).collect();
    if magnitudes.is_empty() {
        return 0.0;
    }
    let rank = magnitudes.len() - magnitudes.len().div_ceil(200);
    let (_, usual, above) = magnitudes.select_nth_unstable_by(rank, f32::total_cmp);
    let largest = above.iter().copied().fold(*usual, f32::max);
    f64::from(if *usual > 0.0 { *usual } else { largest })
}

/// The tensor as a picture of its own size.
fn tile(pixels: Pixels<'_>, level: impl Fn(f64) -> u8) -> RgbImage {
    let area = pixels.height as usize * pixels.width as usize;
    let channel = |index: usize| {
        let start = index.min(pixels.channels - 1) * area;
        pixels.values.iter().skip(start).take(area)
    };
    let (first, last) = match pixels.order {
        Order::Rgb => (0, 2),
        Order::Bgr => (2, 0),
    };
    let mut tile = RgbImage::new(pixels.width, pixels.height);
    let values = channel(first).zip(channel(1)).zip(channel(last));
    for (pixel, ((&red, &green), &blue)) in tile.pixels_mut().zip(values) {
        let colour = [red, green, blue];
        let finite = colour.iter().all(|value| value.is_finite());
        pixel.0 = if finite { colour.map(|value| level(value.into())) } else { NOT_A_PIXEL };
    }
    tile
}

/// The interval of `cells` map cells that lies under a span of pixels.
fn under(span: Span, start: f64, length: f64, cells: u32) -> Stretch {
    let density = f64::from(cells) / length;
    Stretch::clipped((f64::from(span.start) - start) * density, f64::from(span.length) * density, cells)
}

/// The colours of `width × height` raw values.
fn painted(values: &[f32], colormap: Colormap, width: u32, height: u32) -> RgbImage {
    let mut picture = RgbImage::new(width, height);
    for (pixel, t) in picture.pixels_mut().zip(colormap.normalise(values)) {
        pixel.0 = colormap.at(t);
    }
    picture
}

fn blend(mut photo: RgbImage, colours: &RgbImage, columns: Span, rows: Span, opacity: f32) -> RgbImage {
    let opacity = if opacity.is_nan() { 0.0 } else { opacity.clamp(0.0, 1.0) };
    for (below, above) in photo.rows_mut().skip(rows.start as usize).zip(colours.rows()) {
        for (below, above) in below.skip(columns.start as usize).zip(above) {
            for (below, &above) in below.0.iter_mut().zip(&above.0) {
                *below = (f32::from(*below) * (1.0 - opacity) + f32::from(above) * opacity).round() as u8;
            }
        }
    }
    photo
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::NOT_A_NUMBER;
    use proptest::prelude::*;

    fn photo(width: u32, height: u32) -> Photo {
        let pixel = |x, y| Rgb([(x * 7 % 256) as u8, (y * 11 % 256) as u8, 90]);
        Photo::from_rgb(RgbImage::from_fn(width, height, pixel)).unwrap()
    }

    fn style(opacity: f32) -> OverlayStyle {
        OverlayStyle { opacity, ..OverlayStyle::default() }
    }

    const MIDDLE: Placement = Placement { x0: 10.0, y0: 0.0, width: 40.0, height: 40.0 };

    #[test]
    fn only_the_part_that_the_model_saw_is_painted() {
        let (photo, map) = (photo(60, 40), [0.0, 1.0, 2.0, 3.0]);
        let map = Field::new(&map, 2, 2).unwrap();
        assert_eq!(&overlay(&photo, map, &MIDDLE, &style(0.0)).unwrap(), photo.rgb());
        assert_eq!(&overlay(&photo, map, &MIDDLE, &style(f32::NAN)).unwrap(), photo.rgb());
        let colours = map_alone(map, 40, 40, &style(1.0)).unwrap();
        let full = overlay(&photo, map, &MIDDLE, &style(7.0)).unwrap();
        let half = overlay(&photo, map, &MIDDLE, &style(0.5)).unwrap();
        for (x, y, &below) in photo.rgb().enumerate_pixels() {
            let (full, half) = (full.get_pixel(x, y), half.get_pixel(x, y));
            if (10..50).contains(&x) {
                let colour = colours.get_pixel(x - 10, y);
                assert_eq!(full, colour);
                for channel in 0..3 {
                    let mean = (f32::from(below.0[channel]) + f32::from(colour.0[channel])) / 2.0;
                    assert!((f32::from(half.0[channel]) - mean).abs() <= 0.5);
                }
            } else {
                assert_eq!((*full, *half), (below, below));
            }
        }
    }

    /// The map's value under each pixel centre, from the formula, on a placement that lies between pixels.
    #[test]
    fn the_map_lies_where_the_placement_says() {
        let (x0, width) = (93.958, 263.083);
        let placement = Placement { x0, y0: 18.75, width, height: 262.5 };
        let ramp: Vec<f32> = (0..49).map(|cell| (cell % 7) as f32).collect();
        let gray = OverlayStyle { colormap: Colormap::Gray, opacity: 1.0, align: Align::HalfPixel };
        let found = overlay(&photo(451, 300), Field::new(&ramp, 7, 7).unwrap(), &placement, &gray).unwrap();
        for x in 94..357u32 {
            let cell = ((f64::from(x) + 0.5 - x0) / width * 7.0 - 0.5).clamp(0.0, 6.0);
            let level = f64::from(found.get_pixel(x, 150).0[0]);
            assert!((level - cell / 6.0 * 255.0).abs() < 1.0, "at {x}: {level}, cell {cell}");
        }
        assert_eq!(found.get_pixel(93, 150), photo(451, 300).rgb().get_pixel(93, 150));
    }

    #[test]
    fn corners_start_and_end_with_the_corner_cells() {
        let ramp = [0.0, 0.0, 1.0, 2.0];
        let style = OverlayStyle { colormap: Colormap::Gray, opacity: 1.0, align: Align::Corners };
        let map = Field::new(&ramp, 1, 4).unwrap();
        let found = overlay(&photo(60, 40), map, &MIDDLE, &style).unwrap();
        let levels: Vec<u8> = (10..50).map(|x| found.get_pixel(x, 20).0[0]).collect();
        let expected = |i: usize| {
            let cell = i as f32 * 3.0 / 39.0;
            ((cell - 1.0).max(0.0) / 2.0 * 255.0).round() as u8
        };
        assert!(levels.iter().enumerate().all(|(i, level)| level.abs_diff(expected(i)) <= 1), "{levels:?}");
    }

    #[test]
    fn blank_maps_are_one_colour_and_nan_is_grey() {
        let whole = Placement::whole(20, 20);
        for (value, colormap, expected) in [
            (0.0, Colormap::Jet, [0, 0, 255]),
            (3.0, Colormap::Jet, [0, 0, 255]),
            (0.0, Colormap::CoolWarm, [221, 221, 221]),
            (f32::NAN, Colormap::Turbo, NOT_A_NUMBER),
            (f32::NEG_INFINITY, Colormap::RdBu, NOT_A_NUMBER),
        ] {
            let style = OverlayStyle { colormap, ..style(1.0) };
            let map = [value; 9];
            let found = overlay(&photo(20, 20), Field::new(&map, 3, 3).unwrap(), &whole, &style).unwrap();
            assert!(found.pixels().all(|pixel| pixel.0 == expected), "{value} {colormap}");
        }
    }

    #[test]
    fn a_tensor_is_stretched_over_its_channels_together() {
        // Blue, green, red planes of two pixels.
        let values = [-1.0, 0.0, 1.0, 1.0, 3.0, 0.0];
        let map = Pixels::new(&values, 3, 1, 2, Order::Bgr).unwrap();
        let found = picture(map, (2, 1), &Placement::whole(2, 1)).unwrap();
        assert_eq!(found.as_raw(), &[255, 170, 85, 128, 170, 128]);
        let grey = Pixels::new(&values[..2], 1, 1, 2, Order::Bgr).unwrap();
        assert_eq!(
            picture(grey, (2, 1), &Placement::whole(2, 1)).unwrap().as_raw(),
            &[0, 0, 0, 128, 128, 128]
        );
    }

    #[test]
    fn a_tensor_lies_on_a_canvas_of_zero() {
        let mut values = [0.0; 3 * 16];
        (values[0], values[47]) = (-1.0, 3.0);
        let map = Pixels::new(&values, 3, 4, 4, Order::Rgb).unwrap();
        let found = picture(map, (60, 40), &MIDDLE).unwrap();
        assert_eq!(found.dimensions(), (60, 40));
        assert_eq!(
            [found.get_pixel(0, 0).0, found.get_pixel(55, 39).0, found.get_pixel(30, 20).0],
            [[128; 3]; 3]
        );
        assert_eq!((found.get_pixel(10, 0).0, found.get_pixel(49, 39).0), ([85, 128, 128], [128, 128, 255]));
    }

    #[test]
    fn a_few_large_values_do_not_dim_the_others() {
        let mut values: Vec<f32> = (0..400).map(|i| if i % 2 == 0 { -1.0 } else { 1.0 }).collect();
        values[7] = 1000.0;
        let found = picture(
            Pixels::new(&values, 1, 20, 20, Order::Rgb).unwrap(),
            (20, 20),
            &Placement::whole(20, 20),
        );
        let shades: Vec<u8> = found.unwrap().pixels().take(8).map(|pixel| pixel.0[0]).collect();
        assert_eq!(shades, [0, 255, 0, 255, 0, 255, 0, 255]);
        // One signal alone is shown all the same.
        let mut values = [0.0; 1000];
        values[3] = -1e-30;
        assert_eq!(reach(&values), f64::from(1e-30f32));
        assert_eq!((reach(&[]), reach(&[f32::NAN])), (0.0, 0.0));
    }

    #[test]
    fn a_blank_tensor_is_mid_grey_and_nan_is_magenta() {
        let blank = Pixels::new(&[0.0; 27], 3, 3, 3, Order::Rgb).unwrap();
        assert!(picture(blank, (60, 40), &MIDDLE).unwrap().pixels().all(|pixel| pixel.0 == [128; 3]));
        let values = [f32::NAN, 0.0, 1.0, f32::INFINITY];
        let map = Pixels::new(&values, 1, 1, 4, Order::Rgb).unwrap();
        let found = picture(map, (4, 1), &Placement::whole(4, 1)).unwrap();
        assert_eq!(found.as_raw(), &[255, 0, 255, 128, 128, 128, 255, 255, 255, 255, 0, 255]);
        assert!(matches!(Pixels::new(&values, 2, 1, 2, Order::Rgb), Err(ImageError::Shape { .. })));
    }

    proptest! {
        #[test]
        fn no_placement_and_no_map_panics(
            place in prop::array::uniform4(prop_oneof![any::<f64>(), -50f64..100.0]),
            map in prop::collection::vec(any::<f32>(), 12),
            corners in any::<bool>(),
        ) {
            let placement = Placement { x0: place[0], y0: place[1], width: place[2], height: place[3] };
            let align = if corners { Align::Corners } else { Align::HalfPixel };
            let field = Field::new(&map, 3, 4).unwrap();
            overlay(&photo(23, 17), field, &placement, &OverlayStyle { align, ..style(0.5) }).unwrap();
            let pixels = Pixels::new(&map, 3, 2, 2, Order::Rgb).unwrap();
            picture(pixels, (23, 17), &placement).unwrap();
        }
    }
}
