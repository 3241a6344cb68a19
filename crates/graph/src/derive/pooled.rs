//! Sums and means over the cells of a signal, taken as early as linear nodes let them be: the weights of a layer behind a
//! mean or a product need neither of them for every cell.

use std::collections::HashMap;

use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Build, ValueId};
use crate::op::{BinaryFn, Op, PadMode, Range, ReduceKind, UnaryFn};
use crate::shape::{Dim, Shape};

/// How many nodes in a row are looked through.
const DEPTH: usize = 64;

/// An axis that is summed over, and which of its cells count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Over {
    axis: usize,
    start: usize,
    end: usize,
}

impl Over {
    fn range(self) -> Range {
        Range { axis: self.axis, start: self.start as i64, end: self.end as i64, step: 1 }
    }
}

/// A sum with its axes of size 1, still to be multiplied by a number.
#[derive(Clone, Copy)]
struct Sum {
    value: ValueId,
    times: f32,
}

/// The sum of `x` over some axes, or with `mean` its mean; the axes are gone.
pub(super) fn pooled(b: &mut Build, x: ValueId, axes: &[usize], mean: bool) -> Result<ValueId> {
    let shape = b.shape(x)?;
    let over: Option<Vec<Over>> =
        axes.iter().map(|&axis| Some(Over { axis, start: 0, end: shape.0[axis].fixed()? })).collect();
    let early = match &over {
        Some(over) => Early { b, known: HashMap::new() }.sum(x, over, DEPTH)?,
        None => None,
    };
    let (Some(over), Some(Sum { value, times })) = (over, early) else {
        let kind = if mean { ReduceKind::Mean } else { ReduceKind::Sum };
        return b.emit(Op::Reduce { kind, axes: axes.to_vec(), keep: false }, &[x]);
    };
    let cells: usize = over.iter().map(|over| over.end).product();
    let left = (0..shape.rank()).filter(|axis| !axes.contains(axis)).map(|axis| shape.0[axis]).collect();
    let value = b.reshape(value, Shape(left))?;
    match (mean, cells as f32 / times) {
        (true, 1.0) => Ok(value),
        (true, by) => {
            let by = b.scalar(value, by)?;
            b.div(value, by)
        }
        (false, _) if times == 1.0 => Ok(value),
        (false, _) => b.scale(value, times),
    }
}

struct Early<'b> {
    b: &'b mut Build,
    known: HashMap<(ValueId, Vec<Over>), Option<Sum>>,
}

