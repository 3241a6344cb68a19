//! Values folded back to maps: tokens in any order, windows, channels last.

mod common;

use common::asked::{Asked, grad_cam};
use common::nets::{self, Images, relu};
use common::{EXACT, Net, assert_close, conv, copy, run_with};
use proptest::prelude::*;
use whycam_graph::layer::{Fold, Grids, Layer};
use whycam_graph::op::{BinaryFn, Op, PadMode, Range, ReduceKind};
use whycam_graph::{Build, Dim, Graph, Shape, ValueId};
use whycam_interp::Array;

/// The value in a run, folded.
fn folded(graph: &Graph, given: &[(String, Array)], value: ValueId, fold: &Fold) -> Array {
    let mut b = Build::extend(graph);
    let map = fold.apply(&mut b, value, None).unwrap();
    run_with(&b.finish(vec![map]), given, &[]).remove(0)
}

/// The value in a run, its channels scaled, folded.
fn scaled(graph: &Graph, given: &[(String, Array)], value: ValueId, fold: &Fold, factors: Array) -> Array {
    let mut b = Build::extend(graph);
    let shape = Shape(fold.shape().0[..2].to_vec());
    let input = b.input("factors", b.graph().value(value).dtype.unwrap(), shape).unwrap();
    let value = fold.scale(&mut b, value, input).unwrap();
    let map = fold.apply(&mut b, value, None).unwrap();
    let given: Vec<_> = given.iter().cloned().chain([("factors".to_owned(), factors)]).collect();
    run_with(&b.finish(vec![map]), &given, &[]).remove(0)
}

/// A random step that moves elements, as code numbers choose.
fn step(net: &mut Net, x: ValueId, [kind, a, b]: [usize; 3]) -> ValueId {
    let shape = net.shape(x);
    let rank = shape.rank();
    let axis = a % rank;
    match (kind % 5, shape.0[axis]) {
        (0, _) => {
            let mut perm: Vec<usize> = (0..rank).collect();
            perm.rotate_left(a % rank);
            perm.swap(0, b % rank);
            net.op(Op::Transpose { perm }, &[x])
        }
        (1, Dim::Fixed(size)) => {
            let first = [2, 3, 4][b % 3];
            if size % first != 0 || rank > 5 {
                return x;
            }
            let mut to = shape;
            to.0.splice(axis..=axis, [first.into(), (size / first).into()]);
            net.op(Op::Reshape { to }, &[x])
        }
        (2, first) if axis + 1 < rank => {
            let Some(merged) = first.times(shape.0[axis + 1]) else { return x };
            let mut to = shape;
            to.0.splice(axis..=axis + 1, [merged]);
            net.op(Op::Reshape { to }, &[x])
        }
        (3, Dim::Fixed(size)) if size > 1 => {
            let cut = (1 + b % (size - 1)) as i64;
            let [front, back] = [(0, cut), (cut, size as i64)]
                .map(|(start, end)| net.op(Op::Slice(vec![Range { axis, start, end, step: 1 }]), &[x]));
            net.op(Op::Concat { axis }, &[back, front])
        }
        (4, Dim::Fixed(size)) if size < 30 => {
            let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
            (before[axis], after[axis]) = ((b % 2) as i64, (b % 3) as i64);
            net.op(Op::Pad { mode: PadMode::Constant, before, after, value: 9.0 }, &[x])
        }
        _ => x,
    }
}

/// Channels in ascending order of their first cell, because steps may reorder them.
fn sorted(map: &Array) -> Vec<Vec<f64>> {
    let cells = map.shape[2] * map.shape[3];
    let mut channels: Vec<Vec<f64>> = map.data.chunks(cells).map(<[f64]>::to_vec).collect();
    channels.sort_by(|a, b| a[0].total_cmp(&b[0]));
    channels
}

fn steps() -> impl Strategy<Value = Vec<[usize; 3]>> {
    prop::collection::vec([0usize..5, 0..12, 0..12], 1..9)
}

