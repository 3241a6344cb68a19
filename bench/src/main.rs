#![forbid(unsafe_code)]
//! Runs a model and its explanations when told to, so that `bench/speed` can time them in turn with other tools.
//!
//! `whycam-bench ENGINE MODEL.onnx` names itself in a line, then reads jobs, a line each, does each once and answers with
//! the milliseconds that it took. The job `forward` is the engine's run of the file as it is; every other one is
//! `METHOD[,METHOD…] TARGET`, and its time is that of [`Explainer::explain`], from the image to scores and raw maps. What
//! a job needs is loaded when it is first asked, which is not timed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result};
use whycam::engine::{EngineOptions, engine};
use whycam::graph::{Engine, Program, Tensor};
use whycam::{About, Explainer, Image, Model, ModelOptions, Question};

/// What is run again and again.
enum Job<'m> {
    Forward(Box<dyn Program>),
    Explain(Box<Explainer<'m>>),
}

impl<'m> Job<'m> {
    fn new(text: &str, path: &str, model: &'m Model, engine: &dyn Engine) -> Result<Job<'m>> {
        if text == "forward" {
            return Ok(Job::Forward(engine.load(Model::read(path)?.0)?));
        }
        let (methods, target) = text.split_once(' ').context("a job is METHOD[,METHOD…] TARGET")?;
        let question = Question {
            methods: methods.split(',').map(str::parse).collect::<Result<_, _>>()?,
            targets: vec![target.parse()?],
            ..Question::default()
        };
        Ok(Job::Explain(Box::new(Explainer::new(model, engine, &question)?)))
    }

    /// Milliseconds of one run.
    fn run(&self, name: &str, image: &Image) -> Result<f64> {
        let start = Instant::now();
        match self {
            Job::Forward(program) => drop(program.run(&[(name, image.tensor.clone())])?),
            Job::Explain(explainer) => drop(explainer.explain(image, &[])?),
        }
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(name), Some(path)) = (args.next(), args.next()) else {
        anyhow::bail!("usage: whycam-bench ENGINE MODEL.onnx");
    };
    let engine = engine(&name, EngineOptions::default())?;
    let model = Model::with_about(&Model::read(&path)?.0, ModelOptions::default(), About::default())?;
    let shape = model.input().shape();
    // A texture: the cost does not depend on what is seen.
    let values: Vec<f32> =
        (0..shape.iter().product()).map(|i: usize| ((i * 7919) % 255) as f32 / 127.0 - 1.0).collect();
    let image = Image { tensor: Tensor::f32(&shape, &values)?, photo: None };
    let input = model.graph().value(model.image()).name.as_str();
    let mut out = std::io::stdout();
    writeln!(out, "whycam {} on {} {}", env!("CARGO_PKG_VERSION"), engine.name(), engine.version())?;
    let mut jobs = HashMap::new();
    for line in std::io::stdin().lines() {
        let job = match jobs.entry(line?) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let job = Job::new(new.key(), &path, &model, engine.as_ref())?;
                new.insert(job)
            }
        };
        writeln!(out, "{:.3}", job.run(input, &image)?)?;
    }
    Ok(())
}
