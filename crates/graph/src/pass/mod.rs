//! Graph to graph.

mod lower;
mod prune;
mod rewrite;

pub use lower::lower;
pub use prune::prune;