proptest! {
    #![proptest_config(common::cases(300))]

    /// Whatever moves the cells of a map: when there is a fold, it gives the map back.
    #[test]
    fn a_fold_undoes_every_layout(steps in steps(), count in 1usize..3, symbolic: bool) {
        let map = Array::from_fn(&[count, 2, 4, 6], |i| {
            (i[0] * 1000 + i[1] * 100 + i[2] * 10 + i[3]) as f64 + 0.5
        });
        let mut net = Net::new(0);
        let image = match symbolic {
            true => net.batch("image", map.clone()),
            false => net.input("image", map.clone()),
        };
        let mut x = image;
        for code in steps {
            x = step(&mut net, x, code);
        }
        let (graph, given) = net.finish(x);
        if let Some(Layer { channels, grid, fold, .. }) = Grids::new(&graph, image).layer(x) {
            let back = folded(&graph, &given, x, &fold);
            let factors = Array::from_fn(&[count, channels], |i| (1 + i[0] * channels + i[1]) as f64);
            let wanted = Array::from_fn(&back.shape, |i| back.at(i) * factors.at(&i[..2]));
            prop_assert_eq!(scaled(&graph, &given, x, &fold, factors), wanted, "channels scaled");
            prop_assert_eq!(grid, [4, 6]);
            prop_assert_eq!(&back.shape, &[count, channels, 4, 6]);
            // Padded channels hold nothing of the map.
            let back: Vec<_> = sorted(&back).into_iter().filter(|c| c[0] != 9.0).collect();
            prop_assert_eq!(back, sorted(&map), "{}", graph);
        }
    }
}

/// How tokens and windows are made in practice, each with its fold.
#[test]
fn what_networks_do_is_folded() {
    type Steps = fn(&mut Net, ValueId, Images) -> ValueId;
    fn reshaped(net: &mut Net, x: ValueId, images: Images, c: usize, rest: &[usize]) -> ValueId {
        net.op(Op::Reshape { to: images.shape(c, rest) }, &[x])
    }
    let cases: [(&str, Steps); 7] = [
        ("channels last", |net, x, _| net.op(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x])),
        ("tokens behind two of no place", |net, x, images| {
            let x = reshaped(net, x, images, 1, &[2, 24]);
            let x = net.op(Op::Transpose { perm: vec![0, 2, 1] }, &[x]);
            let before = vec![0, 2, 0];
            net.op(Op::Pad { mode: PadMode::Constant, before, after: vec![0; 3], value: 0.0 }, &[x])
        }),
        ("tokens first, a register behind", |net, x, images| {
            let x = reshaped(net, x, images, 1, &[2, 24]);
            let x = net.op(Op::Transpose { perm: vec![2, 0, 1] }, &[x]);
            let after = vec![1, 0, 0];
            net.op(Op::Pad { mode: PadMode::Constant, before: vec![0; 3], after, value: 0.0 }, &[x])
        }),
        ("windows of 2 by 3", |net, x, images| {
            let x = reshaped(net, x, images, 1, &[2, 2, 2, 2, 3]);
            let x = net.op(Op::Transpose { perm: vec![0, 2, 4, 3, 5, 1] }, &[x]);
            reshaped(net, x, images, 4, &[6, 2])
        }),
        ("a grid of cells that lie apart", |net, x, images| {
            let x = reshaped(net, x, images, 1, &[2, 2, 2, 2, 3]);
            let x = net.op(Op::Transpose { perm: vec![0, 3, 5, 2, 4, 1] }, &[x]);
            reshaped(net, x, images, 6, &[2, 2, 2])
        }),
        ("patches gated by their sums, as separable attention does", |net, x, images| {
            let x = reshaped(net, x, images, 1, &[2, 2, 2, 2, 3]);
            let x = net.op(Op::Transpose { perm: vec![0, 1, 3, 5, 2, 4] }, &[x]);
            let x = reshaped(net, x, images, 1, &[2, 6, 4]);
            let sum = net.op(Op::Reduce { kind: ReduceKind::Sum, axes: vec![3], keep: true }, &[x]);
            let sum = net.op(Op::Expand { to: images.shape(1, &[2, 6, 4]) }, &[sum]);
            let zero = net.op(Op::Binary(BinaryFn::Sub), &[sum, sum]);
            net.op(Op::Binary(BinaryFn::Add), &[x, zero])
        }),
        ("windows of the padded map", |net, x, images| {
            let before = vec![0; 4];
            let x = net
                .op(Op::Pad { mode: PadMode::Constant, before, after: vec![0, 0, 2, 0], value: 0.0 }, &[x]);
            let x = reshaped(net, x, images, 1, &[2, 2, 3, 2, 3]);
            let x = net.op(Op::Transpose { perm: vec![0, 2, 4, 3, 5, 1] }, &[x]);
            reshaped(net, x, images, 4, &[3, 3, 2])
        }),
    ];
    for (what, steps) in cases {
        for images in [1, 3].into_iter().flat_map(|n| [true, false].map(|s| Images { count: n, symbolic: s }))
        {
            let mut net = Net::new(0);
            let image = images.input(&mut net, &[2, 4, 6]);
            let x = steps(&mut net, image, images);
            let (graph, given) = net.finish(x);
            let layer =
                Grids::new(&graph, image).layer(x).unwrap_or_else(|| panic!("{what}: no layer\n{graph}"));
            assert_eq!((layer.channels, layer.grid), (2, [4, 6]), "{what}");
            assert_eq!(folded(&graph, &given, x, &layer.fold), given[0].1, "{what}");
        }
    }
}

