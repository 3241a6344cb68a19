//! Pools over the spatial axes of `[N, C, spatial…]`.

use whycam_graph::op::Window;

use crate::array::{Array, each};
use crate::pointwise::max;
use crate::window::{Slide, cell};

fn pooled_shape(w: &Window, x: &Array) -> Vec<usize> {
    let slide = Slide::of_pool(w);
    let spatial = (0..w.kernel.len()).map(|axis| slide.count(axis, x.shape[axis + 2], w.ceil_mode));
    x.shape[..2].iter().copied().chain(spatial).collect()
}

/// The maximum of the cells of each window that lie inside.
pub(crate) fn max_pool(w: &Window, x: &Array) -> Array {
    let slide = Slide::of_pool(w);
    Array::from_fn(&pooled_shape(w, x), |at| {
        let mut most = f64::NEG_INFINITY;
        each(&w.kernel, |tap| {
            if let Some(v) = cell(x, at[0], at[1], slide.positions(&at[2..], tap)) {
                most = max(most, v);
            }
        });
        most
    })
}

/// The mean of the cells of each window that lie inside; padding cells count in the divisor where
/// asked, but never cells behind the padding, where `ceil_mode` lets a last window reach.
pub(crate) fn average_pool(w: &Window, count_include_pad: bool, x: &Array) -> Array {
    let slide = Slide::of_pool(w);
    Array::from_fn(&pooled_shape(w, x), |at| {
        let window = &at[2..];
        let (mut sum, mut count) = (0.0, 0.0);
        each(&w.kernel, |tap| {
            let inside = cell(x, at[0], at[1], slide.positions(window, tap));
            let padded = slide
                .positions(window, tap)
                .enumerate()
                .all(|(axis, p)| p < (x.shape[axis + 2] + w.pads[axis].1) as i64);
            sum += inside.unwrap_or(0.0);
            if inside.is_some() || (count_include_pad && padded) {
                count += 1.0;
            }
        });
        sum / count
    })
}

fn image(x: &Array, n: usize, c: usize) -> &[f64] {
    let cells: usize = x.shape[2..].iter().product();
    &x.data[(n * x.shape[1] + c) * cells..][..cells]
}

fn global_shape(x: &Array) -> Vec<usize> {
    let mut shape = vec![1; x.rank()];
    shape[..2].copy_from_slice(&x.shape[..2]);
    shape
}

/// The mean over space.
pub(crate) fn global_average_pool(x: &Array) -> Array {
    Array::from_fn(&global_shape(x), |at| {
        let cells = image(x, at[0], at[1]);
        cells.iter().sum::<f64>() / cells.len() as f64
    })
}

/// The maximum over space.
pub(crate) fn global_max_pool(x: &Array) -> Array {
    Array::from_fn(&global_shape(x), |at| image(x, at[0], at[1]).iter().copied().fold(f64::NEG_INFINITY, max))
}
