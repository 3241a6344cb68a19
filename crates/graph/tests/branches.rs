//! The automatic layer of networks that cut the image into several grids.

mod common;

use common::nets::{self, Images, add, batch_norm, convolve, pooled_linear, relu};
use common::{Net, window};
use whycam_graph::layer;
use whycam_graph::op::{BinaryFn, Op, UnaryFn};
use whycam_graph::{Error, Graph, ValueId};
use whycam_interp::Array;

fn start() -> (Net, ValueId) {
    let mut net = Net::new(0);
    let image = net.batch("image", Array::random(&[1, 3, 12, 12], 0));
    (net, image)
}

fn automatic(net: Net, score: ValueId) -> Result<ValueId, Error> {
    let graph = net.b.finish(vec![score]);
    let (image, score) = (layer::image_input(&graph).unwrap(), layer::score(&graph, None).unwrap());
    layer::automatic(&graph, image, &score)
}

/// Two convolutions of which the first cuts the image into cells of `stride` pixels: the last map.
fn branch(net: &mut Net, image: ValueId, stride: usize) -> ValueId {
    let x = convolve(net, image, 4, 3, stride);
    let x = relu(net, x);
    let x = convolve(net, x, 4, 3, 1);
    relu(net, x)
}

#[test]
fn of_branches_on_two_grids_the_finer_is_read() {
    for fine_first in [true, false] {
        let (mut net, image) = start();
        let strides = if fine_first { [2, 4] } else { [4, 2] };
        let [a, b] = strides.map(|stride| branch(&mut net, image, stride));
        let [left, right] = [a, b].map(|x| pooled_linear(&mut net, x, 5));
        let score = add(&mut net, left, right);
        assert_eq!(automatic(net, score), Ok(if fine_first { a } else { b }));
    }
}

#[test]
fn a_branch_that_hears_of_the_other_is_one_all_the_same() {
    let (mut net, image) = start();
    let coarse = branch(&mut net, image, 4);
    let heard = net.op(Op::GlobalAveragePool, &[coarse]);
    let fine = branch(&mut net, image, 2);
    let fine = add(&mut net, fine, heard);
    let last = convolve(&mut net, fine, 4, 3, 1);
    let [left, right] = [coarse, last].map(|x| pooled_linear(&mut net, x, 5));
    let score = add(&mut net, left, right);
    assert_eq!(automatic(net, score), Ok(last));
}

#[test]
fn branches_that_meet_in_a_grid_are_read_where_they_meet() {
    let (mut net, image) = start();
    let fine = branch(&mut net, image, 2);
    let fine = net.op(Op::MaxPool(window(2, 2, 0, false)), &[fine]);
    let coarse = branch(&mut net, image, 4);
    let met = add(&mut net, fine, coarse);
    let last = convolve(&mut net, met, 4, 3, 1);
    let score = pooled_linear(&mut net, last, 5);
    assert_eq!(automatic(net, score), Ok(last));
}

#[test]
fn two_streams_on_one_grid_are_none() {
    let (mut net, image) = start();
    let [a, b] = [2, 2].map(|stride| branch(&mut net, image, stride));
    let [left, right] = [a, b].map(|x| pooled_linear(&mut net, x, 5));
    let score = add(&mut net, left, right);
    let error = automatic(net, score).unwrap_err().to_string();
    assert!(error.contains("hint: name one with --layer, such as "), "{error}");
    assert_eq!(error.matches("(6×6)").count(), 2, "{error}");
}

/// Whether some of the image goes around the layer.
fn is_bypassed(graph: &Graph, value: ValueId) -> bool {
    let (image, score) = (layer::image_input(graph).unwrap(), layer::score(graph, None).unwrap());
    layer::bypassed(graph, image, &score, &[value]) == [value]
}

#[test]
fn one_of_several_branches_is_bypassed() {
    let (mut net, image) = start();
    let [a, b] = [2, 4].map(|stride| branch(&mut net, image, stride));
    let [left, right] = [a, b].map(|x| pooled_linear(&mut net, x, 5));
    let score = add(&mut net, left, right);
    let graph = net.b.finish(vec![score]);
    assert!(is_bypassed(&graph, a) && is_bypassed(&graph, b));
    assert!(!is_bypassed(&graph, image));
}

/// What lies beside a shortcut sees a part; what lies before a block, or joins its two ways, all.
#[test]
fn what_lies_beside_a_shortcut_is_bypassed() {
    let (mut net, image) = start();
    let before = convolve(&mut net, image, 4, 3, 2);
    let inside = convolve(&mut net, before, 4, 3, 1);
    let inside = batch_norm(&mut net, inside);
    let sum = add(&mut net, before, inside);
    let last = relu(&mut net, sum);
    let score = pooled_linear(&mut net, last, 5);
    let graph = net.b.finish(vec![score]);
    let told = [before, inside, sum, last].map(|value| is_bypassed(&graph, value));
    assert_eq!(told, [false, true, false, false]);
}

/// What is made of a layer alone does not go around it: here its mean, as a gate, and spread over a grid of its own.
#[test]
fn what_a_layer_says_of_itself_does_not_go_around_it() {
    let (mut net, image) = start();
    let layer = convolve(&mut net, image, 4, 3, 2);
    let mean = net.op(Op::GlobalAveragePool, &[layer]);
    let gate = net.op(Op::Unary(UnaryFn::Sigmoid), &[mean]);
    let gated = net.op(Op::Binary(BinaryFn::Mul), &[layer, gate]);
    let to = net.b.graph().shape(layer).unwrap().clone();
    let spread = net.op(Op::Expand { to }, &[mean]);
    let spread = convolve(&mut net, spread, 4, 1, 1);
    let joined = add(&mut net, gated, spread);
    let score = pooled_linear(&mut net, joined, 5);
    let graph = net.b.finish(vec![score]);
    let told = [layer, gated, joined].map(|value| is_bypassed(&graph, value));
    assert_eq!(told, [false, true, false]);
}

/// The class token of a ViT carries what earlier blocks told it past the last one, which is no way for cells.
#[test]
fn the_automatic_layer_of_ordinary_networks_is_not_bypassed() {
    for make in [nets::resnet, nets::densenet, nets::vit, nets::swin] {
        let mut net = Net::new(3);
        let score = make(&mut net, Images { count: 1, symbolic: true });
        let graph = net.b.finish(vec![score]);
        let (image, score) = (layer::image_input(&graph).unwrap(), layer::score(&graph, None).unwrap());
        for found in
            [layer::automatic, layer::automatic_below].map(|find| find(&graph, image, &score).unwrap())
        {
            assert!(!is_bypassed(&graph, found), "{}\n{graph}", graph.value(found).name);
        }
        let swept = layer::sweep(&graph, image, &score);
        assert_eq!(layer::bypassed(&graph, image, &score, &swept), []);
    }
}
