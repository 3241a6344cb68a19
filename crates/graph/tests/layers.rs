//! Finding the score, the image, and layers by name and automatically.

mod common;

use common::nets::{self, Images, add, batch_norm, convolve, linear, pooled_linear, relu};
use common::{Net, window};
use whycam_graph::derive::{Aim, aim};
use whycam_graph::layer::{self, ScoreKind};
use whycam_graph::op::{BinaryFn, Op, PadMode, ReduceKind, UnaryFn};
use whycam_graph::{Build, DType, Emit, Error, Graph, Header, N, NamedNode, Shape, ValueId};
use whycam_interp::Array;

/// The layer that is found for the score at `output`.
#[track_caller]
fn automatic(net: Net, output: ValueId) -> ValueId {
    let graph = net.b.finish(vec![output]);
    let (image, score) = (layer::image_input(&graph).unwrap(), layer::score(&graph, None).unwrap());
    layer::automatic(&graph, image, &score).unwrap()
}

/// A network and its image of 12 by 12 cells.
fn start() -> (Net, ValueId) {
    let mut net = Net::new(0);
    let image = net.batch("image", Array::random(&[1, 3, 12, 12], 0));
    (net, image)
}

fn flatten(net: &mut Net, x: ValueId) -> ValueId {
    net.op(Op::Flatten { axis: 1 }, &[x])
}

fn clip6(net: &mut Net, x: ValueId) -> ValueId {
    net.op(Op::Unary(UnaryFn::Clip { min: 0.0, max: 6.0 }), &[x])
}

#[test]
fn alexnet_relu_before_two_pools_and_three_linear_layers() {
    let (mut net, x) = start();
    let x = convolve(&mut net, x, 4, 3, 1);
    let relu5 = relu(&mut net, x);
    let x = net.op(Op::MaxPool(window(3, 2, 0, false)), &[relu5]);
    let x = net.op(Op::AveragePool { window: window(1, 1, 0, false), count_include_pad: true }, &[x]);
    let x = flatten(&mut net, x);
    let x = net.op(Op::Dropout, &[x]);
    let x = linear(&mut net, x, 100, 6);
    let x = relu(&mut net, x);
    let y = linear(&mut net, x, 6, 5);
    assert_eq!(automatic(net, y), relu5);
}

#[test]
fn resnet_relu_behind_the_last_addition() {
    let (mut net, x) = start();
    let x = convolve(&mut net, x, 4, 3, 2);
    let x = relu(&mut net, x);
    let branch = convolve(&mut net, x, 4, 3, 1);
    let branch = batch_norm(&mut net, branch);
    let sum = add(&mut net, branch, x);
    let last = relu(&mut net, sum);
    let y = pooled_linear(&mut net, last, 5);
    assert_eq!(automatic(net, y), last);
}

#[test]
fn a_mean_over_space_is_a_pool() {
    for keep in [false, true] {
        let (mut net, x) = start();
        let x = convolve(&mut net, x, 4, 3, 2);
        let last = relu(&mut net, x);
        let x = net.op(Op::Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep }, &[last]);
        let x = flatten(&mut net, x);
        let y = linear(&mut net, x, 4, 5);
        assert_eq!(automatic(net, y), last);
    }
}

/// There are 2^64 ways to the constant that the weights are made of.
#[test]
fn weights_that_double_sixty_four_times_are_followed_once() {
    let (mut net, x) = start();
    let x = convolve(&mut net, x, 4, 3, 2);
    let last = relu(&mut net, x);
    let x = net.op(Op::GlobalAveragePool, &[last]);
    let x = flatten(&mut net, x);
    let mut weights = net.weights(&[4, 5]);
    for _ in 0..64 {
        weights = add(&mut net, weights, weights);
    }
    let y = net.op(Op::MatMul, &[x, weights]);
    assert_eq!(automatic(net, y), last);
}

/// A mean over one axis still has a grid, but is no layer. The weights are a constant expression.
#[test]
fn a_pool_in_two_steps_is_stepped_over() {
    let (mut net, x) = start();
    let last = convolve(&mut net, x, 4, 3, 2);
    let x = net.op(Op::Reduce { kind: ReduceKind::Mean, axes: vec![3], keep: true }, &[last]);
    let x = net.op(Op::Reduce { kind: ReduceKind::Mean, axes: vec![2], keep: true }, &[x]);
    let x = flatten(&mut net, x);
    let w = net.weights(&[5, 4]);
    let w = net.op(Op::Transpose { perm: vec![1, 0] }, &[w]);
    let y = net.op(Op::MatMul, &[x, w]);
    assert_eq!(automatic(net, y), last);
}

