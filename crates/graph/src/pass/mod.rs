//! Graph to graph.

mod blocked;
mod cut;
mod lower;
mod prune;
mod rescale;
mod rewrite;
mod solid;
mod unfold;
mod unshare;
mod widen;

pub use cut::cut;
pub use lower::lower;
pub use prune::prune;
pub use rescale::rescale;
pub use unfold::unfold;
pub use unshare::unshare;
pub use widen::widen;
