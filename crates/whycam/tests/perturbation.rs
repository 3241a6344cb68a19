//! Perturbations and ensembles against their formulas, in float64.

mod common;

use common::{Of, Small, agree, wide};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use whycam::image::{Align, Field, resample};
use whycam::{Layers, Question, Verdict};

/// `ReLU(Σ wₖ·Aₖ)`.
fn weighted(layer: &whycam_interp::Array, weights: &[f64]) -> Vec<f64> {
    let area = layer.shape[1] * layer.shape[2];
    let cell = |i: usize| weights.iter().zip(layer.data.chunks(area)).map(|(w, a)| w * a[i]).sum::<f64>();
    (0..area).map(|i| cell(i).max(0.0)).collect()
}

/// Desai & Ramaswamy 2020, channel by channel.
#[test]
fn ablation_cam_is_the_fall_of_the_score() {
    for (of, batch) in [(Of::Convolutions, 4), (Of::Threes, 1)] {
        let small = Small::new(of, [3, 10, 12]);
        let image = small.image(3);
        let layer = small.value("layer", &image.tensor.to_f64s());
        let maps = small.ask(&image, &["ablation-cam"], &["class:0", "class:1", "class:2", "class:3"], batch);
        let area = layer.shape[1] * layer.shape[2];
        for (class, map) in maps.iter().enumerate() {
            let whole = small.scores(&image.tensor.to_f64s())[class];
            let fall = |k: usize| {
                let mut without = layer.clone();
                without.data[k * area..(k + 1) * area].fill(0.0);
                (whole - small.scores_behind(&without)[class]) / whole
            };
            let weights: Vec<f64> = (0..layer.shape[0]).map(fall).collect();
            assert_eq!((map.shape.as_slice(), map.layer.as_str()), (&layer.shape[1..], "layer"));
            agree(&map.values, &weighted(&layer, &weights), 1e-4);
        }
        assert!(maps.iter().any(|m| m.verdict == Verdict::Ok));
    }
}

#[test]
fn several_layers_are_read_at_once() {
    let small = Small::new(Of::Convolutions, [3, 10, 12]);
    let image = small.image(3);
    let engine = whycam::engine::engine("rten", Default::default()).expect("always there");
    let question = Question {
        methods: vec!["ablation-cam".parse().expect("a method"), "score-cam".parse().expect("a method")],
        layers: Layers::Named(vec!["relu1".into(), "layer".into()]),
        ..Question::default()
    };
    let explainer = whycam::Explainer::new(&small.model, engine.as_ref(), &question).expect("explainable");
    assert_eq!(explainer.layers(), ["relu1", "layer"]);
    let maps = explainer.explain(&image, &[]).expect("runs").maps;
    let shapes: Vec<&[usize]> = maps.iter().map(|m| m.shape.as_slice()).collect();
    assert_eq!(shapes, [[10, 12], [5, 6], [10, 12], [5, 6]]);
    assert!(maps.iter().all(|m| m.min >= 0.0 && m.values.iter().all(|v| v.is_finite())));
}

/// Wang et al. 2020, algorithm 1.
#[test]
fn score_cam_weighs_channels_by_the_image_seen_through_them() {
    let small = Small::new(Of::Convolutions, [3, 10, 12]);
    let image = small.image(3);
    let x = image.tensor.to_f64s();
    let layer = small.value("layer", &x);
    let seen = |channel: &[f64]| -> Vec<f64> {
        let channel: Vec<f32> = channel.iter().map(|&v| v as f32).collect();
        let up = resample(Field::new(&channel, 5, 6).expect("5×6"), 10, 12, Align::HalfPixel).expect("10×12");
        let least = up.iter().copied().fold(f32::INFINITY, f32::min);
        let most = up.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mask = |i: usize| if most > least { f64::from((up[i] - least) / (most - least)) } else { 0.0 };
        x.iter().enumerate().map(|(i, v)| v * mask(i % 120)).collect()
    };
    let map = &small.ask(&image, &["score-cam"], &["class:2"], 4)[0];
    let powers: Vec<f64> =
        layer.data.chunks(30).map(|channel| small.scores(&seen(channel))[2].exp()).collect();
    let total: f64 = powers.iter().sum();
    let weights: Vec<f64> = powers.iter().map(|p| p / total).collect();
    agree(&map.values, &weighted(&layer, &weights), 1e-4);
}

