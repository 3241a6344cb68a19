//! Reads an ONNX file, checks that what is written reads back the same, and writes it.
//!
//! `cargo run --example roundtrip -- in.onnx out.onnx`; with one argument, prints the graph instead.

use std::error::Error;
use std::path::Path;

use whycam_graph::engine::ModelBytes;
use whycam_graph::onnx::{ReadOptions, external_locations, read, write};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [input, rest @ ..] = args.as_slice() else { return Err("usage: roundtrip IN [OUT]".into()) };
    let graph = read(&load(Path::new(input))?, &ReadOptions::default()).map_err(|e| e.to_string())?;
    let [output] = rest else {
        print!("{graph}");
        return Ok(());
    };
    let written = write(&graph)?;
    let again = read(&written, &ReadOptions::default())?;
    let (before, after) = (graph.to_string(), again.to_string());
    if let Some((a, b)) = before.lines().zip(after.lines()).find(|(a, b)| a != b) {
        return Err(format!("read back differently:\n  {a}\n  {b}").into());
    }
    let modules = |g: &whycam_graph::Graph| g.nodes().map(|(_, n)| n.module.clone()).collect::<Vec<_>>();
    if before != after || modules(&graph) != modules(&again) {
        return Err("read back differently".into());
    }
    save(Path::new(output), &written)
}

fn load(path: &Path) -> Result<ModelBytes, Box<dyn Error>> {
    let proto = bytes::Bytes::from(std::fs::read(path)?);
    let mut model = ModelBytes { proto, ..ModelBytes::default() };
    for location in external_locations(&model.proto)? {
        let data = std::fs::read(path.with_file_name(&location))?;
        model.external.insert(location, data.into());
    }
    Ok(model)
}

fn save(path: &Path, model: &ModelBytes) -> Result<(), Box<dyn Error>> {
    for (location, data) in &model.external {
        std::fs::write(path.with_file_name(location), data)?;
    }
    Ok(std::fs::write(path, &model.proto)?)
}
