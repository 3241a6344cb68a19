#![forbid(unsafe_code)]
//! The compiler of whycam: reads an ONNX vision model into a [`Graph`], derives the graph that
//! explains it, and writes that as ONNX again. It knows no pictures and no engine.

pub mod derive;
pub mod diff;
mod emit;
pub mod engine;
pub mod error;
pub mod graph;
mod infer;
mod ints;
pub mod layer;
pub mod onnx;
pub mod op;
pub mod pass;
mod reals;
pub mod shape;
pub mod tensor;
mod text;
pub mod weights;
pub mod window;

pub use emit::Emit;
pub use engine::{Engine, Program};
pub use error::{Error, Result};
pub use graph::{Build, Graph, Header, NamedNode, Node, NodeId, Value, ValueId};
pub use op::Op;
pub use shape::{Dim, Int, N, Shape};
pub use tensor::{DType, Tensor};
