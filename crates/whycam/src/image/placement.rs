//! Where a model's input lies on the photo.

/// The rectangle of the photo that became the model's input, in edge coordinates: `(0, 0)` is the top left
/// corner of the top left pixel, and pixel `(x, y)` covers `[x, x + 1] × [y, y + 1]`.
///
/// The input's grid covers the rectangle evenly: cell column `j` of a map `w` cells wide covers
/// `x0 + j·width/w` to `x0 + (j + 1)·width/w`. The rectangle lies inside the photo; display functions clip
/// one that does not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// Left edge, in photo pixels.
    pub x0: f64,
    /// Top edge, in photo pixels.
    pub y0: f64,
    /// Width, in photo pixels.
    pub width: f64,
    /// Height, in photo pixels.
    pub height: f64,
}

/// The pixels that a placement covers along one axis of a canvas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// First pixel.
    pub start: u32,
    /// Number of pixels, at least 1.
    pub length: u32,
}

impl Placement {
    /// All of a picture of `width × height` pixels.
    pub fn whole(width: u32, height: u32) -> Placement {
        Placement { x0: 0.0, y0: 0.0, width: width.into(), height: height.into() }
    }

    /// The columns and rows of a canvas of `width × height` pixels (each at least 1) whose centres are
    /// covered, and at least one of each.
    pub(super) fn pixels(&self, width: u32, height: u32) -> (Span, Span) {
        (span(self.x0, self.width, width), span(self.y0, self.height, height))
    }
}

fn span(start: f64, length: f64, limit: u32) -> Span {
    if !(start.is_finite() && length.is_finite()) {
        return Span { start: 0, length: limit };
    }
    let last = f64::from(limit.saturating_sub(1));
    let first = start.round().clamp(0.0, last);
    let end = (start + length).round().clamp(first + 1.0, last + 1.0);
    Span { start: first as u32, length: (end - first) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pixels_whose_centres_are_inside() {
        let placement = Placement { x0: 93.96, y0: 0.4, width: 263.08, height: 299.2 };
        let (x, y) = placement.pixels(451, 300);
        assert_eq!(x, Span { start: 94, length: 263 });
        assert_eq!(y, Span { start: 0, length: 300 });
    }

    proptest! {
        #[test]
        fn always_inside_the_canvas(x0 in any::<f64>(), width in any::<f64>(), limit in 1u32..5000) {
            let found = span(x0, width, limit);
            prop_assert!(found.length >= 1 && found.start + found.length <= limit);
        }
    }
}