impl Early<'_> {
    /// The sum, made of what `x` is made of; `None` where that is not less work.
    fn sum(&mut self, x: ValueId, over: &[Over], depth: usize) -> Result<Option<Sum>> {
        if over.is_empty() {
            return Ok(Some(Sum { value: x, times: 1.0 }));
        }
        let key = (x, over.to_vec());
        if let Some(&known) = self.known.get(&key) {
            return Ok(known);
        }
        let sum = self.through(x, over, depth)?;
        self.known.insert(key, sum);
        Ok(sum)
    }

    fn through(&mut self, x: ValueId, over: &[Over], depth: usize) -> Result<Option<Sum>> {
        let graph = self.b.graph();
        let (Some(depth), Some(made)) = (depth.checked_sub(1), graph.value(x).producer) else {
            return Ok(None);
        };
        let op = graph.node(made).op.clone();
        let Some(inputs) = graph.node(made).inputs.iter().copied().collect::<Option<Vec<ValueId>>>() else {
            return Ok(None);
        };
        let (from, to) = (self.b.shape(inputs[0])?, self.b.shape(x)?);
        match op {
            Op::Expand { .. } => self.spread(inputs[0], &from, &to, over),
            Op::Unsqueeze { axes } => {
                let moved =
                    |o: &Over| Over { axis: o.axis - axes.iter().filter(|&&a| a < o.axis).count(), ..*o };
                let inner: Vec<Over> = over.iter().filter(|o| !axes.contains(&o.axis)).map(moved).collect();
                self.behind(inputs[0], &inner, depth, Op::Unsqueeze { axes })
            }
            Op::Transpose { perm } => {
                let inner: Vec<Over> = over.iter().map(|o| Over { axis: perm[o.axis], ..*o }).collect();
                self.behind(inputs[0], &inner, depth, Op::Transpose { perm })
            }
            Op::Reshape { .. } => match regrouped(&from, &to, over) {
                Some(inner) => self.behind(inputs[0], &inner, depth, Op::Reshape { to: summed(&to, over) }),
                None => Ok(None),
            },
            Op::Unary(UnaryFn::Neg) => self.behind(inputs[0], over, depth, op),
            Op::Slice(ranges) => self.sliced(inputs[0], ranges, over, depth),
            Op::Pad { mode: PadMode::Constant, before, after, value: 0.0 } => {
                self.padded(inputs[0], (before, after), over, depth)
            }
            Op::Binary(BinaryFn::Add) => self.added([inputs[0], inputs[1]], &to, over, depth),
            Op::Binary(BinaryFn::Mul) => {
                for (i, other) in [(0, 1), (1, 0)] {
                    if self.is_even(inputs[other], &to, over)? && self.b.shape(inputs[i])?.rank() == to.rank()
                    {
                        let Some(sum) = self.sum(inputs[i], over, depth)? else { return Ok(None) };
                        let value = self.b.mul(sum.value, inputs[other])?;
                        return Ok(Some(Sum { value, ..sum }));
                    }
                }
                Ok(None)
            }
            Op::MatMul => self.product([inputs[0], inputs[1]], &to, over, depth),
            _ => Ok(None),
        }
    }

    /// The sum of `x`, in whatever way.
    fn any(&mut self, x: ValueId, over: &[Over], depth: usize) -> Result<Sum> {
        if let Some(sum) = self.sum(x, over, depth)? {
            return Ok(sum);
        }
        let shape = self.b.shape(x)?;
        let part = |o: &&Over| Dim::Fixed(o.end - o.start) != shape.0[o.axis];
        let ranges: Vec<Range> = over.iter().filter(part).map(|o| o.range()).collect();
        let part = if ranges.is_empty() { x } else { self.b.emit(Op::Slice(ranges), &[x])? };
        let axes: Vec<usize> = over.iter().map(|o| o.axis).collect();
        Ok(Sum { value: self.b.sum(part, &axes, true)?, times: 1.0 })
    }

    /// A node that moves cells or turns their sign, behind the sum.
    fn behind(&mut self, x: ValueId, over: &[Over], depth: usize, op: Op) -> Result<Option<Sum>> {
        let Some(sum) = self.sum(x, over, depth)? else { return Ok(None) };
        let value = match op {
            Op::Reshape { to } => self.b.reshape(sum.value, to)?,
            op => self.b.emit(op, &[sum.value])?,
        };
        Ok(Some(Sum { value, ..sum }))
    }

    /// Copies of one cell.
    fn spread(&mut self, x: ValueId, from: &Shape, to: &Shape, over: &[Over]) -> Result<Option<Sum>> {
        if !self.is_even(x, to, over)? {
            return Ok(None);
        }
        let cells: usize = over.iter().map(|o| o.end - o.start).product();
        // A mean's share of a cell, as many times as there are cells.
        let (x, cells) = match self.divided(x) {
            Some((of, by)) if cells.is_multiple_of(by) => (of, cells / by),
            _ => (x, cells),
        };
        let left = summed(to, over);
        let value = match from.rank() == left.rank() {
            true => self.b.expand(x, &left)?,
            false => self.b.emit(Op::Expand { to: left }, &[x])?,
        };
        Ok(Some(Sum { value, times: cells as f32 }))
    }

    fn sliced(&mut self, x: ValueId, ranges: Vec<Range>, over: &[Over], depth: usize) -> Result<Option<Sum>> {
        let (cut, left): (Vec<Range>, Vec<Range>) =
            ranges.into_iter().partition(|r| over.iter().any(|o| o.axis == r.axis));
        let mut inner = over.to_vec();
        for range in cut {
            let (1, Ok(start)) = (range.step, usize::try_from(range.start)) else { return Ok(None) };
            for o in inner.iter_mut().filter(|o| o.axis == range.axis) {
                (o.start, o.end) = (o.start + start, o.end + start);
            }
        }
        let Some(sum) = self.sum(x, &inner, depth)? else { return Ok(None) };
        let value = if left.is_empty() { sum.value } else { self.b.emit(Op::Slice(left), &[sum.value])? };
        Ok(Some(Sum { value, ..sum }))
    }

    /// Zeros add nothing.
    fn padded(
        &mut self,
        x: ValueId,
        (mut before, mut after): (Vec<i64>, Vec<i64>),
        over: &[Over],
        depth: usize,
    ) -> Result<Option<Sum>> {
        let shape = self.b.shape(x)?;
        let mut inner = over.to_vec();
        for o in &mut inner {
            let (Ok(zeros), Some(cells)) = (usize::try_from(before[o.axis]), shape.0[o.axis].fixed()) else {
                return Ok(None);
            };
            (o.start, o.end) = (o.start.saturating_sub(zeros), o.end.saturating_sub(zeros).min(cells));
            (before[o.axis], after[o.axis]) = (0, 0);
        }
        let sum = match inner.iter().all(|o| o.start < o.end) {
            true => self.any(x, &inner, depth)?,
            false => Sum { value: self.b.zeros(x, &summed(&shape, over))?, times: 1.0 },
        };
        if before.iter().chain(&after).all(|&zeros| zeros == 0) {
            return Ok(Some(sum));
        }
        let pad = Op::Pad { mode: PadMode::Constant, before, after, value: 0.0 };
        Ok(Some(Sum { value: self.b.emit(pad, &[sum.value])?, ..sum }))
    }

    fn added(&mut self, terms: [ValueId; 2], to: &Shape, over: &[Over], depth: usize) -> Result<Option<Sum>> {
        let mut any = false;
        for term in terms {
            if self.b.shape(term)? != *to {
                return Ok(None);
            }
            any |= self.sum(term, over, depth)?.is_some();
        }
        if !any {
            return Ok(None);
        }
        let mut sums = [self.any(terms[0], over, depth)?, self.any(terms[1], over, depth)?];
        if sums[0].times != sums[1].times {
            for sum in sums.iter_mut().filter(|sum| sum.times != 1.0) {
                *sum = Sum { value: self.b.scale(sum.value, sum.times)?, times: 1.0 };
            }
        }
        Ok(Some(Sum { value: self.b.add(sums[0].value, sums[1].value)?, ..sums[0] }))
    }

    /// Rows are summed in the left factor, columns in the right one.
    fn product(
        &mut self,
        factors: [ValueId; 2],
        to: &Shape,
        over: &[Over],
        depth: usize,
    ) -> Result<Option<Sum>> {
        let shapes = [self.b.shape(factors[0])?, self.b.shape(factors[1])?];
        if shapes.iter().any(|shape| shape.rank() < 2) {
            return Ok(None);
        }
        let rank = to.rank();
        let mut inner = [Vec::new(), Vec::new()];
        for &o in over {
            let side = match rank - o.axis {
                1 => 1,
                2 => 0,
                _ if !self.is_even(factors[1], to, &[o])? => return Ok(None),
                _ => 0,
            };
            let Some(axis) = (o.axis + shapes[side].rank()).checked_sub(rank) else { return Ok(None) };
            inner[side].push(Over { axis, ..o });
        }
        let (left, right) =
            (self.any(factors[0], &inner[0], depth)?, self.any(factors[1], &inner[1], depth)?);
        let value = self.b.matmul(left.value, right.value)?;
        Ok(Some(Sum { value, times: left.times * right.times }))
    }

    /// What the value is made of by division by a whole number, and that.
    fn divided(&self, x: ValueId) -> Option<(ValueId, usize)> {
        let graph = self.b.graph();
        let node = graph.node(graph.value(x).producer?);
        let (Op::Binary(BinaryFn::Div), &[Some(of), Some(by)]) = (&node.op, node.inputs.as_slice()) else {
            return None;
        };
        let by = graph.value(by).constant.as_ref().filter(|by| by.shape().is_empty())?.to_f32s()[0];
        (by >= 1.0 && by.fract() == 0.0).then_some((of, by as usize))
    }

    /// Whether what broadcasts to a shape is the same along the axes.
    fn is_even(&self, x: ValueId, to: &Shape, over: &[Over]) -> Result<bool> {
        let shape = self.b.shape(x)?;
        let same = |o: &Over| match (o.axis + shape.rank()).checked_sub(to.rank()) {
            Some(axis) => shape.0[axis] == Dim::Fixed(1),
            None => true,
        };
        Ok(over.iter().all(same))
    }
}