#[test]
fn squeezenet_the_concatenation_before_the_class_maps() {
    let (mut net, x) = start();
    let x = convolve(&mut net, x, 4, 3, 2);
    let [left, right] = [1, 3].map(|kernel| {
        let y = convolve(&mut net, x, 3, kernel, 1);
        relu(&mut net, y)
    });
    let joined = net.op(Op::Concat { axis: 1 }, &[left, right]);
    let x = net.op(Op::Dropout, &[joined]);
    let class_maps = convolve(&mut net, x, 5, 1, 1);
    let x = relu(&mut net, class_maps);
    let x = net.op(Op::GlobalAveragePool, &[x]);
    let y = flatten(&mut net, x);
    assert_eq!(automatic(net, y), joined);
}

#[test]
fn densenet_the_final_relu() {
    let mut net = Net::new(0);
    let y = nets::densenet(&mut net, Images { count: 1, symbolic: true });
    let graph = net.b.graph();
    let last = graph.nodes().rfind(|(_, n)| n.op == Op::Unary(UnaryFn::Relu));
    let last = last.and_then(|(_, n)| n.outputs[0]).unwrap();
    assert_eq!(automatic(net, y), last);
}

#[test]
fn inception_the_concatenation_not_a_branch() {
    let (mut net, image) = start();
    let narrow = convolve(&mut net, image, 3, 1, 1);
    let narrow = relu(&mut net, narrow);
    let wide = convolve(&mut net, image, 3, 3, 1);
    let wide = relu(&mut net, wide);
    let pooled = net.op(Op::MaxPool(window(3, 1, 1, false)), &[image]);
    let pooled = convolve(&mut net, pooled, 2, 1, 1);
    let pooled = relu(&mut net, pooled);
    let joined = net.op(Op::Concat { axis: 1 }, &[narrow, wide, pooled]);
    let y = pooled_linear(&mut net, joined, 5);
    assert_eq!(automatic(net, y), joined);
}

/// Two branches that are pooled apart: each sees only part of the way, so the trunk is the layer.
#[test]
fn branches_that_are_pooled_apart_yield_to_the_trunk() {
    let (mut net, x) = start();
    let x = convolve(&mut net, x, 4, 3, 2);
    let trunk = relu(&mut net, x);
    let [left, right] = [1, 3].map(|kernel| {
        let y = convolve(&mut net, trunk, 3, kernel, 1);
        let y = relu(&mut net, y);
        let y = net.op(Op::GlobalAveragePool, &[y]);
        flatten(&mut net, y)
    });
    let joined = net.op(Op::Concat { axis: 1 }, &[left, right]);
    let y = linear(&mut net, joined, 6, 5);
    assert_eq!(automatic(net, y), trunk);
}

#[test]
fn mobilenet_the_last_clip() {
    let (mut net, x) = start();
    let x = convolve(&mut net, x, 4, 3, 2);
    let x = clip6(&mut net, x);
    let x = convolve(&mut net, x, 6, 1, 1);
    let last = clip6(&mut net, x);
    let x = net.op(Op::GlobalAveragePool, &[last]);
    let x = net.op(Op::Squeeze { axes: vec![2, 3] }, &[x]);
    let x = net.op(Op::Dropout, &[x]);
    let y = linear(&mut net, x, 6, 5);
    assert_eq!(automatic(net, y), last);
}

/// The result of an addition, counted from the image.
fn addition(graph: &Graph, index: usize) -> ValueId {
    let sums = graph.nodes().filter(|(_, n)| n.op == Op::Binary(BinaryFn::Add));
    sums.map(|(_, n)| n.outputs[0].unwrap()).nth(index).unwrap()
}

/// A class token reads the last block through its keys and values, which are made of the first normalisation.
#[test]
fn a_class_token_alone_is_explained_at_the_last_first_normalisation() {
    let mut net = Net::new(3);
    let y = nets::vit(&mut net, Images { count: 1, symbolic: true });
    // Additions: positions; then variance and shift of the normalisation.
    let norm1 = addition(net.b.graph(), 2);
    assert_eq!(automatic(net, y), norm1);
}

