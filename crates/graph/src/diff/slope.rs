//! The derivatives of functions of one number.

use super::Sweep;
use super::pointwise::{Derivative, inside};
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::ValueId;
use crate::op::{CompareFn, Op, UnaryFn};

/// The derivative of an element-wise function; `None` where it is 0 everywhere.
pub(super) fn of(sweep: &mut Sweep<'_>, f: UnaryFn, x: ValueId, y: ValueId) -> Result<Option<Derivative>> {
    let s = sweep;
    let factor = match f {
        UnaryFn::Abs => s.unary(UnaryFn::Sign, x)?,
        // ±1/√(±(1 − x²)), 1/√(x² ± 1), 1/(1 ± x²)
        UnaryFn::Acos => {
            let slope = inverse(s, x, [-1.0, 1.0], true)?;
            s.unary(UnaryFn::Neg, slope)?
        }
        UnaryFn::Acosh => inverse(s, x, [1.0, -1.0], true)?,
        UnaryFn::Asin => inverse(s, x, [-1.0, 1.0], true)?,
        UnaryFn::Asinh => inverse(s, x, [1.0, 1.0], true)?,
        UnaryFn::Atan => inverse(s, x, [1.0, 1.0], false)?,
        UnaryFn::Atanh => inverse(s, x, [-1.0, 1.0], false)?,
        UnaryFn::Cosh => s.unary(UnaryFn::Sinh, x)?,
        UnaryFn::Sinh => s.unary(UnaryFn::Cosh, x)?,
        UnaryFn::Tan => {
            let square = s.mul(y, y)?;
            s.shift(square, 1.0)?
        }
        UnaryFn::Cos => {
            let sin = s.unary(UnaryFn::Sin, x)?;
            s.unary(UnaryFn::Neg, sin)?
        }
        UnaryFn::Sin => s.unary(UnaryFn::Cos, x)?,
        UnaryFn::Elu(alpha) => {
            let below = s.shift(y, alpha)?;
            let positive = s.compare(x, CompareFn::Greater, 0.0)?;
            let one = s.scalar(x, 1.0)?;
            s.emit(Op::Where, &[positive, one, below])?
        }
        UnaryFn::Erf => {
            let bell = gauss(s, x, -1.0)?;
            s.scale(bell, std::f32::consts::FRAC_2_SQRT_PI)?
        }
        UnaryFn::Exp => y,
        UnaryFn::Log => s.unary(UnaryFn::Reciprocal, x)?,
        UnaryFn::Reciprocal => {
            let square = s.mul(y, y)?;
            s.unary(UnaryFn::Neg, square)?
        }
        UnaryFn::Sqrt => {
            let root = s.unary(UnaryFn::Reciprocal, y)?;
            s.scale(root, 0.5)?
        }
        UnaryFn::Sigmoid => {
            let square = s.mul(y, y)?;
            s.sub(y, square)?
        }
        UnaryFn::Tanh => {
            let square = s.mul(y, y)?;
            let one = s.scalar(y, 1.0)?;
            s.sub(one, square)?
        }
        UnaryFn::Softplus => s.unary(UnaryFn::Sigmoid, x)?,
        UnaryFn::Gelu => {
            // Φ(x) + x·φ(x)
            let root = s.scale(x, std::f32::consts::FRAC_1_SQRT_2)?;
            let erf = s.unary(UnaryFn::Erf, root)?;
            let up = s.shift(erf, 1.0)?;
            let cdf = s.scale(up, 0.5)?;
            let bell = gauss(s, x, -0.5)?;
            let pdf = s.scale(bell, 0.398_942_3)?;
            let tail = s.mul(x, pdf)?;
            s.add(cdf, tail)?
        }
        UnaryFn::GeluTanh => gelu_tanh(s, x)?,
        UnaryFn::HardSigmoid { alpha, .. } => {
            let Some(open) = inside(s, y, 0.0, 1.0)? else { return Ok(None) };
            let slope = s.scalar(x, alpha)?;
            s.keep_where(open, slope)?
        }
        UnaryFn::HardSwish => {
            // 0 below −3, 1 above 3, x/3 + 1/2 between
            let line = s.scale(x, 1.0 / 3.0)?;
            let line = s.shift(line, 0.5)?;
            let up = s.compare(x, CompareFn::Less, 3.0)?;
            let one = s.scalar(x, 1.0)?;
            let capped = s.emit(Op::Where, &[up, line, one])?;
            let open = s.compare(x, CompareFn::Greater, -3.0)?;
            s.keep_where(open, capped)?
        }
        UnaryFn::Clip { min, max } => {
            return Ok(Some(match inside(s, y, min, max)? {
                Some(condition) => Derivative::Where(condition),
                None => Derivative::Times(s.scalar(x, 1.0)?),
            }));
        }
        UnaryFn::Neg | UnaryFn::Relu | UnaryFn::LeakyRelu(_) => return Ok(None),
        UnaryFn::Ceil | UnaryFn::Floor | UnaryFn::Hold => return Ok(None),
        UnaryFn::Not | UnaryFn::Round | UnaryFn::Sign => return Ok(None),
    };
    Ok(Some(Derivative::Times(factor)))
}

/// `1/d` or `1/√d` with `d = factor · x² + offset`.
fn inverse(s: &mut Sweep<'_>, x: ValueId, [factor, offset]: [f32; 2], root: bool) -> Result<ValueId> {
    let square = s.mul(x, x)?;
    let scaled = s.scale(square, factor)?;
    let base = s.shift(scaled, offset)?;
    let base = if root { s.unary(UnaryFn::Sqrt, base)? } else { base };
    s.unary(UnaryFn::Reciprocal, base)
}

/// `exp(factor · x²)`
fn gauss(s: &mut Sweep<'_>, x: ValueId, factor: f32) -> Result<ValueId> {
    let square = s.mul(x, x)?;
    let power = s.scale(square, factor)?;
    s.unary(UnaryFn::Exp, power)
}

/// With u = √(2/π)·(x + c·x³): ½(1 + tanh u) + ½·x·(1 − tanh² u)·√(2/π)·(1 + 3c·x²), c = 0.044715.
fn gelu_tanh(s: &mut Sweep<'_>, x: ValueId) -> Result<ValueId> {
    const ROOT: f32 = 0.797_884_6;
    const C: f32 = 0.044_715;
    let square = s.mul(x, x)?;
    let cubic = s.scale(square, C)?;
    let cubic = s.shift(cubic, 1.0)?;
    let inner = s.mul(x, cubic)?;
    let inner = s.scale(inner, ROOT)?;
    let tanh = s.unary(UnaryFn::Tanh, inner)?;
    let up = s.shift(tanh, 1.0)?;
    let first = s.scale(up, 0.5)?;
    let tanh_square = s.mul(tanh, tanh)?;
    let one = s.scalar(x, 1.0)?;
    let sech = s.sub(one, tanh_square)?;
    let slope = s.scale(square, 3.0 * C)?;
    let slope = s.shift(slope, 1.0)?;
    let slope = s.scale(slope, 0.5 * ROOT)?;
    let second = s.mul(sech, slope)?;
    let second = s.mul(x, second)?;
    s.add(first, second)
}
