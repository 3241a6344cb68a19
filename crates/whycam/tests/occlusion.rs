//! Occlusion against its definition, in float64, and its laws.

mod common;

use common::{Of, Small, agree, numbers, wide};
use whycam::Verdict;

/// The score of `class` with the `m × m` patch around every centre covered, less that of the whole image, read off the
/// definition; at every pixel of the grid of that stride.
fn changes(small: &Small, image: &[f32], class: usize, m: i64, stride: usize, cover: &[f32]) -> Vec<f64> {
    let [_, height, width] = small.shape;
    let whole = small.scores(&wide(image))[class];
    let mut found = Vec::new();
    for y in (0..height).step_by(stride) {
        for x in (0..width).step_by(stride) {
            let mut copy = image.to_vec();
            for (i, value) in copy.iter_mut().enumerate() {
                let (row, column) = ((i / width % height) as i64, (i % width) as i64);
                let inside = |centre: usize, at: i64| {
                    let centre = centre as i64;
                    at >= centre - (m - 1).div_euclid(2) && at <= centre + m / 2
                };
                if inside(y, row) && inside(x, column) {
                    *value = cover[i / (height * width)];
                }
            }
            found.push(small.scores(&wide(&copy))[class] - whole);
        }
    }
    found
}

#[test]
fn every_pixel_is_the_change_of_the_score_around_it() {
    let small = Small::new(Of::Convolutions, [3, 9, 12]);
    let image = small.image(3);
    for m in [1, 2, 3, 4, 7] {
        let map = &small.ask(&image, &[&format!("occlusion:size={m}:stride=1")], &["class:2"], 7)[0];
        assert_eq!((map.shape.as_slice(), map.verdict), (&[9, 12][..], Verdict::Ok));
        assert_eq!(
            (map.layer.as_str(), map.method.as_str()),
            ("input", &*format!("occlusion:size={m}:stride=1"))
        );
        agree(&map.values, &changes(&small, &image.tensor.to_f32s(), 2, m, 1, &[0.0; 3]), 1e-5);
    }
}

/// A linear model: the change is `−Σ w·x` over the patch, or `Σ w·(cover − x)`.
#[test]
fn a_linear_model_has_a_closed_form() {
    let small = Small::new(Of::Linear, [1, 6, 7]);
    let image = small.image(8);
    let x = image.tensor.to_f32s();
    let weights = &numbers(4 * 42, 5)[42..84];
    let map = &small.ask(&image, &["occlusion:size=1:stride=1"], &["class:1"], 8)[0];
    let expected: Vec<f64> = weights.iter().zip(&x).map(|(w, x)| -f64::from(*w) * f64::from(*x)).collect();
    agree(&map.values, &expected, 1e-5);

    let map = &small.ask(&image, &["occlusion:size=1:stride=1:fill=image"], &["class:1"], 8)[0];
    let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / 42.0;
    let expected: Vec<f64> =
        weights.iter().zip(&x).map(|(w, x)| f64::from(*w) * (mean - f64::from(*x))).collect();
    agree(&map.values, &expected, 1e-5);
}

/// The grid begins at the first pixel: no map is shifted by a stride.
#[test]
fn a_coarse_map_is_the_fine_one_on_its_grid() {
    let small = Small::new(Of::Convolutions, [3, 10, 14]);
    let image = small.image(4);
    let fine = &small.ask(&image, &["occlusion:size=3:stride=1"], &["class:0"], 8)[0].values;
    for stride in [2, 3, 4, 20] {
        let coarse =
            &small.ask(&image, &[&format!("occlusion:size=3:stride={stride}")], &["class:0"], 8)[0].values;
        for y in (0..10).step_by(stride) {
            for x in (0..14).step_by(stride) {
                // Batches of other copies may be added up in another order.
                assert!((coarse[y * 14 + x] - fine[y * 14 + x]).abs() < 1e-5, "stride {stride} at {y}, {x}");
            }
        }
    }
}

#[test]
fn between_the_centres_the_map_is_bilinear_and_beyond_the_last_constant() {
    let small = Small::new(Of::Convolutions, [3, 10, 14]);
    let map = &small.ask(&small.image(4), &["occlusion:size=3:stride=4"], &["class:0"], 8)[0].values;
    let at = |y: usize, x: usize| f64::from(map[y * 14 + x]);
    let bilinear = (at(4, 8) * 0.75 + at(4, 12) * 0.25) * 0.5 + (at(8, 8) * 0.75 + at(8, 12) * 0.25) * 0.5;
    assert!((at(6, 9) - bilinear).abs() < 1e-5);
    assert_eq!((at(9, 13), at(9, 4)), (at(8, 12), at(8, 4)));
}

