//! Scores of a model in words: classes, labels, probabilities.

use whycam_graph::layer::{Score, ScoreKind};

/// A class and how it scored.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Prediction {
    /// Its index.
    pub class: usize,
    /// Its name.
    pub label: String,
    /// Its score.
    pub score: f32,
    /// Its probability.
    pub probability: f32,
}

/// The five classes with the highest scores, the first of equals first; NaN comes last.
pub(super) fn top(scores: &[f32]) -> impl Iterator<Item = usize> {
    let key = |i: usize| if scores[i].is_nan() { f32::NEG_INFINITY } else { scores[i] };
    let order = |a: &usize, b: &usize| key(*b).total_cmp(&key(*a)).then(a.cmp(b));
    let mut classes: Vec<usize> = (0..scores.len()).collect();
    if classes.len() > 5 {
        classes.select_nth_unstable_by(4, order);
        classes.truncate(5);
    }
    classes.sort_unstable_by(order);
    classes.into_iter()
}

/// Probabilities: a sigmoid for every score where the model ends in one or has a single class, a softmax elsewhere. What
/// is asked beside the classes stays as it is.
pub(super) fn probabilities(scores: &[f32], of: &Score) -> Vec<f32> {
    let (classes, beside) = scores.split_at(of.classes.min(scores.len()));
    [probabilities_of(classes, of.kind), beside.to_vec()].concat()
}

fn probabilities_of(scores: &[f32], kind: ScoreKind) -> Vec<f32> {
    if kind == ScoreKind::Sigmoid || scores.len() == 1 {
        return scores.iter().map(|s| 1.0 / (1.0 + (-s).exp())).collect();
    }
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = scores.iter().map(|s| f64::from(s - max).exp()).collect();
    let total: f64 = powers.iter().sum();
    powers.iter().map(|p| (p / total) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_five_highest_come_in_order() {
        let scores = [1.0, f32::NAN, 3.0, 3.0, -0.0, 0.0, 7.0, f32::NEG_INFINITY];
        assert_eq!(top(&scores).collect::<Vec<_>>(), [6, 2, 3, 0, 5]);
        assert_eq!(top(&scores[..3]).collect::<Vec<_>>(), [2, 0, 1]);
        assert_eq!(top(&[f32::NAN, f32::NEG_INFINITY]).collect::<Vec<_>>(), [0, 1]);
    }
}
