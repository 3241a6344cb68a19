//! Convolutions, matrix products, normalisations.

mod common;

use common::{apply, assert_close, conv, counting, image, vector};
use whycam_graph::Op;
use whycam_graph::op::{Conv, ConvTranspose, Gemm, Lrn};
use whycam_interp::Array;

#[test]
fn conv_is_cross_correlation() {
    let x = counting(&[1, 1, 3, 3]);
    let w = Array::new(&[1, 1, 2, 2], vec![1.0, 10.0, 100.0, 1000.0]);
    let y = apply(Op::Conv(conv(2, 1, 1, (0, 0), 1)), &[&x, &w, &vector(&[0.5])]);
    assert_eq!(y.shape, [1, 1, 2, 2]);
    // Top left: 0 + 10·1 + 100·3 + 1000·4.
    assert_eq!(y.data, [4310.5, 5421.5, 7643.5, 8754.5]);
}

#[test]
fn conv_with_stride_dilation_and_asymmetric_pads() {
    // Padded: 0 1 2 3 4 5 0 0; taps 2 apart; windows at 0, 3 (0..=4 and 3..=7).
    let x = Array::new(&[1, 1, 5], vec![1.0, 2.0, 3.0, 4.0, 5.0]);
    let w = Array::new(&[1, 1, 3], vec![1.0, 10.0, 100.0]);
    let y = apply(Op::Conv(conv(1, 3, 2, (1, 2), 1)), &[&x, &w]);
    assert_eq!(y.data, [10.0 * 2.0 + 100.0 * 4.0, 3.0 + 10.0 * 5.0]);
}

#[test]
fn conv_groups_are_two_convs() {
    let x = Array::random(&[2, 4, 5, 5], 1);
    let w = Array::random(&[6, 2, 3, 3], 2);
    let grouped = apply(Op::Conv(conv(2, 1, 1, (1, 1), 2)), &[&x, &w]);
    for group in 0..2 {
        let half = Array::from_fn(&[2, 2, 5, 5], |i| x.at(&[i[0], 2 * group + i[1], i[2], i[3]]));
        let weights = Array::from_fn(&[3, 2, 3, 3], |i| w.at(&[3 * group + i[0], i[1], i[2], i[3]]));
        let alone = apply(Op::Conv(conv(2, 1, 1, (1, 1), 1)), &[&half, &weights]);
        let part = Array::from_fn(&alone.shape, |i| grouped.at(&[i[0], 3 * group + i[1], i[2], i[3]]));
        assert_eq!(part, alone);
    }
}

#[test]
fn conv_transpose_scatters() {
    let x = Array::new(&[1, 1, 2], vec![1.0, 10.0]);
    let w = Array::new(&[1, 1, 3], vec![1.0, 2.0, 3.0]);
    let transposed = |stride, pads, extra| {
        let t = ConvTranspose { conv: conv(1, stride, 1, pads, 1), output_padding: vec![extra] };
        apply(Op::ConvTranspose(t), &[&x, &w, &vector(&[0.5])]).data
    };
    assert_eq!(transposed(2, (0, 0), 0), [1.5, 2.5, 13.5, 20.5, 30.5]);
    assert_eq!(transposed(2, (1, 1), 0), [2.5, 13.5, 20.5]);
    assert_eq!(transposed(2, (1, 0), 1), [2.5, 13.5, 20.5, 30.5, 0.5]);
}

#[test]
fn conv_transpose_is_the_adjoint() {
    for (seed, (stride, dilation, pads, groups)) in
        [(1, 1, (0, 0), 1), (2, 1, (1, 1), 2), (2, 2, (0, 1), 1), (3, 1, (2, 0), 2), (3, 2, (1, 2), 4)]
            .into_iter()
            .enumerate()
    {
        let (size, kernel, seed) = (8, 3, seed as u64);
        let x = Array::random(&[2, 4, size, size], seed);
        let w = Array::random(&[8, 4 / groups, kernel, kernel], seed + 100);
        let conv = conv(2, stride, dilation, pads, groups);
        let y = apply(Op::Conv(conv.clone()), &[&x, &w]);
        let g = Array::random(&y.shape, seed + 200);
        let left_over = (size + pads.0 + pads.1 - dilation * (kernel - 1) - 1) % stride;
        let t = ConvTranspose { conv, output_padding: vec![left_over; 2] };
        let back = apply(Op::ConvTranspose(t), &[&g, &w]);
        assert_eq!(back.shape, x.shape);
        let (there, here) = (y.dot(&g), x.dot(&back));
        assert!((there - here).abs() < 1e-12 * there.abs().max(1.0), "{there} {here}");
    }
}

