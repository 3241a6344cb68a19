//! The laws of the gradient family and of Guided Grad-CAM, on tiny networks.

mod common;

use common::asked::{Asked, grad_cam, guided_grad_cam, signal};
use common::nets::{self, Images, convolve, pooled_linear, relu};
use common::{EXACT, Net, RELU_RULES, assert_close, conv, window};
use whycam_graph::diff::ReluRule;
use whycam_graph::op::{Gemm, Op, UnaryFn};
use whycam_graph::{DType, Emit, N, Shape};
use whycam_interp::Array;
use whycam_interp::check::finite_difference;

/// Spec §2, check 1: without a ReLU the three rules agree bit for bit.
#[test]
fn without_a_relu_the_rules_agree() {
    let mut net = Net::new(1);
    let image = net.input("image", Array::random(&[1, 2, 6, 6], 6));
    let x = convolve(&mut net, image, 3, 3, 1);
    let x = net.op(Op::MaxPool(window(3, 2, 1, false)), &[x]);
    let x = net.op(Op::Unary(UnaryFn::Tanh), &[x]);
    let y = pooled_linear(&mut net, x, 3);
    let asked = Asked::new(net, y);
    let [gradient, deconvnet, guided] = RELU_RULES.map(|rule| asked.map(0, signal(image, rule)));
    assert_eq!((&gradient, &gradient), (&deconvnet, &guided));
    assert!(gradient.data.iter().any(|v| *v < 0.0));
}

/// Spec §2, check 2: the closed forms for `y = w₂ · relu(W₁ x)`.
#[test]
fn two_layers_have_closed_forms() {
    let mut net = Net::new(2);
    let image = net.input("image", Array::random(&[1, 1, 2, 3], 1));
    let flat = net.op(Op::Flatten { axis: 1 }, &[image]);
    let (w1, w2) = (net.weights(&[8, 6]), net.weights(&[2, 8]));
    let gemm = Op::Gemm(Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true });
    let hidden = net.op(gemm.clone(), &[flat, w1]);
    let active = relu(&mut net, hidden);
    let y = net.op(gemm, &[active, w2]);
    let asked = Asked::new(net, y);
    let (w1, w2, hidden) = (asked.constant(w1), asked.constant(w2), asked.value(hidden));
    for class in 0..2 {
        for rule in RELU_RULES {
            let expected = Array::from_fn(&[1, 1, 2, 3], |at| {
                let j = at[2] * 3 + at[3];
                let back = |i: usize| {
                    let (w, open) = (w2.at(&[class, i]), hidden.at(&[0, i]) > 0.0);
                    match rule {
                        ReluRule::Gradient if open => w,
                        ReluRule::Guided if open => w.max(0.0),
                        ReluRule::Deconvnet => w.max(0.0),
                        _ => 0.0,
                    }
                };
                (0..8).map(|i| w1.at(&[i, j]) * back(i)).sum()
            });
            assert_close(&asked.map(class, signal(image, rule)), &expected, EXACT, format!("{rule:?}"));
        }
    }
}

/// Spec §2, check 3, and §21, 3: with positive weights and a positive image the three rules agree.
#[test]
fn in_positive_networks_the_rules_agree() {
    let mut net = Net::new(1);
    let image = net.input("image", Array::random(&[1, 2, 6, 6], 6).map(|v| v + 1.5));
    let w = net.between(&[3, 2, 3, 3], 0.1, 1.0);
    let x = net.op(Op::Conv(conv(2, 1, 1)), &[image, w]);
    let x = relu(&mut net, x);
    let x = net.op(Op::MaxPool(window(2, 2, 0, false)), &[x]);
    let w = net.between(&[3, 3, 3, 3], 0.1, 1.0);
    let x = net.op(Op::Conv(conv(2, 2, 1)), &[x, w]);
    let x = relu(&mut net, x);
    let x = net.op(Op::GlobalAveragePool, &[x]);
    let x = net.op(Op::Flatten { axis: 1 }, &[x]);
    let w = net.between(&[3, 2], 0.1, 1.0);
    let y = net.b.matmul(x, w).unwrap();
    let asked = Asked::new(net, y);
    let [gradient, deconvnet, guided] = RELU_RULES.map(|rule| asked.map(0, signal(image, rule)));
    assert_eq!((&gradient, &gradient), (&deconvnet, &guided));
    assert!(gradient.data.iter().any(|v| *v > 0.0));
}

/// Spec §2, check 4: vanilla equals central differences, through the whole of `derive`.
#[test]
fn the_signal_at_the_image_is_the_gradient() {
    let mut net = Net::new(6);
    let y = nets::resnet(&mut net, Images { count: 1, symbolic: false });
    let asked = Asked::new(net, y);
    let inputs: Vec<(&str, Array)> = asked.given.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
    let one_hot = Array::new(&[1, 4], vec![0.0, 0.0, 1.0, 0.0]);
    let expected = finite_difference(&asked.graph, &inputs, "image", &one_hot);
    let sent = asked.map(2, signal(asked.image(), ReluRule::Gradient));
    // Central differences of a piecewise smooth function in float64, away from its kinks.
    assert_close(&sent, &expected, 1e-7, "vanilla");
}

