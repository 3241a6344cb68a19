//! Lines of text on a picture, in the embedded font.

use std::sync::LazyLock;

use ::image::RgbImage;
use ab_glyph::{Font, FontRef, Glyph, GlyphId, PxScale, ScaleFont, point};

/// Inter Regular; `font/README.md` tells where it comes from.
pub(super) const FONT_FILE: &[u8] = include_bytes!("font/Inter-Regular.subset.otf");

static FONT: LazyLock<FontRef<'static>> =
    LazyLock::new(|| FontRef::try_from_slice(FONT_FILE).expect("the embedded font is a font"));

/// How a line is set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Type {
    /// Pixels per em.
    pub size: f32,
    /// Ink.
    pub colour: [u8; 3],
}

/// Width of a line in pixels.
pub(super) fn width(text: &str, size: f32) -> f32 {
    set(text, size).last().map_or(0.0, |(_, end)| end)
}

/// The line itself if it fits into `room` pixels; otherwise as much of its beginning as fits with an
/// ellipsis.
pub(super) fn fit(text: &str, size: f32, room: f32) -> String {
    let text: String = drawable(text).collect();
    // Looks no further than the first character that does not fit, however long the text.
    if set(&text, size).all(|(_, end)| end <= room) {
        return text;
    }
    let room = room - width("…", size);
    let kept = set(&text, size).take_while(|(_, end)| *end <= room).count();
    let start: String = text.chars().take(kept).collect();
    format!("{}…", start.trim_end())
}

/// Draws a line with its first character's origin at `(x, baseline)`. What falls outside the picture is left
/// out; a character that the font lacks is a box.
pub(super) fn draw(picture: &mut RgbImage, text: &str, x: f32, baseline: f32, style: Type) {
    for (mut glyph, _) in set(text, style.size) {
        glyph.position = point(glyph.position.x + x, baseline);
        let Some(outline) = FONT.outline_glyph(glyph) else { continue };
        let corner = outline.px_bounds().min;
        outline.draw(|dx, dy, coverage| {
            let (x, y) = (corner.x + dx as f32, corner.y + dy as f32);
            if x >= 0.0 && y >= 0.0 {
                ink(picture, x as u32, y as u32, style.colour, coverage);
            }
        });
    }
}

fn ink(picture: &mut RgbImage, x: u32, y: u32, colour: [u8; 3], coverage: f32) {
    let Some(pixel) = picture.get_pixel_mut_checked(x, y) else { return };
    let coverage = coverage.clamp(0.0, 1.0);
    for (below, above) in pixel.0.iter_mut().zip(colour) {
        *below = (f32::from(*below) * (1.0 - coverage) + f32::from(above) * coverage).round() as u8;
    }
}

/// The glyphs of a line that starts at 0, each with the x where the next one starts.
fn set(text: &str, size: f32) -> impl Iterator<Item = (Glyph, f32)> {
    // ab_glyph scales by ascent − descent; we say pixels per em.
    let em = FONT.units_per_em().unwrap_or(1000.0);
    let scale = PxScale::from(size * FONT.height_unscaled() / em);
    let font = FONT.as_scaled(scale);
    drawable(text).scan(0.0, move |x, character| {
        let id: GlyphId = font.glyph_id(character);
        let glyph = id.with_scale_and_position(scale, point(*x, 0.0));
        *x += font.h_advance(id);
        Some((glyph, *x))
    })
}

/// Control characters as spaces, and without combining accents: file names of macOS write é as e and an
/// accent, and the font has no way to join them.
fn drawable(text: &str) -> impl Iterator<Item = char> {
    let base = text.chars().filter(|character| !matches!(character, '\u{300}'..='\u{36f}'));
    base.map(|character| if character.is_control() { ' ' } else { character })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::Rgb;
    use proptest::prelude::*;

    #[test]
    fn the_font_has_the_characters_of_captions() {
        for character in "Aaz09 tabby, ×→…–—≤≥°·αÄßéœŁŐğ%()−⚠".chars() {
            assert_ne!(FONT.glyph_id(character), GlyphId(0), "{character}");
        }
        assert!(FONT.outline(GlyphId(0)).is_some(), "missing characters are drawn");
    }

    #[test]
    fn widths_add_up_and_long_lines_end_in_an_ellipsis() {
        let one = width("Egyptian cat", 14.0);
        assert!((60.0..110.0).contains(&one), "{one}");
        assert!((width("Egyptian catEgyptian cat", 14.0) - 2.0 * one).abs() < 1e-3);
        assert_eq!(width("", 14.0), 0.0);
        assert_eq!(fit("Egyptian cat", 14.0, one + 0.1), "Egyptian cat");
        let cut = fit("Egyptian cat Egyptian cat", 14.0, one);
        assert!(cut.ends_with('…') && !cut.ends_with(" …") && width(&cut, 14.0) <= one, "{cut}");
        assert_eq!(fit("abc", 14.0, 0.0), "…");
        assert!(fit(&"long ".repeat(1_000_000), 14.0, 200.0).len() < 100);
    }

    #[test]
    fn text_is_ink_on_paper() {
        let mut paper = RgbImage::from_pixel(60, 24, Rgb([255; 3]));
        draw(&mut paper, "whycam", 2.0, 18.0, Type { size: 14.0, colour: [0, 0, 200] });
        let darkest = paper.pixels().map(|pixel| pixel.0).min().unwrap();
        assert_eq!(darkest, [0, 0, 200]);
        assert!(paper.pixels().filter(|pixel| pixel.0 == [255; 3]).count() > 700);
    }

    proptest! {
        #[test]
        fn no_text_and_no_place_panics(text in any::<String>(), x in -300f32..300.0, y in -300f32..300.0, room in -9f32..99.0) {
            let mut paper = RgbImage::new(40, 20);
            let fitted = fit(&text, 13.0, room);
            draw(&mut paper, &fitted, x, y, Type { size: 13.0, colour: [255; 3] });
        }
    }
}
