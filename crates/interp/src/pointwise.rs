//! Element-wise functions.

use std::f64::consts::{FRAC_2_SQRT_PI, PI, SQRT_2};

use whycam_graph::DType;
use whycam_graph::op::{BinaryFn, CompareFn, UnaryFn};

use crate::array::{Array, broadcast, zip};

/// The larger one; NaN wins.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || a >= b { a } else { b }
}

/// The smaller one; NaN wins.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    if a.is_nan() || a <= b { a } else { b }
}

fn clip(x: f64, lower: f64, upper: f64) -> f64 {
    min(max(x, lower), upper)
}

fn truth(b: bool) -> f64 {
    if b { 1.0 } else { 0.0 }
}

pub(crate) fn unary(f: UnaryFn, x: &Array) -> Array {
    x.map(|x| unary_of(f, x))
}

fn unary_of(f: UnaryFn, x: f64) -> f64 {
    match f {
        UnaryFn::Abs => x.abs(),
        UnaryFn::Acos => x.acos(),
        UnaryFn::Acosh => x.acosh(),
        UnaryFn::Asin => x.asin(),
        UnaryFn::Asinh => x.asinh(),
        UnaryFn::Atan => x.atan(),
        UnaryFn::Atanh => x.atanh(),
        UnaryFn::Ceil => x.ceil(),
        UnaryFn::Clip { min, max } => clip(x, min.into(), max.into()),
        UnaryFn::Cos => x.cos(),
        UnaryFn::Cosh => x.cosh(),
        UnaryFn::Elu(alpha) => {
            if x > 0.0 {
                x
            } else {
                f64::from(alpha) * x.exp_m1()
            }
        }
        UnaryFn::Erf => erf(x),
        UnaryFn::Exp => x.exp(),
        UnaryFn::Floor => x.floor(),
        UnaryFn::Gelu => x * 0.5 * (1.0 + erf(x / SQRT_2)),
        UnaryFn::GeluTanh => 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
        UnaryFn::HardSigmoid { alpha, beta } => clip(f64::from(alpha) * x + f64::from(beta), 0.0, 1.0),
        UnaryFn::HardSwish => x * clip(x / 6.0 + 0.5, 0.0, 1.0),
        UnaryFn::Hold => x,
        UnaryFn::LeakyRelu(alpha) => {
            if x >= 0.0 {
                x
            } else {
                f64::from(alpha) * x
            }
        }
        UnaryFn::Log => x.ln(),
        UnaryFn::Neg => -x,
        UnaryFn::Not => truth(x == 0.0),
        UnaryFn::Reciprocal => 1.0 / x,
        UnaryFn::Relu => max(x, 0.0),
        UnaryFn::Round => x.round_ties_even(),
        UnaryFn::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        UnaryFn::Sign => {
            if x == 0.0 {
                0.0
            } else {
                x.signum()
            }
        }
        UnaryFn::Sin => x.sin(),
        UnaryFn::Sinh => x.sinh(),
        // ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|), which does not overflow.
        UnaryFn::Softplus => max(x, 0.0) + (-x.abs()).exp().ln_1p(),
        UnaryFn::Sqrt => x.sqrt(),
        UnaryFn::Tan => x.tan(),
        UnaryFn::Tanh => x.tanh(),
    }
}

/// The error function: `2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (1·3·…·(2n+1))`, whose terms have one sign.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > sum.abs() * 1e-18 {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// `integer` tells the element type: integers divide towards zero.
pub(crate) fn binary(f: BinaryFn, integer: bool, a: &Array, b: &Array) -> Result<Array, String> {
    zip(a, b, |a, b| match f {
        BinaryFn::Add => a + b,
        BinaryFn::And => truth(a != 0.0 && b != 0.0),
        BinaryFn::Div if integer => (a / b).trunc(),
        BinaryFn::Div => a / b,
        BinaryFn::Max => max(a, b),
        BinaryFn::Min => min(a, b),
        BinaryFn::Mod => a - b * (a / b).floor(),
        BinaryFn::Mul => a * b,
        BinaryFn::Or => truth(a != 0.0 || b != 0.0),
        BinaryFn::Pow => a.powf(b),
        BinaryFn::Sub => a - b,
    })
}

pub(crate) fn compare(f: CompareFn, a: &Array, b: &Array) -> Result<Array, String> {
    zip(a, b, |a, b| {
        truth(match f {
            CompareFn::Equal => a == b,
            CompareFn::Greater => a > b,
            CompareFn::GreaterOrEqual => a >= b,
            CompareFn::Less => a < b,
            CompareFn::LessOrEqual => a <= b,
        })
    })
}

pub(crate) fn select(condition: &Array, a: &Array, b: &Array) -> Result<Array, String> {
    let shape = broadcast(&broadcast(&condition.shape, &a.shape)?, &b.shape)?;
    let pick = |i: &[usize]| match condition.broadcast_at(i) != 0.0 {
        true => a.broadcast_at(i),
        false => b.broadcast_at(i),
    };
    Ok(Array::from_fn(&shape, pick))
}

pub(crate) fn prelu(x: &Array, slope: &Array) -> Result<Array, String> {
    zip(x, slope, |x, slope| if x > 0.0 { x } else { slope * x })
}

/// Floats become integers by dropping the fraction; integers that do not fit wrap around.
pub(crate) fn cast(to: DType, x: &Array) -> Array {
    let wrap = |x: f64, bits: i32, signed: bool| {
        let count = 2f64.powi(bits);
        let low = x.trunc().rem_euclid(count);
        if signed && low >= count / 2.0 { low - count } else { low }
    };
    x.map(|x| match to {
        DType::F32 | DType::F64 | DType::F16 | DType::Bf16 => x,
        DType::I64 | DType::U64 => x.trunc(),
        DType::I32 => wrap(x, 32, true),
        DType::U32 => wrap(x, 32, false),
        DType::I16 => wrap(x, 16, true),
        DType::U16 => wrap(x, 16, false),
        DType::I8 => wrap(x, 8, true),
        DType::U8 => wrap(x, 8, false),
        DType::Bool => truth(x != 0.0),
    })
}
