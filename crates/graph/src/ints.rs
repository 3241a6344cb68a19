//! The integer arithmetic that models do on shapes, evaluated while building.
//!
//! Integers are held row by row, whatever the rank, and at most [`MAX_INTS`] of them. Truth values count as 0 and 1.

use crate::graph::Value;
use crate::op::{BinaryFn, CompareFn, Op, Range, ReduceKind, Scalar, UnaryFn};
use crate::reals;
use crate::shape::{Dim, Int, MAX_INTS, Shape};
use crate::tensor::DType;

/// The result's shape, where it is an operand's content.
pub(crate) fn known_shape(op: &Op, operands: &[Option<&Value>]) -> Option<Shape> {
    match op {
        Op::ConstantOfShape(_) => {
            let dims = of(operands, 0)?.iter().map(|&i| Dim::try_from(i).ok());
            dims.collect::<Option<_>>().map(Shape)
        }
        Op::Range => {
            let at = |i| of(operands, i)?.first().copied();
            if let (Int::Lit(0), limit @ Int::Batch(_), Int::Lit(1)) = (at(0)?, at(1)?, at(2)?) {
                return Some(Shape(vec![Dim::try_from(limit).ok()?]));
            }
            let (start, limit, delta) = (at(0)?.lit()?, at(1)?.lit()?, at(2)?.lit()?);
            let span = limit.checked_sub(start)?.checked_add(delta)?.checked_sub(delta.signum())?;
            let count = span.checked_div(delta)?.max(0);
            Some([usize::try_from(count).ok()?].into())
        }
        _ => None,
    }
}

/// The integers of the result, of the inferred `shape`, where they are known.
pub(crate) fn known(op: &Op, operands: &[Option<&Value>], shape: Option<&Shape>) -> Option<Vec<Int>> {
    let first = || of(operands, 0).cloned();
    let told = match op {
        Op::Shape { start, end } => {
            let shape = operands.first()?.as_ref()?.shape.as_ref()?;
            shape.0.get(*start..*end)?.iter().map(|&d| d.into()).collect()
        }
        Op::Cast(DType::I64 | DType::I32) => match first() {
            Some(told) => told,
            None => reals::truncated(operands)?,
        },
        Op::Cast(DType::Bool) => first()?,
        Op::Unary(UnaryFn::Neg) => {
            first()?.into_iter().map(|i| Int::apply(BinaryFn::Mul, i, Int::Lit(-1))).collect::<Option<_>>()?
        }
        Op::Unary(UnaryFn::Not) => {
            first()?.into_iter().map(|i| Some(Int::Lit(i64::from(i.lit()? == 0)))).collect::<Option<_>>()?
        }
        Op::Binary(f) => zip(operands, [0, 1], |[a, b]| Int::apply(*f, a, b))?,
        Op::Compare(CompareFn::Equal) => {
            zip(operands, [0, 1], |[a, b]| equal(a, b).map(|e| Int::Lit(i64::from(e))))?
        }
        Op::Where => {
            let pairs = zip(operands, [1, 2], |[a, _]| Some(a))?;
            let others = zip(operands, [2, 1], |[b, _]| Some(b))?;
            let conditions = of(operands, 0)?;
            if conditions.len() != pairs.len() {
                return None;
            }
            let choose = |((c, a), b): ((&Int, Int), Int)| Some(if c.lit()? != 0 { a } else { b });
            conditions.iter().zip(pairs).zip(others).map(choose).collect::<Option<_>>()?
        }
        Op::ConstantOfShape(Scalar::I64(v)) => vec![Int::Lit(*v); count(known_shape(op, operands)?)?],
        Op::Range => {
            let at = |i| of(operands, i)?.first()?.lit();
            let (start, delta) = (at(0)?, at(2)?);
            (0..count(known_shape(op, operands)?)? as i64)
                .map(|i| Some(Int::Lit(start + i * delta)))
                .collect::<Option<_>>()?
        }
        Op::Reduce { kind: ReduceKind::Prod, axes, .. }
            if !axes.is_empty() && dims(operands)?.len() == axes.len() =>
        {
            let one = Int::Lit(1);
            vec![of(operands, 0)?.iter().try_fold(one, |a, &b| Int::apply(BinaryFn::Mul, a, b))?]
        }
        _ => moved(op, operands, shape, |v| v.ints.as_ref())?,
    };
    (told.len() <= MAX_INTS).then_some(told)
}

