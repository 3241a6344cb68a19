//! Preparation against Pillow and numpy: `golden/prep/make_prep.py`.

use serde::Deserialize;
use whycam::image::{Photo, RgbImage, encode_png};
use whycam::prep::{Layout, Prep};

#[derive(Deserialize)]
struct Golden {
    checksum: u64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    prep: String,
    height: usize,
    width: usize,
    values: Vec<f32>,
}

/// The photo of the script: a gradient with noise.
fn photo() -> RgbImage {
    let mut state = 2016u32;
    let mut noisy = |gradient: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (gradient + (state >> 26)).saturating_sub(32).min(255) as u8
    };
    let mut photo = RgbImage::new(64, 48);
    for (x, y, pixel) in photo.enumerate_pixels_mut() {
        pixel.0 = [4 * x, 5 * y, 255 - 2 * (x + y)].map(&mut noisy);
    }
    photo
}

#[test]
fn tensors_are_pillows() {
    let golden = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/prep/prep.json"));
    let golden: Golden = serde_json::from_str(golden).unwrap();
    let photo = photo();
    let checksum: u64 = (1..).zip(photo.as_raw()).map(|(weight, &sample)| weight * u64::from(sample)).sum();
    assert_eq!(checksum % (1 << 32), golden.checksum, "the photo is the script's");
    let photo = Photo::decode(&encode_png(&photo).unwrap()).unwrap();

    for case in golden.cases {
        let prep: Prep = case.prep.parse().unwrap();
        let prepared = prep.apply(&photo, case.height, case.width, 3, Layout::Nchw).unwrap();
        assert_eq!(prepared.tensor.len(), case.values.len());
        // One step of an 8-bit sample, in the units of each channel's values.
        let white = f32::from(u8::MAX) / u32::from(prep.range) as f32;
        let area = case.height * case.width;
        let off = |index: usize, value: f32| {
            let std = prep.std.get(index / area).unwrap_or(&prep.std[0]);
            (value - case.values[index]).abs() * std * white
        };
        let off: Vec<f32> =
            prepared.tensor.iter().enumerate().map(|(index, &value)| off(index, value)).collect();
        let worst = off.iter().copied().fold(0.0, f32::max);
        let mean = off.iter().sum::<f32>() / off.len() as f32;
        println!("{}: worst {worst:.4}, mean {mean:.5} steps", case.prep);
        assert!(worst <= 1.01 && mean < 0.02, "{}: worst {worst}, mean {mean} steps of 8 bits", case.prep);
    }
}
