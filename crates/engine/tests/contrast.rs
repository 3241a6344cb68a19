//! c-MWP in float32, where what it takes from each other is nearly the same.

mod common;

use common::engines;
use whycam_engine::load;
use whycam_graph::diff::{self, LinearRule, Rules, Seed};
use whycam_graph::op::{Gemm, Op, UnaryFn};
use whycam_graph::{Build, DType, Emit, Graph, Header, Shape, Tensor, ValueId};
use whycam_interp::Array;

const UNITS: usize = 1024;

/// Layers of random weights behind positive activations, a class at the end, and the signal of that class at the start:
/// the more weights a signal has passed, the more it is that of any class.
fn signal(contrastive: bool) -> Graph {
    let mut b =
        Build::new(Header { ir_version: 8, opsets: [(String::new(), 13)].into(), ..Header::default() });
    let x = b.input("x", DType::F32, Shape::fixed(&[1, UNITS])).expect("free name");
    let read_at = b.unary(UnaryFn::Relu, x).expect("fits");
    let linear = |b: &mut Build, x: ValueId, units: usize, seed: u64| {
        let w = Array::random(&[UNITS, units], seed);
        let w: Vec<f32> = w.data.iter().map(|v| *v as f32).collect();
        let w = Build::constant(b, Tensor::f32(&[UNITS, units], &w).expect("whole"));
        let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
        b.emit(Op::Gemm(gemm), &[x, w]).expect("fits")
    };
    let mut a = read_at;
    for seed in 1..4 {
        let y = linear(&mut b, a, UNITS, seed);
        a = b.unary(UnaryFn::Relu, y).expect("fits");
    }
    let target = linear(&mut b, a, 1, 5);
    let cotangent = b.input("class", DType::F32, Shape::fixed(&[1, 1])).expect("free name");
    let rules = Rules { linear: LinearRule::Excitation { contrastive }, ..Rules::default() };
    let seed = Seed { target, cotangent, copies: None, hot: None };
    let swept = diff::backward(&mut b, seed, &[read_at], rules).expect("has rules");
    b.finish(swept.signals)
}

fn greatest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(f64::abs).fold(0.0, f64::max)
}

#[test]
fn a_contrast_of_nearly_equal_signals_is_not_their_rounding() {
    let x = Array::random(&[1, UNITS], 9).map(|v| v.abs() + 0.5);
    let class = Array { shape: vec![1, 1], data: vec![1.0] };
    let given = [("x", x), ("class", class)];
    let exact = |contrastive| whycam_interp::run(&signal(contrastive), &given).expect("runs").remove(0).data;
    let (plain, contrast) = (greatest(exact(false)), exact(true));
    assert!(plain > 100.0 * greatest(contrast.iter().copied()), "the two sides are nearly equal");
    for engine in engines() {
        let program = load(engine.as_ref(), &signal(true)).expect("loads");
        let tensors = given.iter().map(|(name, array)| {
            let values: Vec<f32> = array.data.iter().map(|v| *v as f32).collect();
            (*name, Tensor::f32(&array.shape, &values).expect("whole"))
        });
        let found = program.run(&tensors.collect::<Vec<_>>()).expect("runs").remove(0).to_f64s();
        let error = greatest(found.iter().zip(&contrast).map(|(f, c)| f - c));
        // The shares of a layer add up to within a few 10⁻⁸, and the contrast is 600 times smaller.
        assert!(error <= 4e-5 * greatest(contrast.iter().copied()), "{}: {error:e}", engine.name());
    }
}
