//! Eigen-CAM: the main pattern of a layer's activations, whichever the class.
//!
//! With `A` as a matrix of cells × channels, `A = UΣVᵀ`, the map is `A·v₁`, the projection on the first right singular
//! vector (Muhammad & Yeasin 2020, arXiv 2008.00299, eq. 5); `centre=on` takes the mean over cells off every channel
//! before, as pytorch-grad-cam does. A singular vector has no sign: it is chosen so that the map goes along with the sum
//! of activations over channels. No gradient is taken, so any network will do, and the classes asked all get the same map.
//! The decomposition is a last step outside of the derived graph, which therefore cannot be compiled.
//!
//! ```no_run
#![doc = include_str!("../../examples/eigen_cam.rs")]
//! ```

use nalgebra::DMatrix;

use super::{Kind, Method, MethodInfo, MethodOption, Space, Takes, at_layer};
use whycam_graph::derive::{Reduce, Weights};

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "eigen-cam",
    about: "the main pattern of a layer, whichever the class",
    paper: "Muhammad & Yeasin 2020, arXiv 2008.00299",
    needs: "activations",
    space: Space::Layer,
    options: &[MethodOption {
        name: "centre",
        takes: Takes::Word(&["off", "on"]),
        about: "whether the mean over cells is taken off every channel first",
    }],
    kind: Kind::Finished(
        |ask, _| {
            let reduce = Reduce::grad_cam(false);
            at_layer(ask, Reduce { weights: Weights::One, sum: false, ..reduce })
        },
        finish,
    ),
};

/// The map `[h,w]` of activations `[C,h,w]`.
fn finish(chosen: &Method, activations: &[f32], shape: &[usize]) -> (Vec<f32>, Vec<usize>) {
    let cells: usize = shape.iter().skip(1).product();
    let map = main_pattern(activations, cells, chosen.word("centre") == "on");
    (map, shape.iter().skip(1).copied().collect())
}

/// `A·v₁` for `A` of `cells` rows, from its channels one after the other. NaN everywhere when a cell is not finite.
fn main_pattern(activations: &[f32], cells: usize, centre: bool) -> Vec<f32> {
    let channels = activations.len() / cells.max(1);
    if activations.iter().any(|v| !v.is_finite()) {
        return vec![f32::NAN; cells];
    }
    let mut a = DMatrix::from_iterator(cells, channels, activations.iter().map(|&v| f64::from(v)));
    if centre {
        for mut channel in a.column_iter_mut() {
            let mean = channel.mean();
            channel.add_scalar_mut(-mean);
        }
    }
    let brightness: Vec<f64> = (0..cells).map(|cell| a.row(cell).sum()).collect();
    // The smaller of A·Aᵀ and Aᵀ·A has the first singular vector as its first eigenvector.
    let wide = channels > cells;
    let gram = if wide { &a * a.transpose() } else { a.transpose() * &a };
    let eigen = gram.symmetric_eigen();
    let (first, value) = eigen.eigenvalues.argmax();
    let vector = eigen.eigenvectors.column(first);
    let map = if wide { vector * value.max(0.0).sqrt() } else { &a * vector };
    let along: f64 = map.iter().zip(&brightness).map(|(m, b)| m * b).sum();
    let along = if along == 0.0 { map.iter().copied().find(|v| *v != 0.0).unwrap_or(1.0) } else { along };
    map.iter().map(|v| (v * along.signum()) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slow twin: the power method on `AᵀA`, a thousand rounds.
    fn slow(activations: &[f32], cells: usize, centre: bool) -> Vec<f64> {
        let channels = activations.len() / cells;
        let mut a: Vec<Vec<f64>> = (0..cells)
            .map(|cell| (0..channels).map(|k| f64::from(activations[k * cells + cell])).collect())
            .collect();
        if centre {
            for k in 0..channels {
                let mean = a.iter().map(|row| row[k]).sum::<f64>() / cells as f64;
                a.iter_mut().for_each(|row| row[k] -= mean);
            }
        }
        let times = |v: &[f64]| -> Vec<f64> {
            a.iter().map(|row| row.iter().zip(v).map(|(a, v)| a * v).sum()).collect()
        };
        let mut v: Vec<f64> = (0..channels).map(|k| 1.0 + k as f64 * 0.1).collect();
        for _ in 0..1000 {
            let u = times(&v);
            v = (0..channels).map(|k| a.iter().zip(&u).map(|(row, u)| row[k] * u).sum()).collect();
            let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
            v.iter_mut().for_each(|x| *x /= norm);
        }
        let map = times(&v);
        let along: f64 = map.iter().zip(&a).map(|(m, row)| m * row.iter().sum::<f64>()).sum();
        map.iter().map(|m| m * along.signum()).collect()
    }

    #[test]
    fn the_map_is_the_first_singular_projection() {
        let wave = |i: usize| ((i * 37 % 101) as f32 / 101.0) * (1.0 + (i % 7) as f32);
        for (cells, channels) in [(6, 3), (6, 20), (9, 9)] {
            let activations: Vec<f32> = (0..cells * channels).map(wave).collect();
            for centre in [false, true] {
                let map = main_pattern(&activations, cells, centre);
                let expected = slow(&activations, cells, centre);
                let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                for (m, e) in map.iter().zip(&expected) {
                    // float32 out of float64; the power method has converged far below that.
                    assert!((f64::from(*m) - e).abs() < 1e-6 * largest, "{map:?} is not {expected:?}");
                }
                assert!(
                    centre || map.iter().all(|&v| v >= 0.0),
                    "rectified activations give no negative cell"
                );
            }
        }
    }

    #[test]
    fn the_sign_does_not_hang_on_chance() {
        let up = [0.0, 1.0, 2.0, 0.0, 2.0, 4.0];
        assert_eq!(main_pattern(&up, 3, false), main_pattern(&up, 3, false));
        let down: Vec<f32> = up.iter().map(|v| -v).collect();
        let [map, mirrored] = [&up[..], &down].map(|a| main_pattern(a, 3, false));
        assert!(map[2] > map[1] && map[1] > 0.0);
        assert_eq!(mirrored, map.iter().map(|v| -v).collect::<Vec<_>>());
        assert!(main_pattern(&[0.0; 6], 3, false).iter().all(|&v| v == 0.0));
        assert!(main_pattern(&[f32::NAN; 6], 3, false).iter().all(|v| v.is_nan()));
    }
}