#[test]
fn axes_have_their_own_geometry() {
    let x = counting(&[1, 1, 3, 4]);
    let w = Array::new(&[1, 1, 1, 2], vec![1.0, 1.0]);
    let conv = Conv { strides: vec![2, 1], dilations: vec![1, 3], pads: vec![(0, 0), (0, 0)], groups: 1 };
    let y = apply(Op::Conv(conv), &[&x, &w]);
    assert_eq!((y.shape, y.data), (vec![1, 1, 2, 1], vec![3.0, 19.0]));
}

#[test]
fn matmul_of_every_rank() {
    let a = Array::new(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]);
    let v = vector(&[1.0, 10.0]);
    assert_eq!(apply(Op::MatMul, &[&a, &a]).data, [7.0, 10.0, 15.0, 22.0]);
    assert_eq!(apply(Op::MatMul, &[&a, &v]), vector(&[21.0, 43.0]));
    assert_eq!(apply(Op::MatMul, &[&v, &a]), vector(&[31.0, 42.0]));
    assert_eq!(apply(Op::MatMul, &[&v, &v]), Array::scalar(101.0));
    let stack = Array::random(&[3, 1, 2, 4], 3);
    let other = Array::random(&[5, 4, 2], 4);
    let y = apply(Op::MatMul, &[&stack, &other]);
    assert_eq!(y.shape, [3, 5, 2, 2]);
    let one: f64 = (0..4).map(|k| stack.at(&[2, 0, 1, k]) * other.at(&[4, k, 0])).sum();
    assert_eq!(y.at(&[2, 4, 1, 0]), one);
}

#[test]
fn gemm_flips_and_scales() {
    let a = Array::new(&[2, 1], vec![1.0, 2.0]);
    let b = Array::new(&[3, 2], vec![1.0, 1.0, 0.0, 1.0, 5.0, 0.0]);
    let g = Gemm { alpha: 2.0, beta: 3.0, trans_a: true, trans_b: true };
    assert_eq!(apply(Op::Gemm(g), &[&a, &b]).data, [6.0, 4.0, 10.0]);
    assert_eq!(apply(Op::Gemm(g), &[&a, &b, &vector(&[1.0, 2.0, 3.0])]).data, [9.0, 10.0, 19.0]);
}

#[test]
fn batch_norm_by_channel() {
    let x = Array::new(&[1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]);
    let [scale, bias] = [vector(&[2.0, 4.0]), vector(&[0.5, -0.5])];
    let [mean, var] = [vector(&[1.0, 3.0]), vector(&[0.75, 3.75])];
    // √(var + 1/4) is 1 and 2.
    let y = apply(Op::BatchNorm { epsilon: 0.25 }, &[&x, &scale, &bias, &mean, &var]);
    assert_close(&y, &[0.5, 2.5, -0.5, 1.5]);
}

#[test]
fn lrn_closed_forms() {
    let lrn = |size, beta| Op::Lrn(Lrn { size, alpha: 2.0, beta, bias: 1.0 });
    // One channel: x / (1 + 2/4 · x²)^beta.
    let y = apply(lrn(4, 0.75), &[&image(1, 2, &[1.0, 2.0])]);
    assert_close(&y, &[1.0 / 1.5f64.powf(0.75), 2.0 / 3f64.powf(0.75)]);
    // Three neighbours around each of four channels with x² = 1, 4, 9, 16.
    let x = Array::new(&[1, 4, 1, 1], vec![1.0, 2.0, 3.0, 4.0]);
    let base = |squares: f64| 1.0 + 2.0 / 3.0 * squares;
    assert_close(
        &apply(lrn(3, 1.0), &[&x]),
        &[1.0 / base(5.0), 2.0 / base(14.0), 3.0 / base(29.0), 4.0 / base(25.0)],
    );
    // An even neighbourhood reaches one further behind.
    let base = |squares: f64| 1.0 + squares;
    assert_close(
        &apply(lrn(2, 1.0), &[&x]),
        &[1.0 / base(5.0), 2.0 / base(13.0), 3.0 / base(25.0), 4.0 / base(16.0)],
    );
}

#[test]
fn softmax_along_each_axis() {
    let x = Array::new(&[2, 2], vec![0.0, 3f64.ln(), 0.0, 0.0]);
    assert_close(&apply(Op::Softmax { axis: 1 }, &[&x]), &[0.25, 0.75, 0.5, 0.5]);
    assert_close(&apply(Op::Softmax { axis: 0 }, &[&x]), &[0.5, 0.75, 0.5, 0.25]);
    let log = apply(Op::LogSoftmax { axis: 1 }, &[&x]);
    assert_close(&log, &[0.25f64, 0.75, 0.5, 0.5].map(f64::ln));
    let large = vector(&[5000.0, 5000.0]);
    assert_close(&apply(Op::LogSoftmax { axis: 0 }, &[&large]), &[0.5f64.ln(); 2]);
    assert_close(&apply(Op::Softmax { axis: 0 }, &[&large]), &[0.5; 2]);
}
