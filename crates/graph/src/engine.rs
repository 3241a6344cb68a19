//! What an engine is to the compiler: something that loads model bytes and runs them.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use crate::error::Result;
use crate::tensor::Tensor;

/// An ONNX model as bytes: the protobuf, and the files beside it that it names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelBytes {
    /// The encoded `ModelProto`.
    pub proto: Bytes,
    /// External data by location; shared, never copied into the protobuf.
    pub external: BTreeMap<String, Bytes>,
    /// Those of the locations that hold a single constant and nothing else: the constant's name, and the constant.
    pub lent: BTreeMap<String, (String, Tensor)>,
    /// Constants that are inputs of the model instead, by name: they are to be given at every run.
    pub fed: BTreeMap<String, Tensor>,
}

/// Loads models.
pub trait Engine: Send + Sync {
    /// The engine's name on the command line.
    fn name(&self) -> &'static str;

    /// Its version.
    fn version(&self) -> String;

    /// The library that it comes from, when that is a file of its own.
    fn library(&self) -> Option<&Path> {
        None
    }

    /// Whether weights of products are used as they lie in memory where they are inputs, while the engine copies constants.
    fn feeds(&self) -> bool {
        false
    }

    /// Makes a model ready to run.
    ///
    /// # Errors
    /// When the engine cannot load it.
    fn load(&self, model: ModelBytes) -> Result<Box<dyn Program>>;

    /// As [`Engine::load`], as several programs that run at the same time, each on a share of the engine's threads; a single
    /// one where there is nothing to share.
    ///
    /// # Errors
    /// As [`Engine::load`].
    fn load_lanes(&self, model: ModelBytes) -> Result<Vec<Box<dyn Program>>> {
        Ok(vec![self.load(model)?])
    }
}

/// A loaded model.
pub trait Program: Send + Sync {
    /// Runs the model on named inputs and returns the outputs in the model's order.
    ///
    /// # Errors
    /// When inputs do not fit, or the engine fails.
    fn run(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<Tensor>>;
}
