//! Small models, and their slow twin: scores and gradients in float64 by the naive interpreter.
#![allow(dead_code, reason = "every test file uses a part")]

pub mod compiled;
pub mod formulas;
pub mod twin;

use whycam::engine::{ENGINES, EngineOptions, engine};
use whycam::graph::op::{Conv, Gemm, UnaryFn, Window};
use whycam::graph::{Build, DType, Dim, Engine, Header, N, NamedNode, Op, Shape, Tensor, ValueId, onnx};
use whycam::{Explainer, Image, Map, Model, ModelOptions, Question, Target};
use whycam_interp::Array;

/// rten, and ONNX Runtime when `ORT_DYLIB_PATH` names its library.
pub fn engines() -> Vec<Box<dyn Engine>> {
    let there = std::env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty());
    let names = ENGINES.iter().filter(|name| **name == "rten" || (there && **name == "ort"));
    names.map(|name| engine(name, EngineOptions::default()).expect("an engine")).collect()
}

/// A small model, and what it takes.
pub struct Small {
    pub model: Model,
    pub shape: [usize; 3],
}

/// What a small model is made of.
#[derive(Clone, Copy, PartialEq)]
pub enum Of {
    /// Two convolutions with ReLU, a max pool between them, the mean over space, and scores.
    Convolutions,
    /// The same with a Softplus for the second ReLU.
    Mixed,
    /// The same with two ReLUs and with a softmax at the end, for batches of exactly three.
    Threes,
    /// `y = W·x + b` over all pixels.
    Linear,
}

/// Deterministic numbers from −1 to 1.
pub fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let mix = |i: usize| ((i * 7919 + seed * 104_729 + 13) % 2003) as f32 / 1001.5 - 1.0;
    (0..count).map(|i| mix(i * i + 3 * i)).collect()
}

