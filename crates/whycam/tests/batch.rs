//! Several images in a run are explained as if each were alone.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Of, Small, engines, numbers};
use whycam::engine::{EngineOptions, engine};
use whycam::graph::engine::ModelBytes;
use whycam::graph::op::BinaryFn;
use whycam::graph::{self, Build, DType, Dim, Emit, Engine, Header, N, Op, Program, Shape, Tensor, onnx};
use whycam::{Explainer, Explanation, Image, Model, ModelOptions, Question, Target};

fn question(methods: &[&str], targets: &[&str], batch: usize) -> Question {
    Question {
        methods: methods.iter().map(|m| m.parse().expect(m)).collect(),
        targets: targets.iter().map(|t| t.parse::<Target>().expect(t)).collect(),
        batch,
        ..Question::default()
    }
}

/// Images of deterministic numbers.
fn images(model: &Model, count: usize) -> Vec<Image> {
    let mut shape = model.input().shape();
    let size: usize = shape.iter().product();
    shape[0] = count;
    let values: Vec<f32> = (0..count).flat_map(|seed| numbers(size, seed + 1)).collect();
    model.rows(&shape, &values).expect("rows")
}

/// Panics unless two answers are the same but for the order of sums.
fn same(place: &str, together: &Explanation, alone: &Explanation) {
    assert_eq!(together.maps.len(), alone.maps.len(), "{place}");
    let near = |what: &str, a: &[f32], b: &[f32]| {
        let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let difference = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
        // Engines multiply matrices of more rows in another order.
        assert!(
            difference <= 1e-4 * norm(&mut b.iter().copied()),
            "{place}: {what} differs by {difference:e}"
        );
    };
    let scores = |of: &Explanation| of.top.iter().map(|p| p.score).collect::<Vec<_>>();
    near("scores", &scores(together), &scores(alone));
    for (a, b) in together.maps.iter().zip(&alone.maps) {
        let key = |map: &whycam::Map| (map.method.clone(), map.layer.clone(), map.target.clone(), map.class);
        assert_eq!((key(a), &a.shape, a.verdict), (key(b), &b.shape, b.verdict), "{place}");
        near(&a.method, &a.values, &b.values);
        near("the range", &[a.pre_relu_min, a.pre_relu_max], &[b.pre_relu_min, b.pre_relu_max]);
    }
}

/// Panics unless a batch of `count` images is explained as each of them is.
fn check(place: &str, model: &Model, engine: &dyn Engine, question: &Question, count: usize) {
    let explainer = Explainer::new(model, engine, question).unwrap_or_else(|e| panic!("{place}: {e}"));
    let images = images(model, count);
    let together = explainer.explain_batch(&images, &[], &mut |_| ());
    assert_eq!(together.len(), count, "{place}");
    for (index, (image, answer)) in images.iter().zip(together).enumerate() {
        let place = format!("{place}, image {index}");
        let alone = explainer.explain(image, &[]).unwrap_or_else(|e| panic!("{place}: {e}"));
        same(&place, &answer.unwrap_or_else(|e| panic!("{place}: {e}")), &alone);
    }
}

#[test]
fn every_kind_of_method_explains_a_batch_as_single_images() {
    let methods = [
        "grad-cam",
        "guided-grad-cam",
        "eigen-cam",
        "grad-cam:smooth=on",
        "smoothgrad:samples=4",
        "occlusion:size=3",
        "ablation-cam",
    ];
    for engine in engines() {
        for of in [Of::Convolutions, Of::Threes] {
            let small = Small::new(of, [3, 8, 6]);
            for count in [1, 3, 7] {
                let question = question(&methods, &["top:2", "class:3"], 3);
                check(engine.name(), &small.model, engine.as_ref(), &question, count);
            }
        }
    }
}

#[test]
fn golden_networks_explain_a_batch_as_single_images() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/nets");
    for engine in engines() {
        for net in ["alexnet/legacy", "densenet/legacy", "googlenet/dynamo", "resnet18/dynamo_batch"] {
            let model = Model::open(root.join(format!("{net}.onnx"))).expect(net);
            let place = format!("{net} in {}", engine.name());
            let question = question(&["grad-cam", "layer-cam", "guided-grad-cam"], &["top1", "class:1"], 4);
            check(&place, &model, engine.as_ref(), &question, 5);
        }
    }
}

/// rten, counting runs, and refusing those of more than so many images.
struct Counted {
    inner: Box<dyn Engine>,
    runs: Arc<AtomicUsize>,
    most: usize,
}

struct CountedProgram(Box<dyn Program>, Arc<AtomicUsize>, usize);

impl Counted {
    fn new(most: usize) -> Counted {
        let inner = engine("rten", EngineOptions::default()).expect("always there");
        Counted { inner, runs: Arc::default(), most }
    }

    fn runs(&self) -> usize {
        self.runs.swap(0, Ordering::Relaxed)
    }
}

impl Engine for Counted {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn version(&self) -> String {
        self.inner.version()
    }