/// A network, and all values of it that are layers.
fn layers_of(make: nets::Make, images: Images) -> (Asked, Vec<Layer>) {
    let mut net = Net::new(3);
    let y = make(&mut net, images);
    let asked = Asked::new(net, y);
    let image = asked.image();
    let grids = Grids::new(&asked.graph, image);
    let values: Vec<ValueId> = asked.graph.nodes().filter_map(|(_, n)| n.outputs[0]).collect();
    let found = values.into_iter().filter_map(|v| grids.layer(v)).collect();
    (asked, found)
}

/// Every value of a transformer that has rows of tokens is a layer.
#[test]
fn tokens_are_followed_through_blocks() {
    for (make, count) in [(nets::vit as nets::Make, 40), (nets::swin, 50)] {
        let (asked, layers) = layers_of(make, Images { count: 1, symbolic: true });
        assert!(layers.len() > count, "only {} layers\n{}", layers.len(), asked.graph);
    }
}

/// Law: the map of an image does not depend on the images beside it, nor on the classes asked beside.
#[test]
fn maps_of_tokens_are_those_of_single_images_and_classes() {
    let mut checked = 0;
    for (name, make) in nets::ALL {
        for symbolic in [true, false] {
            let (three, layers) = layers_of(make, Images { count: 3, symbolic });
            for layer in layers.iter().rev().step_by(3) {
                let formula = [grad_cam(layer.value, false)];
                // What the score does not depend on has no map.
                let Ok(together) = three.try_ask(&[2, 0, 1], &formula) else { continue };
                checked += 1;
                for class in [0, 2] {
                    let alone = three.ask(&[class], &formula);
                    let k = [2, 0, 1].iter().position(|c| *c == class).unwrap();
                    for n in 0..3 {
                        let many = copy(&copy(&together[2], n), k);
                        let one = copy(&copy(&alone[2], n), 0);
                        assert_eq!(one.shape, layer.grid, "{name}");
                        assert_close(&many, &one, EXACT, format!("{name}, class {class}, image {n}"));
                    }
                }
            }
        }
    }
    for (name, make) in nets::ALL {
        let (mut three, layers) = layers_of(make, Images { count: 3, symbolic: true });
        let images = three.given[0].1.clone();
        for layer in layers.iter().rev().step_by(5) {
            let formula = [grad_cam(layer.value, false)];
            let Ok(together) = three.try_ask(&[1], &formula) else { continue };
            for n in 0..3 {
                let one = copy(&images, n);
                three.given[0].1 = one.reshape(&[&[1], &one.shape[..]].concat()).unwrap();
                let alone = three.ask(&[1], &formula);
                assert_close(
                    &copy(&together[2], n),
                    &copy(&alone[2], 0),
                    EXACT,
                    format!("{name}, image {n}"),
                );
            }
            three.given[0].1 = images.clone();
            checked += 1;
        }
    }
    assert!(checked > 80, "only {checked} layers");
}

