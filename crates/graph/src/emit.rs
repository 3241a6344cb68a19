//! Building blocks for derived graphs, each an ordinary node with one result.

use crate::error::{Error, Result};
use crate::graph::{Build, ValueId};
use crate::op::{BinaryFn, CompareFn, Gemm, Op, PadMode, Range, ReduceKind, UnaryFn};
use crate::shape::{Dim, Shape};
use crate::tensor::{DType, Tensor};

/// Adds ordinary nodes to a graph: implemented by [`Build`], and by the reverse sweep, which lifts
/// them to several cotangents.
pub trait Emit {
    /// Adds a node and returns its first result.
    ///
    /// # Errors
    /// When operands do not fit the operation.
    fn emit(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId>;

    /// Adds a constant.
    fn constant(&mut self, tensor: Tensor) -> ValueId;

    /// The shape of a value.
    ///
    /// # Errors
    /// When it is unknown.
    fn shape(&self, id: ValueId) -> Result<Shape>;

    /// The element type of a value; float32 where it is unknown.
    fn dtype(&self, id: ValueId) -> DType;

    /// A scalar of the type of `like`.
    ///
    /// # Errors
    /// Never in practice.
    fn scalar(&mut self, like: ValueId, value: f32) -> Result<ValueId> {
        self.floats(like, &[], &[value])
    }

    /// A constant of the type of `like`.
    ///
    /// # Errors
    /// When `values` does not fill `shape`.
    fn floats(&mut self, like: ValueId, shape: &[usize], values: &[f32]) -> Result<ValueId> {
        let tensor = Tensor::floats(self.dtype(like), shape, values)?;
        Ok(self.constant(tensor))
    }

    /// The value as another type; itself where it is of that type.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn cast(&mut self, x: ValueId, to: DType) -> Result<ValueId> {
        if self.dtype(x) == to { Ok(x) } else { self.emit(Op::Cast(to), &[x]) }
    }

