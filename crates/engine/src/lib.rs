#![forbid(unsafe_code)]
//! The engines that run whycam's graphs. An engine is reached through ONNX bytes and knows no gradients.

mod device;
mod lacking;
mod lanes;
mod ort;
mod rten;

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::available_parallelism;

use whycam_graph::engine::ModelBytes;
use whycam_graph::{Engine, Error, Graph, Program, Result, onnx, pass};

pub use device::Device;
pub use lanes::Lanes;
pub use ort::Ort;
pub use rten::Rten;

/// How an engine works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineOptions {
    /// Threads; as many as the machine runs at once when not given.
    pub threads: Option<NonZeroUsize>,
    /// What computes.
    pub device: Device,
}

impl EngineOptions {
    /// The number of threads that this comes to.
    pub fn threads(self) -> usize {
        self.threads.or_else(|| available_parallelism().ok()).map_or(1, NonZeroUsize::get)
    }
}

/// The engines that can be asked for by name. `auto` is ONNX Runtime where its library is found, and rten elsewhere.
pub const ENGINES: &[&str] = &["auto", rten::NAME, ort::NAME];

/// The engine of that name, one of [`ENGINES`].
///
/// # Errors
/// When there is no such engine, or its library is not found or too old, or it does not know the device. `auto` passes
/// over a library that it cannot use, but not one that `ORT_DYLIB_PATH` names.
pub fn engine(name: &str, options: EngineOptions) -> Result<Box<dyn Engine>> {
    match name {
        "auto" if options.device == Device::Cpu => match Ort::find(options)? {
            Some(ort) => Ok(Box::new(ort)),
            None => Ok(Box::new(Rten::new(options)?)),
        },
        "auto" | ort::NAME => Ok(Box::new(Ort::new(options)?)),
        rten::NAME => Ok(Box::new(Rten::new(options)?)),
        _ => Err(Error::Name {
            what: format!("there is no engine {name:?}"),
            hint: format!("the engines are {}", ENGINES.join(", ")),
        }),
    }
}

/// Lowers a graph for the engine, writes it, and loads it.
///
/// # Errors
/// When the graph cannot be written, or the engine cannot load it; every node that it does not take is named.
pub fn load(engine: &dyn Engine, graph: &Graph) -> Result<Box<dyn Program>> {
    load_for(engine, graph, false)
}

/// As [`load`]; `many` where most runs have many rows: weights need not be laid out anew for runs of one then, which takes
/// as much memory again.
///
/// # Errors
/// As [`load`].
pub fn load_for(engine: &dyn Engine, graph: &Graph, many: bool) -> Result<Box<dyn Program>> {
    loaded(engine, graph, many && engine.feeds(), |model| engine.load(model))
}

/// What `load` makes of a graph that is lowered for the engine and written, weights of products `fed` or not.
fn loaded<T>(
    engine: &dyn Engine,
    graph: &Graph,
    fed: bool,
    load: impl FnOnce(ModelBytes) -> Result<T>,
) -> Result<T> {
    let lowered = pass::lower(graph, engine.name())?;
    load(onnx::lend(&lowered, fed)?).map_err(|error| lacking::nodes(engine, &lowered).unwrap_or(error))
}

/// Runs an engine's code; a panic becomes an error.
fn guarded<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&s| s.to_owned()));
        format!("the engine panicked: {}", text.unwrap_or_default())
    })
}