#[test]
fn nothing_is_covered_by_nothing_and_everything_by_a_large_patch() {
    let small = Small::new(Of::Convolutions, [3, 9, 12]);
    let image = small.image(5);
    let map = &small.ask(&image, &["occlusion:size=0"], &["class:1"], 8)[0];
    assert!(map.values.iter().all(|&v| v == 0.0) && map.verdict == Verdict::Blank);
    let map = &small.ask(&image, &["occlusion:size=24:stride=3"], &["class:1"], 8)[0];
    let [whole, nothing] = [image.tensor.to_f64s(), vec![0.0; 3 * 9 * 12]].map(|x| small.scores(&x)[1]);
    agree(&map.values, &[nothing - whole; 108], 1e-5);
    assert_eq!(map.verdict, Verdict::Constant);
}

#[test]
fn an_image_that_is_the_cover_does_not_change() {
    let small = Small::new(Of::Convolutions, [3, 9, 12]);
    let map = &small.ask(&small.of(&[0.0; 324]), &["occlusion:size=3:stride=2"], &["class:1"], 8)[0];
    assert!(map.values.iter().all(|&v| v == 0.0));
    // The mean of equal numbers is that number.
    let map =
        &small.ask(&small.of(&[0.5; 324]), &["occlusion:size=3:stride=2:fill=image"], &["class:1"], 8)[0];
    assert!(map.values.iter().all(|&v| v == 0.0));
    let map =
        &small.ask(&small.of(&[0.5; 324]), &["occlusion:size=3:stride=2:fill=blur"], &["class:1"], 8)[0];
    assert!(
        map.values.iter().all(|&v| v.abs() < 1e-5),
        "a blur of one colour is that colour, but for rounding"
    );
}

/// Colours are in the units of the model: black is −mean/std.
#[test]
fn colours_are_prepared_as_photos_are() {
    let small = Small::new(Of::Convolutions, [3, 9, 12]);
    let image = small.image(5);
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    for (fill, level) in [("black", 0.0), ("grey", 0.5)] {
        let method = format!("occlusion:size=5:stride=1:fill={fill}");
        let map = &small.ask(&image, &[&method], &["class:3"], 8)[0];
        let cover: Vec<f32> = (0..3).map(|c| (level - mean[c]) / std[c]).collect();
        agree(&map.values, &changes(&small, &image.tensor.to_f32s(), 3, 5, 1, &cover), 1e-5);
    }
}

#[test]
fn the_batch_changes_nothing() {
    let images = [Small::new(Of::Convolutions, [3, 9, 12]), Small::new(Of::Threes, [3, 9, 12])];
    let methods = ["occlusion:size=3:stride=2", "occlusion:size=3:stride=2:score=probability"];
    let reference = images[0].ask(&images[0].image(2), &methods[..1], &["class:1"], 1);
    for small in &images {
        for batch in [1, 2, 5, 100] {
            let maps = small.ask(&small.image(2), &methods, &["class:1", "top:2"], batch);
            assert_eq!(maps.len(), 6);
            let asked: Vec<&str> = maps.iter().map(|m| m.target.as_str()).collect();
            assert_eq!(asked, ["top1", "top1", "top2", "top2", "class:1", "class:1"]);
            agree(&maps[4].values, &wide(&reference[0].values), 1e-5);
        }
    }
}

/// With `score=probability` the softmax of the scores is compared, at whatever layer the model ends.
#[test]
fn probabilities_are_compared_on_request() {
    let small = Small::new(Of::Threes, [3, 9, 12]);
    let image = small.image(2);
    let x = image.tensor.to_f32s();
    let map = &small.ask(&image, &["occlusion:size=90:score=probability"], &["class:1"], 8)[0];
    let probability = |values: &[f64]| small.value("probabilities", values).data[1];
    let change = probability(&[0.0; 324]) - probability(&wide(&x));
    agree(&map.values, &[change; 108], 1e-5);
}

#[test]
fn several_sizes_make_a_map_each() {
    let small = Small::new(Of::Convolutions, [3, 9, 12]);
    let maps = small.ask(&small.image(2), &["occlusion:size=2+5:stride=3", "grad-cam"], &["class:1"], 8);
    let names: Vec<&str> = maps.iter().map(|m| m.method.as_str()).collect();
    assert_eq!(names, ["occlusion:size=2:stride=3", "occlusion:size=5:stride=3", "grad-cam"]);
    let [a, b] = ["2", "5"].map(|size| {
        small.ask(&small.image(2), &[&format!("occlusion:size={size}:stride=3")], &["class:1"], 8).remove(0)
    });
    assert_eq!((&maps[0].values, &maps[1].values), (&a.values, &b.values));
    assert_eq!(maps[0].legend, Some("blue: score falls if covered"));
    assert_eq!(maps[2].legend, None);
}
