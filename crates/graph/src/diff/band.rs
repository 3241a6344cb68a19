//! Signals that are 0 outside a band of one axis, as the one that a transformer's class token sends back is: what keeps
//! the zeros is done on the band alone, and zeros are put around the result.

use super::Sweep;
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::ValueId;
use crate::op::{BinaryFn, Op, PadMode, Range, ReduceKind, UnaryFn};
use crate::shape::{Dim, Shape};

/// Where a value may differ from 0: in `len` parts from `start` on, of `size` parts of an axis, each of so many cells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Band {
    /// The value without the zeros.
    inner: ValueId,
    /// The axis, counted from the end: 1 is the last one. Broadcasting and lifting leave it alone.
    from_end: usize,
    start: usize,
    len: usize,
    size: usize,
    /// More than one cell where a reshape has joined the axis with those behind it.
    each: Dim,
}

impl Band {
    /// The cells of so many parts.
    fn cells(&self, parts: usize) -> Dim {
        self.each.times(Dim::Fixed(parts)).unwrap_or(self.each)
    }

    /// The axis, split into parts and their cells where these are several.
    fn split(&self, shape: &Shape, parts: usize) -> (Shape, usize) {
        let (mut to, axis) = (shape.clone(), shape.rank() - self.from_end);
        if self.each != Dim::Fixed(1) {
            to.0.splice(axis..=axis, [Dim::Fixed(parts), self.each]);
        }
        (to, axis)
    }

    /// Whether two values of one size are 0 in the same places.
    fn like(&self, other: &Band) -> bool {
        (self.from_end, self.start, self.len, self.each)
            == (other.from_end, other.start, other.len, other.each)
    }
}

/// The result of `op`, computed on the band of an operand; `None` where no operand has one, or `op` does not keep its zeros.
pub(super) fn through(s: &mut Sweep<'_>, op: &Op, inputs: &[ValueId]) -> Result<Option<ValueId>> {
    if let Op::Pad { mode: PadMode::Constant, before, after, value: 0.0 } = op {
        return padded(s, op, inputs, before, after);
    }
    let Some(at) = inputs.iter().position(|i| s.bands.contains_key(i)) else { return Ok(None) };
    let band = s.bands[&inputs[at]];
    let shape = s.shape(inputs[at])?;
    let axis = shape.rank() - band.from_end;
    let zero = |id: ValueId| s.graph_zero(id);
    match op {
        Op::Unary(UnaryFn::Neg | UnaryFn::Abs | UnaryFn::Relu) | Op::Cast(_) | Op::Binary(BinaryFn::Mul) => {}
        Op::Binary(BinaryFn::Div) if at == 0 => {}
        Op::Binary(BinaryFn::Add | BinaryFn::Sub) => {
            let other = s.bands.get(&inputs[1 - at]);
            if !other.is_some_and(|other| other.like(&band)) {
                return Ok(None);
            }
        }
        Op::Where if at > 0 && zero(inputs[3 - at]) => {}
        Op::MatMul => return product(s, inputs, at, band),
        Op::Gemm(gemm) if at == 0 && inputs.len() == 2 && !gemm.trans_a && band.from_end == 2 => {
            let inner = s.emit(op.clone(), &[band.inner, inputs[1]])?;
            return around(s, Band { inner, ..band }).map(Some);
        }
        Op::Transpose { perm } => {
            let to = perm.iter().position(|&p| p == axis).unwrap_or(axis);
            return moved(s, op.clone(), band, perm.len() - to).map(Some);
        }
        Op::Reshape { to } => return reshaped(s, to, band, &shape.0[..axis]),
        Op::Expand { to } => {
            let mut to = to.clone();
            let at = to.rank() - band.from_end;
            to.0[at] = band.cells(band.len);
            return moved(s, Op::Expand { to }, band, band.from_end).map(Some);
        }
        Op::Reduce { kind: ReduceKind::Sum, axes, .. } if axes.contains(&axis) => {
            return s.emit(op.clone(), &[band.inner]).map(Some);
        }
        Op::Reduce { kind: ReduceKind::Sum | ReduceKind::Mean, axes, keep } if !axes.contains(&axis) => {
            let gone = if *keep { 0 } else { axes.iter().filter(|&&a| a > axis).count() };
            return moved(s, op.clone(), band, band.from_end - gone).map(Some);
        }
        Op::Squeeze { axes } => {
            let gone = axes.iter().filter(|&&a| a > axis).count();
            return moved(s, op.clone(), band, band.from_end - gone).map(Some);
        }
        Op::Slice(ranges) if ranges.iter().all(|r| r.axis != axis) => {
            return moved(s, op.clone(), band, band.from_end).map(Some);
        }
        _ => return Ok(None),
    }
    let cut: Vec<ValueId> = inputs.iter().map(|&id| within(s, id, band)).collect::<Result<_>>()?;
    let inner = s.emit(op.clone(), &cut)?;
    around(s, Band { inner, ..band }).map(Some)
}

/// Zeros put around a value make it one with a band.
fn padded(
    s: &mut Sweep<'_>,
    op: &Op,
    inputs: &[ValueId],
    before: &[i64],
    after: &[i64],
) -> Result<Option<ValueId>> {
    let mut axes = (0..before.len()).filter(|&a| (before[a], after[a]) != (0, 0));
    let (Some(axis), None) = (axes.next(), axes.next()) else { return Ok(None) };
    let len = s.shape(inputs[0])?.0[axis].fixed();
    let (Ok(start), Ok(behind), Some(len)) = (before[axis].try_into(), after[axis].try_into(), len) else {
        return Ok(None);
    };
    let (start, behind): (usize, usize) = (start, behind);
    let result = s.whole(op.clone(), inputs)?;
    let from_end = before.len() - axis;
    let size = start + len + behind;
    s.bands.insert(result, Band { inner: inputs[0], from_end, start, len, size, each: Dim::Fixed(1) });
    Ok(Some(result))
}

