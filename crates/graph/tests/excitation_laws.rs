//! Laws of excitation backprop, on random networks: probability is neither made nor lost.

mod common;

use common::excitation::{derived, rules};
use common::nets::relu;
use common::{EXACT, Net, assert_close, cases, conv, run_with, window};
use proptest::prelude::*;
use whycam_graph::op::{Op, Window};
use whycam_graph::{Graph, ValueId};
use whycam_interp::Array;

/// Convolutions with biases, ReLUs, pools and two linear layers; weights between `low` and 1, biases too.
struct Random {
    graph: Graph,
    given: Vec<(String, Array)>,
    layers: Vec<Layer>,
    /// The weights of the scores.
    w: ValueId,
    scores: ValueId,
}

/// An activation.
struct Layer {
    value: ValueId,
    /// What weights make of it, and what excites that: `Σ max(w, 0)·a`.
    weighted: Option<(ValueId, ValueId)>,
}

fn random(seed: u64, depth: usize, low: f64, bias: bool) -> Random {
    let mut net = Net::new(seed);
    // Where weights are positive, an image that is positive everywhere excites every result.
    let x =
        net.input("image", Array::random(&[2, 2, 7, 7], seed).map(|v| if low > 0.0 { v + 1.1 } else { v }));
    let mut x = relu(&mut net, x);
    let mut layers = Vec::new();
    let mut channels = 2;
    for i in 0..depth {
        let stride = 1 + (seed as usize + i) % 2;
        let w = net.between(&[3, channels, 3, 3], low, 1.0);
        let mut operands = vec![x, w];
        if bias {
            operands.push(net.between(&[3], low, 1.0));
        }
        channels = 3;
        let op = Op::Conv(conv(2, stride, 1));
        let positive = relu(&mut net, w);
        let excited = net.op(op.clone(), &[x, positive]);
        let y = net.op(op, &operands);
        layers.push(Layer { value: x, weighted: Some((y, excited)) });
        x = relu(&mut net, y);
        if (seed as usize + i).is_multiple_of(3) {
            layers.push(Layer { value: x, weighted: None });
            x = net.op(Op::MaxPool(window(2, 1, 0, false)), &[x]);
        }
        if (seed as usize + i) % 3 == 1 {
            layers.push(Layer { value: x, weighted: None });
            let window: Window = window(2, 1, 1, false);
            x = net.op(Op::AveragePool { window, count_include_pad: true }, &[x]);
        }
    }
    layers.push(Layer { value: x, weighted: None });
    let x = net.op(Op::GlobalAveragePool, &[x]);
    let x = net.op(Op::Flatten { axis: 1 }, &[x]);
    let w = net.between(&[3, 4], low, 1.0);
    let positive = relu(&mut net, w);
    let excited = net.op(Op::MatMul, &[x, positive]);
    let scores = net.op(Op::MatMul, &[x, w]);
    layers.push(Layer { value: x, weighted: Some((scores, excited)) });
    let (graph, given) = net.finish(scores);
    Random { graph, given, layers, w, scores }
}

impl Random {
    /// The signals at the layers when all of it starts at one class.
    fn signals(&self, contrastive: bool, class: usize) -> Vec<Array> {
        self.signals_at(&self.layers.iter().map(|l| l.value).collect::<Vec<_>>(), contrastive, class)
    }

    fn signals_at(&self, read_at: &[ValueId], contrastive: bool, class: usize) -> Vec<Array> {
        let derived = derived(&self.graph, self.scores, read_at, rules(contrastive), None).unwrap();
        let p = Array::from_fn(&[2, 4], |i| if i[1] == class { 1.0 } else { 0.0 });
        run_with(&derived, &self.given, &[("cotangent", &p)])
    }

    fn value(&self, id: ValueId) -> Array {
        run_with(&self.graph.with_outputs(&[id]), &self.given, &[]).remove(0)
    }
}

fn total(signal: &Array, image: usize) -> f64 {
    let size = signal.data.len() / signal.shape[0];
    signal.data[image * size..(image + 1) * size].iter().sum()
}

