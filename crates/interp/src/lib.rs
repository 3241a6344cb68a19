#![forbid(unsafe_code)]
//! The slow twin: a naive float64 interpreter of [`Graph`](whycam_graph::Graph), for tests only.
//!
//! One function an op, written from the formula in the documentation of [`Op`](whycam_graph::Op).
//! Nothing is clever here, because everything else is tested against it.
//!
//! All numbers are held as `f64`. Floats are never rounded to the graph's narrower types, so that
//! finite differences stay sharp; integers do not overflow, but they divide as integers do. A NaN
//! wins every maximum and every minimum.

mod array;
pub mod check;
mod layout;
mod linear;
mod norm;
mod pointwise;
mod pool;
mod quant;
mod reduce;
mod resize;
mod run;
mod window;

pub use array::Array;
pub use run::{run, run_all};
