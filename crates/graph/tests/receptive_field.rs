//! Receptive fields: known numbers of known networks, and what a cell really sees.

mod common;

use common::nets::{self, Images, add, convolve};
use common::{Net, window};
use whycam_graph::layer::{Grids, ReceptiveField, ReceptiveFields};
use whycam_graph::op::{
    Conv, ConvTranspose, Coordinates, DepthMode, NearestMode, Op, PadMode, Range, ReduceKind, Resize,
    ResizeMode, UnaryFn,
};
use whycam_graph::{Graph, ValueId};
use whycam_interp::{Array, run_all};

fn of(graph: &Graph, image: ValueId, value: ValueId) -> Option<ReceptiveField> {
    ReceptiveFields::new(&Grids::new(graph, image)).of(value)
}

fn start(size: usize) -> (Net, ValueId) {
    let mut net = Net::new(0);
    let image = net.batch("image", Array::zeros(&[1, 1, size, size]));
    (net, image)
}

/// A convolution of one channel whose weights are all positive.
fn conv(net: &mut Net, x: ValueId, kernel: usize, stride: usize, pad: usize, dilation: usize) -> ValueId {
    let weights = net.between(&[1, 1, kernel, kernel], 0.5, 1.0);
    let geometry =
        Conv { strides: vec![stride; 2], dilations: vec![dilation; 2], pads: vec![(pad, pad); 2], groups: 1 };
    net.op(Op::Conv(geometry), &[x, weights])
}

fn pool(net: &mut Net, x: ValueId, kernel: usize, stride: usize, pad: usize) -> ValueId {
    net.op(Op::MaxPool(window(kernel, stride, pad, false)), &[x])
}

fn square(size: usize, stride: f64) -> Option<ReceptiveField> {
    Some(ReceptiveField::Window { size: [size; 2], stride: [stride; 2] })
}

/// Araujo et al. 2019, table 1: VGG-16 212 at its last pool (relu5_3, 16 pixels a cell, lies one pool below), ResNet-50 483.
/// AlexNet 195 at its last pool.
#[test]
fn published_numbers() {
    let (mut net, image) = start(224);
    let mut x = image;
    for (block, layers) in [2, 2, 3, 3, 3].into_iter().enumerate() {
        if block > 0 {
            x = pool(&mut net, x, 2, 2, 0);
        }
        x = (0..layers).fold(x, |x, _| conv(&mut net, x, 3, 1, 1, 1));
    }
    let pooled = pool(&mut net, x, 2, 2, 0);
    let graph = net.b.finish(vec![pooled]);
    assert_eq!(of(&graph, image, x), square(196, 16.0));
    assert_eq!(of(&graph, image, pooled), square(212, 32.0));
    assert_eq!(of(&graph, image, image), square(1, 1.0));

    // The table's network strides in the last block of a stage, torchvision's in the first of the next.
    for (in_last, expected) in [(true, 483), (false, 427)] {
        let (mut net, image) = start(224);
        let x = conv(&mut net, image, 7, 2, 3, 1);
        let mut x = pool(&mut net, x, 3, 2, 1);
        for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
            for block in 0..blocks {
                let strides =
                    if in_last { stage < 3 && block + 1 == blocks } else { stage > 0 && block == 0 };
                let stride = if strides { 2 } else { 1 };
                let branch = conv(&mut net, x, 1, 1, 0, 1);
                let branch = conv(&mut net, branch, 3, stride, 1, 1);
                let beside = if stride == 2 { conv(&mut net, x, 1, 2, 0, 1) } else { x };
                x = add(&mut net, branch, beside);
            }
        }
        let graph = net.b.finish(vec![x]);
        assert_eq!(of(&graph, image, x), square(expected, 32.0));
    }

    let (mut net, image) = start(224);
    let x = conv(&mut net, image, 11, 4, 2, 1);
    let x = pool(&mut net, x, 3, 2, 0);
    let x = conv(&mut net, x, 5, 1, 2, 1);
    let x = pool(&mut net, x, 3, 2, 0);
    let x = (0..3).fold(x, |x, _| conv(&mut net, x, 3, 1, 1, 1));
    let pooled = pool(&mut net, x, 3, 2, 0);
    let graph = net.b.finish(vec![pooled]);
    assert_eq!(of(&graph, image, x), square(163, 16.0));
    assert_eq!(of(&graph, image, pooled), square(195, 32.0));
}

/// The slow twin: every pixel is changed in turn, and whatever cell changes has seen it.
#[track_caller]
fn sees(size: usize, make: impl Fn(&mut Net, ValueId) -> ValueId, exact: bool) {
    let (mut net, image) = start(size);
    let y = make(&mut net, image);
    let graph = net.b.finish(vec![y]);
    let Some(ReceptiveField::Window { size: field, stride }) = of(&graph, image, y) else {
        panic!("{:?}", of(&graph, image, y))
    };
    let name = graph.value(y).name.clone();
    let value = |changed: Option<usize>| {
        let mut x = Array::zeros(&[1, 1, size, size]);
        x.data.iter_mut().enumerate().for_each(|(i, v)| *v = 0.001 * (i % 7) as f64);
        changed.into_iter().for_each(|i| x.data[i] += 100.0);
        run_all(&graph, &[("image", x)]).unwrap()[&graph.find(&name).unwrap()].clone()
    };
    let before = value(None);
    let [height, width] = [before.shape[2], before.shape[3]];
    // For every row of cells the rows of pixels that it sees.
    let mut seen = vec![(usize::MAX, 0); height];
    for pixel in 0..size * size {
        let after = value(Some(pixel));
        for (cell, _) in before.data.iter().zip(&after.data).enumerate().filter(|(_, (a, b))| a != b) {
            let (low, high) = &mut seen[cell / width];
            (*low, *high) = ((*low).min(pixel / size), (*high).max(pixel / size));
        }
    }
    let inner = || seen.iter().filter(|(low, high)| *low > 0 && *high + 1 < size);
    let widest = inner().map(|(low, high)| high - low + 1).max().expect("a cell away from the border");
    if exact {
        assert_eq!(widest, field[0], "{seen:?}");
        let steps: Vec<usize> = inner().zip(inner().skip(1)).map(|(a, b)| b.0 - a.0).collect();
        assert!(steps.iter().all(|&step| step as f64 == stride[0]), "{seen:?}, every {stride:?}");
    } else {
        assert!(widest <= field[0] && field[0] <= widest + 1, "{seen:?}, {field:?}");
    }
}

