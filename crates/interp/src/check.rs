//! Tools of the tests that hold derived graphs against this interpreter.

use whycam_graph::Graph;

use crate::array::Array;
use crate::run::run;

/// The gradient of `⟨cotangent, first output⟩` with respect to the input `wrt`, by central
/// differences with step `1e-5 · max(1, |x|)`.
///
/// # Panics
/// When the graph does not run, there is no such input, or the cotangent does not have the shape of
/// the first output.
pub fn finite_difference(graph: &Graph, inputs: &[(&str, Array)], wrt: &str, cotangent: &Array) -> Array {
    let mut inputs = inputs.to_vec();
    let at = inputs.iter().position(|(name, _)| *name == wrt).expect("the input is given");
    let x = inputs[at].1.clone();
    let mut gradient = Array::zeros(&x.shape);
    for (i, &center) in x.data.iter().enumerate() {
        let step = 1e-5 * center.abs().max(1.0);
        let mut score_at = |value: f64| {
            inputs[at].1.data[i] = value;
            let outputs = run(graph, &inputs).unwrap_or_else(|e| panic!("{e}\n{graph}"));
            cotangent.dot(&outputs[0])
        };
        let (behind, before) = (center + step, center - step);
        gradient.data[i] = (score_at(behind) - score_at(before)) / (behind - before);
        inputs[at].1.data[i] = center;
    }
    gradient
}

/// `‖a − b‖ / ‖b‖`; 0 where both are zero.
///
/// # Panics
/// When the shapes differ.
pub fn relative_l2(a: &Array, b: &Array) -> f64 {
    ratio(difference(a, b).dot(&difference(a, b)).sqrt(), b.dot(b).sqrt())
}

/// `max|a − b| / max|b|`; 0 where both are zero.
///
/// # Panics
/// When the shapes differ.
pub fn max_relative(a: &Array, b: &Array) -> f64 {
    ratio(largest(&difference(a, b)), largest(b))
}

fn difference(a: &Array, b: &Array) -> Array {
    assert_eq!(a.shape, b.shape, "shapes differ");
    Array::new(&a.shape, a.data.iter().zip(&b.data).map(|(a, b)| a - b).collect())
}

/// The largest magnitude; NaN where there is one, so that no comparison passes by it.
fn largest(a: &Array) -> f64 {
    a.data.iter().fold(0.0, |most, v| if v.is_nan() || v.abs() > most { v.abs() } else { most })
}

fn ratio(error: f64, size: f64) -> f64 {
    if error == 0.0 { 0.0 } else { error / size }
}
