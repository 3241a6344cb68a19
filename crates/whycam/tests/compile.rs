//! Compiled models say what the model says, and give the maps that explaining gives.

mod common;

use common::compiled::{TOLERANCE, ask, image, off, opened, run};
use common::engines;
use whycam::graph::{DType, Program, Tensor, onnx};
use whycam::image::{Photo, RgbImage};
use whycam::prep::{Prep, Resize};
use whycam::{
    Compile, Explained, Explainer, METHODS, Method, Model, ModelOptions, Question, Target, compile,
};

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
    let methods = ["grad-cam", "guided-backprop"];
    for net in NETS {
        let (model, file) = opened(net);
        let name = &model.graph().value(model.image()).name;
        let x = image(&model, model.input().batch.unwrap_or(1), 3);
        let row = &model.rows(x.shape(), &x.to_f32s()).expect("rows")[0];
        let top = Explained::Targets(vec![Target::TOP1]);
        let made = methods.map(|method| compile(&model, &file, &ask(method, top.clone())).expect(net));
        let question = Question {
            methods: methods.map(|method| method.parse().expect(method)).to_vec(),
            ..Question::default()
        };
        for engine in engines() {
            let before = run(engine.as_ref(), &file, &[(name, x.clone())]);
            let explainer = Explainer::new(&model, engine.as_ref(), &question).expect(net);
            let told = explainer.explain(row, &[]).expect(net).maps;
            for (made, told) in made.iter().zip(&told) {
                let place = format!("{} {net} {}", engine.name(), told.method);
                let out = run(engine.as_ref(), &made.bytes, &[(name, x.clone())]);
                let [own @ .., map, heat, range] = out.as_slice() else { panic!("{place}") };
                assert_eq!(own.len(), before.len(), "{place}");
                for (own, before) in own.iter().zip(&before) {
                    assert!(off(&own.to_f32s(), &before.to_f32s()) <= TOLERANCE, "{place}");
                }
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

/// On a network that every one of them is for: rectified all through, pooled, and one linear layer.
#[test]
fn every_compilable_method_gives_the_maps_of_explaining() {
    let (model, file) = opened("resnet18/legacy.onnx");
    let name = &model.graph().value(model.image()).name;
    let images = [3, 4].map(|seed| image(&model, 1, seed));
    let compilable = METHODS.iter().filter(|info| info.kind.is_compilable());
    let methods: Vec<Method> = compilable.map(|&info| Method::from(info)).collect();
    let targets = vec![Target::TOP1, Target::Index(1)];
    let made: Vec<_> = methods
        .iter()
        .map(|method| {
            let asked = ask(&method.to_string(), Explained::Targets(targets.clone()));
            compile(&model, &file, &asked).unwrap_or_else(|e| panic!("{method}: {e}"))
        })
        .collect();
    let question = Question { methods: methods.clone(), targets, ..Question::default() };
    for engine in engines() {
        let explainer = Explainer::new(&model, engine.as_ref(), &question).expect("explainable");
        let told = images.each_ref().map(|x| {
            let row = &model.rows(x.shape(), &x.to_f32s()).expect("rows")[0];
            explainer.explain(row, &[]).expect("runs").maps
        });
        for (method, made) in methods.iter().zip(&made) {
            let place = format!("{} {method}", engine.name());
            let program = engine.load(made.bytes.clone()).expect(&place);
            let maps = images
                .each_ref()
                .map(|x| program.run(&[(name, x.clone())]).expect(&place).remove(1).to_f32s());
            for (maps, told) in maps.iter().zip(&told) {
                let told: Vec<f32> = told
                    .iter()
                    .filter(|m| m.method == method.to_string())
                    .flat_map(|m| m.values.clone())
                    .collect();
                let off = off(maps, &told);
                assert!(off <= TOLERANCE, "{place}: {off}");
            }
            // Activations are those of the run, never those of another image.
            assert!(off(&maps[0], &maps[1]) > 0.01, "{place}");
        }
    }
}

#[test]
fn top_classes_are_found_in_the_graph() {
    let (model, file) = opened("resnet18/dynamo_batch.onnx");
    let name = &model.graph().value(model.image()).name;
    let top =
        compile(&model, &file, &ask("grad-cam", Explained::Targets(vec![Target::Top(3)]))).expect("compiled");
    let given = compile(&model, &file, &ask("grad-cam", Explained::Input(3))).expect("compiled");
    for engine in engines() {
        let x = image(&model, 2, 8);
        let of_top = run(engine.as_ref(), &top.bytes, &[(name, x.clone())]);
        let scores = of_top[0].to_f32s();
        let classes: Vec<i64> = scores
            .chunks(scores.len() / 2)
            .flat_map(|scores| {
                let mut order: Vec<i64> = (0..scores.len() as i64).collect();
                order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
                order.truncate(3);
                order
            })
            .collect();
        let target = Tensor::i64(&[2, 3], &classes).expect("fits");
        let of_given = run(engine.as_ref(), &given.bytes, &[(name, x), ("target", target)]);
        for (a, b) in of_top.iter().zip(&of_given) {
            assert!(off(&a.to_f32s(), &b.to_f32s()) <= TOLERANCE, "{}", engine.name());
        }
    }
}

/// The class's signal is a row of the last weights in the first network, one cell of a map in the other, which is convolutional
/// to the end.
#[test]
fn a_class_that_the_model_has_not_is_nan_and_others_stay_as_they_are() {
    let mut compared = 0;
    for net in ["resnet18/dynamo_batch.onnx", "squeezenet/legacy.onnx"] {
        let (model, file) = opened(net);
        let name = &model.graph().value(model.image()).name;
        let classes = model.scored().expect(net).classes as i64;
        let images = model.input().batch.unwrap_or(2);
        let x = image(&model, images, 6);
        for info in METHODS.iter().filter(|info| info.kind.is_compilable()) {
            let compiled = |k| compile(&model, &file, &ask(info.name, Explained::Input(k)));
            let (one, four) = match (compiled(1), compiled(4)) {
                (Ok(one), Ok(four)) => (one, four),
                _ if info.name == "cam" && net.starts_with("squeezenet") => continue,
                (one, four) => panic!("{net} {}: {:?} {:?}", info.name, one.err(), four.err()),
            };
            for engine in engines() {
                let place = format!("{} {net} {}", engine.name(), info.name);
                let [one, four] = [&one, &four].map(|made| engine.load(made.bytes.clone()).expect(&place));
                let given = |classes: &[i64]| {
                    let all = classes.repeat(images);
                    ("target", Tensor::i64(&[images, classes.len()], &all).expect("fits"))
                };
                let run = |program: &dyn Program, classes: &[i64]| {
                    program.run(&[(name, x.clone()), given(classes)]).expect(&place).split_off(1)
                };
                let known = run(one.as_ref(), &[1]);
                let mixed = run(four.as_ref(), &[-1, 1, classes, i64::from(i32::MAX)]);
                let alone = [-1, classes].map(|class| run(one.as_ref(), &[class]));
                for (i, known) in known.iter().enumerate() {
                    let cells = known.to_f32s().len() / images;
                    let rows = known.to_f32s();
                    for (j, map) in mixed[i].to_f32s().chunks(cells).enumerate() {
                        match j % 4 {
                            1 => assert!(off(map, &rows[j / 4 * cells..][..cells]) <= TOLERANCE, "{place}"),
                            _ => assert!(map.iter().all(|v| v.is_nan()), "{place} {i} {j}"),
                        }
                    }
                    assert!(rows.iter().all(|v| v.is_finite()), "{place}");
                    for alone in &alone {
                        assert!(alone[i].to_f32s().iter().all(|v| v.is_nan()), "{place} {i}");
                    }
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 60, "{compared}");
}

/// In the order in which the signal arrives at them, from the score.
#[test]
fn excitation_names_the_first_node_that_is_signed() {
    for (net, node) in [
        ("mobilenet_v2/legacy.onnx", "/features/features.5/features.5.0/Conv"),
        ("densenet/legacy.onnx", "/features/transition1/pool/AveragePool"),
        ("efficientnet_lite/legacy.onnx", "/head/head.0/Conv"),
    ] {
        let (model, file) = opened(net);
        let asked = ask("c-mwp", Explained::Targets(vec![Target::TOP1]));
        let error = compile(&model, &file, &asked).expect_err(net).to_string();
        assert!(
            error.contains(&format!("node {node:?}")) && error.contains("needs activations"),
            "{net}: {error}"
        );
        assert!(error.contains("hint:"), "{net}: {error}");
    }
}

#[test]
fn operators_are_raised_only_where_that_is_asked_or_needed() {
    let (model, file) = opened("vgg16/legacy.onnx");
    let mut compiled = 0;
    for info in METHODS.iter().filter(|info| info.kind.is_compilable() && info.name != "cam") {
        let made = compile(&model, &file, &ask(info.name, Explained::Input(1))).expect(info.name);
        assert_eq!(made.opset, [13, 13], "{}", info.name);
        compiled += 1;
    }
    assert!(compiled > 8);
    let asked = ask("grad-cam", Explained::Targets(vec![Target::TOP1]));
    let plain = compile(&model, &file, &asked).expect("compiled");
    let raised = compile(&model, &file, &Compile { opset: Some(19), ..asked }).expect("compiled");
    assert_eq!(raised.opset, [13, 19]);
    let name = &model.graph().value(model.image()).name;
    let x = image(&model, model.input().batch.unwrap_or(1), 4);
    for engine in engines() {
        let [plain, raised] =
            [&plain, &raised].map(|made| run(engine.as_ref(), &made.bytes, &[(name, x.clone())]));
        for (a, b) in plain.iter().zip(&raised) {
            assert!(off(&b.to_f32s(), &a.to_f32s()) <= TOLERANCE, "{}", engine.name());
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
fn the_file_says_how_it_came_about() {
    let (model, file) = opened("alexnet/legacy.onnx");
    for (method, rules) in [
        ("grad-cam", "relu=gradient"),
        ("guided-backprop", "relu=guided"),
        ("guided-grad-cam", "relu=guided,relu=gradient"),
        ("mwp", "linear=excitation"),
        ("c-mwp", "linear=contrastive-excitation"),
    ] {
        let made = compile(&model, &file, &ask(method, Explained::Input(1))).expect(method);
        let graph = onnx::read(&made.bytes, &onnx::ReadOptions::default()).expect(method);
        let said = &graph.header().metadata;
        let layer = made.layer.as_deref().unwrap_or("input");
        for (key, value) in [
            ("version", env!("CARGO_PKG_VERSION")),
            ("method", method),
            ("layer", layer),
            ("rules", rules),
            ("target", "input:1"),
            ("source.sha256", model.sha256()),
        ] {
            assert_eq!(said[&format!("whycam.{key}")], value, "{method}");
        }
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
