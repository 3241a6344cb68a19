//! Windows against the whole network, in float64: the same scores for every patch, on random networks.

use proptest::prelude::*;
use whycam_graph::op::{BinaryFn, Conv, UnaryFn, Window};
use whycam_graph::window::{Span, Windows, windows};
use whycam_graph::{Build, DType, Graph, Header, N, Op, Shape, Tensor, ValueId, pass};
use whycam_interp::{Array, run};

/// A layer of a random network.
#[derive(Clone, Debug)]
enum Layer {
    /// Kernel, stride, dilation, padding before and behind, and whether groups do not see each other.
    Conv {
        size: usize,
        stride: usize,
        dilation: usize,
        pads: (usize, usize),
        depthwise: bool,
    },
    Max {
        size: usize,
        stride: usize,
        pads: (usize, usize),
        ceil: bool,
    },
    Mean {
        size: usize,
        stride: usize,
        pad: usize,
    },
    Relu,
    /// `x + conv(x)`
    Residual,
    /// `[x, conv(x)]`
    Dense,
    /// `x · c`, a constant for each channel.
    Scale,
}

fn layer() -> impl Strategy<Value = Layer> {
    let pads = |size: usize| (0..size, 0..size);
    prop_oneof![
        3 => (1usize..5, 1usize..4, 1usize..3).prop_flat_map(move |(size, stride, dilation)| {
            (Just((size, stride, dilation)), pads((size - 1) * dilation + 1), any::<bool>())
        }).prop_map(|((size, stride, dilation), pads, depthwise)| Layer::Conv { size, stride, dilation, pads, depthwise }),
        2 => (1usize..4, 1usize..4).prop_flat_map(move |(size, stride)| (Just((size, stride)), pads(size), any::<bool>()))
            .prop_map(|((size, stride), pads, ceil)| Layer::Max { size, stride, pads, ceil }),
        1 => (1usize..4, 1usize..4).prop_flat_map(|(size, stride)| (Just((size, stride)), 0..size))
            .prop_map(|((size, stride), pad)| Layer::Mean { size, stride, pad }),
        1 => Just(Layer::Relu),
        1 => Just(Layer::Residual),
        1 => Just(Layer::Dense),
        1 => Just(Layer::Scale),
    ]
}

fn constant(b: &mut Build, shape: &[usize], seed: u64) -> ValueId {
    let values: Vec<f32> = Array::random(shape, seed).data.iter().map(|&v| v as f32).collect();
    b.constant(Tensor::f32(shape, &values).expect("fits"))
}

/// A node on these operands, unless they do not fit.
fn node(b: &mut Build, op: Op, inputs: &[ValueId]) -> Option<ValueId> {
    let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
    b.nodes(op, &inputs).ok().map(|made| made[0])
}

fn conv(stride: usize, dilation: usize, pads: (usize, usize), groups: usize) -> Op {
    Op::Conv(Conv { strides: vec![stride; 2], dilations: vec![dilation; 2], pads: vec![pads; 2], groups })
}

/// Adds a layer, unless it leaves no cells.
fn add(b: &mut Build, x: ValueId, layer: &Layer, seed: u64) -> Option<ValueId> {
    let channels = b.graph().shape(x).ok()?.0[1].fixed()?;
    match *layer {
        Layer::Conv { size, stride, dilation, pads, depthwise } => {
            let (groups, seen) = if depthwise { (channels, 1) } else { (1, channels) };
            let (w, c) =
                (constant(b, &[channels, seen, size, size], seed), constant(b, &[channels], seed + 1));
            let op = conv(stride, dilation, pads, groups);
            b.nodes(op, &[Some(x), Some(w), Some(c)]).ok().map(|made| made[0])
        }
        Layer::Max { size, stride, pads, ceil } => node(
            b,
            Op::MaxPool(Window {
                kernel: vec![size; 2],
                strides: vec![stride; 2],
                dilations: vec![1; 2],
                pads: vec![pads; 2],
                ceil_mode: ceil,
            }),
            &[x],
        ),
        Layer::Mean { size, stride, pad } => {
            let window = Window {
                kernel: vec![size; 2],
                strides: vec![stride; 2],
                dilations: vec![1; 2],
                pads: vec![(pad, pad); 2],
                ceil_mode: false,
            };
            node(b, Op::AveragePool { window, count_include_pad: true }, &[x])
        }
        Layer::Relu => node(b, Op::Unary(UnaryFn::Relu), &[x]),
        Layer::Residual | Layer::Dense => {
            let w = constant(b, &[channels, channels, 3, 3], seed);
            let y = b.nodes(conv(1, 1, (1, 1), 1), &[Some(x), Some(w)]).ok()?[0];
            let op = match layer {
                Layer::Residual => Op::Binary(BinaryFn::Add),
                _ => Op::Concat { axis: 1 },
            };
            Some(b.nodes(op, &[Some(x), Some(y)]).ok()?[0])
        }
        Layer::Scale => {
            let factors = constant(b, &[1, channels, 1, 1], seed);
            node(b, Op::Binary(BinaryFn::Mul), &[x, factors])
        }
    }
}

/// A network of these layers, and a mean over space with scores behind them.
fn network(layers: &[Layer], height: usize, width: usize) -> (Graph, ValueId) {
    let header = Header { ir_version: 8, opsets: [(String::new(), 17)].into(), ..Header::default() };
    let mut b = Build::new(header);
    let image = b
        .input("image", DType::F32, Shape(vec![N, 2.into(), height.into(), width.into()]))
        .expect("a fresh name");
    let mut x = image;
    for (i, layer) in layers.iter().enumerate() {
        x = add(&mut b, x, layer, i as u64 * 2 + 1).unwrap_or(x);
    }
    let mean = b.nodes(Op::GlobalAveragePool, &[Some(x)]).expect("a map")[0];
    let top = b.nodes(Op::GlobalMaxPool, &[Some(x)]).expect("a map")[0];
    let scores = b.nodes(Op::Concat { axis: 1 }, &[Some(mean), Some(top)]).expect("fits")[0];
    (b.finish(vec![scores]), image)
}