/// Keys and values of projections of their own are two ways; what both are made of is the layer.
#[test]
fn separate_projections_are_stepped_over() {
    for tokens_read in [1, 5] {
        let mut net = Net::new(0);
        let x = net.batch("image", Array::random(&[1, 3, 8, 8], 0));
        let w = net.weights(&[4, 3, 4, 4]);
        let x = net.op(Op::Conv(common::conv(2, 4, 0)), &[x, w]);
        let x = net.op(Op::Reshape { to: Shape(vec![N, 4.into(), 4.into()]) }, &[x]);
        let x = net.op(Op::Transpose { perm: vec![0, 2, 1] }, &[x]);
        let before = vec![0, 1, 0];
        let pad = Op::Pad { mode: PadMode::Constant, before, after: vec![0; 3], value: 0.3 };
        let x = net.op(pad, &[x]);
        let normal = net.op(Op::Unary(UnaryFn::Tanh), &[x]);
        let [q, k, v] = [0; 3].map(|_| {
            let w = net.weights(&[4, 4]);
            net.op(Op::MatMul, &[normal, w])
        });
        let k = net.b.transpose_last(k).unwrap();
        let scores = net.b.matmul(q, k).unwrap();
        let shares = net.op(Op::Softmax { axis: 2 }, &[scores]);
        let mixed = net.b.matmul(shares, v).unwrap();
        let sum = add(&mut net, x, mixed);
        let range = whycam_graph::op::Range { axis: 1, start: 0, end: tokens_read, step: 1 };
        let read = net.op(Op::Slice(vec![range]), &[sum]);
        let mean = net.op(Op::Reduce { kind: ReduceKind::Mean, axes: vec![1], keep: false }, &[read]);
        let y = linear(&mut net, mean, 4, 5);
        // A mean over all tokens reads the block's own result.
        assert_eq!(automatic(net, y), if tokens_read == 1 { normal } else { sum }, "{tokens_read}");
    }
}

#[test]
fn swin_the_last_map_before_the_mean() {
    let mut net = Net::new(3);
    let y = nets::swin(&mut net, Images { count: 1, symbolic: true });
    let graph = net.b.graph();
    let last = graph.nodes().rfind(|(_, n)| n.op == Op::Binary(BinaryFn::Add));
    let last = last.and_then(|(_, n)| n.outputs[0]).unwrap();
    assert_eq!(automatic(net, y), last);
}

#[test]
fn a_mean_over_channels_last_is_a_pool() {
    let mut net = Net::new(0);
    let x = net.batch("image", Array::random(&[1, 8, 8, 3], 0));
    let x = net.op(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[x]);
    let x = convolve(&mut net, x, 4, 3, 1);
    let x = net.op(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x]);
    let last = relu(&mut net, x);
    let x = net.op(Op::Reduce { kind: ReduceKind::Mean, axes: vec![1, 2], keep: false }, &[last]);
    let y = linear(&mut net, x, 4, 5);
    assert_eq!(automatic(net, y), last);
}

/// Squeeze and excitation: the gate has no grid, so all of the image passes the product.
#[test]
fn excitation_gates_do_not_hide_the_product() {
    let (mut net, x) = start();
    let x = convolve(&mut net, x, 4, 3, 2);
    let x = net.op(Op::Unary(UnaryFn::HardSwish), &[x]);
    let gate = net.op(Op::GlobalAveragePool, &[x]);
    let gate = convolve(&mut net, gate, 4, 1, 1);
    let gate = net.op(Op::Unary(UnaryFn::Sigmoid), &[gate]);
    let product = net.op(Op::Binary(BinaryFn::Mul), &[x, gate]);
    let y = pooled_linear(&mut net, product, 5);
    assert_eq!(automatic(net, y), product);
}

#[test]
fn copies_and_enlargements_are_stepped_over() {
    let (mut net, x) = start();
    let last = convolve(&mut net, x, 4, 3, 2);
    let x = net.op(Op::Identity, &[last]);
    let before = vec![0, 0, 1, 1];
    let pad = Op::Pad { mode: PadMode::Constant, before: before.clone(), after: before, value: 0.0 };
    let x = net.op(pad, &[x]);
    let x = net.op(Op::MaxPool(window(2, 2, 0, false)), &[x]);
    let y = pooled_linear(&mut net, x, 5);
    assert_eq!(automatic(net, y), last);
}

