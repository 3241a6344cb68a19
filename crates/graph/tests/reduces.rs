//! Every way from signal and activation to a map, against its formula written out cell by cell.

mod common;

use common::asked::{Asked, grad_cam, recipe, signal};
use common::nets::{convolve, pooled_linear, relu};
use common::{EXACT, Net, assert_close};
use whycam_graph::derive::{Formula, Part, Reduce, Times, Weights};
use whycam_graph::diff::ReluRule;
use whycam_graph::op::{Op, UnaryFn};
use whycam_graph::{Emit, ValueId};
use whycam_interp::Array;

const SHAPE: [usize; 4] = [2, 4, 5, 5];

/// A network whose layer `[2,4,5,5]` is rectified (or signed), with more than a linear head above it.
fn net(rectified: bool) -> (Asked, ValueId) {
    let mut net = Net::new(11);
    let x = net.batch("image", Array::random(&[2, 3, 5, 5], 12));
    let x = convolve(&mut net, x, 4, 3, 1);
    let a = if rectified { relu(&mut net, x) } else { x };
    let x = convolve(&mut net, a, 6, 3, 1);
    let x = net.op(Op::Unary(UnaryFn::Tanh), &[x]);
    let y = pooled_linear(&mut net, x, 3);
    (Asked::new(net, y), a)
}

fn how(part: Part, weights: Weights, times: Times, relu: bool) -> Reduce {
    Reduce { part, weights, times, sum: true, relu }
}

/// The map by the formula `Σₖ wₖᵢⱼ·fₖᵢⱼ`, where `w` is told all cells `(g, A)` of a channel and which one is meant.
fn slow(g: &Array, a: &Array, w: impl Fn(&[(f64, f64)], usize) -> f64, times: Times) -> Array {
    let [n, c, h, width] = SHAPE;
    Array::from_fn(&[n, h, width], |i| {
        let cell = i[1] * width + i[2];
        (0..c)
            .map(|k| {
                let at = (i[0] * c + k) * h * width;
                let channel: Vec<(f64, f64)> = (at..at + h * width).map(|j| (g.data[j], a.data[j])).collect();
                w(&channel, cell) * if times == Times::One { 1.0 } else { channel[cell].1 }
            })
            .sum()
    })
}

#[track_caller]
fn prove(reduce: Reduce, rectified: bool, w: impl Fn(&[(f64, f64)], usize) -> f64) {
    let (asked, layer) = net(rectified);
    let activation = asked.value(layer);
    for class in 0..3 {
        let g = asked.map(class, signal(layer, ReluRule::Gradient));
        let map = asked.map(class, Formula::Single(recipe(layer, ReluRule::Gradient, reduce)));
        let expected = slow(&g, &activation, &w, reduce.times);
        assert!(expected.data.iter().any(|v| v.abs() > 1e-3), "the test tells something");
        let expected = if reduce.relu { expected.map(|v| v.max(0.0)) } else { expected };
        assert_close(&map, &expected, EXACT, format!("{reduce:?}"));
    }
}

const Z: f64 = 25.0;

/// Grad-CAM and its variants (spec §10): mean, sum and signed maximum of `g` and of `|g|`.
#[test]
fn grad_cam_pools_the_gradient() {
    let activation = |part, weights| how(part, weights, Times::Activation, true);
    prove(Reduce::grad_cam(false), true, |c, _| c.iter().map(|(g, _)| g).sum::<f64>() / Z);
    prove(activation(Part::Whole, Weights::Sum), true, |c, _| c.iter().map(|(g, _)| g).sum());
    let max = |c: &[(f64, f64)], f: fn(f64) -> f64| c.iter().map(|(g, _)| f(*g)).fold(f64::MIN, f64::max);
    prove(activation(Part::Whole, Weights::Max), true, |c, _| max(c, |g| g));
    prove(activation(Part::Absolute, Weights::Max), true, |c, _| max(c, f64::abs));
    prove(activation(Part::Absolute, Weights::Mean), true, |c, _| {
        c.iter().map(|(g, _)| g.abs()).sum::<f64>() / Z
    });
}

/// Chattopadhay et al. 2018, eq. 19 in the form of second and third powers, for `Y = exp(S)` without its positive
/// factor; where activations are signed too, away from the poles of α.
#[test]
fn grad_cam_plus_plus_is_its_equation() {
    for rectified in [true, false] {
        prove(how(Part::Whole, Weights::PlusPlus, Times::Activation, true), rectified, |channel, _| {
            let total: f64 = channel.iter().map(|(_, a)| a).sum();
            let alpha =
                |g: f64| if g == 0.0 { 0.0 } else { g.powi(2) / (2.0 * g.powi(2) + total * g.powi(3)) };
            channel.iter().map(|&(g, _)| alpha(g) * g.max(0.0)).sum()
        });
    }
}

