#![forbid(unsafe_code)]
//! What an explanation costs, as a ratio to one forward pass of the same model on the same engine.
//!
//! `cargo run --release -p whycam-bench -- [MODEL.onnx]...` measures the embedded model and the given ones, forward
//! pass and explanation in turn, and prints a Markdown table of medians with quartiles.

use std::time::Instant;

use anyhow::{Context, Result};
use whycam::engine::{EngineOptions, engine, load};
use whycam::graph::Tensor;
use whycam::{Explainer, Layers, Model, Question, Target};

/// Pairs of runs per row; the first few warm caches up and are not counted.
const RUNS: usize = 25;
const WARM_UP: usize = 4;

/// What is measured against the forward pass.
const ROWS: &[(&str, &[&str], usize)] = &[
    ("Grad-CAM", &["grad-cam"], 1),
    ("Grad-CAM, top 5 at once", &["grad-cam"], 5),
    ("gradient", &["gradient"], 1),
    ("guided backprop", &["guided-backprop"], 1),
    ("Guided Grad-CAM and Grad-CAM", &["guided-grad-cam", "grad-cam"], 1),
];

fn main() -> Result<()> {
    let mut models = vec![("EfficientNet-Lite0 (embedded)".to_owned(), Model::embedded()?)];
    for path in std::env::args().skip(1) {
        let model = Model::open(&path).with_context(|| path.clone())?;
        models.push((path.rsplit('/').next().unwrap_or(&path).to_owned(), model));
    }
    println!("| model | job | ms, median (quartiles) | forward, ms | ratio, median (quartiles) |");
    println!("|---|---|---|---|---|");
    for (name, model) in &models {
        for (job, methods, top) in ROWS {
            row(name, model, job, methods, *top)?;
        }
    }
    Ok(())
}

fn row(name: &str, model: &Model, job: &str, methods: &[&str], top: usize) -> Result<()> {
    let engine = engine("auto", EngineOptions::default())?;
    let question = Question {
        methods: methods.iter().map(|m| m.parse()).collect::<Result<_, _>>()?,
        layers: Layers::Auto,
        targets: vec![Target::Top(top)],
        ..Question::default()
    };
    let explainer = Explainer::new(model, engine.as_ref(), &question)?;
    let forward = load(engine.as_ref(), model.graph())?;
    let input = model.input();
    let shape = input.shape();
    // A texture: the cost does not depend on what is seen.
    let values: Vec<f32> =
        (0..shape.iter().product()).map(|i: usize| ((i * 7919) % 255) as f32 / 127.0 - 1.0).collect();
    let image = model.rows(&shape, &values)?.remove(0);
    let tensor = Tensor::f32(&shape, &values)?;
    let image_name = model.graph().value(model.image()).name.as_str();
    let (mut alone, mut explained, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        let start = Instant::now();
        forward.run(&[(image_name, tensor.clone())])?;
        let first = start.elapsed().as_secs_f64() * 1e3;
        let second = explainer.explain(&image, &[])?.time.as_secs_f64() * 1e3;
        if run >= WARM_UP {
            alone.push(first);
            explained.push(second);
            ratios.push(second / first);
        }
    }
    let told = |values: &mut Vec<f64>, digits: usize| {
        values.sort_by(f64::total_cmp);
        let at = |part: usize| values[(values.len() - 1) * part / 4];
        format!("{:.digits$} ({:.digits$}–{:.digits$})", at(2), at(1), at(3))
    };
    let (explained, alone, ratio) = (told(&mut explained, 1), told(&mut alone, 1), told(&mut ratios, 2));
    println!("| {name} | {job} | {explained} | {alone} | **{ratio}** |");
    Ok(())
}
