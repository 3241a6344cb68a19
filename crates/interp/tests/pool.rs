//! Pools, resampling, reductions and searches.

mod common;

use common::{apply, assert_close, counting, graph_of, image, integers, typed, vector, window};
use whycam_graph::op::{Coordinates, NearestMode, ReduceKind, Resize, ResizeMode, Window};
use whycam_graph::{DType, Op, Shape};
use whycam_interp::{Array, run};

fn average(window: Window, count_include_pad: bool) -> Op {
    Op::AveragePool { window, count_include_pad }
}

#[test]
fn max_pool_padding_never_wins() {
    let x = image(2, 2, &[-4.0, -3.0, -2.0, -1.0]);
    let y = apply(Op::MaxPool(window(2, 3, 1, (1, 1), false)), &[&x]);
    assert_eq!(y.data, [-1.0; 4]);
    let y = apply(Op::MaxPool(window(2, 2, 2, (1, 1), false)), &[&x]);
    assert_eq!(y.data, x.data);
}

#[test]
fn max_pool_ceil_and_dilation() {
    let x = Array::new(&[1, 1, 6], vec![5.0, 1.0, 4.0, 2.0, 3.0, 0.0]);
    let pool = |w: Window| apply(Op::MaxPool(w), &[&x]).data;
    assert_eq!(pool(window(1, 3, 2, (0, 0), false)), [5.0, 4.0]);
    assert_eq!(pool(window(1, 3, 2, (0, 0), true)), [5.0, 4.0, 3.0]);
    // Four windows fit when rounding up, but the last would start in the padding.
    assert_eq!(pool(window(1, 2, 2, (0, 1), true)), [5.0, 4.0, 3.0]);
    let dilated = Window { dilations: vec![2], ..window(1, 3, 1, (0, 0), false) };
    assert_eq!(pool(dilated), [5.0, 2.0]);
}

#[test]
fn average_pool_divisors() {
    let x = Array::new(&[1, 1, 5], vec![1.0, 2.0, 3.0, 4.0, 5.0]);
    let pool = |w: Window, include| apply(average(w, include), &[&x]);
    assert_close(&pool(window(1, 2, 2, (0, 0), false), false), &[1.5, 3.5]);
    // Padded by 1: windows [_ 1 2] [2 3 4] [4 5 _].
    assert_close(&pool(window(1, 3, 2, (1, 1), false), false), &[1.5, 3.0, 4.5]);
    assert_close(&pool(window(1, 3, 2, (1, 1), false), true), &[1.0, 3.0, 3.0]);
    // The last window has two cells inside, whether padding counts or not.
    assert_close(&pool(window(1, 3, 3, (0, 0), true), true), &[2.0, 4.5]);
    // The last window [4 5 _ ✗]: the cell behind the padding never counts.
    assert_close(&pool(window(1, 4, 4, (1, 1), true), true), &[1.5, 3.0]);
    assert_close(&pool(window(1, 4, 4, (1, 1), true), false), &[2.0, 4.5]);
}

#[test]
fn average_pool_in_two_dimensions() {
    // A corner window of ones: 4 of 9 cells are inside.
    let x = Array::new(&[1, 1, 3, 3], vec![1.0; 9]);
    let y = apply(average(window(2, 3, 2, (1, 1), false), true), &[&x]);
    assert_close(&y, &[4.0 / 9.0; 4]);
    let dilated = Window { dilations: vec![2, 2], ..window(2, 2, 1, (0, 0), false) };
    assert_close(&apply(average(dilated, false), &[&counting(&[1, 1, 3, 3])]), &[4.0]);
}

#[test]
fn global_pools() {
    let x = Array::new(&[1, 2, 1, 2], vec![1.0, 2.0, -3.0, -5.0]);
    let y = apply(Op::GlobalAveragePool, &[&x]);
    assert_eq!((y.shape, y.data), (vec![1, 2, 1, 1], vec![1.5, -4.0]));
    assert_eq!(apply(Op::GlobalMaxPool, &[&x]).data, [2.0, -3.0]);
}

#[test]
fn sizes_agree_with_inference() {
    for n in 1..=7 {
        for code in 0..4 * 3 * 2 * 3 * 3 * 2 {
            let (kernel, code) = (1 + code % 4, code / 4);
            let (stride, code) = (1 + code % 3, code / 3);
            let (dilation, code) = (1 + code % 2, code / 2);
            let (before, code) = (code % 3, code / 3);
            let (behind, ceil) = (code % 3, code / 3 == 1);
            let w = window(1, kernel, stride, (before, behind), ceil);
            let w = Window { dilations: vec![dilation], ..w };
            let op = Op::MaxPool(w);
            // Inference refuses windows that do not fit.
            let Ok(graph) = graph_of(op, &[(DType::F32, [1, 1, n].into())]) else { continue };
            run(&graph, &[("x0", Array::zeros(&[1, 1, n]))]).unwrap();
        }
    }
}

fn resized(mode: ResizeMode, coordinates: Coordinates, size: [usize; 2], x: &Array) -> Vec<f64> {
    apply(Op::Resize(Resize { mode, coordinates, size, scales: None }), &[x]).data
}