/// The shape with axes of size 1.
fn summed(shape: &Shape, over: &[Over]) -> Shape {
    let mut left = shape.clone();
    over.iter().for_each(|o| left.0[o.axis] = Dim::Fixed(1));
    left
}

/// The axes before a reshape that hold the cells of those behind it; `None` where they are mixed with others.
fn regrouped(from: &Shape, to: &Shape, over: &[Over]) -> Option<Vec<Over>> {
    let mut inner = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < from.rank() || j < to.rank() {
        // The least group of axes with as many cells on both sides.
        let (first, other) = (i, j);
        let (mut a, mut b) = (Dim::Fixed(1), Dim::Fixed(1));
        loop {
            let next = |shape: &Shape, at: usize| shape.0.get(at).copied();
            match (next(from, i), next(to, j)) {
                (Some(dim), _) if i == first || is_less(a, b) => (a, i) = (a.times(dim)?, i + 1),
                (_, Some(dim)) => (b, j) = (b.times(dim)?, j + 1),
                (Some(dim), None) => (a, i) = (a.times(dim)?, i + 1),
                (None, None) => return None,
            }
            if a == b {
                break;
            }
        }
        let wide = |shape: &Shape, range: std::ops::Range<usize>| -> Vec<usize> {
            range.filter(|&axis| shape.0[axis] != Dim::Fixed(1)).collect()
        };
        let (before, behind) = (wide(from, first..i), wide(to, other..j));
        let here: Vec<&Over> = over.iter().filter(|o| behind.contains(&o.axis)).collect();
        match (here.as_slice(), before.as_slice(), behind.as_slice()) {
            ([], ..) => {}
            ([o], &[axis], [_]) => inner.push(Over { axis, ..**o }),
            (all, axes, every) => {
                let whole = |o: &&Over| o.start == 0 && Dim::Fixed(o.end) == to.0[o.axis];
                if all.len() != every.len() || !all.iter().all(whole) {
                    return None;
                }
                for &axis in axes {
                    inner.push(Over { axis, start: 0, end: from.0[axis].fixed()? });
                }
            }
        }
    }
    Some(inner)
}

/// Whether a number of cells has to grow to reach another.
fn is_less(a: Dim, b: Dim) -> bool {
    match (a, b) {
        (Dim::Fixed(a), Dim::Fixed(b)) | (Dim::Batch(a), Dim::Batch(b)) => a < b,
        (Dim::Fixed(_), Dim::Batch(_)) => true,
        (Dim::Batch(_), Dim::Fixed(_)) => false,
    }
}