    /// An element-wise function.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn unary(&mut self, f: UnaryFn, x: ValueId) -> Result<ValueId> {
        self.emit(Op::Unary(f), &[x])
    }

    /// `a + b`.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn add(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.emit(Op::Binary(BinaryFn::Add), &[a, b])
    }

    /// `a − b`.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn sub(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.emit(Op::Binary(BinaryFn::Sub), &[a, b])
    }

    /// `a · b`, element by element.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn mul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.emit(Op::Binary(BinaryFn::Mul), &[a, b])
    }

    /// `a / b`.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn div(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.emit(Op::Binary(BinaryFn::Div), &[a, b])
    }

    /// `a / b`, and 0 where `b` is 0.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn quotient(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        let nothing = self.compare(b, CompareFn::Equal, 0.0)?;
        let (zero, one) = (self.scalar(b, 0.0)?, self.scalar(b, 1.0)?);
        let bottom = self.emit(Op::Where, &[nothing, one, b])?;
        let ratio = self.div(a, bottom)?;
        self.emit(Op::Where, &[nothing, zero, ratio])
    }

    /// `x · factor`.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn scale(&mut self, x: ValueId, factor: f32) -> Result<ValueId> {
        let factor = self.scalar(x, factor)?;
        self.mul(x, factor)
    }

    /// `x + offset`.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn shift(&mut self, x: ValueId, offset: f32) -> Result<ValueId> {
        let offset = self.scalar(x, offset)?;
        self.add(x, offset)
    }

    /// `x` compared with a number.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn compare(&mut self, x: ValueId, f: CompareFn, bound: f32) -> Result<ValueId> {
        let bound = self.scalar(x, bound)?;
        self.emit(Op::Compare(f), &[x, bound])
    }

    /// `x` where the condition holds, 0 elsewhere.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn keep_where(&mut self, condition: ValueId, x: ValueId) -> Result<ValueId> {
        let zero = self.scalar(x, 0.0)?;
        self.emit(Op::Where, &[condition, x, zero])
    }

    /// The matrix product `a · b`.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn matmul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.emit(Op::MatMul, &[a, b])
    }

    /// The product `a · bᵀ` of two matrices.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn matmul_transposed(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.emit(Op::Gemm(Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true }), &[a, b])
    }

    /// The sum over some axes.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn sum(&mut self, x: ValueId, axes: &[usize], keep: bool) -> Result<ValueId> {
        self.emit(Op::Reduce { kind: ReduceKind::Sum, axes: axes.to_vec(), keep }, &[x])
    }

    /// The same elements in another shape; nothing is added when the shape is the same.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn reshape(&mut self, x: ValueId, to: Shape) -> Result<ValueId> {
        if self.shape(x)? == to {
            return Ok(x);
        }
        self.emit(Op::Reshape { to }, &[x])
    }

    /// Axes permuted; nothing is added for the identity.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn transpose(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId> {
        if perm.iter().copied().eq(0..perm.len()) {
            return Ok(x);
        }
        self.emit(Op::Transpose { perm: perm.to_vec() }, &[x])
    }

    /// The last two axes swapped.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn transpose_last(&mut self, x: ValueId) -> Result<ValueId> {
        let rank = self.shape(x)?.rank();
        let mut perm: Vec<usize> = (0..rank).collect();
        if let [.., a, b] = perm.as_mut_slice() {
            std::mem::swap(a, b);
        }
        self.transpose(x, &perm)
    }

    /// Broadcast to a shape; nothing is added when it has that shape.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn expand(&mut self, x: ValueId, to: &Shape) -> Result<ValueId> {
        if self.shape(x)? == *to {
            return Ok(x);
        }
        self.emit(Op::Expand { to: to.clone() }, &[x])
    }

    /// One axis cropped where `before` or `behind` are negative, and padded with zeros where positive.
    ///
    /// # Errors
    /// When the axis is cropped away, or as [`Emit::emit`].
    fn fit(&mut self, x: ValueId, axis: usize, before: i64, behind: i64) -> Result<ValueId> {
        let shape = self.shape(x)?;
        let size = size_of(&shape, axis)?;
        let mut y = x;
        if before < 0 || behind < 0 {
            let range = Range { axis, start: (-before).max(0), end: size - (-behind).max(0), step: 1 };
            y = self.emit(Op::Slice(vec![range]), &[y])?;
        }
        if before > 0 || behind > 0 {
            let mut pads = (vec![0; shape.rank()], vec![0; shape.rank()]);
            (pads.0[axis], pads.1[axis]) = (before.max(0), behind.max(0));
            y = self
                .emit(Op::Pad { mode: PadMode::Constant, before: pads.0, after: pads.1, value: 0.0 }, &[y])?;
        }
        Ok(y)
    }

    /// `0, 1, …` along one axis of `like`, as int64 `[1,…,n,…,1]` with the axes of `like` and `behind` more.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn coordinates(&mut self, like: ValueId, axis: usize, behind: usize) -> Result<ValueId> {
        let shape = self.shape(like)?;
        let mut dims = vec![Dim::Fixed(1); shape.rank() + behind];
        dims[axis] = shape.0[axis];
        if let Dim::Fixed(n) = shape.0[axis] {
            let numbers: Vec<i64> = (0..size_of(&shape, axis)?).collect();
            let line = self.constant(Tensor::i64(&[n], &numbers)?);
            return self.reshape(line, Shape(dims));
        }
        let size = self.emit(Op::Shape { start: axis, end: axis + 1 }, &[like])?;
        let size = self.emit(Op::Squeeze { axes: vec![0] }, &[size])?;
        let [zero, one] = [0, 1].map(|i| Tensor::i64(&[], &[i]));
        let (zero, one) = (self.constant(zero?), self.constant(one?));
        let line = self.emit(Op::Range, &[zero, size, one])?;
        self.reshape(line, Shape(dims))
    }

    /// Zeros of a shape, of the type of `like`.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn zeros(&mut self, like: ValueId, shape: &Shape) -> Result<ValueId> {
        let zero = self.scalar(like, 0.0)?;
        self.expand(zero, shape)
    }

    /// One axis with `step − 1` zeros behind each cell.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn spread(&mut self, x: ValueId, axis: usize, step: usize) -> Result<ValueId> {
        if step == 1 {
            return Ok(x);
        }
        let shape = self.shape(x)?;
        let size = size_of(&shape, axis)? as usize;
        let column = self.emit(Op::Unsqueeze { axes: vec![axis + 1] }, &[x])?;
        let wide = self.fit(column, axis + 1, 0, step as i64 - 1)?;
        let mut to = shape;
        to.0[axis] = Dim::Fixed(size * step);
        self.reshape(wide, to)
    }
}

/// The number of cells along an axis that does not depend on the batch.
pub(crate) fn size_of(shape: &Shape, axis: usize) -> Result<i64> {
    match shape.0.get(axis) {
        Some(Dim::Fixed(n)) => i64::try_from(*n).map_err(Error::tensor),
        _ => Err(Error::unfit(
            format!("axis {axis} of {shape} depends on the batch size"),
            "export the model with a fixed batch size",
        )),
    }
}

impl Emit for Build {
    fn emit(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        Ok(self.nodes(op, &inputs)?[0])
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        Build::constant(self, tensor)
    }

    fn shape(&self, id: ValueId) -> Result<Shape> {
        self.graph().shape(id).cloned()
    }

    fn dtype(&self, id: ValueId) -> DType {
        self.graph().value(id).dtype.unwrap_or(DType::F32)
    }

    /// Of what was reshaped already, the shape between is passed over.
    fn reshape(&mut self, mut x: ValueId, to: Shape) -> Result<ValueId> {
        while self.shape(x)? != to {
            let made = self.graph().value(x).producer.map(|id| self.graph().node(id));
            let made = made.filter(|node| {
                matches!(
                    node.op,
                    Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze { .. } | Op::Unsqueeze { .. }
                )
            });
            match made.and_then(|node| node.inputs[0]).filter(|&from| self.shape(from).is_ok()) {
                Some(from) => x = from,
                None => return Emit::emit(self, Op::Reshape { to }, &[x]),
            }
        }
        Ok(x)
    }
}
