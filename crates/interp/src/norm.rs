//! Normalisations.

use whycam_graph::op::Lrn;

use crate::array::Array;
use crate::pointwise::max;

/// `scale·(x − mean)/√(var + epsilon) + bias`, by channel.
pub(crate) fn batch_norm(
    epsilon: f32,
    x: &Array,
    [scale, bias, mean, var]: [&Array; 4],
) -> Result<Array, String> {
    for p in [scale, bias, mean, var] {
        if p.shape != x.shape[1..2] {
            return Err(format!("statistics {:?} do not have the channels of {:?}", p.shape, x.shape));
        }
    }
    Ok(Array::from_fn(&x.shape, |i| {
        let c = &i[1..2];
        scale.at(c) * (x.at(i) - mean.at(c)) / (var.at(c) + f64::from(epsilon)).sqrt() + bias.at(c)
    }))
}

/// `x / (bias + alpha/size · Σ x²)^beta`, the sum over channels
/// `c − ⌊(size − 1)/2⌋ ..= c + ⌈(size − 1)/2⌉`, as far as there are such.
pub(crate) fn lrn(l: &Lrn, x: &Array) -> Array {
    let (before, behind) = ((l.size - 1) / 2, (l.size - 1).div_ceil(2));
    Array::from_fn(&x.shape, |i| {
        let c = i[1];
        let mut squares = 0.0;
        for neighbour in c.saturating_sub(before)..(c + behind + 1).min(x.shape[1]) {
            let mut at = i.to_vec();
            at[1] = neighbour;
            squares += x.at(&at).powi(2);
        }
        let base = f64::from(l.bias) + f64::from(l.alpha) / l.size as f64 * squares;
        x.at(i) / base.powf(l.beta.into())
    })
}

/// `exp(x) / Σ exp(x)` along `axis`; subtracting the maximum changes nothing but avoids overflow.
pub(crate) fn softmax(axis: usize, x: &Array) -> Array {
    Array::from_fn(&x.shape, |i| {
        let row = row(axis, x, i);
        let top = row.iter().copied().fold(f64::NEG_INFINITY, max);
        let sum: f64 = row.iter().map(|&v| (v - top).exp()).sum();
        (x.at(i) - top).exp() / sum
    })
}

/// `log softmax(x)`.
pub(crate) fn log_softmax(axis: usize, x: &Array) -> Array {
    Array::from_fn(&x.shape, |i| {
        let row = row(axis, x, i);
        let top = row.iter().copied().fold(f64::NEG_INFINITY, max);
        let sum: f64 = row.iter().map(|&v| (v - top).exp()).sum();
        x.at(i) - top - sum.ln()
    })
}

/// The elements along `axis` through `index`.
pub(crate) fn row(axis: usize, x: &Array, index: &[usize]) -> Vec<f64> {
    let mut at = index.to_vec();
    (0..x.shape[axis])
        .map(|k| {
            at[axis] = k;
            x.at(&at)
        })
        .collect()
}
