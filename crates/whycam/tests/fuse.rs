//! Several layers' maps as one, against the formula in float64.

mod common;

use common::{Of, Small, agree, wide};
use whycam::engine::{EngineOptions, engine};
use whycam::{Explainer, Fuse, Layers, Map, Note, Question, Result, Target, Verdict};

/// The maps of two classes at two layers, 8×8 and 4×4; fused, one a class.
fn maps(methods: &[&str], layers: &[&str], fuse: Option<Fuse>) -> Result<Vec<Map>> {
    let small = Small::new(Of::Convolutions, [3, 8, 8]);
    let question = Question {
        methods: methods.iter().map(|m| m.parse().expect(m)).collect(),
        targets: vec![Target::Index(2), Target::Index(0)],
        layers: Layers::Named(layers.iter().map(|l| (*l).to_owned()).collect()),
        fuse,
        ..Question::default()
    };
    let engine = engine("rten", EngineOptions::default()).expect("always there");
    let explainer = Explainer::new(&small.model, engine.as_ref(), &question)?;
    let keys: Vec<[String; 3]> = explainer.keys().iter().map(|key| key.map(str::to_owned)).collect();
    let maps = explainer.explain(&small.image(3), &[])?.maps;
    let told = maps.iter().map(|m| [&m.method, &m.layer, &m.target].map(String::clone));
    assert_eq!(keys, told.collect::<Vec<_>>());
    Ok(maps)
}

fn scaled(values: &[f32]) -> Vec<f64> {
    let values = wide(values);
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    values.iter().map(|v| if high > low { (v - low) / (high - low) } else { 0.0 }).collect()
}

/// A 4×4 map on 8×8 cells, bilinear with half pixels.
fn enlarged(map: &[f64]) -> Vec<f64> {
    let at = |i: usize| {
        let place = ((i as f64 + 0.5) / 2.0 - 0.5).clamp(0.0, 3.0);
        let low = (place.floor() as usize).min(2);
        (low, place - low as f64)
    };
    let cell = |i: usize| {
        let ((y, down), (x, across)) = (at(i / 8), at(i % 8));
        let row = |y: usize| map[4 * y + x] * (1.0 - across) + map[4 * y + x + 1] * across;
        row(y) * (1.0 - down) + row(y + 1) * down
    };
    (0..64).map(cell).collect()
}

#[test]
fn a_fused_map_is_the_mean_or_the_greatest_of_scaled_maps() {
    // One formula, one that has a step of its own, and copies of the image: what is fused is their maps.
    let methods = ["grad-cam:relu=off", "eigen-cam", "score-cam", "grad-cam:relu=off:smooth=on"];
    let layers = ["relu1", "layer"];
    let alone = maps(&methods, &layers, None).expect("maps");
    assert_eq!(alone.len(), 16);
    for how in Fuse::ALL {
        let fused = maps(&methods, &layers, Some(how)).expect("maps");
        assert_eq!(fused.len(), 8);
        for map in fused {
            let of = |layer: &str| {
                let same =
                    |m: &&Map| (&m.method, &m.target) == (&map.method, &map.target) && m.layer == layer;
                alone.iter().find(same).expect("there")
            };
            let (fine, coarse) = (scaled(&of("relu1").values), enlarged(&scaled(&of("layer").values)));
            let pairs = fine.iter().zip(&coarse);
            let expected: Vec<f64> = match how {
                Fuse::Mean => pairs.map(|(a, b)| (a + b) / 2.0).collect(),
                Fuse::Max => pairs.map(|(a, b)| a.max(*b)).collect(),
            };
            assert_eq!(
                (map.shape.as_slice(), map.layer.as_str()),
                ([8, 8].as_slice(), &*format!("{how} of 2, relu1 to layer"))
            );
            // Both sides begin with the same float32 maps; the rest are some five operations on numbers up to 1.
            agree(&map.values, &expected, 1e-5);
            let told = serde_json::to_value(&map).expect("JSON");
            assert_eq!(told["fused"]["how"], how.name());
            assert_eq!(told["fused"]["layers"][1]["layer"], "layer");
            assert_eq!(told["fused"]["layers"][1]["shape"], serde_json::json!([4, 4]));
            assert_eq!(told["fused"]["layers"][0]["verdict"], "ok");
            assert!(told.get("receptive_field").is_none(), "there are several");
        }
    }
}

/// What tells a fused map from others of an image is its layer: lists that differ in the middle alone have two names.
#[test]
fn different_lists_have_different_names() {
    let names = [["relu1", "pool", "layer"], ["relu1", "conv2", "layer"], ["relu1", "pool", "layer"]]
        .map(|layers| maps(&["grad-cam"], &layers, Some(Fuse::Mean)).expect("maps").remove(0).layer);
    assert!(names[0].starts_with("mean of 3, relu1 to layer ("), "{names:?}");
    assert!(names[0] != names[1] && names[0] == names[2], "{names:?}");
}

/// A layer whose map locates nothing takes no part, and is told.
#[test]
fn a_layer_without_a_map_is_told() {
    let alone = maps(&["grad-cam"], &["relu1", "layer"], None).expect("maps");
    let fused = maps(&["grad-cam"], &["relu1", "layer"], Some(Fuse::Mean)).expect("maps");
    for map in fused {
        let bad = alone.iter().filter(|m| m.target == map.target && m.verdict != Verdict::Ok).count();
        let noted = map
            .notes
            .iter()
            .any(|note| matches!(note, Note::SomeLayersAreEmpty(share) if share.count == bad));
        assert_eq!(noted, bad > 0, "{:?}", map.notes);
    }
    // Methods that read no layer stay as they are.
    let gradients = maps(&["gradient", "grad-cam"], &["relu1", "layer"], Some(Fuse::Max)).expect("maps");
    assert_eq!(gradients.iter().filter(|map| map.fused.is_none() && map.layer == "input").count(), 2);
}

#[test]
fn what_cannot_be_fused_is_refused() {
    let refused = |method: &str, layers: &[&str]| {
        maps(&[method], layers, Some(Fuse::Mean)).expect_err(method).to_string()
    };
    for (error, told) in [
        (
            refused("grad-cam", &["layer"]),
            "grad-cam reads one layer, layer, so there is nothing to fuse\nhint: ",
        ),
        (refused("grad-cam", &["layer", "layer"]), "nothing to fuse\nhint: "),
        (refused("guided-grad-cam", &["relu1", "layer"]), "not fused\nhint: "),
    ] {
        assert!(error.contains(told), "{error}");
    }
}