#[test]
fn no_layer_at_all_is_an_error() {
    let (mut net, x) = start();
    let x = flatten(&mut net, x);
    let y = linear(&mut net, x, 432, 5);
    let graph = net.b.finish(vec![y]);
    let (image, score) = (layer::image_input(&graph).unwrap(), layer::score(&graph, None).unwrap());
    let error = layer::automatic(&graph, image, &score).unwrap_err();
    assert!(matches!(error, Error::Unfit { .. }), "{error}");
    assert!(error.to_string().contains("--layer"), "{error}");
}

#[test]
fn layers_are_listed_from_the_image_to_the_score() {
    let (mut net, image) = start();
    let a = convolve(&mut net, image, 4, 3, 2);
    let b = relu(&mut net, a);
    let beside = convolve(&mut net, image, 2, 3, 1);
    let y = pooled_linear(&mut net, b, 5);
    let graph = net.b.finish(vec![y, beside]);
    let score = layer::score(&graph, None).unwrap();
    let told: Vec<_> =
        layer::layers(&graph, image, &score).into_iter().map(|l| (l.value, l.channels, l.grid)).collect();
    assert_eq!(told, [(a, 4, [6, 6]), (b, 4, [6, 6])]);
}

/// The layers of a sweep over the network whose score is at `output`.
fn swept(net: Net, image: ValueId, output: ValueId) -> Vec<ValueId> {
    let graph = net.b.finish(vec![output]);
    layer::sweep(&graph, image, &layer::score(&graph, None).unwrap())
}

#[test]
fn a_sweep_of_a_plain_network_has_its_rectified_convolutions() {
    let (mut net, image) = start();
    let a = convolve(&mut net, image, 4, 3, 1);
    let relu1 = relu(&mut net, a);
    let x = net.op(Op::MaxPool(window(2, 2, 0, false)), &[relu1]);
    let b = convolve(&mut net, x, 4, 3, 1);
    let b = batch_norm(&mut net, b);
    let relu2 = relu(&mut net, b);
    let x = flatten(&mut net, relu2);
    let x = linear(&mut net, x, 144, 6);
    let x = relu(&mut net, x);
    let y = linear(&mut net, x, 6, 5);
    assert_eq!(swept(net, image, y), [relu1, relu2]);
}

#[test]
fn a_sweep_of_a_residual_network_has_its_stem_and_its_blocks() {
    // Behind the sum as ResNets have it, before it as their successors do, whose last sum is rectified too.
    for behind in [true, false] {
        let (mut net, image) = start();
        let stem = convolve(&mut net, image, 4, 3, 2);
        let mut x = relu(&mut net, stem);
        let mut expected = vec![x];
        for _ in 0..2 {
            let branch = convolve(&mut net, x, 4, 3, 1);
            let branch = batch_norm(&mut net, branch);
            let branch = relu(&mut net, branch);
            let branch = convolve(&mut net, branch, 4, 3, 1);
            x = add(&mut net, branch, x);
            if behind {
                x = relu(&mut net, x);
            }
            expected.push(x);
        }
        if !behind {
            let normal = batch_norm(&mut net, x);
            x = relu(&mut net, normal);
            *expected.last_mut().unwrap() = x;
        }
        let y = pooled_linear(&mut net, x, 5);
        assert_eq!(swept(net, image, y), expected);
    }
}

#[test]
fn images_have_four_axes() {
    let mut b = Build::new(Header::default());
    b.input("ids", DType::I64, [1, 3, 4, 4].into()).unwrap();
    b.input("words", DType::F32, [1, 4].into()).unwrap();
    let graph = b.finish(vec![]);
    let error = layer::image_input(&graph).unwrap_err();
    assert!(error.to_string().contains("no image input"), "{error}");
    let mut b = Build::extend(&graph);
    let bytes = b.input("bytes", DType::U8, [1, 4, 4, 3].into()).unwrap();
    assert_eq!(layer::image_input(&b.finish(vec![])), Ok(bytes));
}

/// A node under the names of its file.
fn named(b: &mut Build, op: Op, input: ValueId, output: &str, name: &str, module: Option<&str>) -> ValueId {
    let node = NamedNode {
        op,
        inputs: vec![Some(input)],
        outputs: vec![Some(output.into())],
        name: name.into(),
        module: module.map(Into::into),
    };
    b.named(node).unwrap()[0].unwrap()
}

