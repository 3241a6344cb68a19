//! The embedded model on real photos.

use std::path::PathBuf;

use whycam::engine::{EngineOptions, engine, load};
use whycam::graph::{Op, layer};
use whycam::{Explainer, Image, Layers, Model, Note, Question, Target, Verdict, explain};

fn photo(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/photos").join(name)
}

fn ask(model: &Model, image: &Image, methods: &[&str], targets: &[Target]) -> Vec<whycam::Map> {
    let engine = engine("rten", EngineOptions::default()).expect("always there");
    let question = Question {
        methods: methods.iter().map(|m| m.parse().expect(m)).collect(),
        targets: targets.to_vec(),
        ..Question::default()
    };
    let explainer = Explainer::new(model, engine.as_ref(), &question).expect("explainable");
    explainer.explain(image, &[]).expect("runs").maps
}

#[test]
fn the_cat_is_seen_where_it_is() {
    let model = Model::embedded().expect("embedded");
    let image = model.open_image(photo("chelsea.jpg")).expect("a photo");
    let map = explain(&model, &image, &Target::TOP1, &"grad-cam".parse().expect("a method")).expect("runs");
    assert!(["tabby", "tiger cat", "Egyptian cat"].contains(&map.label.as_str()), "{}", map.label);
    assert_eq!((map.shape.as_slice(), map.layer.as_str()), (&[7, 7][..], "head.relu6"));
    assert_eq!((map.verdict, map.notes.as_slice()), (Verdict::Ok, &[Note::Quantised][..]));
    assert_eq!(map.max, map.values.iter().copied().fold(f32::MIN, f32::max));
    assert_eq!(map.max, map.pre_relu_max);
    assert_eq!(map.min, map.pre_relu_min.max(0.0));
    // The face fills the middle of what the model sees; no corner of it is the peak.
    let peak = map.values.iter().position(|&v| v == map.max).expect("the maximum is there");
    let (row, column) = (peak / 7, peak % 7);
    assert!((1..=4).contains(&row) && (1..=5).contains(&column), "the peak is at {row}, {column}");
}

/// CAM's identity (spec.md §3): with global average pooling and one linear layer, Z·Grad-CAM = ReLU(Σ wₖ·Aₖ).
#[test]
fn grad_cam_times_z_is_cam() {
    let model = Model::embedded().expect("embedded");
    let image = model.open_image(photo("coffee.jpg")).expect("a photo");
    let methods = ["grad-cam", "grad-cam:relu=off", "cam"];
    let maps = ask(&model, &image, &methods, &[Target::class("espresso")]);
    let graph = model.graph();
    let features = layer::automatic(graph, model.image(), model.scored().expect("scores")).expect("found");
    let engine = engine("rten", EngineOptions::default()).expect("always there");
    let program = load(engine.as_ref(), &graph.with_outputs(&[features])).expect("loads");
    let name = &graph.value(model.image()).name;
    let activation = program.run(&[(name.as_str(), image.tensor.clone())]).expect("runs").remove(0).to_f64s();

    let (_, gemm) = graph.nodes().find(|(_, n)| matches!(n.op, Op::Gemm(_))).expect("one linear layer");
    let weights = graph.value(gemm.input(1).expect("weights")).producer.expect("a DequantizeLinear");
    let data = |i: usize| {
        let id = graph.node(weights).input(i).expect("an operand");
        graph.value(id).constant.clone().expect("a constant").to_f64s()
    };
    let (levels, scales) = (data(0), data(1));
    let class = maps[0].class.expect("a class");
    let cell = |cell: usize| -> f64 {
        let weight = |k: usize| levels[class * 1280 + k] * scales[class];
        (0..1280).map(|k| weight(k) * activation[k * 49 + cell]).sum::<f64>()
    };
    let largest = (0..49).map(|c| cell(c).abs()).fold(0.0, f64::max);
    for c in 0..49 {
        let (cam, grad_cam) = (cell(c), f64::from(maps[1].values[c]) * 49.0);
        // float32 sums of 1280 terms against float64
        assert!((cam - grad_cam).abs() < 1e-4 * largest, "cell {c}: {cam} and {grad_cam}");
        assert!((cam - f64::from(maps[2].values[c])).abs() < 1e-4 * largest, "cell {c} of cam");
        assert_eq!(maps[0].values[c], maps[1].values[c].max(0.0), "the ReLU is all that differs");
    }
}

#[test]
fn eigen_cam_is_the_same_for_every_class_and_full_grad_has_the_images_size() {
    let model = Model::embedded().expect("embedded");
    let image = model.open_image(photo("coffee.jpg")).expect("a photo");
    let maps = ask(&model, &image, &["eigen-cam", "full-grad"], &[Target::Top(2)]);
    assert_eq!((maps[0].shape.as_slice(), &maps[0].values), (&[7, 7][..], &maps[2].values));
    assert_eq!((maps[0].pre_relu_min, maps[0].pre_relu_max), (maps[0].min, maps[0].max));
    assert!(maps[0].min >= 0.0, "a rectified layer");
    assert_eq!((maps[1].shape.as_slice(), maps[1].layer.as_str()), (&[224, 224][..], "input"));
    assert!(maps[1].min >= 0.0 && maps[1].values != maps[3].values);
}