/// Fu et al. 2020, eq. 8: `wₖ = Σ (Aₖᵢⱼ/ΣAₖ)·gₖᵢⱼ`.
#[test]
fn xgrad_cam_is_its_equation() {
    prove(how(Part::Whole, Weights::Share, Times::Activation, true), true, |channel, _| {
        let total: f64 = channel.iter().map(|(_, a)| a).sum();
        channel.iter().map(|(g, a)| g * a / total).sum()
    });
}

/// A channel that is 0 everywhere has no shares and no weight, rather than NaN.
#[test]
fn dead_channels_weigh_nothing() {
    let mut net = Net::new(3);
    let image = net.batch("image", Array::random(&[1, 2, 4, 4], 5));
    let nothing = net.values(&[1], &[0.0]);
    let scale = net.values(&[1, 2, 1, 1], &[1.0, 0.0]);
    let x = relu(&mut net, image);
    let a = net.b.mul(x, scale).unwrap();
    let x = net.b.add(a, nothing).unwrap();
    let y = pooled_linear(&mut net, x, 2);
    let asked = Asked::new(net, y);
    for weights in [Weights::Share, Weights::PlusPlus] {
        let reduce = how(Part::Whole, weights, Times::Activation, false);
        let maps =
            [0, 1].map(|class| asked.map(class, Formula::Single(recipe(a, ReluRule::Gradient, reduce))));
        let values: Vec<f64> = maps.into_iter().flat_map(|map| map.data).collect();
        assert!(values.iter().all(|v| v.is_finite()) && values.iter().any(|&v| v != 0.0), "{values:?}");
    }
}

/// HiResCAM (Draelos & Carin 2020, eq. 3) `Σₖ gₖ⊙Aₖ`, LayerCAM (Jiang et al. 2021, eq. 4 and 5) `Σₖ max(gₖ,0)⊙Aₖ`,
/// and the signal summed over channels.
#[test]
fn cells_with_weights_of_their_own() {
    prove(how(Part::Whole, Weights::Cell, Times::Activation, true), true, |c, i| c[i].0);
    prove(how(Part::Positive, Weights::Cell, Times::Activation, true), true, |c, i| c[i].0.max(0.0));
    prove(how(Part::Whole, Weights::Cell, Times::One, false), false, |c, i| c[i].0);
}

/// Spec §5: the counterfactual is Grad-CAM of the negated score, bit for bit (1); where Grad-CAM is positive it is 0,
/// and their difference is the map without its ReLU (2); the negated counterfactual is Grad-CAM (4); with the scores
/// `(y, −y)` it is Grad-CAM of the other class (5).
#[test]
fn the_laws_of_the_counterfactual() {
    let against = |read_at| {
        let reduce = how(Part::Negated, Weights::Mean, Times::Activation, true);
        Formula::Single(recipe(read_at, ReluRule::Gradient, reduce))
    };
    // The scores are y0, −y0, y1, −y1.
    let mut net = Net::new(21);
    let x = net.batch("image", Array::random(&[2, 3, 6, 6], 22));
    let x = convolve(&mut net, x, 5, 3, 1);
    let a = relu(&mut net, x);
    let x = convolve(&mut net, a, 4, 3, 2);
    let x = relu(&mut net, x);
    let y = pooled_linear(&mut net, x, 2);
    let minus = net.op(Op::Unary(UnaryFn::Neg), &[y]);
    let y = net.op(Op::Concat { axis: 1 }, &[y, minus]);
    let asked = Asked::new(net, y);
    for class in 0..2 {
        let counterfactual = asked.map(class, against(a));
        let [map, signed] = [true, false].map(|relu| asked.map(class, grad_cam(a, relu)));
        assert_eq!(counterfactual.data, asked.map(class + 2, grad_cam(a, true)).data, "of the negated score");
        assert_eq!(asked.map(class + 2, against(a)).data, map.data, "negated twice");
        assert!(counterfactual.data.iter().any(|&v| v > 0.0) && map.data.iter().any(|&v| v > 0.0));
        for ((cf, map), signed) in counterfactual.data.iter().zip(&map.data).zip(&signed.data) {
            assert_eq!((cf * map, map - cf), (0.0, *signed));
        }
    }
}