/// The known elements of a result that are those of operands, elsewhere.
pub(crate) fn moved<T: Copy>(
    op: &Op,
    operands: &[Option<&Value>],
    shape: Option<&Shape>,
    known: impl Fn(&Value) -> Option<&Vec<T>>,
) -> Option<Vec<T>> {
    let at = |i: usize| operands.get(i).copied().flatten().and_then(&known);
    Some(match op {
        Op::Identity
        | Op::Squeeze { .. }
        | Op::Unsqueeze { .. }
        | Op::Reshape { .. }
        | Op::Flatten { .. } => at(0)?.clone(),
        Op::Concat { axis: 0 } => {
            let parts: Option<Vec<_>> = (0..operands.len()).map(at).collect();
            parts?.into_iter().flatten().copied().collect()
        }
        Op::Gather { axis: 0 } => {
            let dims = dims(operands)?;
            let (rows, width) = (i64::try_from(*dims.first()?).ok()?, dims[1..].iter().product::<usize>());
            let mut told = Vec::new();
            for i in of(operands, 1)? {
                let i = i.lit()?;
                let row = usize::try_from(if i < 0 { i.checked_add(rows)? } else { i }).ok()?;
                told.extend(at(0)?.get(row.checked_mul(width)?..)?.get(..width)?);
            }
            told
        }
        Op::Slice(ranges) => pick(at(0)?, &dims(operands)?, &shape?.to_fixed()?, |index| {
            let mut from = index.to_vec();
            for &Range { axis, start, step, .. } in ranges {
                let at = start.checked_add(i64::try_from(index[axis]).ok()?.checked_mul(step)?)?;
                from[axis] = usize::try_from(at).ok()?;
            }
            Some(from)
        })?,
        Op::Transpose { perm } => pick(at(0)?, &dims(operands)?, &shape?.to_fixed()?, |index| {
            let mut from = vec![0; index.len()];
            for (&p, &i) in perm.iter().zip(index) {
                from[p] = i;
            }
            Some(from)
        })?,
        _ => return None,
    })
}

fn of<'a>(operands: &'a [Option<&Value>], i: usize) -> Option<&'a Vec<Int>> {
    operands.get(i).copied().flatten()?.ints.as_ref()
}

/// The sizes of the first operand.
fn dims(operands: &[Option<&Value>]) -> Option<Vec<usize>> {
    operands.first()?.as_ref()?.shape.as_ref()?.to_fixed()
}

fn count(shape: Shape) -> Option<usize> {
    shape.elements()?.fixed().filter(|&n| n <= MAX_INTS)
}

/// Two operands element by element, where one has a single element or both have the same shape.
fn zip(
    operands: &[Option<&Value>],
    [i, j]: [usize; 2],
    f: impl Fn([Int; 2]) -> Option<Int>,
) -> Option<Vec<Int>> {
    let (a, b) = (of(operands, i)?, of(operands, j)?);
    let shape = |i: usize| operands.get(i).copied().flatten()?.shape.as_ref();
    if a.len() != 1 && b.len() != 1 && shape(i)? != shape(j)? {
        return None;
    }
    let count = if a.is_empty() || b.is_empty() { 0 } else { a.len().max(b.len()) };
    let at = |v: &[Int], i: usize| if v.len() == 1 { v.first().copied() } else { v.get(i).copied() };
    (0..count).map(|i| f([at(a, i)?, at(b, i)?])).collect()
}

/// Whether two integers are equal, whatever `N` is; a batch has at least one image.
fn equal(a: Int, b: Int) -> Option<bool> {
    match (a, b) {
        (Int::Lit(a), Int::Lit(b)) => Some(a == b),
        (Int::Batch(a), Int::Batch(b)) if a == b => Some(true),
        (Int::Batch(c), Int::Lit(n)) | (Int::Lit(n), Int::Batch(c)) if n.signum() * c.signum() <= 0 => {
            Some(false)
        }
        _ => None,
    }
}

/// A result of shape `to` whose element at an index is that of `source`, of sizes `dims`, at `from(index)`.
fn pick<T: Copy>(
    source: &[T],
    dims: &[usize],
    to: &[usize],
    from: impl Fn(&[usize]) -> Option<Vec<usize>>,
) -> Option<Vec<T>> {
    let total = to.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MAX_INTS)?;
    let mut told = Vec::with_capacity(total);
    for flat in 0..total {
        let mut rest = flat;
        let mut index = vec![0; to.len()];
        for (i, &d) in to.iter().enumerate().rev() {
            (index[i], rest) = (rest % d, rest / d);
        }
        let position =
            from(&index)?.iter().zip(dims).try_fold(0, |n, (&i, &d)| (i < d).then_some(n * d + i))?;
        told.push(*source.get(position)?);
    }
    Some(told)
}