fn modules() -> (Graph, [ValueId; 4]) {
    let mut b = Build::new(Header::default());
    let x = b.input("image", DType::F32, Shape(vec![N, 3.into(), 4.into(), 4.into()])).unwrap();
    let f = || Op::Unary(UnaryFn::Relu);
    let one = named(&mut b, f(), x, "val_1", "node_1", Some("layer4.2.conv1"));
    let two = named(&mut b, f(), one, "val_2", "/layer4/2/relu", Some("layer4.2"));
    let three = named(&mut b, f(), two, "val_3", "node_3", Some("layer4.20"));
    let four = named(&mut b, f(), three, "val_4", "node_4", None);
    (b.finish(vec![four]), [one, two, three, four])
}

#[test]
fn layers_are_found_by_value_node_and_module() {
    let (graph, [one, two, three, four]) = modules();
    assert_eq!(layer::find(&graph, "val_1"), Ok(one));
    assert_eq!(layer::find(&graph, "/layer4/2/relu"), Ok(two));
    assert_eq!(layer::find(&graph, "node_4"), Ok(four));
    // A module stands for its last value, submodules included; layer4.20 is none of layer4.2.
    assert_eq!(layer::find(&graph, "layer4.2"), Ok(two));
    assert_eq!(layer::find(&graph, "layer4.2.conv1"), Ok(one));
    assert_eq!(layer::find(&graph, "layer4"), Ok(three));
}

#[test]
fn patterns_stand_for_the_last_layers_of_modules() {
    let found = |graph: &Graph, pattern: &str| {
        let (image, value) = (graph.inputs()[0], graph.outputs()[0]);
        let score = layer::Score {
            value,
            output: value,
            kind: ScoreKind::Logit,
            classes: 4,
            told: value,
            aims: 0,
            from: 0,
        };
        layer::matching(graph, image, &score, pattern)
    };
    let (graph, [one, two, three, four]) = modules();
    assert_eq!(found(&graph, "layer4.*"), Ok(vec![two, three]));
    assert_eq!(found(&graph, "layer4/2*"), Ok(vec![two, three]));
    assert_eq!(found(&graph, "*4.*.*"), Ok(vec![one]));
    assert_eq!(found(&graph, "val_*"), Ok(vec![four]));
    let error = found(&graph, "layer5.*").unwrap_err();
    assert!(matches!(error, Error::Name { .. }) && error.to_string().contains("block*"), "{error}");

    // What only goes on into an activation is left out, and so is a pool.
    let mut b = Build::new(Header::default());
    let x = b.input("image", DType::F32, Shape(vec![N, 3.into(), 4.into(), 4.into()])).unwrap();
    let mixed = Op::Softmax { axis: 1 };
    let pool = Op::MaxPool(window(2, 2, 0, false));
    let ops = [mixed.clone(), Op::Unary(UnaryFn::Relu), pool, mixed];
    let mut values = vec![x];
    for (i, op) in ops.into_iter().enumerate() {
        let module = format!("features.{i}");
        values.push(named(&mut b, op, values[i], &format!("val_{i}"), &format!("node_{i}"), Some(&module)));
    }
    let graph = b.finish(vec![values[4]]);
    assert_eq!(found(&graph, "features.*"), Ok(vec![values[2], values[4]]));
}

#[test]
fn unknown_layers_are_answered_with_candidates() {
    let (graph, _) = modules();
    let error = layer::find(&graph, "CONV1").unwrap_err();
    assert!(matches!(error, Error::Name { .. }), "{error}");
    assert!(error.to_string().contains("did you mean layer4.2.conv1?"), "{error}");
    let error = layer::find(&graph, "features.29").unwrap_err();
    assert!(error.to_string().contains("`whycam inspect`"), "{error}");
}

/// `logits` and what stands behind them, as the model's outputs.
fn scored(ending: &[Op], shape: Shape) -> (Graph, ValueId) {
    let mut b = Build::new(Header::default());
    let logits = b.input("logits", DType::F32, shape).unwrap();
    let mut y = logits;
    for op in ending {
        y = b.nodes(op.clone(), &[Some(y)]).unwrap()[0];
    }
    (b.finish(vec![y]), logits)
}

