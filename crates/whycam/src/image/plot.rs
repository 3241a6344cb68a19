//! Plots: curves of numbers from −1 to 1 over steps.

use ::image::RgbImage;
use plotters::prelude::*;
use plotters::style::register_font;

use super::ImageError;
use super::text::FONT_FILE;

/// A curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Its name.
    pub name: &'static str,
    /// Its value at every step, from the first on; not finite ones are left out.
    pub values: Vec<f64>,
    /// A value to compare with, drawn as points across the whole plot.
    pub level: Option<f64>,
}

/// Width and height of a plot.
const SIZE: (u32, u32) = (720, 480);
const COLOURS: [RGBColor; 4] =
    [RGBColor(29, 78, 216), RGBColor(194, 65, 12), RGBColor(21, 128, 61), RGBColor(126, 34, 206)];
const INK: RGBColor = RGBColor(75, 85, 99);
const FACE: &str = "whycam";

/// Draws curves over the steps `0, 1, …`, with `along` written below and the curves' names in a corner.
///
/// # Errors
/// [`ImageError::Plot`] when it cannot be drawn.
pub fn plot(curves: &[Curve], along: &str) -> Result<RgbImage, ImageError> {
    // Registering it again does no harm.
    let _ = register_font(FACE, FontStyle::Normal, FONT_FILE);
    let mut pixels = vec![0; (SIZE.0 * SIZE.1 * 3) as usize];
    draw(&mut pixels, curves, along).map_err(|e| ImageError::Plot { reason: e.to_string() })?;
    RgbImage::from_raw(SIZE.0, SIZE.1, pixels).ok_or(ImageError::Empty { width: 0, height: 0 })
}

fn draw(pixels: &mut [u8], curves: &[Curve], along: &str) -> Result<(), Box<dyn std::error::Error>> {
    let root = BitMapBackend::with_buffer(pixels, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let steps = curves.iter().map(|c| c.values.len()).max().unwrap_or(0).max(2) - 1;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(56)
        .build_cartesian_2d(0f64..steps as f64, -1f64..1.05f64)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(INK.mix(0.15))
        .axis_style(INK)
        .x_desc(along)
        .x_labels(steps.min(16) + 1)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_labels(9)
        .y_label_formatter(&|y| format!("{y:.2}").replace('-', "−"))
        .label_style((FACE, 18, &INK))
        .axis_desc_style((FACE, 20, &INK))
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<(f64, f64)> = curve
            .values
            .iter()
            .enumerate()
            .filter(|(_, v)| v.is_finite())
            .map(|(i, &v)| (i as f64, v.clamp(-1.0, 1.0)))
            .collect();
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(3)))?;
        chart
            .draw_series(points.iter().map(|&point| Circle::new(point, 4, colour.filled())))?
            .label(curve.name)
            .legend(move |(x, y)| Circle::new((x + 8, y), 5, colour.filled()));
        if let Some(level) = curve.level.filter(|level| level.is_finite()) {
            let level = level.clamp(-1.0, 1.0);
            let across = (0..=60).map(|i| (steps as f64 * f64::from(i) / 60.0, level));
            chart.draw_series(across.map(|point| Circle::new(point, 1, colour.filled())))?;
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.9))
        .border_style(INK.mix(0.3))
        .label_font((FACE, 18, &INK))
        .draw()?;
    drop(chart);
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(values: &[f64]) -> Curve {
        Curve { name: "rank correlation", values: values.to_vec(), level: Some(0.2) }
    }

    #[test]
    fn curves_are_drawn_where_their_values_are() {
        let coloured = |picture: &RgbImage| -> Vec<u32> {
            let rows = picture.enumerate_pixels().filter(|(x, _, p)| *x > 200 && p.0 == [29, 78, 216]);
            rows.map(|(_, y, _)| y).collect()
        };
        let mean = |rows: Vec<u32>| rows.iter().map(|&y| f64::from(y)).sum::<f64>() / rows.len() as f64;
        let level = |value: f64| {
            let curve = Curve { level: None, ..curve(&[value; 5]) };
            mean(coloured(&plot(&[curve], "steps").expect("drawn")))
        };
        assert!(level(0.9) + 100.0 < level(0.0) && level(0.0) + 100.0 < level(-0.9), "higher is further up");
    }

    #[test]
    fn odd_curves_do_not_panic() {
        for values in [&[][..], &[1.0], &[f64::NAN, 2.0, -7.0, f64::INFINITY]] {
            let picture = plot(&[curve(values), curve(&[0.5])], "steps").expect("drawn");
            assert_eq!(picture.dimensions(), SIZE);
        }
        assert!(plot(&[], "").is_ok());
    }
}