/// The zeros put back.
fn around(s: &mut Sweep<'_>, band: Band) -> Result<ValueId> {
    let shape = s.shape(band.inner)?;
    let (to, axis) = band.split(&shape, band.len);
    let behind = band.size - band.start - band.len;
    let parts = s.reshape(band.inner, to)?;
    let full = s.fit(parts, axis, band.start as i64, behind as i64)?;
    if band.each == Dim::Fixed(1) {
        return Ok(full);
    }
    let mut joined = shape;
    joined.0[axis] = band.cells(band.size);
    let full = s.whole(Op::Reshape { to: joined }, &[full])?;
    s.bands.insert(full, band);
    Ok(full)
}

/// The op on the band alone, which lies along another axis of the result.
fn moved(s: &mut Sweep<'_>, op: Op, band: Band, from_end: usize) -> Result<ValueId> {
    let inner = s.emit(op, &[band.inner])?;
    around(s, Band { inner, from_end, ..band })
}

/// A matrix product: rows, columns and batch axes keep the band, the axis that is summed over loses it.
fn product(s: &mut Sweep<'_>, inputs: &[ValueId], at: usize, band: Band) -> Result<Option<ValueId>> {
    let other = inputs[1 - at];
    if s.shape(inputs[at])?.rank() < 2 || s.shape(other)?.rank() < 2 {
        return Ok(None);
    }
    let mut factors = [band.inner; 2];
    let summed = at + 1;
    if band.from_end == summed {
        factors[1 - at] = within(s, other, Band { from_end: 3 - summed, ..band })?;
        return s.emit(Op::MatMul, &factors).map(Some);
    }
    factors[1 - at] = if band.from_end > 2 { within(s, other, band)? } else { other };
    let inner = s.emit(Op::MatMul, &factors)?;
    around(s, Band { inner, ..band }).map(Some)
}

/// A reshape that leaves as many cells in front of the band's axis, which is an axis again, or joined with those behind it.
fn reshaped(s: &mut Sweep<'_>, to: &Shape, band: Band, front: &[Dim]) -> Result<Option<ValueId>> {
    let cells = |dims: &[Dim]| dims.iter().try_fold(Dim::Fixed(1), |all, &dim| all.times(dim));
    let Some(in_front) = cells(front) else { return Ok(None) };
    let parts = |axis: usize| Some((axis, to.0[axis].over(band.size)?));
    let kept = |&(axis, _): &(usize, Dim)| cells(&to.0[..axis]) == Some(in_front);
    let mut axes = (0..to.rank()).filter_map(parts).filter(kept);
    let Some((axis, each)) = axes.next() else { return Ok(None) };
    let mut narrow = to.clone();
    let band = Band { each, ..band };
    narrow.0[axis] = band.cells(band.len);
    moved(s, Op::Reshape { to: narrow }, band, to.rank() - axis).map(Some)
}

/// The part of a value that lies in the band. What the sweep computes cell by cell, such as derivatives, is computed
/// there alone.
fn within(s: &mut Sweep<'_>, id: ValueId, band: Band) -> Result<ValueId> {
    if let Some(known) = s.bands.get(&id).filter(|other| other.like(&band)) {
        return Ok(known.inner);
    }
    let shape = s.shape(id)?;
    if shape.rank() < band.from_end || shape.0[shape.rank() - band.from_end] == Dim::Fixed(1) {
        return Ok(id);
    }
    let key = (id, band.from_end, [band.start, band.len], band.each);
    if let Some(&known) = s.cuts.get(&key) {
        return Ok(known);
    }
    let axis = shape.rank() - band.from_end;
    let cut = match s.cellwise(id, axis) {
        Some((op, inputs)) => {
            let inputs: Vec<ValueId> = inputs.iter().map(|&i| within(s, i, band)).collect::<Result<_>>()?;
            s.whole(op, &inputs)?
        }
        None => {
            let (to, axis) = band.split(&shape, band.size);
            let (start, end) = (band.start as i64, (band.start + band.len) as i64);
            let parts = s.reshape(id, to)?;
            let cut = s.whole(Op::Slice(vec![Range { axis, start, end, step: 1 }]), &[parts])?;
            let mut joined = shape;
            joined.0[axis] = band.cells(band.len);
            s.reshape(cut, joined)?
        }
    };
    s.cuts.insert(key, cut);
    Ok(cut)
}

impl Sweep<'_> {
    /// Whether a value is the constant 0.
    fn graph_zero(&self, id: ValueId) -> bool {
        let constant = self.build.graph().value(id).constant.as_ref();
        constant.is_some_and(|c| c.len() == 1 && c.to_f64s() == [0.0])
    }

    /// The op and operands of a value that the sweep made of saved values, not of signals, each cell of them along the
    /// axis by itself.
    fn cellwise(&self, id: ValueId, axis: usize) -> Option<(Op, Vec<ValueId>)> {
        let graph = self.build.graph();
        let made =
            graph.value(id).producer.filter(|made| made.0 >= self.first && !self.lifted.contains(&id))?;
        let node = graph.node(made);
        let alone = match &node.op {
            Op::Unary(_) | Op::Binary(_) | Op::Compare(_) | Op::Where | Op::Cast(_) => true,
            Op::Reduce { axes, keep: true, .. } => !axes.contains(&axis),
            _ => false,
        };
        let inputs = node.inputs.iter().copied().collect::<Option<Vec<_>>>()?;
        alone.then(|| (node.op.clone(), inputs))
    }
}
