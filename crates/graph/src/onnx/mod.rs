//! ONNX files in and out; all operator names live here.

mod dtype;
mod hold;
mod names;
mod proto;
mod read;
mod scope;
mod write;

pub use hold::{hold, unsettled};
pub(crate) use names::op_name;
pub use read::{ReadOptions, external_locations, read};
pub use write::{Graft, graft, lend, write};

/// The key under which PyTorch's newer exporter keeps the module path of a node.
const MODULE_KEY: &str = "pkg.torch.onnx.name_scopes";

/// What the names of results begin with that no one wants, but that the operator must have.
const UNUSED: &str = "whycam/unused/";
