//! Compiled models say what the model says, and give the maps that explaining gives.

mod common;

use std::path::{Path, PathBuf};

use common::{engines, numbers};
use whycam::graph::engine::ModelBytes;
use whycam::graph::{DType, Engine, Tensor, onnx};
use whycam::image::{Photo, RgbImage};
use whycam::prep::{Prep, Resize};
use whycam::{
    Compile, Explained, Explainer, METHODS, Method, Model, ModelOptions, Question, Target, compile,
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/nets").join(name)
}

fn opened(name: &str) -> (Model, ModelBytes) {
    let (bytes, about) = Model::read(golden(name)).expect(name);
    (Model::with_about(&bytes, ModelOptions::default(), about).expect(name), bytes)
}

fn ask(method: &str, classes: Explained) -> Compile {
    let Question { align, .. } = Question::default();
    Compile { method: method.parse().expect(method), layer: None, classes, align, prep: None, opset: None }
}

fn image(model: &Model, batch: usize, seed: usize) -> Tensor {
    let mut shape = model.input().shape();
    shape[0] = batch;
    Tensor::f32(&shape, &numbers(shape.iter().product(), seed)).expect("it fits")
}

/// The outputs of a file: the model's own, and the last three.
fn run(engine: &dyn Engine, file: &ModelBytes, inputs: &[(&str, Tensor)]) -> Vec<Tensor> {
    let program = engine.load(file.clone()).unwrap_or_else(|e| panic!("{}: {e}", engine.name()));
    program.run(inputs).expect("it runs")
}

/// Greatest difference by the greatest value.
fn off(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let most = b.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / most
}

/// Same engine, other order of sums where the engine fuses otherwise.
const TOLERANCE: f32 = 1e-4;

const NETS: [&str; 6] = [
    "resnet18/legacy.onnx",
    "vgg16/legacy.onnx",
    "mobilenet_v2/dynamo.onnx",
    "densenet/legacy.onnx",
    "efficientnet_lite/legacy.onnx",
    "squeezenet/dynamo.onnx",
];

#[test]
fn scores_and_maps_are_those_of_the_model() {
    for engine in engines() {
        for net in NETS {
            let (model, file) = opened(net);
            let name = &model.graph().value(model.image()).name;
            let x = image(&model, model.input().batch.unwrap_or(1), 3);
            let before = run(engine.as_ref(), &file, &[(name, x.clone())]);
            for method in ["grad-cam", "guided-backprop"] {
                let place = format!("{} {net} {method}", engine.name());
                let made = compile(&model, &file, &ask(method, Explained::Targets(vec![Target::TOP1])))
                    .expect(&place);
                let out = run(engine.as_ref(), &made.bytes, &[(name, x.clone())]);
                let [own @ .., map, heat, range] = out.as_slice() else { panic!("{place}") };
                assert_eq!(own.len(), before.len(), "{place}");
                for (own, before) in own.iter().zip(&before) {
                    assert!(off(&own.to_f32s(), &before.to_f32s()) <= TOLERANCE, "{place}");
                }
                let question =
                    Question { methods: vec![method.parse().expect(method)], ..Question::default() };
                let explainer = Explainer::new(&model, engine.as_ref(), &question).expect(&place);
                let row = &model.rows(x.shape(), &x.to_f32s()).expect("rows")[0];
                let told = explainer.explain(row, &[]).expect(&place).maps.remove(0);
                let one: usize = map.shape()[1..].iter().product();
                let off = off(&map.to_f32s()[..one], &told.values);
                assert!(off <= TOLERANCE, "{place}: {off}");
                let heat = heat.to_f32s();
                assert!(heat.iter().all(|v| (0.0..=1.0).contains(v)), "{place}");
                assert_eq!(range.shape()[1..], [1, 2], "{place}");
                let range = range.to_f32s();
                assert!(
                    (range[1] - told.pre_relu_max).abs() <= TOLERANCE * told.pre_relu_max.abs().max(1e-6),
                    "{place}"
                );
            }
        }
    }
}

#[test]
fn a_class_given_is_a_class_fixed_and_a_batch_is_its_images() {
    let (model, file) = opened("resnet18/dynamo_batch.onnx");
    assert_eq!(model.input().batch, None);
    let name = &model.graph().value(model.image()).name;
    let fixed = ask("grad-cam", Explained::Targets(vec![Target::Index(2), Target::Index(1)]));
    let fixed = compile(&model, &file, &fixed).expect("compiled");
    let given = compile(&model, &file, &ask("grad-cam", Explained::Input(2))).expect("compiled");
    for engine in engines() {
        let x = image(&model, 3, 5);
        let target = Tensor::i64(&[3, 2], &[2, 1, 2, 1, 2, 1]).expect("fits");
        let of_fixed = run(engine.as_ref(), &fixed.bytes, &[(name, x.clone())]);
        let of_given = run(engine.as_ref(), &given.bytes, &[(name, x.clone()), ("target", target)]);
        for (a, b) in of_fixed.iter().zip(&of_given) {
            assert_eq!(a.shape(), b.shape());
            assert!(off(&a.to_f32s(), &b.to_f32s()) <= TOLERANCE);
        }
        assert_eq!(of_fixed[1].shape()[..2], [3, 2]);
        let values = x.to_f32s();
        let size = values.len() / 3;
        for row in 0..3 {
            let one = Tensor::f32(&model.input().shape(), &values[row * size..][..size]).expect("fits");
            for (all, single) in of_fixed.iter().zip(run(engine.as_ref(), &fixed.bytes, &[(name, one)])) {
                let single = single.to_f32s();
                let all = &all.to_f32s()[row * single.len()..][..single.len()];
                assert!(off(all, &single) <= TOLERANCE, "row {row}");
            }
        }
    }
}

