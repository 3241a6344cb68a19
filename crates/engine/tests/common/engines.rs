//! The engines that the tests run over.

use whycam_engine::{ENGINES, EngineOptions, engine};
use whycam_graph::Engine;

/// rten, and ONNX Runtime when `ORT_DYLIB_PATH` names its library; then it must work.
pub fn engines() -> Vec<Box<dyn Engine>> {
    let there = std::env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty());
    if !there {
        println!("only rten is tested: ORT_DYLIB_PATH names no ONNX Runtime");
    }
    let names = ENGINES.iter().filter(|name| **name == "rten" || (there && **name == "ort"));
    names
        .map(|name| engine(name, EngineOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}")))
        .collect()
}
