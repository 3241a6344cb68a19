//! What can go wrong in the library.

use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// An error that says what, where, and what to do (`hint:` on a line of its own).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be read.
    #[error("cannot read {}: {source}\nhint: check the path and its permissions", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The model, its graph, or the engine.
    #[error(transparent)]
    Graph(#[from] whycam_graph::Error),
    /// A picture.
    #[error(transparent)]
    Image(#[from] crate::image::ImageError),
    /// A preparation.
    #[error(transparent)]
    Prep(#[from] crate::prep::PrepError),
    /// The name or option of a method.
    #[error(transparent)]
    Method(#[from] crate::method::MethodError),
    /// Anything that is asked of a model that it cannot answer.
    #[error("{what}\nhint: {hint}")]
    Ask {
        /// What is asked, and why it cannot be.
        what: String,
        /// What to do.
        hint: String,
    },
}

impl Error {
    pub(crate) fn ask(what: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::Ask { what: what.into(), hint: hint.into() }
    }
}
