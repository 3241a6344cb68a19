//! The `range` output tells what a ReLU hides: negative maps, and NaN.

mod common;

use common::engines;
use whycam_engine::load;
use whycam_graph::derive::{Classes, Formula, Recipe, Reduce, derive};
use whycam_graph::diff::Rules;
use whycam_graph::op::{Conv, Gemm};
use whycam_graph::{Build, DType, Emit, Engine, Header, Op, Shape, Tensor, layer};

/// A 1×1 convolution by 1, global average pooling, and one class with weight −1; Grad-CAM at the convolution.
fn explain(engine: &dyn Engine, pixels: [f32; 4]) -> (Vec<f32>, Vec<f32>) {
    let mut b =
        Build::new(Header { ir_version: 8, opsets: [(String::new(), 13)].into(), ..Header::default() });
    let image = b.input("image", DType::F32, Shape::fixed(&[1, 1, 2, 2])).expect("free name");
    let one = Build::constant(&mut b, Tensor::f32(&[1, 1, 1, 1], &[1.0]).expect("whole"));
    let minus = Build::constant(&mut b, Tensor::f32(&[1, 1], &[-1.0]).expect("whole"));
    let conv = Conv { strides: vec![1, 1], dilations: vec![1, 1], pads: vec![(0, 0); 2], groups: 1 };
    let layer = b.emit(Op::Conv(conv), &[image, one]).expect("fits");
    let pooled = b.emit(Op::GlobalAveragePool, &[layer]).expect("fits");
    let flat = b.emit(Op::Flatten { axis: 1 }, &[pooled]).expect("fits");
    let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
    let scores = b.emit(Op::Gemm(gemm), &[flat, minus]).expect("fits");
    let graph = b.finish(vec![scores]);
    let score = layer::score(&graph, None).expect("one class");
    let formula =
        Formula::Single(Recipe { read_at: layer, rules: Rules::default(), reduce: Reduce::grad_cam(true) });
    let derived = derive(&graph, image, &score, Classes { top: 1, given: 0 }, &[formula]).expect("derives");
    let program = load(engine, &derived.ranged().expect("derives")).expect("loads");
    let outputs =
        program.run(&[("image", Tensor::f32(&[1, 1, 2, 2], &pixels).expect("whole"))]).expect("runs");
    (outputs[2].to_f32s(), outputs[3].to_f32s())
}

#[test]
fn a_negative_map_is_told_by_its_range() {
    for engine in engines() {
        let (map, range) = explain(engine.as_ref(), [1.0, 2.0, 3.0, 6.0]);
        assert_eq!(map, [0.0; 4], "{}", engine.name());
        assert_eq!(range, [-1.5, -0.25], "{}", engine.name());
    }
}

#[test]
fn nan_and_infinity_are_told_by_the_range() {
    for engine in engines() {
        for bad in [f32::NAN, f32::INFINITY] {
            let (_, range) = explain(engine.as_ref(), [1.0, bad, -3.0, 6.0]);
            assert!(range.iter().all(|r| !r.is_finite()), "{} of {bad}: {range:?}", engine.name());
        }
    }
}