#[test]
fn several_targets_at_once_are_the_same_as_one_after_another() {
    let model = Model::embedded().expect("embedded");
    let image = model.open_image(photo("astronaut.jpg")).expect("a photo");
    let methods = ["grad-cam", "guided-backprop", "guided-grad-cam"];
    let targets = [Target::Top(2), Target::class("space shuttle")];
    let together = ask(&model, &image, &methods, &targets);
    assert_eq!(together.len(), 9);
    let names: Vec<&str> = together.iter().map(|m| m.target.as_str()).step_by(3).collect();
    assert_eq!(names, ["top1", "top2", "class:space shuttle"]);
    for class in [together[0].class, together[3].class, together[6].class] {
        let alone = ask(&model, &image, &methods, &[Target::Index(class.expect("a class"))]);
        for (a, b) in alone.iter().zip(together.iter().filter(|m| m.class == class)) {
            assert_eq!((&a.method, &a.shape), (&b.method, &b.shape));
            let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let difference = norm(&mut a.values.iter().zip(&b.values).map(|(a, b)| a - b));
            // The engine adds a batch of cotangents up in another order.
            assert!(difference < 1e-4 * norm(&mut a.values.iter().copied()), "{} of {class:?}", a.method);
        }
    }
}

#[test]
fn guided_grad_cam_is_the_product_of_its_factors() {
    let model = Model::embedded().expect("embedded");
    let image = model.open_image(photo("chelsea.jpg")).expect("a photo");
    let maps = ask(&model, &image, &["grad-cam", "guided-backprop", "guided-grad-cam"], &[Target::TOP1]);
    let field = whycam::image::Field::new(&maps[0].values, 7, 7).expect("7×7");
    let large = whycam::image::resample(field, 224, 224, whycam::image::Align::HalfPixel).expect("224×224");
    let largest = maps[2].max.max(-maps[2].min);
    for (i, (&product, &guided)) in maps[2].values.iter().zip(&maps[1].values).enumerate() {
        // Two implementations of the bilinear resize: the graph's in the engine, and the display's.
        assert!((product - guided * large[i % (224 * 224)]).abs() < 1e-4 * largest, "pixel {i}");
    }
}

#[test]
fn prepared_tensors_are_explained_row_by_row() {
    let model = Model::embedded().expect("embedded");
    let image = model.open_image(photo("rocket.jpg")).expect("a photo");
    let mut values = image.tensor.to_f32s();
    values.extend(vec![0.0; values.len()]);
    let rows = model.rows(&[2, 3, 224, 224], &values).expect("two rows");
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].tensor, image.tensor);
    let method = "gradient".parse().expect("a method");
    let [a, b] = [&image, &rows[0]].map(|i| explain(&model, i, &Target::TOP1, &method).expect("runs"));
    assert_eq!((a.shape.as_slice(), a.values == b.values), (&[3, 224, 224][..], true));
    assert!(model.rows(&[2, 3, 224, 223], &values).is_err());
}

#[test]
fn what_cannot_be_asked_is_an_error_with_a_hint() {
    let model = Model::embedded().expect("embedded");
    let engine = engine("rten", EngineOptions::default()).expect("always there");
    let refused = |question: Question| {
        let error = Explainer::new(&model, engine.as_ref(), &question).err().expect("refused").to_string();
        assert!(error.contains("\nhint: "), "{error}");
        error
    };
    let layers = |name: &str| Question { layers: Layers::Named(vec![name.into()]), ..Question::default() };
    assert!(refused(layers("head.relu7")).contains("there is no layer \"head.relu7\""));
    assert!(refused(layers("gap")).contains("not a layer with a grid"));
    assert!(refused(layers("input")).contains("not a layer with a grid"));
    let targets = |target: Target| Question { targets: vec![target], ..Question::default() };
    assert!(refused(targets(Target::Index(1000))).contains("0 to 999"));
    assert!(refused(targets(Target::Top(1001))).contains("top 1001"));
    assert!(refused(targets(Target::class("cat"))).contains("Egyptian cat"));
}

#[test]
fn an_input_that_is_not_finite_is_refused() {
    let model = Model::embedded().expect("embedded");
    for bad in [f32::NAN, f32::INFINITY] {
        let mut values = vec![0.0; 3 * 224 * 224];
        values[7] = bad;
        let image = model.rows(&[1, 3, 224, 224], &values).expect("one row").remove(0);
        let error = explain(&model, &image, &Target::TOP1, &"grad-cam".parse().expect("a method"));
        assert!(error.expect_err("refused").to_string().contains("NaN or infinity"));
    }
}
