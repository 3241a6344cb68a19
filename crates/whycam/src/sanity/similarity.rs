//! How alike two maps are: rank correlation and structural similarity.

use serde::Serialize;

/// How alike two maps are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Similarity {
    /// Structural similarity, 1 for the same picture.
    pub ssim: f64,
    /// Spearman's rank correlation, 1 for the same order of cells, −1 for the opposite one.
    pub spearman: f64,
}

/// Spearman's rank correlation with average ranks for ties; 0 where a map has one value everywhere, and ranks nothing.
/// Cells that are not finite count as 0.
pub(super) fn spearman(a: &[f32], b: &[f32]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    let size = (product(&a, &a) * product(&b, &b)).sqrt();
    if size == 0.0 { 0.0 } else { product(&a, &b) / size }
}

/// The place of every value in their order, from 0; equal values share the mean of their places.
fn ranks(values: &[f32]) -> Vec<f64> {
    let value = |i: usize| if values[i].is_finite() { values[i] + 0.0 } else { 0.0 };
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| value(i).total_cmp(&value(j)));
    let mut ranks = vec![0.0; values.len()];
    let mut place = 0;
    for tied in order.chunk_by(|&i, &j| value(i) == value(j)) {
        let mean = place as f64 + (tied.len() as f64 - 1.0) / 2.0;
        tied.iter().for_each(|&i| ranks[i] = mean);
        place += tied.len();
    }
    ranks
}

/// Half the width of the window, and the deviation of its weights, in pixels.
const REACH: usize = 5;
const SIGMA: f64 = 1.5;

/// The mean structural similarity (Wang et al. 2004, eq. 13) of two pictures `height×width` with values in `[0,1]`:
/// Gaussian windows of 11×11 and σ = 1.5, cut off at the edges, `C₁ = 0.01²`, `C₂ = 0.03²`. Values that are not finite
/// count as 0.
pub(super) fn ssim(a: &[f32], b: &[f32], height: usize, width: usize) -> f64 {
    const C1: f64 = 0.01 * 0.01;
    const C2: f64 = 0.03 * 0.03;
    let number = |v: &f32| if v.is_finite() { f64::from(*v) } else { 0.0 };
    let (a, b): (Vec<f64>, Vec<f64>) = (a.iter().map(number).collect(), b.iter().map(number).collect());
    let blurred = |f: &dyn Fn(f64, f64) -> f64| {
        let values: Vec<f64> = a.iter().zip(&b).map(|(&a, &b)| f(a, b)).collect();
        blur(&values, height, width)
    };
    let (mean_a, mean_b) = (blurred(&|a, _| a), blurred(&|_, b| b));
    let (aa, bb, ab) = (blurred(&|a, _| a * a), blurred(&|_, b| b * b), blurred(&|a, b| a * b));
    let cell = |i: usize| {
        let (ma, mb) = (mean_a[i], mean_b[i]);
        let (va, vb, cov) = (aa[i] - ma * ma, bb[i] - mb * mb, ab[i] - ma * mb);
        (2.0 * ma * mb + C1) * (2.0 * cov + C2) / ((ma * ma + mb * mb + C1) * (va + vb + C2))
    };
    (0..a.len()).map(cell).sum::<f64>() / a.len().max(1) as f64
}

/// The Gaussian mean around every cell, first along rows, then along columns.
fn blur(values: &[f64], height: usize, width: usize) -> Vec<f64> {
    let weight = |d: usize| (-(d as f64).powi(2) / (2.0 * SIGMA * SIGMA)).exp();
    let weights: Vec<f64> = (0..=REACH).map(weight).collect();
    let pass = |values: &[f64], count: usize, at: &dyn Fn(usize, usize) -> usize, lines: usize| {
        let mut result = vec![0.0; values.len()];
        for line in 0..lines {
            for i in 0..count {
                let (mut sum, mut total) = (0.0, 0.0);
                for j in i.saturating_sub(REACH)..(i + REACH + 1).min(count) {
                    let weight = weights[i.abs_diff(j)];
                    sum += weight * values[at(line, j)];
                    total += weight;
                }
                result[at(line, i)] = sum / total;
            }
        }
        result
    };
    let rows = pass(values, width, &|line, i| line * width + i, height);
    pass(&rows, height, &|line, i| i * width + line, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_ties_are_shared() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 0.0, -0.0]), [3.5, 2.0, 3.5, 0.5, 0.5]);
    }

    #[test]
    fn the_order_is_all_that_counts() {
        let a = [0.1, 0.5, -3.0, 7.0];
        assert!((spearman(&a, &a.map(|v| v.exp())) - 1.0).abs() < 1e-12);
        assert!((spearman(&a, &a.map(|v| -v)) + 1.0).abs() < 1e-12);
        assert_eq!(spearman(&a, &[1.0; 4]), 0.0);
        // 1 − 6·Σd²/(n(n²−1)) without ties: d = 0, 1, 1, 0.
        assert!((spearman(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]) - 0.8).abs() < 1e-12);
    }

    #[test]
    fn a_picture_is_like_itself_and_not_like_its_negative() {
        let wave: Vec<f32> = (0..400).map(|i| ((i * 7919) % 1000) as f32 / 1000.0).collect();
        let negative: Vec<f32> = wave.iter().map(|v| 1.0 - v).collect();
        assert!((ssim(&wave, &wave, 20, 20) - 1.0).abs() < 1e-12);
        assert!(ssim(&wave, &negative, 20, 20) < 0.0);
        let shifted: Vec<f32> = wave.iter().map(|v| v * 0.5).collect();
        let alike = ssim(&wave, &shifted, 20, 20);
        assert!(alike > 0.5 && alike < 1.0, "{alike}");
    }

    /// One pixel: variances are 0, so only the means are compared.
    #[test]
    fn one_pixel_has_the_closed_form() {
        let expected = (2.0 * 0.25 * 0.5 + 1e-4) / (0.0625 + 0.25 + 1e-4);
        assert!((ssim(&[0.25], &[0.5], 1, 1) - expected).abs() < 1e-12);
    }
}