/// Grad-CAM at tokens, from its formula: `Σ_c (mean over patches of g) · A`, the class token left out.
#[test]
fn the_map_of_tokens_is_that_of_the_formula() {
    let (asked, layers) = layers_of(nets::vit, Images { count: 2, symbolic: true });
    let tokens =
        |l: &&Layer| asked.graph.shape(l.value).is_ok_and(|s| s.rank() == 3 && s.0[1] == Dim::Fixed(5));
    let mut checked = 0;
    for layer in layers.iter().filter(tokens).take(8) {
        let (a, map) = (asked.value(layer.value), asked.map(2, grad_cam(layer.value, false)));
        let Some(size) = a.shape.get(2).copied() else { continue };
        let gradient = asked.map(2, common::asked::signal(layer.value, Default::default()));
        let expected = Array::from_fn(&[2, 2, 2], |i| {
            let alpha = |c: usize| (1..5).map(|t| gradient.at(&[i[0], t, c])).sum::<f64>() / 4.0;
            (0..size).map(|c| alpha(c) * a.at(&[i[0], 1 + 2 * i[1] + i[2], c])).sum()
        });
        assert_close(&map, &expected, EXACT, "tokens");
        checked += 1;
    }
    assert_eq!(checked, 8);
}

/// Four interleaved maps side by side are one of half the height and width, as is their mean over the channels.
#[test]
fn merged_patches_are_coarser_cells() {
    let mut net = Net::new(0);
    let image = net.batch("image", Array::random(&[1, 3, 4, 6], 0));
    let rows = net.op(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[image]);
    let quarter = |net: &mut Net, i: i64, j: i64| {
        let range = |axis, start, end| Range { axis, start, end, step: 2 };
        net.op(Op::Slice(vec![range(1, i, 4), range(2, j, 6)]), &[rows])
    };
    let quarters: Vec<ValueId> =
        [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(i, j)| quarter(&mut net, i, j)).to_vec();
    let joined = net.op(Op::Concat { axis: 3 }, &quarters);
    // The same by reshaping, as others write it.
    let split = |size: &[usize]| Op::Reshape { to: Images { count: 1, symbolic: true }.shape(1, size) };
    let shuffled = net.op(split(&[2, 2, 3, 2, 3]), &[rows]);
    let shuffled = net.op(Op::Transpose { perm: vec![0, 1, 3, 4, 2, 5] }, &[shuffled]);
    let shuffled = net.op(split(&[2, 3, 12]), &[shuffled]);
    let mean = net.op(Op::Reduce { kind: ReduceKind::Mean, axes: vec![3], keep: true }, &[shuffled]);
    let centred = net.op(Op::Binary(BinaryFn::Sub), &[shuffled, mean]);
    let w = net.weights(&[12, 5]);
    let linear = net.op(Op::MatMul, &[centred, w]);
    let (graph, _) = net.finish(linear);
    let grids = Grids::new(&graph, image);
    for (value, channels) in [(joined, 12), (mean, 1), (linear, 5)] {
        let layer = grids.layer(value).unwrap_or_else(|| panic!("{:?}\n{graph}", graph.value(value).name));
        assert_eq!((layer.channels, layer.grid), (channels, [2, 3]));
    }
    // Pixels that lie in the channels are cells of no map.
    assert_eq!(grids.layer(shuffled), None);
}

/// What is computed of the whole image, or of a part of it, is no layer.
#[test]
fn what_has_no_place_is_no_layer() {
    let mut net = Net::new(0);
    let image = net.batch("image", Array::random(&[1, 3, 4, 4], 0));
    let w = net.weights(&[2, 3, 1, 1]);
    let x = net.op(Op::Conv(conv(2, 1, 0)), &[image, w]);
    let x = relu(&mut net, x);
    let part = net.op(Op::Slice(vec![Range { axis: 2, start: 0, end: 2, step: 1 }]), &[x]);
    let flat = net.op(Op::Flatten { axis: 1 }, &[x]);
    let w = net.weights(&[32, 8]);
    let all = net.op(Op::MatMul, &[flat, w]);
    let shaped =
        net.op(Op::Reshape { to: Shape(vec![whycam_graph::N, 2.into(), 2.into(), 2.into()]) }, &[all]);
    let (graph, _) = net.finish(shaped);
    let grids = Grids::new(&graph, image);
    for value in [part, all, shaped] {
        assert_eq!(grids.layer(value), None, "{:?}", graph.value(value).name);
    }
}
