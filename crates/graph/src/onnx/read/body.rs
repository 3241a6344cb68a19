//! What an operator means in ordinary ops: the body of a [`Composite`](crate::op::Composite).

use super::limits::{MAX_ELEMENTS, MAX_RANK};
use super::node::{Cx, Form, Refusal, Told, malformed, not_modelled};
use crate::emit::Emit;
use crate::error::{Error, Result};
use crate::graph::{Build, Header, ValueId};
use crate::op::{Op, Range, ReduceKind};
use crate::shape::{Dim, Shape};
use crate::tensor::{DType, Tensor};

/// At most this many nodes stand for one.
const MAX_NODES: usize = 20_000;
/// At most this many elements in a constant of a body.
const MAX_CONSTANT: usize = 1 << 24;

/// A body in the making: a graph of its own, whose inputs are the node's operands.
pub(super) struct Body {
    build: Build,
    operands: Vec<Option<ValueId>>,
    /// Elements of the constants so far.
    pub constants: usize,
}

impl Body {
    /// An empty body for the node's operands, whose types and shapes must be known.
    pub fn new(cx: &Cx) -> Told<Body> {
        let mut build = Build::new(Header::default());
        let mut operands = Vec::new();
        for (i, input) in cx.inputs.iter().enumerate() {
            let Some(id) = *input else {
                operands.push(None);
                continue;
            };
            let Some(dtype) = cx.build.graph().value(id).dtype else {
                return not_modelled(format!("the type of operand {i} is not known"));
            };
            let operand = build.input(&format!("operand {i}"), dtype, cx.shape(i)?)?;
            build.know(operand, cx.build.graph().value(id).ints.clone());
            operands.push(Some(operand));
        }
        Ok(Body { build, operands, constants: 0 })
    }

    /// The operand at `index`, if it is given.
    pub fn optional(&self, index: usize) -> Option<ValueId> {
        self.operands.get(index).copied().flatten()
    }

    /// The operand at `index`, which must be given.
    pub fn operand(&self, index: usize) -> Told<ValueId> {
        self.optional(index).ok_or_else(|| Refusal::Malformed(format!("operand {index} is missing")))
    }

    /// All operands, none of which may be left out.
    pub fn all(&self) -> Told<Vec<ValueId>> {
        let all = self.operands.iter().copied().collect::<Option<Vec<_>>>();
        all.ok_or_else(|| Refusal::Malformed("an operand is missing".into()))
    }

    /// The whole node: it stays as it is and means this.
    pub fn done(self, results: &[ValueId]) -> Told<Form> {
        self.room(0)?;
        let graph = self.build.graph();
        for (_, value) in graph.values() {
            let Some(shape) = &value.shape else { continue };
            let cells = shape.at(1).into_iter().try_fold(1usize, |n, d| n.checked_mul(d.max(1)));
            if shape.rank() > MAX_RANK || cells.is_none_or(|n| n > MAX_ELEMENTS) {
                return not_modelled(format!("it would take a value of shape {shape}"));
            }
        }
        Ok(Form::Composite(Box::new(self.build.finish(results.to_vec())), self.constants))
    }

    /// Refuses a body that is going to have `count` nodes and more, before they are made.
    pub fn room(&self, count: usize) -> Told<()> {
        match count.checked_add(self.build.graph().nodes().len()).filter(|&n| n <= MAX_NODES) {
            Some(_) => Ok(()),
            None => not_modelled(format!("it would take more than {MAX_NODES} nodes")),
        }
    }

    /// A float constant of the type of `like`, element by element, refused where it would be too large.
    pub fn filled(&mut self, like: ValueId, shape: &[usize], f: impl Fn(&[usize]) -> f32) -> Told<ValueId> {
        let mut values = Vec::with_capacity(self.afford(shape)?);
        each(shape, |index| values.push(f(index)));
        Ok(self.build.floats(like, shape, &values)?)
    }

    /// A truth-value constant, as [`Body::filled`].
    pub fn mask(&mut self, shape: &[usize], f: impl Fn(&[usize]) -> bool) -> Told<ValueId> {
        let mut values = Vec::with_capacity(self.afford(shape)?);
        each(shape, |index| values.push(u8::from(f(index))));
        Ok(Emit::constant(&mut self.build, Tensor::new(DType::Bool, shape.to_vec(), values)?))
    }

