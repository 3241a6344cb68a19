//! Element-wise functions and quantisation against numbers from their formulas.

mod common;

use common::{apply, assert_close, integers, typed, vector};
use whycam_graph::op::{BinaryFn, CompareFn, UnaryFn};
use whycam_graph::{DType, Op};
use whycam_interp::Array;

#[track_caller]
fn unary(f: UnaryFn, x: &[f64], y: &[f64]) {
    assert_close(&apply(Op::Unary(f), &[&vector(x)]), y);
}

#[test]
fn pieces() {
    let x = [-4.0, -1.5, -0.5, 0.0, 0.5, 2.5, 4.0];
    unary(UnaryFn::Abs, &x, &[4.0, 1.5, 0.5, 0.0, 0.5, 2.5, 4.0]);
    unary(UnaryFn::Ceil, &x, &[-4.0, -1.0, 0.0, 0.0, 1.0, 3.0, 4.0]);
    unary(UnaryFn::Floor, &x, &[-4.0, -2.0, -1.0, 0.0, 0.0, 2.0, 4.0]);
    unary(UnaryFn::Round, &x, &[-4.0, -2.0, 0.0, 0.0, 0.0, 2.0, 4.0]);
    unary(UnaryFn::Clip { min: -1.0, max: 2.0 }, &x, &[-1.0, -1.0, -0.5, 0.0, 0.5, 2.0, 2.0]);
    unary(UnaryFn::Relu, &x, &[0.0, 0.0, 0.0, 0.0, 0.5, 2.5, 4.0]);
    unary(UnaryFn::LeakyRelu(0.25), &x, &[-1.0, -0.375, -0.125, 0.0, 0.5, 2.5, 4.0]);
    unary(UnaryFn::Neg, &x, &[4.0, 1.5, 0.5, 0.0, -0.5, -2.5, -4.0]);
    unary(UnaryFn::Sign, &x, &[-1.0, -1.0, -1.0, 0.0, 1.0, 1.0, 1.0]);
    unary(UnaryFn::HardSigmoid { alpha: 0.25, beta: 0.5 }, &x, &[0.0, 0.125, 0.375, 0.5, 0.625, 1.0, 1.0]);
    // x · (x/6 + 1/2) between −3 and 3.
    unary(UnaryFn::HardSwish, &x, &[0.0, -0.375, -1.25 / 6.0, 0.0, 1.75 / 6.0, 13.75 / 6.0, 4.0]);
    unary(UnaryFn::Reciprocal, &[4.0, -0.5], &[0.25, -2.0]);
    unary(UnaryFn::Sqrt, &[9.0, 2.25], &[3.0, 1.5]);
    let not = typed(Op::Unary(UnaryFn::Not), &[(DType::Bool, vector(&[0.0, 1.0]))]).unwrap();
    assert_eq!(not[0].data, [1.0, 0.0]);
}

#[test]
fn transcendental() {
    let e = std::f64::consts::E;
    unary(UnaryFn::Exp, &[0.0, 1.0], &[1.0, e]);
    unary(UnaryFn::Log, &[1.0, e], &[0.0, 1.0]);
    unary(UnaryFn::Sin, &[0.0, std::f64::consts::FRAC_PI_6], &[0.0, 0.5]);
    unary(UnaryFn::Cos, &[0.0, std::f64::consts::FRAC_PI_3], &[1.0, 0.5]);
    unary(UnaryFn::Tanh, &[3f64.ln()], &[0.8]);
    unary(UnaryFn::Sigmoid, &[0.0, 3f64.ln(), -1e4], &[0.5, 0.75, 0.0]);
    unary(UnaryFn::Softplus, &[0.0, 3f64.ln(), 1e4, -1e4], &[2f64.ln(), 4f64.ln(), 1e4, 0.0]);
    unary(UnaryFn::Elu(2.0), &[1.5, -(2f64.ln())], &[1.5, -1.0]);
}

#[test]
fn erf_and_gelu() {
    // Abramowitz and Stegun, table 7.1; erf(2) and erf(3) to 15 places.
    unary(
        UnaryFn::Erf,
        &[0.0, 0.5, 1.0, -1.0, 2.0, 3.0, 9.0],
        &[
            0.0,
            0.520_499_877_813_046_5,
            0.842_700_792_949_714_9,
            -0.842_700_792_949_714_9,
            0.995_322_265_018_952_7,
            0.999_977_909_503_001_4,
            1.0,
        ],
    );
    // x·Φ(x) with Φ(1) = 0.841344746068543, and x·Φ(x) − (−x)·Φ(−x) = x.
    unary(UnaryFn::Gelu, &[1.0, -1.0], &[0.841_344_746_068_543, 0.841_344_746_068_543 - 1.0]);
    let tanh = (0.797_884_560_802_865_4f64 * 1.044_715).tanh();
    unary(UnaryFn::GeluTanh, &[1.0], &[0.5 * (1.0 + tanh)]);
}

#[test]
fn nan_is_not_hidden() {
    let x = vector(&[f64::NAN]);
    for f in [UnaryFn::Relu, UnaryFn::Clip { min: 0.0, max: 6.0 }, UnaryFn::HardSwish, UnaryFn::Sign] {
        assert!(apply(Op::Unary(f), &[&x]).data[0].is_nan(), "{f:?}");
    }
    assert!(apply(Op::Binary(BinaryFn::Max), &[&vector(&[1.0]), &x]).data[0].is_nan());
    assert!(apply(Op::Binary(BinaryFn::Min), &[&x, &vector(&[1.0])]).data[0].is_nan());
}