/// The score of a linear model gives every pixel its weight: RISE's mean over many masks is
/// `Σⱼ wⱼxⱼ·cov(Mⱼ, Mλ)/p + p·Σⱼ wⱼxⱼ`, highest where `w·x` is.
#[test]
fn rise_finds_the_only_pixel_that_counts() {
    let small = Small::new(Of::Convolutions, [3, 16, 16]);
    let image = small.image(3);
    let [a, b] = [1, 8].map(|batch| {
        small.ask(&image, &["rise:masks=40:cells=4", "rise:masks=40:cells=4:seed=1"], &["class:2"], batch)
    });
    assert_eq!(a[0].shape, [16, 16]);
    agree(&a[0].values, &wide(&b[0].values), 1e-5);
    assert_ne!(a[0].values, a[1].values);
    // All is kept: every mask is 1, and the map is the probability of the class.
    let whole = &small.ask(&image, &["rise:masks=3:keep=1"], &["class:2"], 8)[0];
    agree(&whole.values, &vec![f64::from(whole.probability.expect("of a class")); 256], 1e-5);

    let linear = Small::new(Of::Linear, [1, 24, 24]);
    let mut dot = vec![0.0; 576];
    dot[5 * 24 + 17] = 10.0;
    let map =
        &linear.ask(&linear.of(&dot), &["rise:masks=600:cells=6:score=logit"], &["class:0", "class:1"], 64);
    // One of the classes has a positive weight there, or a negative one, which makes the least cell of the map.
    let extreme = |map: &whycam::Map| {
        let middle = (map.max + map.min) / 2.0;
        let far = |v: f32| (v - middle).abs();
        let w = linear.scores(&wide(&dot))[map.class.expect("a class")]
            - linear.scores(&vec![0.0; 576])[map.class.expect("a class")];
        let wanted = if w > 0.0 { map.max } else { map.min };
        let at = map.values.iter().position(|&v| v == wanted).expect("there");
        (at / 24, at % 24, far(wanted))
    };
    for map in map {
        let (y, x, _) = extreme(map);
        assert!(y.abs_diff(5) <= 4 && x.abs_diff(17) <= 4, "found at {y}, {x}: a cell has 4 pixels");
    }
}

/// Sundararajan et al. 2017, proposition 1: the values add up to the difference of the scores.
#[test]
fn integrated_gradients_are_complete() {
    let small = Small::new(Of::Convolutions, [3, 10, 12]);
    let image = small.image(6);
    let maps = small.ask(&image, &["integrated-gradients:steps=400"], &["class:0", "class:3"], 64);
    for map in &maps {
        let [whole, nothing] =
            [image.tensor.to_f64s(), vec![0.0; 360]].map(|x| small.scores(&x)[map.class.expect("a class")]);
        assert_eq!(map.shape, [3, 10, 12]);
        // The gradient jumps at ReLUs and max pools: the error of the midpoint rule falls as 1/steps.
        assert!((map.sum - (whole - nothing)).abs() < 0.01 * (whole - nothing).abs(), "{}", map.sum);
    }
}

/// The formula, with gradients from the `gradient` method at the points of the sum.
#[test]
fn integrated_gradients_are_the_midpoint_sum() {
    let small = Small::new(Of::Convolutions, [3, 10, 12]);
    let image = small.image(6);
    let x = image.tensor.to_f32s();
    let map = &small.ask(&image, &["integrated-gradients:steps=3:baseline=black"], &["class:1"], 2)[0];
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let from: Vec<f32> = (0..360).map(|i| -mean[i / 120] / std[i / 120]).collect();
    let mut sum = vec![0.0; 360];
    for k in 1..=3 {
        let part = (k as f32 - 0.5) / 3.0;
        let point: Vec<f32> = x.iter().zip(&from).map(|(x, from)| from + part * (x - from)).collect();
        let gradient = &small.ask(&small.of(&point), &["gradient"], &["class:1"], 1)[0].values;
        for i in 0..360 {
            sum[i] += f64::from(gradient[i]) / 3.0 * f64::from(x[i] - from[i]);
        }
    }
    agree(&map.values, &sum, 1e-5);
}

#[test]
fn smoothgrad_without_noise_is_the_gradient_and_with_noise_repeats() {
    let small = Small::new(Of::Convolutions, [3, 10, 12]);
    let image = small.image(6);
    let ask = |method: &str, batch| small.ask(&image, &[method], &["class:1"], batch).remove(0).values;
    let gradient = ask("gradient", 1);
    agree(&ask("smoothgrad:samples=3:noise=0", 2), &wide(&gradient), 1e-5);
    let squares: Vec<f64> = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).collect();
    agree(&ask("smoothgrad:samples=3:noise=0:square=on", 2), &squares, 1e-5);
    let noisy = ask("smoothgrad:samples=9", 4);
    agree(&ask("smoothgrad:samples=9", 9), &wide(&noisy), 1e-5);
    assert_ne!(ask("smoothgrad:samples=9:seed=1", 4), noisy);
    assert_ne!(noisy, gradient);
}