/// Where every channel of a class speaks for it, nothing speaks against it (spec §5, 3).
#[test]
fn without_counterevidence_the_counterfactual_is_zero() {
    let mut net = Net::new(1);
    let image = net.batch("image", Array::random(&[1, 3, 4, 4], 2));
    let a = relu(&mut net, image);
    let x = net.op(Op::GlobalAveragePool, &[a]);
    let x = net.op(Op::Flatten { axis: 1 }, &[x]);
    let w = net.between(&[3, 2], 0.1, 1.0);
    let y = net.op(Op::MatMul, &[x, w]);
    let asked = Asked::new(net, y);
    let reduce = how(Part::Negated, Weights::Mean, Times::Activation, true);
    let map = asked.map(1, Formula::Single(recipe(a, ReluRule::Gradient, reduce)));
    assert!(map.data.iter().all(|&v| v == 0.0));
}

/// Gradient × input is the product cell by cell, and the activation alone is read without any gradient.
#[test]
fn products_that_are_not_summed() {
    let (asked, layer) = net(true);
    let (image, activation) = (asked.value(asked.image()), asked.value(layer));
    let reduce = Reduce { times: Times::Activation, ..Reduce::SIGNAL };
    let at_image = |reduce| Formula::Single(recipe(asked.image(), ReluRule::Gradient, reduce));
    let (product, g) = (asked.map(1, at_image(reduce)), asked.map(1, at_image(Reduce::SIGNAL)));
    let expected = Array::from_fn(&image.shape, |i| g.at(i) * image.at(i));
    assert_close(&product, &expected, EXACT, "gradient × input");
    let alone = Reduce { weights: Weights::One, ..reduce };
    let both = asked.ask(&[0, 1], &[Formula::Single(recipe(layer, ReluRule::Gradient, alone))]).remove(2);
    assert_eq!(both.shape, [2, 2, 4, 5, 5]);
    for n in 0..2 {
        for k in 0..2 {
            let size = activation.data.len() / 2;
            assert_eq!(both.data[(n * 2 + k) * size..][..size], activation.data[n * size..][..size]);
        }
    }
}

/// CAM is `Σₖ wₖ·Aₖ` behind a global mean and one linear layer, in whichever order and spelling, and refused elsewhere.
#[test]
fn cam_fits_a_mean_and_a_linear_layer_only() {
    let cam = |read_at| {
        let reduce = how(Part::Whole, Weights::Class, Times::Activation, false);
        Formula::Single(recipe(read_at, ReluRule::Gradient, reduce))
    };
    for convolution_first in [true, false] {
        let mut net = Net::new(4);
        let image = net.batch("image", Array::random(&[2, 3, 4, 4], 5));
        let (w, bias) = (net.weights(&[2, 3, 1, 1]), net.weights(&[2]));
        let a = relu(&mut net, image);
        let linear = Op::Conv(common::conv(2, 1, 0));
        let y = match convolution_first {
            true => {
                let maps = net.op(linear, &[a, w, bias]);
                net.op(Op::GlobalAveragePool, &[maps])
            }
            false => {
                let pooled = net.op(Op::GlobalAveragePool, &[a]);
                net.op(linear, &[pooled, w, bias])
            }
        };
        let y = net.op(Op::Flatten { axis: 1 }, &[y]);
        let asked = Asked::new(net, y);
        let (w, activation) = (asked.constant(w), asked.value(a));
        let expected = Array::from_fn(&[2, 4, 4], |i| {
            (0..3).map(|k| w.at(&[1, k, 0, 0]) * activation.at(&[i[0], k, i[1], i[2]])).sum()
        });
        assert_close(&asked.map(1, cam(a)), &expected, EXACT, "CAM");
        // The identity of spec §3: CAM is Z times Grad-CAM.
        assert_close(&asked.map(1, grad_cam(a, false)).map(|v| v * 16.0), &expected, EXACT, "Z·Grad-CAM");
    }
    let (asked, layer) = net(true);
    let score = whycam_graph::layer::score(&asked.graph, None).unwrap();
    let classes = common::asked::ONE;
    let error = whycam_graph::derive::derive(&asked.graph, asked.image(), &score, classes, &[cam(layer)]);
    let error = error.expect_err("a tanh and a second convolution lie between").to_string();
    assert!(error.contains("CAM is not defined here") && error.contains("grad-cam fits any"), "{error}");
}
