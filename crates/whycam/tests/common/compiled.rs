//! Compiling small models, and running what comes of it.

use std::path::{Path, PathBuf};

use whycam::graph::engine::ModelBytes;
use whycam::graph::{Engine, Tensor};
use whycam::{Compile, Explained, Model, ModelOptions, Question};

use super::numbers;

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/nets").join(name)
}

pub fn opened(name: &str) -> (Model, ModelBytes) {
    let (bytes, about) = Model::read(golden(name)).expect(name);
    (Model::with_about(&bytes, ModelOptions::default(), about).expect(name), bytes)
}

pub fn ask(method: &str, classes: Explained) -> Compile {
    let Question { align, .. } = Question::default();
    Compile { method: method.parse().expect(method), layer: None, classes, align, prep: None, opset: None }
}

pub fn image(model: &Model, batch: usize, seed: usize) -> Tensor {
    let mut shape = model.input().shape();
    shape[0] = batch;
    Tensor::f32(&shape, &numbers(shape.iter().product(), seed)).expect("it fits")
}

/// The outputs of a file: the model's own, and the last three.
pub fn run(engine: &dyn Engine, file: &ModelBytes, inputs: &[(&str, Tensor)]) -> Vec<Tensor> {
    let program = engine.load(file.clone()).unwrap_or_else(|e| panic!("{}: {e}", engine.name()));
    program.run(inputs).expect("it runs")
}

/// Greatest difference by the greatest value.
pub fn off(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let most = b.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / most
}

/// Same engine, other order of sums where the engine fuses otherwise.
pub const TOLERANCE: f32 = 1e-4;