#[test]
fn two_arguments_broadcast() {
    let column = Array::new(&[2, 1], vec![7.0, -7.0]);
    let row = vector(&[2.0, 4.0]);
    let on = |f| apply(Op::Binary(f), &[&column, &row]).data;
    assert_eq!(on(BinaryFn::Add), [9.0, 11.0, -5.0, -3.0]);
    assert_eq!(on(BinaryFn::Sub), [5.0, 3.0, -9.0, -11.0]);
    assert_eq!(on(BinaryFn::Mul), [14.0, 28.0, -14.0, -28.0]);
    assert_eq!(on(BinaryFn::Div), [3.5, 1.75, -3.5, -1.75]);
    assert_eq!(on(BinaryFn::Max), [7.0, 7.0, 2.0, 4.0]);
    assert_eq!(on(BinaryFn::Min), [2.0, 4.0, -7.0, -7.0]);
    assert_eq!(on(BinaryFn::Pow), [49.0, 2401.0, 49.0, 2401.0]);
    assert_eq!(integers(Op::Binary(BinaryFn::Div), &[&column, &row]).data, [3.0, 1.0, -3.0, -1.0]);
}

#[test]
fn truth_values() {
    let (a, b) = (vector(&[0.0, 0.0, 1.0, 1.0]), vector(&[0.0, 1.0, 0.0, 1.0]));
    let on =
        |op: Op| typed(op, &[(DType::Bool, a.clone()), (DType::Bool, b.clone())]).unwrap()[0].data.clone();
    assert_eq!(on(Op::Binary(BinaryFn::And)), [0.0, 0.0, 0.0, 1.0]);
    assert_eq!(on(Op::Binary(BinaryFn::Or)), [0.0, 1.0, 1.0, 1.0]);
    let compare = |f| apply(Op::Compare(f), &[&vector(&[1.0, 2.0, 3.0]), &vector(&[2.0])]).data;
    assert_eq!(compare(CompareFn::Equal), [0.0, 1.0, 0.0]);
    assert_eq!(compare(CompareFn::Greater), [0.0, 0.0, 1.0]);
    assert_eq!(compare(CompareFn::GreaterOrEqual), [0.0, 1.0, 1.0]);
    assert_eq!(compare(CompareFn::Less), [1.0, 0.0, 0.0]);
    assert_eq!(compare(CompareFn::LessOrEqual), [1.0, 1.0, 0.0]);
    let where_ =
        [(DType::Bool, b.clone()), (DType::F32, vector(&[5.0])), (DType::F32, vector(&[1.0, 2.0, 3.0, 4.0]))];
    assert_eq!(typed(Op::Where, &where_).unwrap()[0].data, [1.0, 5.0, 3.0, 5.0]);
}

#[test]
fn prelu_by_channel() {
    let x = Array::new(&[1, 2, 2], vec![-1.0, 2.0, -3.0, 4.0]);
    let slope = Array::new(&[2, 1], vec![0.5, 0.25]);
    assert_eq!(apply(Op::PRelu, &[&x, &slope]).data, [-0.5, 2.0, -0.75, 4.0]);
}

#[test]
fn casts() {
    let x = vector(&[-1.75, 0.0, 2.75]);
    assert_eq!(apply(Op::Cast(DType::I64), &[&x]).data, [-1.0, 0.0, 2.0]);
    assert_eq!(apply(Op::Cast(DType::Bool), &[&x]).data, [1.0, 0.0, 1.0]);
    assert_eq!(apply(Op::Cast(DType::F16), &[&x]).data, x.data);
    let wide = vector(&[-1.0, 128.0, 257.0]);
    assert_eq!(integers(Op::Cast(DType::I8), &[&wide]).data, [-1.0, -128.0, 1.0]);
    assert_eq!(integers(Op::Cast(DType::U8), &[&wide]).data, [255.0, 128.0, 1.0]);
}

#[test]
fn quantize_rounds_to_even_and_saturates() {
    let x = vector(&[-300.0, -1.0, 1.0, 3.0, 5.0, 600.0]);
    let op = Op::QuantizeLinear { axis: 0, to: DType::U8 };
    let operands =
        [(DType::F32, x.clone()), (DType::F32, Array::scalar(2.0)), (DType::U8, Array::scalar(10.0))];
    // x/2 = −150, −0.5, 0.5, 1.5, 2.5, 300.
    assert_eq!(typed(op, &operands).unwrap()[0].data, [0.0, 10.0, 10.0, 12.0, 12.0, 255.0]);
    let op = Op::QuantizeLinear { axis: 0, to: DType::I8 };
    let y = typed(op, &[(DType::F32, x), (DType::F32, Array::scalar(2.0))]).unwrap();
    assert_eq!(y[0].data, [-128.0, 0.0, 0.0, 2.0, 2.0, 127.0]);
}

#[test]
fn dequantize_along_an_axis() {
    let q = (DType::I8, Array::new(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]));
    let scale = (DType::F32, vector(&[0.5, 10.0]));
    let zero_point = (DType::I8, vector(&[1.0, 2.0]));
    let along = |axis| {
        let operands = [q.clone(), scale.clone(), zero_point.clone()];
        typed(Op::DequantizeLinear { axis }, &operands).unwrap()[0].data.clone()
    };
    assert_eq!(along(0), [0.0, 0.5, 10.0, 20.0]);
    assert_eq!(along(1), [0.0, 0.0, 1.0, 20.0]);
    let three = (DType::F32, vector(&[1.0, 1.0, 1.0]));
    assert!(typed(Op::DequantizeLinear { axis: 1 }, &[q, three]).is_err());
}