#[test]
fn linear_resize() {
    let x = image(2, 2, &[0.0, 1.0, 2.0, 3.0]);
    let linear = |c, size| resized(ResizeMode::Linear, c, size, &x);
    assert_eq!(linear(Coordinates::AlignCorners, [3, 3]), [0.0, 0.5, 1.0, 1.0, 1.5, 2.0, 2.0, 2.5, 3.0]);
    let row = image(1, 2, &[0.0, 1.0]);
    let linear = |c, width| resized(ResizeMode::Linear, c, [1, width], &row);
    assert_eq!(linear(Coordinates::HalfPixel, 4), [0.0, 0.25, 0.75, 1.0]);
    assert_eq!(linear(Coordinates::Asymmetric, 4), [0.0, 0.5, 1.0, 1.0]);
    assert_eq!(linear(Coordinates::HalfPixel, 1), [0.5]);
    assert_eq!(linear(Coordinates::PytorchHalfPixel, 1), [0.0]);
    assert_eq!(linear(Coordinates::PytorchHalfPixel, 4), [0.0, 0.25, 0.75, 1.0]);
    assert_eq!(linear(Coordinates::AlignCorners, 1), [0.0]);
}

#[test]
fn stated_scales_are_used() {
    // ⌊3 · 1.5⌋ = 4 cells, but cells lie at i/1.5.
    let r = Resize {
        mode: ResizeMode::Linear,
        coordinates: Coordinates::Asymmetric,
        size: [1, 4],
        scales: Some([1.0, 1.5]),
    };
    let x = image(1, 3, &[0.0, 3.0, 6.0]);
    assert_close(&apply(Op::Resize(r), &[&x]), &[0.0, 2.0, 4.0, 6.0]);
    let r = Resize { scales: None, ..r };
    assert_close(&apply(Op::Resize(r), &[&x]), &[0.0, 2.25, 4.5, 6.0]);
}

#[test]
fn nearest_resize() {
    let x = image(1, 4, &[0.0, 1.0, 2.0, 3.0]);
    let nearest = |mode, c, width| resized(ResizeMode::Nearest(mode), c, [1, width], &x);
    // Half pixels 4 → 2 lie at 0.5 and 2.5.
    assert_eq!(nearest(NearestMode::RoundPreferFloor, Coordinates::HalfPixel, 2), [0.0, 2.0]);
    assert_eq!(nearest(NearestMode::RoundPreferCeil, Coordinates::HalfPixel, 2), [1.0, 3.0]);
    assert_eq!(nearest(NearestMode::Floor, Coordinates::Asymmetric, 6), [0.0, 0.0, 1.0, 2.0, 2.0, 3.0]);
    assert_eq!(nearest(NearestMode::Ceil, Coordinates::Asymmetric, 6), [0.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
    assert_eq!(
        nearest(NearestMode::RoundPreferFloor, Coordinates::HalfPixel, 8),
        [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    );
    assert_eq!(nearest(NearestMode::RoundPreferFloor, Coordinates::AlignCorners, 2), [0.0, 3.0]);
}

#[test]
fn reductions() {
    let x = Array::new(&[2, 2], vec![1.0, -2.0, 3.0, 4.0]);
    let reduce =
        |kind, axes: &[usize]| apply(Op::Reduce { kind, axes: axes.to_vec(), keep: false }, &[&x]).data;
    assert_eq!(reduce(ReduceKind::L1, &[1]), [3.0, 7.0]);
    assert_eq!(reduce(ReduceKind::L2, &[1]), [5f64.sqrt(), 5.0]);
    assert_eq!(reduce(ReduceKind::LogSum, &[0]), [4f64.ln(), 2f64.ln()]);
    assert_eq!(reduce(ReduceKind::Max, &[0]), [3.0, 4.0]);
    assert_eq!(reduce(ReduceKind::Mean, &[0, 1]), [1.5]);
    assert_eq!(reduce(ReduceKind::Min, &[1]), [-2.0, 3.0]);
    assert_eq!(reduce(ReduceKind::Prod, &[1]), [-2.0, 12.0]);
    assert_eq!(reduce(ReduceKind::Sum, &[0]), [4.0, 2.0]);
    assert_eq!(reduce(ReduceKind::SumSquare, &[0, 1]), [30.0]);
    let e = apply(
        Op::Reduce { kind: ReduceKind::LogSumExp, axes: vec![0], keep: true },
        &[&vector(&[1000.0, 1000.0])],
    );
    assert_close(&e, &[1000.0 + 2f64.ln()]);
    let kept =
        apply(Op::Reduce { kind: ReduceKind::Sum, axes: vec![0, 2], keep: true }, &[&counting(&[2, 2, 2])]);
    assert_eq!((kept.shape, kept.data), (vec![1, 2, 1], vec![10.0, 18.0]));
    let mean = Op::Reduce { kind: ReduceKind::Mean, axes: vec![0], keep: false };
    assert_eq!(integers(mean, &[&vector(&[1.0, 2.0])]).data, [1.0]);
}

#[test]
fn searches_prefer_the_first() {
    let x = Array::new(&[2, 4], vec![1.0, 3.0, 3.0, 2.0, 5.0, 5.0, 0.0, 5.0]);
    let best = apply(Op::ArgMax { axis: 1, keep: false }, &[&x]);
    assert_eq!((best.shape, best.data), (vec![2], vec![1.0, 0.0]));
    assert_eq!(apply(Op::ArgMax { axis: 0, keep: true }, &[&x]).data, [1.0, 1.0, 0.0, 1.0]);
    let top = typed(Op::TopK { axis: 1, k: 3 }, &[(DType::F32, x)]).unwrap();
    assert_eq!(top[0].data, [3.0, 3.0, 2.0, 5.0, 5.0, 5.0]);
    assert_eq!(top[1].data, [1.0, 2.0, 3.0, 0.0, 1.0, 3.0]);
    assert_eq!(Shape::fixed(&top[1].shape), [2, 3].into());
}
