//! Numbers from captum's own tests.

mod common;

use common::asked::{Asked, grad_cam, signal, sum};
use common::nets::relu;
use common::{Net, conv};
use whycam_graph::ValueId;
use whycam_graph::diff::ReluRule;
use whycam_graph::op::{Gemm, Op};
use whycam_interp::Array;

/// captum's `BasicModel_ConvNet_One_Conv`, whose numbers are in captum's own tests.
fn captum() -> (Asked, [ValueId; 3]) {
    let mut net = Net::new(0);
    let image = net.input("image", Array::new(&[1, 1, 4, 4], (0..16).map(f64::from).collect()));
    let (ones, bias) = (net.values(&[2, 1, 3, 3], &[1.0; 18]), net.values(&[2], &[-50.0, -75.0]));
    let conv1 = net.op(Op::Conv(conv(2, 1, 0)), &[image, ones, bias]);
    let relu1 = relu(&mut net, conv1);
    let flat = net.op(Op::Flatten { axis: 1 }, &[relu1]);
    let row = [1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0];
    let (w, bias) = (net.values(&[4, 8], &[row; 4].concat()), net.values(&[4], &[0.0; 4]));
    let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
    let fc1 = net.op(Op::Gemm(gemm), &[flat, w, bias]);
    let relu2 = relu(&mut net, fc1);
    (Asked::new(net, relu2), [image, conv1, relu1])
}

#[test]
fn captum_grad_cam() {
    let (asked, [_, conv1, relu1]) = captum();
    assert_eq!(asked.map(0, grad_cam(conv1, false)).data, [11.25, 13.5, 20.25, 22.5]);
    assert_eq!(asked.map(0, grad_cam(relu1, true)).data, [0.0, 4.0, 28.0, 32.5]);
    // Channel by channel: the mean of the gradient times the activation.
    let (gradient, activation) = (asked.map(0, signal(conv1, ReluRule::Gradient)), asked.value(conv1));
    let alpha = |k: usize| sum(&gradient.data[4 * k..][..4]) / 4.0;
    let channels = Array::from_fn(&activation.shape, |i| alpha(i[1]) * activation.at(i));
    assert_eq!(channels.data, [-3.75, 3.0, 23.25, 30.0, 15.0, 10.5, -3.0, -7.5]);
}

const CAPTUM_GUIDED: [f64; 16] =
    [0.0, 1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 2.0, 1.0, 3.0, 3.0, 2.0, 1.0, 2.0, 2.0, 1.0];

#[test]
fn captum_guided_backpropagation_and_deconvnet() {
    let (asked, [image, ..]) = captum();
    assert_eq!(asked.map(0, signal(image, ReluRule::Guided)).data, CAPTUM_GUIDED);
    let deconvnet = [2.0, 3.0, 3.0, 1.0, 3.0, 5.0, 5.0, 2.0, 3.0, 5.0, 5.0, 2.0, 1.0, 2.0, 2.0, 1.0];
    assert_eq!(asked.map(0, signal(image, ReluRule::Deconvnet)).data, deconvnet);
}

/// captum enlarges with the nearest cell, unlike the paper; the factors are ours, the product is made here.
#[test]
fn captum_guided_grad_cam() {
    let (asked, [image, _, relu1]) = captum();
    let (guided, map) = (asked.map(0, signal(image, ReluRule::Guided)), asked.map(0, grad_cam(relu1, true)));
    let product = Array::from_fn(&[1, 1, 4, 4], |i| guided.at(i) * map.at(&[0, i[2] / 2, i[3] / 2]));
    let expected = [0.0, 0.0, 4.0, 4.0, 0.0, 0.0, 12.0, 8.0, 28.0, 84.0, 97.5, 65.0, 28.0, 56.0, 65.0, 32.5];
    assert_eq!(product.data, expected);
}
