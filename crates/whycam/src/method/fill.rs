//! What stands for the absence of a part of the image.

use super::perturbation::{Planes, Scene};
use crate::error::Result;

/// Words for what covers a part of the image: 0 of the prepared image, which is the mean colour that the preparation
/// subtracts; grey, the middle of 0 to 255; black; the image's own mean; a blurred copy of the image.
pub const FILLS: &[&str] = &["mean", "grey", "black", "image", "blur"];

impl Scene<'_> {
    /// An image `[C,H,W]` of nothing, by one of [`FILLS`].
    ///
    /// # Errors
    /// For a colour, when nothing says what it is in the units of the image.
    pub fn fill(&self, word: &str) -> Result<Vec<f32>> {
        let image = self.value;
        let even = |colour: Vec<f32>| colour.iter().flat_map(|&level| vec![level; image.area()]).collect();
        Ok(match word {
            "grey" => {
                let [below, above] = [(self.colour)([127; 3])?, (self.colour)([128; 3])?];
                even(below.iter().zip(&above).map(|(below, above)| (below + above) / 2.0).collect())
            }
            "black" => even((self.colour)([0; 3])?),
            "image" => even(image.channels().map(mean).collect()),
            "blur" => blurred(image),
            _ => vec![0.0; image.values.len()],
        })
    }
}

fn mean(values: &[f32]) -> f32 {
    (values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len().max(1) as f64) as f32
}

/// The image under a Gaussian whose standard deviation is a twentieth of the shorter side, continued at its borders
/// with the nearest pixel.
fn blurred(image: Planes<'_>) -> Vec<f32> {
    let deviation = (image.height.min(image.width) as f64 / 20.0).max(0.5);
    let reach = (3.0 * deviation).ceil() as i64;
    let weights: Vec<f64> = (-reach..=reach).map(|i| (-0.5 * (i as f64 / deviation).powi(2)).exp()).collect();
    let total: f64 = weights.iter().sum();
    let along = |values: &[f32], count: usize, step: usize, start: usize, at: usize| -> f32 {
        let cell = |offset: i64| (at as i64 + offset).clamp(0, count as i64 - 1) as usize;
        let sum: f64 = (-reach..=reach)
            .zip(&weights)
            .map(|(offset, weight)| weight * f64::from(values[start + step * cell(offset)]))
            .sum();
        (sum / total) as f32
    };
    let (height, width) = (image.height, image.width);
    let mut result = Vec::with_capacity(image.values.len());
    for channel in image.channels() {
        let cells = || (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        let across: Vec<f32> = cells().map(|(y, x)| along(channel, width, 1, y * width, x)).collect();
        result.extend(cells().map(|(y, x)| along(&across, height, width, x, y)));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Align;

    fn scene(values: &[f32], height: usize, width: usize) -> Scene<'_> {
        let colour = &|[r, g, b]: [u8; 3]| Ok(vec![f32::from(r), f32::from(g) + 1.0, f32::from(b) / 2.0]);
        Scene { value: Planes { values, height, width }, layer: None, colour, align: Align::HalfPixel }
    }

    #[test]
    fn colours_fill_their_channels() {
        let values: Vec<f32> = (0..18).map(|v| v as f32).collect();
        let fill = |word| scene(&values, 2, 3).fill(word).expect("known");
        let even = |levels: [f32; 3]| levels.iter().flat_map(|&l| [l; 6]).collect::<Vec<f32>>();
        assert_eq!(fill("mean"), even([0.0; 3]));
        assert_eq!(fill("grey"), even([127.5, 128.5, 63.75]));
        assert_eq!(fill("black"), even([0.0, 1.0, 0.0]));
        assert_eq!(fill("image"), even([2.5, 8.5, 14.5]));
    }

    /// Against the two-dimensional sum.
    #[test]
    fn blur_is_gaussian() {
        let (height, width) = (44, 60);
        let values: Vec<f32> = (0..height * width).map(|i| ((i * 37) % 101) as f32).collect();
        let blurred = scene(&values, height, width).fill("blur").expect("known");
        let deviation = 44.0 / 20.0_f64;
        let reach = (3.0 * deviation).ceil() as i64;
        for (y, x) in [(0_i64, 0_i64), (3, 58), (20, 30), (43, 59)] {
            let (mut sum, mut total) = (0.0, 0.0);
            for dy in -reach..=reach {
                for dx in -reach..=reach {
                    let weight = (-((dy * dy + dx * dx) as f64) / (2.0 * deviation * deviation)).exp();
                    let (row, column) = ((y + dy).clamp(0, 43), (x + dx).clamp(0, 59));
                    sum += weight * f64::from(values[row as usize * width + column as usize]);
                    total += weight;
                }
            }
            // float32 between the two passes
            assert!((f64::from(blurred[y as usize * width + x as usize]) - sum / total).abs() < 1e-4);
        }
    }
}