    fn load(&self, model: ModelBytes) -> graph::Result<Box<dyn Program>> {
        Ok(Box::new(CountedProgram(self.inner.load(model)?, self.runs.clone(), self.most)))
    }
}

impl Program for CountedProgram {
    fn run(&self, inputs: &[(&str, Tensor)]) -> graph::Result<Vec<Tensor>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        if inputs.iter().any(|(_, tensor)| tensor.shape()[0] > self.2) {
            return self.0.run(&[]);
        }
        self.0.run(inputs)
    }
}

#[test]
fn a_run_is_filled_with_different_images() {
    let counted = Counted::new(usize::MAX);
    for (of, batch, runs) in [(Of::Convolutions, 3, 3), (Of::Convolutions, 8, 1), (Of::Threes, 8, 3)] {
        let small = Small::new(of, [3, 8, 6]);
        let explainer = Explainer::new(&small.model, &counted, &question(&["grad-cam"], &["top1"], batch))
            .expect("explainable");
        assert_eq!(explainer.batch(), if of == Of::Threes { 3 } else { batch });
        let answers = explainer.explain_batch(&images(&small.model, 7), &[], &mut |_| ());
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(counted.runs(), runs, "7 images in batches of {batch}");
    }
    let small = Small::new(Of::Convolutions, [3, 8, 6]);
    let occlusion = question(&["grad-cam", "occlusion:size=3"], &["top1"], 8);
    let explainer = Explainer::new(&small.model, &counted, &occlusion).expect("explainable");
    assert_eq!(explainer.batch(), 1, "its runs are full of copies");
}

#[test]
fn an_image_that_fails_does_not_fail_the_others() {
    let small = Small::new(Of::Convolutions, [3, 8, 6]);
    let one_by_one = Counted::new(1);
    let explainer = Explainer::new(&small.model, &one_by_one, &question(&["grad-cam"], &["top1"], 4))
        .expect("explainable");
    let mut all = images(&small.model, 4);
    let mut bad = numbers(3 * 8 * 6, 9);
    bad[7] = f32::NAN;
    all.insert(2, small.of(&bad));
    let answers = explainer.explain_batch(&all, &[], &mut |_| ());
    // Four at once are refused, each alone is not; the last is a run of its own.
    assert_eq!(one_by_one.runs(), 1 + 3 + 1);
    let sound: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(sound, [true, true, false, true, true]);
    let error = answers[2].as_ref().expect_err("not finite").to_string();
    assert!(error.contains("NaN or infinity"), "{error}");

    let never = Counted::new(0);
    let explainer =
        Explainer::new(&small.model, &never, &question(&["grad-cam"], &["top1"], 4)).expect("explainable");
    assert!(explainer.explain_batch(&all, &[], &mut |_| ()).iter().all(Result::is_err));
}

/// A model `scores = flat(image) + bias`, whose inputs have these rows.
fn biased(rows: Dim, bias: Dim) -> Model {
    let header = Header { ir_version: 8, opsets: [(String::new(), 17)].into(), ..Header::default() };
    let mut b = Build::new(header);
    let image = Shape([rows].into_iter().chain([3, 2, 1].map(Dim::Fixed)).collect());
    let image = b.input("image", DType::F32, image).expect("new");
    let bias = b.input("bias", DType::F32, Shape(vec![bias, Dim::Fixed(6)])).expect("new");
    let flat = b.emit(Op::Flatten { axis: 1 }, &[image]).expect("sound");
    let scores = b.emit(Op::Binary(BinaryFn::Add), &[flat, bias]).expect("sound");
    let bytes = onnx::write(&b.finish(vec![scores])).expect("written");
    Model::from_bytes(&bytes, ModelOptions::default()).expect("a model")
}

#[test]
fn a_further_input_is_the_same_for_every_image() {
    let counted = Counted::new(usize::MAX);
    // Where its rows differ, which row an image is would matter: every image is the first.
    for (rows, bias, given, runs) in [
        (N, N, 1, 1),
        (N, Dim::Fixed(1), 1, 1),
        (Dim::Fixed(3), Dim::Fixed(1), 1, 1),
        (Dim::Fixed(3), Dim::Fixed(3), 3, 3),
    ] {
        let model = biased(rows, bias);
        let explainer =
            Explainer::new(&model, &counted, &question(&["gradient"], &["top1"], 3)).expect("explainable");
        let values: Vec<f32> = (0..6 * given).map(|i| i as f32 * 10.0).collect();
        let further = [("bias".to_owned(), Tensor::f32(&[given, 6], &values).expect("fits"))];
        let images = images(&model, 3);
        let together = explainer.explain_batch(&images, &further, &mut |_| ());
        assert_eq!(counted.runs(), runs, "{rows:?} and {bias:?}");
        for (image, together) in images.iter().zip(together) {
            let alone = explainer.explain(image, &further).expect("explained");
            same("biased", &together.expect("explained"), &alone);
        }
        counted.runs();
    }
}