/// Spec §2, check 5: the product is zero where the enlarged map is, and the factors are those told alone.
#[test]
fn guided_grad_cam_is_the_product() {
    let mut net = Net::new(12);
    let image = net.input("image", Array::random(&[1, 3, 8, 8], 6));
    let x = convolve(&mut net, image, 4, 3, 2);
    let a = relu(&mut net, x);
    let x = convolve(&mut net, a, 4, 3, 2);
    let x = relu(&mut net, x);
    let y = pooled_linear(&mut net, x, 3);
    let asked = Asked::new(net, y);
    let (mut zeros, mut others) = (0, 0);
    for class in 0..3 {
        let product = asked.map(class, guided_grad_cam(image, a));
        let guided = asked.map(class, signal(image, ReluRule::Guided));
        let map = asked.map(class, grad_cam(a, true));
        let large = enlarged(&map, 8);
        let expected = Array::from_fn(&product.shape, |i| guided.at(i) * large.at(&[i[2], i[3]]));
        // Interpolation weights are multiples of 1/4, exact in float32.
        assert_close(&product, &expected, EXACT, format!("class {class}"));
        Array::from_fn(&product.shape, |i| {
            if large.at(&[i[2], i[3]]) == 0.0 {
                zeros += 1;
                assert_eq!(product.at(i), 0.0, "the map is zero at {i:?}");
            } else {
                others += usize::from(product.at(i) != 0.0);
            }
            0.0
        });
    }
    assert!(zeros > 0 && others > 0, "{zeros} zeros, {others} others: both are met");
}

/// A map `[1, n, n]` enlarged bilinearly to `size` by `size`: half-pixel centres, clamped at the borders.
fn enlarged(map: &Array, size: usize) -> Array {
    let n = map.shape[1];
    let source = |i: usize| {
        let p = ((i as f64 + 0.5) * n as f64 / size as f64 - 0.5).clamp(0.0, (n - 1) as f64);
        let low = p.floor();
        [(low as usize, 1.0 - (p - low)), ((low as usize + 1).min(n - 1), p - low)]
    };
    Array::from_fn(&[size, size], |at| {
        let mut total = 0.0;
        for (i, row) in source(at[0]) {
            for (j, column) in source(at[1]) {
                total += row * column * map.at(&[0, i, j]);
            }
        }
        total
    })
}

/// Spec §2, check 5: a constant map only scales the guided signal.
#[test]
fn a_constant_map_scales_the_guided_signal() {
    let mut net = Net::new(13);
    // A constant image through a 1×1 convolution makes every cell equal.
    let image = net.input("image", Array::zeros(&[1, 3, 6, 6]).map(|_| 0.8));
    let w = net.between(&[4, 3, 1, 1], 0.1, 1.0);
    let x = net.op(Op::Conv(conv(2, 1, 0)), &[image, w]);
    let a = relu(&mut net, x);
    let x = net.op(Op::GlobalAveragePool, &[a]);
    let x = net.op(Op::Flatten { axis: 1 }, &[x]);
    let w = net.between(&[4, 2], 0.1, 1.0);
    let y = net.b.matmul(x, w).unwrap();
    let asked = Asked::new(net, y);
    let constant = asked.map(0, grad_cam(a, true)).data[0];
    let guided = asked.map(0, signal(image, ReluRule::Guided));
    assert!(constant > 0.0);
    assert_close(&asked.map(0, guided_grad_cam(image, a)), &guided.map(|v| v * constant), EXACT, "scaled");
}

/// An image in NHWC order gets its Guided Grad-CAM in that order.
#[test]
fn guided_grad_cam_of_an_image_with_channels_last() {
    let numbers = Array::random(&[2, 6, 8, 3], 6);
    let [first, last] = [false, true].map(|last| {
        let mut net = Net::new(12);
        let image = match last {
            true => net.batch("image", numbers.clone()),
            false => {
                let moved = Array::from_fn(&[2, 3, 6, 8], |i| numbers.at(&[i[0], i[2], i[3], i[1]]));
                net.batch("image", moved)
            }
        };
        let x = if last { net.op(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[image]) } else { image };
        let x = convolve(&mut net, x, 4, 3, 2);
        let a = relu(&mut net, x);
        let x = convolve(&mut net, a, 4, 3, 1);
        let x = relu(&mut net, x);
        let y = pooled_linear(&mut net, x, 3);
        Asked::new(net, y).map(1, guided_grad_cam(image, a))
    });
    assert!(first.data.iter().any(|v| *v != 0.0));
    let moved = Array::from_fn(&[2, 6, 8, 3], |i| first.at(&[i[0], i[3], i[1], i[2]]));
    assert_close(&last, &moved, EXACT, "the same numbers in another order");
}

/// A byte image: the signal at it is a number, not a byte.
#[test]
fn byte_images_get_real_signals() {
    let numbers = Array::random_integers(&[1, 2, 4, 4], 3, 0, 255);
    let [bytes, floats] = [true, false].map(|bytes| {
        let mut net = Net::new(1);
        let image = match bytes {
            true => {
                net.given.push(("image".into(), numbers.clone()));
                net.b.input("image", DType::U8, Shape(vec![N, 2.into(), 4.into(), 4.into()])).unwrap()
            }
            false => net.batch("image", numbers.clone()),
        };
        let turned = net.op(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[image]);
        let x = net.op(Op::Cast(DType::F32), &[turned]);
        let x = net.b.scale(x, 1.0 / 256.0).unwrap();
        let x = convolve(&mut net, x, 3, 3, 1);
        let x = relu(&mut net, x);
        let y = pooled_linear(&mut net, x, 3);
        Asked::new(net, y).map(0, signal(image, ReluRule::Gradient))
    });
    assert!(floats.data.iter().any(|v| *v != 0.0));
    assert_eq!(bytes, floats);
}