#[test]
fn a_cell_sees_what_is_said() {
    sees(15, |net, x| conv(net, x, 3, 2, 1, 1), true);
    sees(
        21,
        |net, x| {
            let x = conv(net, x, 3, 1, 0, 2);
            let x = net.op(Op::AveragePool { window: window(2, 2, 0, false), count_include_pad: true }, &[x]);
            let branch = conv(net, x, 3, 1, 1, 1);
            add(net, x, branch)
        },
        true,
    );
    // Every second row of what a padding moved.
    sees(
        17,
        |net, x| {
            let pad = Op::Pad {
                mode: PadMode::Constant,
                before: vec![0, 0, 1, 1],
                after: vec![0, 0, 2, 2],
                value: 0.0,
            };
            let x = net.op(pad, &[x]);
            let x = net.op(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x]);
            let ranges = [1, 2].map(|axis| Range { axis, start: 1, end: 17, step: 2 });
            let x = net.op(Op::Slice(ranges.to_vec()), &[x]);
            let x = net.op(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[x]);
            conv(net, x, 3, 1, 1, 1)
        },
        true,
    );
}

#[test]
fn behind_what_enlarges_no_cell_sees_more() {
    let enlarged = |mode, coordinates| {
        move |net: &mut Net, x: ValueId| {
            let x = conv(net, x, 3, 2, 1, 1);
            let resize = Resize { mode, coordinates, size: [16, 16], scales: None };
            let x = net.op(Op::Resize(resize), &[x]);
            net.op(Op::Unary(UnaryFn::Exp), &[x])
        }
    };
    sees(16, enlarged(ResizeMode::Linear, Coordinates::HalfPixel), false);
    sees(16, enlarged(ResizeMode::Nearest(NearestMode::Floor), Coordinates::Asymmetric), false);
    sees(
        16,
        |net, x| {
            let x = conv(net, x, 3, 2, 1, 1);
            let weights = net.between(&[1, 1, 4, 4], 0.5, 1.0);
            let conv = Conv { strides: vec![2; 2], dilations: vec![1; 2], pads: vec![(1, 1); 2], groups: 1 };
            net.op(Op::ConvTranspose(ConvTranspose { conv, output_padding: vec![0; 2] }), &[x, weights])
        },
        false,
    );
    sees(
        16,
        |net, x| {
            let weights = net.between(&[4, 1, 3, 3], 0.5, 1.0);
            let geometry =
                Conv { strides: vec![2; 2], dilations: vec![1; 2], pads: vec![(1, 1); 2], groups: 1 };
            let x = net.op(Op::Conv(geometry), &[x, weights]);
            net.op(Op::DepthToSpace { block: 2, mode: DepthMode::Crd }, &[x])
        },
        false,
    );
}

#[test]
fn what_mixes_all_cells_sees_the_whole_image() {
    let (mut net, image) = start(12);
    let x = conv(&mut net, image, 3, 1, 1, 1);
    let mean = net.op(Op::Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep: true }, &[x]);
    let gate = net.op(Op::Unary(UnaryFn::Sigmoid), &[mean]);
    let gated = net.op(Op::Binary(whycam_graph::op::BinaryFn::Mul), &[x, gate]);
    let beyond = conv(&mut net, gated, 3, 1, 1, 1);
    let graph = net.b.finish(vec![beyond]);
    assert_eq!(of(&graph, image, x), square(3, 1.0));
    assert_eq!(of(&graph, image, gated), Some(ReceptiveField::Whole));
    assert_eq!(of(&graph, image, beyond), Some(ReceptiveField::Whole));
    // A constant sees nothing.
    let weights = graph.nodes().next().unwrap().1.input(1).unwrap();
    assert_eq!(of(&graph, image, weights), None);
}

/// Patches see themselves until attention mixes them; windows of a shifted grid are not followed.
#[test]
fn transformers() {
    for (make, first) in [(nets::vit as fn(&mut Net, Images) -> ValueId, true), (nets::swin, false)] {
        let mut net = Net::new(0);
        let scores = make(&mut net, Images { count: 1, symbolic: true });
        let graph = net.b.finish(vec![scores]);
        let image = graph.inputs()[0];
        let grids = Grids::new(&graph, image);
        let fields = ReceptiveFields::new(&grids);
        let layers: Vec<_> = graph
            .nodes()
            .flat_map(|(_, node)| node.outputs.iter().flatten().copied())
            .filter(|&value| grids.layer(value).is_some())
            .map(|value| fields.of(value))
            .collect();
        assert!(
            matches!(layers[0], Some(ReceptiveField::Window { size, stride }) if size[0] as f64 == stride[0])
        );
        let expected = if first { Some(ReceptiveField::Whole) } else { None };
        assert_eq!(*layers.last().unwrap(), expected, "{layers:?}");
    }
    let (mut net, image) = start(12);
    let x = convolve(&mut net, image, 1, 3, 1);
    let graph = net.b.finish(vec![x]);
    assert_eq!(of(&graph, image, x), square(3, 1.0));
}