proptest! {
    #![proptest_config(cases(12))]

    /// Spec §4, checks 1 and 2: with positive weights all of it arrives everywhere.
    #[test]
    fn positive_networks_lose_nothing(seed in 0u64..1000, depth in 1..4usize, class in 0..4usize) {
        let net = random(seed, depth, 0.01, true);
        for signal in net.signals(false, class) {
            for image in 0..2 {
                prop_assert!((total(&signal, image) - 1.0).abs() < 1e-12, "{}", total(&signal, image));
            }
        }
    }

    /// Spec §4, checks 1 and 2, with weights and biases of any sign: a layer loses exactly what arrived at results
    /// that no positive weight excites; nothing is negative, and what is 0 gets nothing.
    #[test]
    fn what_is_lost_arrived_where_nothing_excites(seed in 0u64..1000, depth in 1..4usize, class in 0..4usize) {
        let net = random(seed, depth, -1.0, true);
        let signals = net.signals(false, class);
        for (layer, signal) in net.layers.iter().zip(&signals) {
            let activation = net.value(layer.value);
            prop_assert!(signal.data.iter().all(|v| *v >= 0.0));
            prop_assert!(signal.data.iter().zip(&activation.data).all(|(p, a)| *a > 0.0 || *p == 0.0));
            let Some((y, excited)) = layer.weighted else { continue };
            let (behind, excited) = (net.signals_at(&[y], false, class).remove(0), net.value(excited));
            let lost = Array::from_fn(&behind.shape, |i| if excited.at(i) == 0.0 { behind.at(i) } else { 0.0 });
            for n in 0..2 {
                // In float64; signals are at most 1.
                prop_assert!((total(signal, n) + total(&lost, n) - total(&behind, n)).abs() < 1e-12);
            }
        }
        for (layer, pair) in net.layers.iter().zip(signals.windows(2)) {
            let pooled = layer.weighted.is_none();
            prop_assert!(!pooled || (0..2).all(|n| (total(&pair[0], n) - total(&pair[1], n)).abs() < 1e-12));
        }
    }

    /// Without biases a positive result always has a positive reason.
    #[test]
    fn networks_without_biases_lose_nothing_behind_the_first_weights(
        seed in 0u64..1000,
        depth in 1..4usize,
        class in 0..4usize,
    ) {
        let net = random(seed, depth, -1.0, false);
        let signals = net.signals(false, class);
        for image in 0..2 {
            let first = total(signals.last().unwrap(), image);
            prop_assert!(first.abs() < 1e-12 || (first - 1.0).abs() < 1e-12);
            for signal in &signals {
                prop_assert!((total(signal, image) - first).abs() < 1e-12);
            }
        }
    }

    /// Spec §4, check 3: what is for a class and what is against it have the same total.
    #[test]
    fn contrastive_signals_add_up_to_nothing(seed in 0u64..1000, depth in 1..4usize, class in 0..4usize) {
        let net = random(seed, depth, -1.0, false);
        let (plain, contrastive) = (net.signals(false, class), net.signals(true, class));
        let x = net.value(net.layers.last().unwrap().value);
        let w = net.graph.value(net.w).constant.as_ref().unwrap().to_f64s();
        for image in 0..2 {
            let against: f64 = (0..3).map(|j| x.at(&[image, j]) * (-w[j * 4 + class]).max(0.0)).sum();
            if total(plain.last().unwrap(), image) > 0.5 && against > 0.0 {
                for signal in &contrastive {
                    prop_assert!(total(signal, image).abs() < 1e-12);
                }
            }
        }
    }

    /// Spec §4, check 5: neither larger activations nor larger rows of weights change a share.
    #[test]
    fn scales_do_not_matter(seed in 0u64..1000, s in 0.1f64..10.0) {
        let signal = |activation: f64, row: f64| {
            let mut net = Net::new(seed);
            let x = net.input("image", Array::random(&[1, 2, 5, 5], seed).map(|v| v * activation));
            let a = relu(&mut net, x);
            let w = Array::random(&[3, 2, 3, 3], seed + 1);
            let w: Vec<f32> =
                Array::from_fn(&w.shape, |i| w.at(i) * if i[0] == 1 { row } else { 1.0 }).data.iter().map(|v| *v as f32).collect();
            let w = net.values(&[3, 2, 3, 3], &w);
            let y = net.op(Op::Conv(conv(2, 1, 1)), &[a, w]);
            let (graph, given) = net.finish(y);
            let derived = derived(&graph, y, &[a], rules(false), None).unwrap();
            let p = Array::random(&[1, 3, 5, 5], 2).map(f64::abs);
            run_with(&derived, &given, &[("cotangent", &p)]).remove(0)
        };
        assert_close(&signal(s, 1.0), &signal(1.0, 1.0), EXACT, "activations");
        // A scaled row is rounded to float32.
        assert_close(&signal(1.0, s), &signal(1.0, 1.0), 1e-6, "a row");
    }
}

/// Spec §4, check 4: with one result and positive weights, a share is a contribution.
#[test]
fn one_result_is_shared_by_contribution() {
    let mut net = Net::new(0);
    let x = net.input("image", Array::new(&[1, 3], vec![1.0, 2.0, 4.0]));
    let a = relu(&mut net, x);
    let w = net.values(&[3, 1], &[3.0, 0.5, 1.0]);
    let y = net.op(Op::MatMul, &[a, w]);
    let (graph, given) = net.finish(y);
    let derived = derived(&graph, y, &[a], rules(false), None).unwrap();
    let signal = run_with(&derived, &given, &[("cotangent", &Array::new(&[1, 1], vec![1.0]))]).remove(0);
    assert_close(
        &signal,
        &Array::new(&[1, 3], vec![3.0 / 8.0, 1.0 / 8.0, 4.0 / 8.0]),
        EXACT,
        "3, 1 and 4 of 8",
    );
}

/// Spec §4, check 6: an average of equal cells is shared evenly.
#[test]
fn equal_cells_get_equal_shares() {
    let mut net = Net::new(0);
    let x = net.input("image", Array::zeros(&[1, 1, 4, 4]).map(|_| 0.7));
    let a = relu(&mut net, x);
    let y = net.op(Op::AveragePool { window: window(2, 2, 0, false), count_include_pad: true }, &[a]);
    let (graph, given) = net.finish(y);
    let derived = derived(&graph, y, &[a], rules(false), None).unwrap();
    let p = Array::random(&[1, 1, 2, 2], 3).map(f64::abs);
    let signal = run_with(&derived, &given, &[("cotangent", &p)]).remove(0);
    let even = Array::from_fn(&[1, 1, 4, 4], |i| p.at(&[0, 0, i[2] / 2, i[3] / 2]) / 4.0);
    assert_close(&signal, &even, EXACT, "quarters");
}