    /// An int64 constant, as [`Body::filled`].
    pub fn counted(&mut self, shape: &[usize], f: impl Fn(&[usize]) -> i64) -> Told<ValueId> {
        let mut values = Vec::with_capacity(self.afford(shape)?);
        each(shape, |index| values.push(f(index)));
        Ok(Emit::constant(&mut self.build, Tensor::i64(shape, &values)?))
    }

    fn afford(&mut self, shape: &[usize]) -> Told<usize> {
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        match count.filter(|&n| n + self.constants <= MAX_CONSTANT) {
            Some(count) => {
                self.constants += count;
                Ok(count)
            }
            None => not_modelled(format!("it would take a constant of shape {shape:?}")),
        }
    }

    /// The sizes of all axes.
    pub fn dims(&self, id: ValueId) -> Told<Vec<Dim>> {
        Ok(self.build.shape(id)?.0)
    }

    /// The size of an axis, which must not depend on the batch size.
    pub fn size(&self, id: ValueId, axis: usize) -> Told<usize> {
        let shape = self.build.shape(id)?;
        match shape.0.get(axis) {
            Some(Dim::Fixed(n)) => Ok(*n),
            Some(_) => not_modelled(format!("axis {axis} of {shape} depends on the batch size")),
            None => malformed(format!("axis {axis} is outside {shape}")),
        }
    }

    /// The mean over some axes, which stay with size 1.
    pub fn mean(&mut self, x: ValueId, axes: &[usize]) -> Result<ValueId> {
        self.emit(Op::Reduce { kind: ReduceKind::Mean, axes: axes.to_vec(), keep: true }, &[x])
    }

    /// An axis cut into parts.
    pub fn parts(&mut self, x: ValueId, axis: usize, sizes: &[usize]) -> Result<Vec<ValueId>> {
        match sizes {
            [_] => Ok(vec![x]),
            _ => self.several(Op::Split { axis, sizes: sizes.to_vec() }, x),
        }
    }

    /// All results of an op.
    pub fn several(&mut self, op: Op, x: ValueId) -> Result<Vec<ValueId>> {
        self.build.nodes(op, &[Some(x)])
    }

    /// One cell along an axis, which is dropped.
    pub fn nth(&mut self, x: ValueId, axis: usize, index: usize) -> Result<ValueId> {
        if self.shape(x)?.0.get(axis) == Some(&Dim::Fixed(1)) && index == 0 {
            return self.emit(Op::Squeeze { axes: vec![axis] }, &[x]);
        }
        let start = i64::try_from(index).map_err(Error::tensor)?;
        let one = self.emit(Op::Slice(vec![Range { axis, start, end: start + 1, step: 1 }]), &[x])?;
        self.emit(Op::Squeeze { axes: vec![axis] }, &[one])
    }

    /// In another type; nothing is added when it has that type.
    pub fn cast(&mut self, x: ValueId, to: DType) -> Result<ValueId> {
        if self.build.dtype(x) == to { Ok(x) } else { self.emit(Op::Cast(to), &[x]) }
    }

    /// In another shape.
    pub fn shaped(&mut self, x: ValueId, dims: &[Dim]) -> Result<ValueId> {
        self.build.reshape(x, Shape(dims.to_vec()))
    }

    /// The product of two dimensions.
    pub fn product(&self, dims: &[Dim]) -> Told<Dim> {
        let shape = Shape(dims.to_vec());
        match shape.elements() {
            Some(d) => Ok(d),
            None => not_modelled(format!("{shape} has no number of elements")),
        }
    }
}

/// Calls `f` with every index of `shape`, the last axis fastest.
fn each(shape: &[usize], mut f: impl FnMut(&[usize])) {
    let mut index = vec![0; shape.len()];
    for _ in 0..shape.iter().product() {
        f(&index);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

impl Emit for Body {
    fn emit(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        self.build.emit(op, inputs)
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        Emit::constant(&mut self.build, tensor)
    }

    fn shape(&self, id: ValueId) -> Result<Shape> {
        self.build.shape(id)
    }

    fn dtype(&self, id: ValueId) -> DType {
        self.build.dtype(id)
    }
}
