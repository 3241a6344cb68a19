#![forbid(unsafe_code)]
//! whycam rewrites an ONNX vision model into a second ONNX model that explains it, and runs it.
//!
//! ```no_run
#![doc = include_str!("../examples/grad_cam.rs")]
//! ```

mod compile;
mod error;
mod explain;
pub mod image;
mod map;
pub mod method;
mod model;
mod note;
pub mod prep;
pub mod sanity;
mod sees;
mod target;
mod verdict;

pub use compile::{Compile, Compiled, Explained, compile};
pub use error::{Error, Result};
pub use explain::{
    Explainer, Explanation, Fuse, Fused, Layers, Part, Prediction, Progress, Question, explain,
};
pub use map::Map;
pub use method::{METHODS, Method};
#[cfg(feature = "embedded-model")]
pub use model::embedded_bytes;
pub use model::{About, Image, ImageInput, Model, ModelOptions, Origin, labels, sha256};
pub use note::{Note, Share};
pub use sees::Sees;
pub use target::{Fitting, FromFile, TARGETS, Target, TargetKind, split};
pub use verdict::Verdict;
pub use whycam_engine as engine;
pub use whycam_graph as graph;

/// The README's example is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
