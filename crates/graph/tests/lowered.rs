//! What an engine lacks, in terms of what it has: the lowered graph computes the same.

mod common;

use common::{EXACT, Net, assert_close};
use proptest::prelude::*;
use whycam_graph::op::{Conv, ConvTranspose, Op};
use whycam_graph::pass::lower;
use whycam_interp::{Array, run};

proptest! {
    #![proptest_config(common::cases(48))]

    /// A convolution over three axes, or a transposed one, as convolutions over two, whichever axis is the shortest.
    #[test]
    fn solid_convolutions(
        kernel in prop::array::uniform3(1..4usize),
        strides in prop::array::uniform3(1..3usize),
        dilations in prop::array::uniform3(1..3usize),
        pads in prop::array::uniform3((0..2usize, 0..2usize)),
        groups: bool,
        transposed: bool,
        symbolic: bool,
        seed: u64,
    ) {
        let groups = 1 + usize::from(groups);
        let mut net = Net::new(seed);
        let numbers = Array::random(&[2, 2 * groups, 5, 5, 5], seed);
        let x = if symbolic { net.batch("x", numbers) } else { net.input("x", numbers) };
        let (from, to) = if transposed { (2 * groups, 3) } else { (3 * groups, 2) };
        let w = net.weights(&[&[from, to], &kernel[..]].concat());
        let bias = net.weights(&[3 * groups]);
        let conv =
            Conv { strides: strides.to_vec(), dilations: dilations.to_vec(), pads: pads.to_vec(), groups };
        let op = match transposed {
            true => {
                let output_padding = strides.iter().map(|s| s - 1).collect();
                Op::ConvTranspose(ConvTranspose { conv, output_padding })
            }
            false => Op::Conv(conv),
        };
        let y = net.op(op, &[x, w, bias]);
        let (graph, given) = net.finish(y);
        let lowered = lower(&graph, "rten").unwrap();
        for (_, node) in lowered.nodes() {
            if matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_)) {
                prop_assert_eq!(lowered.shape(node.input(0).unwrap()).unwrap().rank(), 4);
            }
        }
        let refs: Vec<(&str, Array)> = given.iter().map(|(n, a)| (n.as_str(), a.clone())).collect();
        let [expected, got] = [&graph, &lowered].map(|g| run(g, &refs).unwrap().remove(0));
        assert_close(&got, &expected, EXACT, "lowered");
    }
}
