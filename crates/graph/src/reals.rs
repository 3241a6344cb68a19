//! The little arithmetic on real numbers that models do on shapes and scales, evaluated while building.
//!
//! PyTorch's exporter writes `ceil(h / stride)` as a cast, a division and a rounding of floats. At most [`MAX_REALS`]
//! elements of float32 and float64 are known, rounded after each op as an engine would.

use crate::graph::Value;
use crate::ints::moved;
use crate::op::{BinaryFn, Op, UnaryFn};
use crate::shape::{Int, Shape};
use crate::tensor::{DType, Tensor};

/// At most this many numbers are tracked in a value; longer ones are weights.
const MAX_REALS: usize = 64;

/// The elements of a short float constant.
pub(crate) fn of_constant(tensor: &Tensor) -> Option<Vec<f64>> {
    let is_short = is_real(tensor.dtype()) && tensor.len() <= MAX_REALS;
    is_short.then(|| tensor.to_f64s())
}

/// The numbers of the result of type `dtype` and of the inferred `shape`, where they are known.
pub(crate) fn known(
    op: &Op,
    operands: &[Option<&Value>],
    dtype: Option<DType>,
    shape: Option<&Shape>,
) -> Option<Vec<f64>> {
    let dtype = dtype.filter(|&d| is_real(d))?;
    let told: Vec<f64> = match op {
        Op::Cast(_) => match of(operands, 0) {
            Some(reals) => reals.clone(),
            None => {
                let ints = operands.first()?.as_ref()?.ints.as_ref()?;
                ints.iter().map(|i| i.lit().map(|i| i as f64)).collect::<Option<_>>()?
            }
        },
        Op::Unary(f) => of(operands, 0)?.iter().map(|&x| unary(*f, x)).collect::<Option<_>>()?,
        Op::Binary(f) => {
            let (a, b) = (of(operands, 0)?, of(operands, 1)?);
            let same = operands[0]?.shape.as_ref()? == operands[1]?.shape.as_ref()?;
            if !same && a.len() != 1 && b.len() != 1 {
                return None;
            }
            let at = |v: &[f64], i: usize| if v.len() == 1 { v.first().copied() } else { v.get(i).copied() };
            let count = if a.is_empty() || b.is_empty() { 0 } else { a.len().max(b.len()) };
            (0..count).map(|i| binary(*f, at(a, i)?, at(b, i)?)).collect::<Option<_>>()?
        }
        _ => moved(op, operands, shape, |v| v.reals.as_ref())?,
    };
    let rounded = |x: f64| if dtype == DType::F32 { f64::from(x as f32) } else { x };
    (told.len() <= MAX_REALS).then(|| told.into_iter().map(rounded).collect())
}

/// The first operand's numbers cut off behind the point.
pub(crate) fn truncated(operands: &[Option<&Value>]) -> Option<Vec<Int>> {
    let whole = |&x: &f64| (x.abs() < 9e18).then(|| Int::Lit(x.trunc() as i64));
    of(operands, 0)?.iter().map(whole).collect()
}

fn of<'a>(operands: &[Option<&'a Value>], i: usize) -> Option<&'a Vec<f64>> {
    operands.get(i).copied().flatten()?.reals.as_ref()
}

fn is_real(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64)
}

fn unary(f: UnaryFn, x: f64) -> Option<f64> {
    Some(match f {
        UnaryFn::Abs => x.abs(),
        UnaryFn::Ceil => x.ceil(),
        UnaryFn::Clip { min, max } => x.max(min.into()).min(max.into()),
        UnaryFn::Floor => x.floor(),
        UnaryFn::Hold => x,
        UnaryFn::Neg => -x,
        UnaryFn::Reciprocal => 1.0 / x,
        UnaryFn::Relu => x.max(0.0),
        UnaryFn::Round => x.round_ties_even(),
        UnaryFn::Sqrt => x.sqrt(),
        _ => return None,
    })
}

fn binary(f: BinaryFn, a: f64, b: f64) -> Option<f64> {
    Some(match f {
        BinaryFn::Add => a + b,
        BinaryFn::Div => a / b,
        BinaryFn::Max => a.max(b),
        BinaryFn::Min => a.min(b),
        BinaryFn::Mul => a * b,
        BinaryFn::Sub => a - b,
        _ => return None,
    })
}
