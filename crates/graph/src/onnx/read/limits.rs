//! Walks a file's wire format once, allocating nothing, so that what is decoded afterwards is of sensible size.

use crate::error::{Error, Result};
use crate::graph::{Graph, ValueId};

/// At most this many nodes, in all graphs and functions of a file.
pub(super) const MAX_NODES: usize = 1_000_000;
/// At most this many values in a graph.
pub(super) const MAX_VALUES: usize = 1_000_000;
/// Graphs inside nodes, inside graphs, …, and functions that call functions, at most this deep.
pub(super) const MAX_DEPTH: usize = 16;
/// At most this many elements in a value, and cells along an axis.
pub(super) const MAX_ELEMENTS: usize = 1 << 31;
/// At most this many axes.
pub(super) const MAX_RANK: usize = 64;
/// At most this many integers are tracked, in all values together.
pub(super) const MAX_INTS: usize = 1 << 24;
/// At most this many elements in constants of the bodies of composites.
const MAX_BODY_CONSTANTS: usize = 1 << 27;
/// At most this many messages of all kinds: each takes a few hundred bytes when decoded, and as few as two in the file.
const MAX_MESSAGES: usize = 4_000_000;

/// A kind of message, as far as messages inside it are of interest.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Model,
    Function,
    Graph,
    Node,
    Attribute,
    SparseTensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    /// No messages inside, or ones that stay encoded.
    Leaf,
    /// A tensor: its external data are messages.
    Tensor,
}

impl Kind {
    /// What the field `tag` holds, when that is a message.
    fn field(self, tag: u64) -> Option<Kind> {
        Some(match (self, tag) {
            (Kind::Model, 7) => Kind::Graph,
            (Kind::Model, 25) => Kind::Function,
            (Kind::Function, 7) | (Kind::Graph, 1) => Kind::Node,
            (Kind::Function, 11) | (Kind::Node, 5) => Kind::Attribute,
            (Kind::Graph, 5) | (Kind::Attribute, 5 | 10) | (Kind::SparseTensor, 1 | 2) => Kind::Tensor,
            (Kind::Graph, 11..=13) => Kind::ValueInfo,
            (Kind::Graph, 15) | (Kind::Attribute, 22 | 23) => Kind::SparseTensor,
            (Kind::Attribute, 6 | 11) => Kind::Graph,
            (Kind::ValueInfo, 2) => Kind::Type,
            (Kind::Type, 1) => Kind::TensorType,
            (Kind::TensorType, 2) => Kind::Shape,
            (Kind::Shape, 1)
            | (Kind::Model, 8 | 14)
            | (Kind::Function, 9)
            | (Kind::Node, 9)
            | (Kind::Tensor, 13) => Kind::Leaf,
            _ => return None,
        })
    }
}

/// Checks that an encoded model is whole, and within the limits.
pub(super) fn check(proto: &[u8]) -> Result<()> {
    Counts::default().walk(proto, Kind::Model, 0)
}

/// What reading has taken so far.
#[derive(Default)]
pub(super) struct Spent {
    /// Integers that are tracked.
    ints: usize,
    /// Nodes and elements of constants in the bodies of composites.
    bodies: [usize; 2],
}

impl Spent {
    /// Whether another composite of `nodes` nodes and `constants` elements can be afforded.
    pub fn body(&mut self, nodes: usize, constants: usize) -> bool {
        let [n, c] = &mut self.bodies;
        (*n, *c) = (*n + nodes, *c + constants);
        *n <= MAX_NODES && *c <= MAX_BODY_CONSTANTS
    }

    /// Checks that a value that was just made, and all of them together, are of sensible size.
    pub fn check(&mut self, graph: &Graph, id: ValueId) -> Result<()> {
        if id.0 as usize >= MAX_VALUES {
            return Err(Error::limit(format!("more than {MAX_VALUES} values")));
        }
        let value = graph.value(id);
        self.ints += value.ints.as_ref().map_or(0, Vec::len);
        if self.ints > MAX_INTS {
            return Err(Error::limit(format!("more than {MAX_INTS} integers in shape arithmetic")));
        }
        let Some(shape) = &value.shape else { return Ok(()) };
        // Empty axes must not hide the others.
        let cells = shape.at(1).into_iter().try_fold(1usize, |n, d| n.checked_mul(d.max(1)));
        if shape.rank() <= MAX_RANK && cells.is_some_and(|n| n <= MAX_ELEMENTS) {
            return Ok(());
        }
        let name = &value.name;
        Err(Error::limit(format!(
            "{name:?} has shape {shape}; at most {MAX_ELEMENTS} elements and {MAX_RANK} axes are read"
        )))
    }
}

#[derive(Default)]
struct Counts {
    messages: usize,
    nodes: usize,
}

impl Counts {
    fn walk(&mut self, mut bytes: &[u8], kind: Kind, depth: usize) -> Result<()> {
        self.messages += 1;
        self.nodes += usize::from(kind == Kind::Node);
        if self.nodes > MAX_NODES {
            return Err(Error::limit(format!("more than {MAX_NODES} nodes")));
        }
        if self.messages > MAX_MESSAGES {
            return Err(Error::limit(format!("more than {MAX_MESSAGES} protobuf messages")));
        }
        if depth > MAX_DEPTH {
            return Err(Error::limit(format!("graphs inside graphs more than {MAX_DEPTH} deep")));
        }
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            match key & 7 {
                0 => drop(varint(&mut bytes)?),
                1 => drop(take(&mut bytes, 8)?),
                2 => {
                    let length = varint(&mut bytes)?;
                    let inner = take(&mut bytes, length)?;
                    if let Some(inside) = kind.field(key >> 3) {
                        self.walk(
                            inner,
                            inside,
                            depth + usize::from(kind == Kind::Attribute && inside == Kind::Graph),
                        )?;
                    }
                }
                5 => drop(take(&mut bytes, 4)?),
                other => return Err(Error::malformed(format!("it is not protobuf (wire type {other})"))),
            }
        }
        Ok(())
    }
}

/// Reads a number.
pub(in crate::onnx) fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?.first().copied().unwrap_or_default();
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Error::malformed("it is not protobuf (a number is too long)"))
}

/// Reads so many bytes.
pub(in crate::onnx) fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8]> {
    let split = usize::try_from(length).ok().and_then(|n| bytes.split_at_checked(n));
    let (head, tail) = split.ok_or_else(|| Error::malformed("the file is cut short"))?;
    *bytes = tail;
    Ok(head)
}