fn spans(side: usize, mask: usize, stride: usize) -> Vec<Span> {
    let around = |centre: usize| Span {
        first: centre.saturating_sub((mask - 1) / 2) as i64,
        end: (centre + mask / 2 + 1).min(side) as i64,
    };
    (0..side).step_by(stride).map(around).collect()
}

fn tensor(array: &Array) -> Tensor {
    let values: Vec<f32> = array.data.iter().map(|&v| v as f32).collect();
    Tensor::f32(&array.shape, &values).expect("fits")
}

fn array(tensor: &Tensor) -> Array {
    Array::new(tensor.shape(), tensor.to_f64s())
}

/// The scores of every patch by windows, `[patches, classes]`.
fn by_windows(
    graph: &Graph,
    windows: &Windows,
    image: &Array,
    covered: &dyn Fn(usize) -> Array,
) -> Vec<Vec<f64>> {
    let shape = [image.shape[1], image.shape[2], image.shape[3]];
    let whole = run(&windows.whole, &[("image", image.clone())]).expect("runs");
    let maps = windows.maps(&whole.iter().map(tensor).collect::<Vec<_>>()).expect("maps");
    let cut = graph.find(&windows.cut).expect("named");
    let above = pass::cut(graph, cut, |_, value| Ok(value)).expect("cut");
    let mut scores = vec![Vec::new(); windows.patches[0].len() * windows.patches[1].len()];
    for places in windows.runs(3) {
        assert!(places.len() <= 3);
        let of = |at: usize| Ok(tensor(&covered(at)));
        let inputs = windows.feed(&places, &maps, shape, of).expect("feeds");
        let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (name.as_str(), array(tensor))).collect();
        let window = run(&windows.part, &inputs).expect("runs").remove(0);
        let mut pasted = Vec::new();
        windows.paste(&places, &maps, &tensor(&window), &mut pasted).expect("fits");
        let [channels, height, width] = windows.cut_shape(&maps);
        let shape = vec![places.len(), channels, height, width];
        let pasted = Tensor::new(DType::F32, shape, pasted).expect("fits");
        let found = run(&above, &[(&windows.cut, array(&pasted))]).expect("runs").remove(0);
        let classes = found.shape[1];
        for (row, &at) in places.iter().enumerate() {
            assert!(scores[at].is_empty(), "patch {at} is run twice");
            scores[at] = found.data[row * classes..(row + 1) * classes].to_vec();
        }
    }
    scores
}

/// Compares both ways for every patch; whether there were windows.
fn compare(layers: &[Layer], height: usize, width: usize, mask: usize, stride: usize) -> bool {
    let (graph, image) = network(layers, height, width);
    let patches = [spans(height, mask, stride), spans(width, mask, stride)];
    let Some(windows) = windows(&graph, image, &patches).expect("builds") else { return false };
    let picture = Array::random(&[1, 2, height, width], 77);
    let columns = patches[1].len();
    let covered = |at: usize| {
        let (rows, columns) = (patches[0][at / columns], patches[1][at % columns]);
        Array::from_fn(&[1, 2, height, width], |i| {
            let inside = |span: Span, at: usize| (span.first..span.end).contains(&(at as i64));
            let index = (i[1] * height + i[2]) * width + i[3];
            if inside(rows, i[2]) && inside(columns, i[3]) { 0.5 } else { picture.data[index] }
        })
    };
    let found = by_windows(&graph, &windows, &picture, &covered);
    for (at, found) in found.iter().enumerate() {
        let expected = run(&graph, &[("image", covered(at))]).expect("runs").remove(0).data;
        let most = expected.iter().fold(1.0f64, |most, v| most.max(v.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            // Maps and windows are handed over in float32.
            assert!((found - expected).abs() <= 1e-5 * most, "patch {at}: {found} is not {expected}");
        }
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn windows_give_the_scores_of_the_whole_network(
        layers in prop::collection::vec(layer(), 1..6), height in 6usize..15, width in 6usize..15,
        mask in 1usize..6, stride in 1usize..5,
    ) {
        compare(&layers, height, width, mask, stride);
    }
}

#[test]
fn a_sequential_a_residual_and_a_dense_network_have_windows() {
    let same = Layer::Conv { size: 3, stride: 1, dilation: 1, pads: (1, 1), depthwise: false };
    let pool = Layer::Max { size: 3, stride: 2, pads: (1, 1), ceil: false };
    let shortcut = Layer::Conv { size: 1, stride: 2, dilation: 1, pads: (0, 0), depthwise: false };
    for layers in [
        vec![same.clone(), Layer::Relu, pool.clone(), same.clone(), Layer::Relu],
        vec![same.clone(), pool, Layer::Residual, shortcut, Layer::Residual],
        vec![same, Layer::Dense, Layer::Relu, Layer::Dense, Layer::Mean { size: 2, stride: 2, pad: 0 }],
    ] {
        for (mask, stride) in [(1, 3), (4, 5), (5, 2)] {
            assert!(compare(&layers, 18, 21, mask, stride), "{layers:?}");
        }
    }
}

#[test]
fn a_network_that_mixes_all_cells_at_once_has_none() {
    assert!(!compare(&[], 8, 9, 3, 2));
}
