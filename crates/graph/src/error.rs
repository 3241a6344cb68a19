//! What can go wrong between an ONNX file and the graph that explains it.

use std::fmt;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// An error that says what, where, and what to do (`hint:` on a line of its own).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file is not a sound ONNX model.
    #[error("not a valid ONNX model: {what}\nhint: check the file with onnx.checker, or export it again")]
    Malformed {
        /// What is wrong, and where in the file.
        what: String,
    },
    /// The file is larger, deeper or wider than is sensible.
    #[error("the model exceeds a limit: {what}\nhint: if the file is genuine, please report it")]
    Limit {
        /// The limit and the number met.
        what: String,
    },
    /// A node's operands do not fit its operator.
    #[error("{place}: {what}\nhint: the model declares shapes or types that contradict each other")]
    Operands {
        /// The node and its operator.
        place: String,
        /// What does not fit, with shapes.
        what: String,
    },
    /// Constant data that contradicts its shape or type.
    #[error("bad tensor: {what}\nhint: check the file with onnx.checker, or export it again")]
    Tensor {
        /// What is wrong.
        what: String,
    },
    /// External data that is missing or must not be read.
    #[error("external data {location:?}: {what}\nhint: {hint}")]
    External {
        /// The location that the model names.
        location: String,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// Nodes on the path between what is asked and where it is read that cannot be differentiated.
    #[error(
        "cannot differentiate through {}\nhint: choose a --layer nearer to the score, behind these nodes (see `whycam inspect`)",
        list(.nodes)
    )]
    NotDifferentiable {
        /// Every such node: name, operator, reason.
        nodes: Vec<String>,
    },
    /// A name that is not in the graph, or stands for several values.
    #[error("{what}\nhint: {hint}")]
    Name {
        /// What was looked up, and what came of it.
        what: String,
        /// Candidates.
        hint: String,
    },
    /// The question cannot be asked of this model.
    #[error("{what}\nhint: {hint}")]
    Unfit {
        /// What is asked, and why it cannot be.
        what: String,
        /// What to do.
        hint: String,
    },
    /// An engine failed to load or run a graph.
    #[error("engine {engine}: {what}\nhint: {hint}")]
    Engine {
        /// The engine's name.
        engine: &'static str,
        /// What it said.
        what: String,
        /// What to do.
        hint: String,
    },
}

impl Error {
    pub(crate) fn malformed(what: impl fmt::Display) -> Error {
        Error::Malformed { what: what.to_string() }
    }

    pub(crate) fn limit(what: impl fmt::Display) -> Error {
        Error::Limit { what: what.to_string() }
    }

    pub(crate) fn tensor(what: impl fmt::Display) -> Error {
        Error::Tensor { what: what.to_string() }
    }

    pub(crate) fn unfit(what: impl fmt::Display, hint: impl fmt::Display) -> Error {
        Error::Unfit { what: what.to_string(), hint: hint.to_string() }
    }
}

fn list(items: &[String]) -> String {
    match items {
        [one] => one.clone(),
        many => format!("{} nodes:\n  {}", many.len(), many.join("\n  ")),
    }
}