/// Smilkov et al. 2017, §3, and squared as in Hooker et al. 2019: the mean over copies with noise of `noise·(max x − min x)`.
#[test]
fn smoothgrad_is_the_mean_gradient_of_noisy_copies() {
    let small = Small::new(Of::Convolutions, [3, 10, 12]);
    let image = small.image(6);
    let x = image.tensor.to_f32s();
    let range = x.iter().copied().fold(f32::MIN, f32::max) - x.iter().copied().fold(f32::MAX, f32::min);
    let [mut mean, mut squares] = [vec![0.0; 360], vec![0.0; 360]];
    for index in 0..4 {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        random.set_stream(index);
        let mut noisy = |v: &f32| {
            let noise: f32 = StandardNormal.sample(&mut random);
            v + 0.2 * range * noise
        };
        let copy: Vec<f32> = x.iter().map(&mut noisy).collect();
        let gradient = &small.ask(&small.of(&copy), &["gradient"], &["class:1"], 1)[0].values;
        for (i, &g) in gradient.iter().enumerate() {
            mean[i] += f64::from(g) / 4.0;
            squares[i] += f64::from(g).powi(2) / 4.0;
        }
    }
    let methods =
        ["smoothgrad:samples=4:noise=0.2:seed=3", "smoothgrad:samples=4:noise=0.2:seed=3:square=on"];
    let maps = small.ask(&image, &methods, &["class:1"], 3);
    agree(&maps[0].values, &mean, 1e-5);
    agree(&maps[1].values, &squares, 1e-5);
}

/// Petsiuk et al. 2018, eq. 6, with masks made as in §3.2: the mean of masks by the probability of what they show.
#[test]
fn rise_is_the_mean_of_masks_by_probability() {
    let small = Small::new(Of::Threes, [3, 10, 12]);
    let image = small.image(3);
    let x = image.tensor.to_f64s();
    let mut expected = vec![0.0; 120];
    for index in 0..5 {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        random.set_stream(index);
        let cells: Vec<f32> = (0..9).map(|_| if random.random_bool(0.4) { 1.0 } else { 0.0 }).collect();
        // Cells of 4×4 pixels, one more than fit along a side.
        let large =
            resample(Field::new(&cells, 3, 3).expect("3×3"), 16, 16, Align::HalfPixel).expect("16×16");
        let [down, right] = [0, 1].map(|_| random.random_range(0..4_usize));
        let mask = |i: usize| f64::from(large[(i / 12 + down) * 16 + i % 12 + right]);
        let seen: Vec<f64> = x.iter().enumerate().map(|(i, v)| v * mask(i % 120)).collect();
        let probability = small.value("probabilities", &seen).data[2];
        for (i, sum) in expected.iter_mut().enumerate() {
            *sum += probability * mask(i) / (0.4 * 5.0);
        }
    }
    let map = &small.ask(&image, &["rise:masks=5:cells=3:keep=0.4:seed=2"], &["class:2"], 3)[0];
    agree(&map.values, &expected, 1e-5);
}

/// Smoothing is the mean over six copies, of any kind of method.
#[test]
fn smoothing_is_the_mean_over_mirror_images_and_brightness() {
    let small = Small::new(Of::Convolutions, [3, 10, 12]);
    let image = small.image(6);
    let x = image.tensor.to_f32s();
    let mirrored = |values: &[f32], width: usize| -> Vec<f32> {
        values.chunks(width).flat_map(|row| row.iter().rev().copied()).collect()
    };
    for method in
        ["grad-cam", "gradient", "occlusion:size=3:stride=2", "integrated-gradients:steps=2", "ablation-cam"]
    {
        let smooth = &small.ask(&image, &[&format!("{method}:smooth=on")], &["class:1"], 4)[0];
        assert_eq!(smooth.method, format!("{method}:smooth=on"));
        let mut sum = vec![0.0; smooth.values.len()];
        let width = *smooth.shape.last().expect("a shape");
        for factor in [0.9, 1.0, 1.1] {
            for flip in [false, true] {
                let copy: Vec<f32> = x.iter().map(|v| v * factor).collect();
                let copy = if flip { mirrored(&copy, 12) } else { copy };
                let map = small.ask(&small.of(&copy), &[method], &["class:1"], 4).remove(0).values;
                let map = if flip { mirrored(&map, width) } else { map };
                sum.iter_mut().zip(map).for_each(|(sum, v)| *sum += f64::from(v) / 6.0);
            }
        }
        agree(&smooth.values, &sum, 1e-5);
    }
}
