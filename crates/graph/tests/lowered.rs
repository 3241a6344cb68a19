//! What an engine lacks or gets wrong, in terms of what it has: the graph computes the same.

mod common;

use common::asked::{Asked, ONE, guided_grad_cam};
use common::{EXACT, Net, assert_close, nets, separated};
use proptest::prelude::*;
use whycam_graph::derive::TARGET;
use whycam_graph::op::{CompareFn, Conv, ConvTranspose, Op};
use whycam_graph::pass::{lower, rescale};
use whycam_graph::{Build, DType, Emit, Graph, Header, Tensor};
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

/// What keeps ONNX Runtime in its blocked layout computes the same: masks, and the way into it from a transposed convolution
/// and from a mean that is spread.
#[test]
fn blocked_layout() {
    let mut net = Net::new(5);
    let x = net.batch("image", separated(&[2, 3, 8, 8], 6));
    let x = nets::convolve(&mut net, x, 16, 3, 1);
    let x = nets::relu(&mut net, x);
    let y = nets::convolve(&mut net, x, 16, 3, 2);
    let y = nets::relu(&mut net, y);
    let y = nets::convolve(&mut net, y, 16, 3, 1);
    let around = nets::convolve(&mut net, x, 16, 1, 2);
    let x = nets::add(&mut net, y, around);
    let x = nets::relu(&mut net, x);
    let y = nets::pooled_linear(&mut net, x, 3);
    let asked = Asked::new(net, y);
    let derived = asked.derive(ONE, &[guided_grad_cam(asked.image(), x)]).graph;
    let lowered = lower(&derived, "ort").unwrap();
    let count = |graph: &Graph, is: fn(&Op) -> bool| graph.nodes().filter(|(_, node)| is(&node.op)).count();
    assert_eq!(count(&lowered, |op| matches!(op, Op::Compare(CompareFn::Greater))), 0, "{lowered}");
    assert_eq!(count(&lowered, |op| matches!(op, Op::MaxPool(_))), 3, "{lowered}");
    let target = Array::new(&[2, 1], vec![2.0, 0.0]);
    let [expected, got] =
        [&derived, &lowered].map(|g| common::run_with(g, &asked.given, &[(TARGET, &target)]));
    for (got, expected) in got.iter().zip(&expected) {
        assert_close(got, expected, EXACT, "lowered");
    }
}

/// `x · W` with 2 by 3 levels whose scales and zero points lie along `axis`, transposed or not.
fn product(axis: usize, transposed: bool) -> Graph {
    let mut b = Build::new(Header::default());
    let sizes = [2, 3];
    let constant = |b: &mut Build, shape: &[usize], bytes: &[u8]| {
        b.constant(Tensor::new(DType::I8, shape.to_vec(), bytes.to_vec()).unwrap())
    };
    let levels = constant(&mut b, &sizes, &[1, 200, 3, 40, 5, 128]);
    let scales = b.constant(Tensor::f32(&[sizes[axis]], &[0.5, 2.0, 4.0][..sizes[axis]]).unwrap());
    let zeros = constant(&mut b, &[sizes[axis]], &[1, 250, 0][..sizes[axis]]);
    let mut weights = b.emit(Op::DequantizeLinear { axis }, &[levels, scales, zeros]).unwrap();
    if transposed {
        weights = b.emit(Op::Transpose { perm: vec![1, 0] }, &[weights]).unwrap();
    }
    let x = b.input("x", DType::F32, [4, sizes[usize::from(transposed)]].into()).unwrap();
    let y = b.matmul(x, weights).unwrap();
    b.finish(vec![y])
}

#[test]
fn scales_leave_products_that_sum_over_them_and_no_others() {
    let dequantises = |graph: &Graph| graph.nodes().any(|(_, n)| matches!(n.op, Op::DequantizeLinear { .. }));
    for (axis, transposed, leave) in [(0, false, true), (1, true, true), (1, false, false), (0, true, false)]
    {
        let graph = product(axis, transposed);
        let rescaled = rescale(&graph, &|_| false).unwrap();
        assert_eq!(dequantises(&rescaled), !leave, "{axis} {transposed}");
        assert!(dequantises(&rescale(&graph, &|_| true).unwrap()));
        let x = Array::random(&[4, 2 + usize::from(transposed)], 7);
        let [expected, got] = [&graph, &rescaled].map(|g| run(g, &[("x", x.clone())]).unwrap().remove(0));
        assert_close(&got, &expected, EXACT, "rescaled");
    }
}
