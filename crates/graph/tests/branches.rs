//! The automatic layer of networks that cut the image into several grids.

mod common;

use common::nets::{add, convolve, pooled_linear, relu};
use common::{Net, window};
use whycam_graph::layer;
use whycam_graph::op::Op;
use whycam_graph::{Error, ValueId};
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
