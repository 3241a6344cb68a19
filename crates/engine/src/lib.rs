#![forbid(unsafe_code)]
//! The engines that run whycam's graphs. An engine is reached through ONNX bytes and knows no gradients.

mod rten;

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use whycam_graph::{Engine, Graph, Program, Result, onnx, pass};

pub use rten::Rten;

/// How an engine works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineOptions {
    /// Threads; as many as the machine runs at once when not given.
    pub threads: Option<NonZeroUsize>,
}

impl EngineOptions {
    /// The number of threads that this comes to.
    pub fn threads(self) -> usize {
        self.threads.or_else(|| available_parallelism().ok()).map_or(1, NonZeroUsize::get)
    }
}

/// The engines that can be asked for by name; `auto` is the first that is there.
pub const ENGINES: &[&str] = &["auto", "rten"];

/// The engine of that name, one of [`ENGINES`].
///
/// # Errors
/// When there is no such engine.
pub fn engine(name: &str, options: EngineOptions) -> Result<Box<dyn Engine>> {
    match name {
        "auto" | "rten" => Ok(Box::new(Rten::new(options))),
        _ => Err(whycam_graph::Error::Name {
            what: format!("there is no engine {name:?}"),
            hint: format!("the engines are {}", ENGINES.join(", ")),
        }),
    }
}

/// Lowers a graph for the engine, writes it, and loads it.
///
/// # Errors
/// When the graph cannot be written, or the engine cannot load it.
pub fn load(engine: &dyn Engine, graph: &Graph) -> Result<Box<dyn Program>> {
    let lowered = pass::lower(graph, engine.name())?;
    engine.load(onnx::write(&lowered)?)
}