#[test]
fn a_last_softmax_or_sigmoid_is_stepped_over() {
    let flat = || Shape(vec![N, 5.into()]);
    let image = || Shape(vec![N, 5.into(), 1.into(), 1.into()]);
    let reshape = || Op::Reshape { to: flat() };
    for (ending, shape, kind) in [
        (vec![], flat(), ScoreKind::Logit),
        (vec![Op::Softmax { axis: 1 }], flat(), ScoreKind::Softmax),
        (vec![Op::LogSoftmax { axis: 1 }], flat(), ScoreKind::Softmax),
        (vec![Op::Unary(UnaryFn::Sigmoid)], flat(), ScoreKind::Sigmoid),
        (vec![], image(), ScoreKind::Logit),
        (vec![Op::Softmax { axis: 1 }, reshape()], image(), ScoreKind::Softmax),
        (vec![Op::Softmax { axis: 1 }, Op::Identity], flat(), ScoreKind::Softmax),
        (vec![], [5].into(), ScoreKind::Logit),
    ] {
        let (graph, logits) = scored(&ending, shape);
        let score = layer::score(&graph, None).unwrap();
        assert_eq!((score.value, score.kind, score.classes), (logits, kind, 5), "{ending:?}");
        assert_eq!(score.output, graph.outputs()[0]);
    }
}

/// Layout ops alone are not stepped over, and neither is a softmax before other arithmetic.
#[test]
fn other_endings_are_scores_as_they_are() {
    for ending in [vec![Op::Flatten { axis: 1 }], vec![Op::Softmax { axis: 1 }, Op::Unary(UnaryFn::Log)]] {
        let (graph, _) = scored(&ending, Shape(vec![N, 5.into()]));
        let score = layer::score(&graph, None).unwrap();
        assert_eq!((score.value, score.kind), (graph.outputs()[0], ScoreKind::Logit), "{ending:?}");
    }
}

#[test]
fn outputs_are_chosen_by_name_or_as_the_first_that_fits() {
    let mut b = Build::new(Header::default());
    let mask = b.input("mask", DType::F32, Shape(vec![N, 2.into(), 8.into(), 8.into()])).unwrap();
    let indices = b.input("indices", DType::I64, Shape(vec![N, 5.into()])).unwrap();
    let a = b.input("a", DType::F32, Shape(vec![N, 5.into()])).unwrap();
    let z = b.input("z", DType::F32, Shape(vec![N, 7.into()])).unwrap();
    let graph = b.finish(vec![mask, indices, a, z]);
    assert_eq!(layer::score(&graph, None).unwrap().value, a);
    assert_eq!(layer::score(&graph, Some("z")).unwrap().classes, 7);
    let listed = "mask [N,2,8,8], indices [N,5], a [N,5], z [N,7]";
    let error = layer::score(&graph, Some("mask")).unwrap_err();
    assert!(matches!(error, Error::Unfit { .. }) && error.to_string().contains(listed), "{error}");
    let error = layer::score(&graph, Some("logits")).unwrap_err();
    assert!(matches!(error, Error::Name { .. }) && error.to_string().contains(listed), "{error}");
    let error = layer::score(&graph.with_outputs(&[mask]), None).unwrap_err();
    assert!(error.to_string().contains("the model's outputs are: mask"), "{error}");
}

/// As of a detector's anchor: a cell of a late map sees a part of the image alone, so no layer gets signal in all cells.
#[test]
fn the_layer_of_a_local_number_is_the_nearest_that_gets_any_signal() {
    let mut net = Net::new(3);
    let image = net.input("image", Array::random(&[1, 3, 9, 9], 4));
    let x = convolve(&mut net, image, 5, 3, 1);
    let tanh = net.op(Op::Unary(UnaryFn::Tanh), &[x]);
    let scores = convolve(&mut net, tanh, 4, 3, 1);
    let (graph, _) = net.finish(scores);
    let corner = Aim::Element { output: scores, index: vec![0, 0, 0] };
    let (graph, score) = aim(&graph, image, None, &[corner], false).unwrap();
    assert_eq!(layer::automatic(&graph, image, &score), Ok(tanh));
}

/// The regions of a detector have scores of classes too, but there are more of them than images.
#[test]
fn rows_that_are_no_images_are_no_class_scores() {
    let mut net = Net::new(0);
    let image = net.input("image", Array::random(&[1, 3, 4, 4], 0));
    let regions = net.op(Op::Reshape { to: [3, 16].into() }, &[image]);
    let whole = net.op(Op::Reshape { to: [1, 48].into() }, &[image]);
    assert!(layer::score(&net.b.graph().with_outputs(&[regions]), None).is_err());
    assert_eq!(layer::score(&net.b.graph().with_outputs(&[whole]), None).unwrap().classes, 48);
}
