//! ONNX files in and out; all operator names live here.

mod align;
mod dtype;
mod hold;
mod names;
mod proto;
mod read;
mod scope;
mod standard;
mod write;

pub use align::align;
pub use hold::{hold, unsettled};
pub(crate) use names::op_name;
pub use read::{ReadOptions, external_locations, read};
pub use standard::is_standard;
pub use write::{Graft, graft, lend, write};

/// Whether a node of an encoded model may quantise; where none does, integers are weights alone. Names of operators are
/// plain text in the file, so a search finds every such node, and at worst other bytes like it.
pub fn quantises(proto: &[u8]) -> bool {
    memchr::memmem::find(proto, b"QuantizeLinear").is_some()
}

/// The key under which PyTorch's newer exporter keeps the module path of a node.
const MODULE_KEY: &str = "pkg.torch.onnx.name_scopes";

/// What the names of results begin with that no one wants, but that the operator must have.
const UNUSED: &str = "whycam/unused/";