impl Small {
    pub fn new(of: Of, shape: [usize; 3]) -> Small {
        let header = Header {
            ir_version: 8,
            opsets: [(String::new(), 17)].into(),
            name: "small".into(),
            ..Header::default()
        };
        let mut b = Build::new(header);
        let batch = if of == Of::Threes { Dim::Fixed(3) } else { N };
        let [channels, height, width] = shape;
        let dims = [channels, height, width].map(Dim::Fixed);
        let image =
            b.input("image", DType::F32, Shape([batch].into_iter().chain(dims).collect())).expect("new");
        let weights = |b: &mut Build, shape: &[usize], seed: usize| {
            let count = shape.iter().product();
            b.constant(Tensor::f32(shape, &numbers(count, seed)).expect("fits"))
        };
        let gemm = |b: &mut Build, x: ValueId, from: usize, name: &str| {
            let (w, c) = (weights(b, &[4, from], 5), weights(b, &[4], 6));
            named(
                b,
                Op::Gemm(Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true }),
                &[x, w, c],
                name,
            )
        };
        let output = match of {
            Of::Linear => {
                let flat = named(&mut b, Op::Flatten { axis: 1 }, &[image], "flat");
                gemm(&mut b, flat, channels * height * width, "scores")
            }
            Of::Convolutions | Of::Mixed | Of::Threes => {
                let same = |pad| Conv {
                    strides: vec![1; 2],
                    dilations: vec![1; 2],
                    pads: vec![(pad, pad); 2],
                    groups: 1,
                };
                let (w, c) = (weights(&mut b, &[5, channels, 3, 3], 1), weights(&mut b, &[5], 2));
                let x = named(&mut b, Op::Conv(same(1)), &[image, w, c], "conv1");
                let x = named(&mut b, Op::Unary(UnaryFn::Relu), &[x], "relu1");
                let window = Window {
                    kernel: vec![2; 2],
                    strides: vec![2; 2],
                    dilations: vec![1; 2],
                    pads: vec![(0, 0); 2],
                    ceil_mode: false,
                };
                let x = named(&mut b, Op::MaxPool(window), &[x], "pool");
                let (w, c) = (weights(&mut b, &[6, 5, 3, 3], 3), weights(&mut b, &[6], 4));
                let x = named(&mut b, Op::Conv(same(1)), &[x, w, c], "conv2");
                let second = if of == Of::Mixed { UnaryFn::Softplus } else { UnaryFn::Relu };
                let x = named(&mut b, Op::Unary(second), &[x], "layer");
                let x = named(&mut b, Op::GlobalAveragePool, &[x], "gap");
                let x = named(&mut b, Op::Flatten { axis: 1 }, &[x], "flat");
                let scores = gemm(&mut b, x, 6, "scores");
                match of {
                    Of::Threes => named(&mut b, Op::Softmax { axis: 1 }, &[scores], "probabilities"),
                    _ => scores,
                }
            }
        };
        let bytes = onnx::write(&b.finish(vec![output])).expect("written");
        Small { model: Model::from_bytes(&bytes, ModelOptions::default()).expect("a model"), shape }
    }

    /// An image of deterministic numbers.
    pub fn image(&self, seed: usize) -> Image {
        self.of(&numbers(self.shape.iter().product(), seed))
    }

    /// An image of these numbers.
    pub fn of(&self, values: &[f32]) -> Image {
        let [c, h, w] = self.shape;
        self.model.rows(&[1, c, h, w], values).expect("one row").remove(0)
    }

    /// What whycam answers.
    pub fn ask(&self, image: &Image, methods: &[&str], targets: &[&str], batch: usize) -> Vec<Map> {
        let engine = engine("rten", EngineOptions::default()).expect("always there");
        let question = Question {
            methods: methods.iter().map(|m| m.parse().expect(m)).collect(),
            targets: targets.iter().map(|t| t.parse::<Target>().expect(t)).collect(),
            batch,
            ..Question::default()
        };
        let explainer = Explainer::new(&self.model, engine.as_ref(), &question).expect("explainable");
        explainer.explain(image, &[]).expect("runs").maps
    }

    /// The scores of one image, by the interpreter.
    pub fn scores(&self, values: &[f64]) -> Vec<f64> {
        self.value("scores", values).data
    }

    /// A value of the network for one image, by the interpreter; its first row.
    pub fn value(&self, name: &str, values: &[f64]) -> Array {
        let graph = self.model.graph();
        let rows = self.model.input().batch.unwrap_or(1);
        let shape = [&[rows], &self.shape[..]].concat();
        let x = Array::new(&shape, values.repeat(rows));
        let all = whycam_interp::run_all(graph, &[("image", x)]).expect("runs");
        let array = &all[&graph.find(name).expect("there")];
        let shape: Vec<usize> = array.shape[1..].to_vec();
        Array::new(&shape, array.data[..shape.iter().product()].to_vec())
    }

    /// The scores behind a layer `[C,h,w]`, which is linear after the mean over space.
    pub fn scores_behind(&self, layer: &Array) -> Vec<f64> {
        let area = layer.shape[1] * layer.shape[2];
        let means: Vec<f64> = layer.data.chunks(area).map(|c| c.iter().sum::<f64>() / area as f64).collect();
        let (w, c) = (numbers(4 * means.len(), 5), numbers(4, 6));
        (0..4)
            .map(|k| {
                f64::from(c[k])
                    + (0..means.len()).map(|i| f64::from(w[k * means.len() + i]) * means[i]).sum::<f64>()
            })
            .collect()
    }
}

fn named(b: &mut Build, op: Op, inputs: &[ValueId], name: &str) -> ValueId {
    let node = NamedNode {
        op,
        inputs: inputs.iter().copied().map(Some).collect(),
        outputs: vec![Some(name.to_owned())],
        name: name.to_owned(),
        module: None,
    };
    b.named(node).expect("sound")[0].expect("a result")
}

/// The numbers in float64.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Whether two maps agree to `tolerance` of the largest magnitude.
#[track_caller]
pub fn agree(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1e-12_f64, |m, v| m.max(v.abs()));
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(found) - expected).abs();
        assert!(difference <= tolerance * largest, "cell {i}: {found} and {expected}, largest {largest}");
    }
}
