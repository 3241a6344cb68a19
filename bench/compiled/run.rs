#![forbid(unsafe_code)]
//! Runs a model over images in rten, one after the other: `run-onnx MODEL IN.f32 OUT` writes `OUT.0.f32`, `OUT.1.f32`, …

use std::fs;

use anyhow::{Context, Result};
use whycam::engine::{EngineOptions, engine};
use whycam::graph::Tensor;
use whycam::{Model, ModelOptions};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, input, out] = args.as_slice() else { anyhow::bail!("run-onnx MODEL IN.f32 OUT") };
    let (bytes, about) = Model::read(path).with_context(|| path.clone())?;
    let model = Model::with_about(&bytes, ModelOptions::default(), about)?;
    let (graph, shape) = (model.graph(), model.input().shape());
    // The file as it is: nothing is lowered.
    let program = engine("rten", EngineOptions::default())?.load(bytes)?;
    let image = &graph.value(model.image()).name;
    let values: Vec<f32> =
        fs::read(input)?.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let mut written = vec![Vec::new(); graph.outputs().len()];
    for values in values.chunks(shape.iter().product()) {
        let results = program.run(&[(image, Tensor::f32(&shape, values)?)])?;
        for (all, result) in written.iter_mut().zip(&results) {
            all.extend(result.to_f32s().into_iter().flat_map(f32::to_le_bytes));
        }
    }
    for (i, bytes) in written.iter().enumerate() {
        fs::write(format!("{out}.{i}.f32"), bytes)?;
    }
    Ok(())
}