#[test]
fn photos_are_prepared_inside() {
    for (net, prep) in [("resnet18/dynamo_batch.onnx", "imagenet"), ("vgg16/legacy.onnx", "caffe")] {
        let (model, file) = opened(net);
        let prep: Prep = prep.parse().expect(prep);
        let whycam::ImageInput { channels, height, width, layout, .. } = model.input();
        let photo = RgbImage::from_fn(width as u32, height as u32, |x, y| {
            image::Rgb([x as u8 * 9, y as u8 * 11, (x * y) as u8])
        });
        let whole = Prep { resize: Resize::None, crop: None, ..prep.clone() };
        let prepared =
            whole.apply(&Photo::from_rgb(photo.clone()).expect("a photo"), height, width, channels, layout);
        let prepared = prepared.expect("it fits");
        let plain =
            compile(&model, &file, &ask("grad-cam", Explained::Targets(vec![Target::Index(1)]))).expect(net);
        let baked =
            Compile { prep: Some(prep), ..ask("grad-cam", Explained::Targets(vec![Target::Index(1)])) };
        let baked = compile(&model, &file, &baked).expect(net);
        let name = &model.graph().value(model.image()).name;
        for engine in engines() {
            let x = Tensor::f32(&prepared.shape, &prepared.tensor).expect("it fits");
            let bytes =
                Tensor::new(DType::U8, vec![1, height, width, 3], photo.as_raw().clone()).expect("it fits");
            let before = run(engine.as_ref(), &plain.bytes, &[(name, x)]);
            let after = run(engine.as_ref(), &baked.bytes, &[("photo", bytes)]);
            for (a, b) in before.iter().zip(&after) {
                assert!(off(&b.to_f32s(), &a.to_f32s()) <= TOLERANCE, "{} {net}", engine.name());
            }
        }
        let again = Model::from_bytes(&baked.bytes, ModelOptions::default()).expect("a model");
        assert_eq!((again.input().height, again.input().channels), (height, 3));
        assert!(again.prep().expect("it says").0.to_string().contains("range=255"));
    }
}

#[test]
fn blank_maps_are_0_and_infinite_ones_nan() {
    let (model, file) = opened("resnet18/legacy.onnx");
    let name = &model.graph().value(model.image()).name;
    let made = compile(&model, &file, &ask("gradient-x-input", Explained::Targets(vec![Target::TOP1])))
        .expect("compiled");
    let shape = model.input().shape();
    let nothing = Tensor::f32(&shape, &vec![0.0; shape.iter().product()]).expect("it fits");
    let endless = Tensor::f32(&shape, &vec![f32::INFINITY; shape.iter().product()]).expect("it fits");
    for engine in engines() {
        let heat = |x: &Tensor| run(engine.as_ref(), &made.bytes, &[(name, x.clone())])[2].to_f32s();
        assert!(heat(&nothing).iter().all(|&v| v == 0.0), "{}", engine.name());
        assert!(heat(&endless).iter().all(|v| v.is_nan()), "{}", engine.name());
    }
}

#[test]
fn the_file_names_the_rules() {
    let (model, file) = opened("alexnet/legacy.onnx");
    for (method, rules) in [
        ("grad-cam", "relu=gradient"),
        ("guided-grad-cam", "relu=guided,relu=gradient"),
        ("mwp", "linear=excitation"),
        ("c-mwp", "linear=contrastive-excitation"),
    ] {
        let made = compile(&model, &file, &ask(method, Explained::Input(1))).expect(method);
        let graph = onnx::read(&made.bytes, &onnx::ReadOptions::default()).expect(method);
        assert_eq!(graph.header().metadata["whycam.rules"], rules);
    }
}

#[cfg(feature = "embedded-model")]
#[test]
fn no_method_makes_the_file_much_larger() {
    let (model, file) = (Model::embedded().expect("sound"), whycam::embedded_bytes());
    let mut compiled = 0;
    for info in METHODS {
        let method = Method::from(*info);
        // Below it the bottlenecks are signed, where excitation backprop is not defined.
        let layer = Some("head.relu6".to_owned());
        let asked = Compile { layer, ..ask(&method.to_string(), Explained::Targets(vec![Target::TOP1])) };
        let made = compile(&model, &file, &asked);
        match info.kind.is_compilable() {
            true => {
                let made = made.unwrap_or_else(|e| panic!("{method}: {e}"));
                compiled += 1;
                let ratio = made.bytes.proto.len() as f64 / file.proto.len() as f64;
                assert!(ratio <= 1.1, "{method}: {ratio}");
            }
            false => {
                assert!(made.expect_err("refused").to_string().contains("cannot be compiled: "), "{method}")
            }
        }
    }
    assert!(compiled > 8);
}
