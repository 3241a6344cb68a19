//! The laws of Grad-CAM, the gradient family and Guided Grad-CAM, and known numbers, on tiny networks.

mod common;

use common::nets::{self, Images, convolve, linear, pooled_linear, relu};
use common::{EXACT, Net, RELU_RULES, assert_close, conv, run_with, window};
use whycam_graph::derive::{Classes, Derived, Formula, Recipe, Reduce, TARGET, derive};
use whycam_graph::diff::{ReluRule, Rules};
use whycam_graph::layer;
use whycam_graph::op::{Coordinates, Gemm, Op, UnaryFn};
use whycam_graph::{Emit, Graph, N, Shape, Tensor, ValueId};
use whycam_interp::Array;
use whycam_interp::check::finite_difference;

const ONE: Classes = Classes { top: 0, given: 1 };

fn recipe(read_at: ValueId, relu: ReluRule, reduce: Reduce) -> Recipe {
    Recipe { read_at, rules: Rules { relu }, reduce }
}

fn signal(read_at: ValueId, relu: ReluRule) -> Formula {
    Formula::Single(recipe(read_at, relu, Reduce::Signal))
}

fn grad_cam(read_at: ValueId, relu: bool) -> Formula {
    Formula::Single(recipe(read_at, ReluRule::Gradient, Reduce::GradCam { relu }))
}

fn guided_grad_cam(image: ValueId, layer: ValueId) -> Formula {
    Formula::Product {
        image: recipe(image, ReluRule::Guided, Reduce::Signal),
        layer: recipe(layer, ReluRule::Gradient, Reduce::GradCam { relu: true }),
        enlarge: Coordinates::HalfPixel,
    }
}

/// A network and its numbers, ready to be asked.
struct Asked {
    graph: Graph,
    given: Vec<(String, Array)>,
}

impl Asked {
    fn new(net: Net, output: ValueId) -> Asked {
        let (graph, given) = net.finish(output);
        Asked { graph, given }
    }

    fn image(&self) -> ValueId {
        layer::image_input(&self.graph).unwrap()
    }

    fn derive(&self, classes: Classes, formulas: &[Formula]) -> Derived {
        let score = layer::score(&self.graph, None).unwrap();
        derive(&self.graph, self.image(), &score, classes, formulas)
            .unwrap_or_else(|e| panic!("{e}\n{}", self.graph))
    }

    fn images(&self) -> usize {
        self.given[0].1.shape[0]
    }

    /// Scores, classes, and then map and range of each formula, for these classes of every image.
    fn ask(&self, targets: &[usize], formulas: &[Formula]) -> Vec<Array> {
        let derived = self.derive(Classes { top: 0, given: targets.len() }, formulas);
        let target = Array::from_fn(&[self.images(), targets.len()], |i| targets[i[1]] as f64);
        run_with(&derived.graph, &self.given, &[(TARGET, &target)])
    }

    /// The map of one formula for one class, `[N, …]`.
    fn map(&self, target: usize, formula: Formula) -> Array {
        let map = self.ask(&[target], &[formula]).swap_remove(2);
        assert_eq!(map.shape[1], 1);
        let shape = [&map.shape[..1], &map.shape[2..]].concat();
        map.reshape(&shape).unwrap()
    }

    fn value(&self, id: ValueId) -> Array {
        run_with(&self.graph.with_outputs(&[id]), &self.given, &[]).remove(0)
    }

    fn constant(&self, id: ValueId) -> Array {
        let tensor: &Tensor = self.graph.value(id).constant.as_ref().unwrap();
        Array::new(tensor.shape(), tensor.to_f64s())
    }
}

fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}

/// A convolution, a ReLU `A [2,4,5,5]`, GAP in several spellings, and a linear layer `w [3,4]`, `b [3]`.
struct GapNet {
    asked: Asked,
    a: ValueId,
    w: ValueId,
    b: ValueId,
}

const Z: f64 = 25.0;

fn gap_net(spelling: usize) -> GapNet {
    let mut net = Net::new(3);
    let x = net.batch("image", Array::random(&[2, 3, 5, 5], 4));
    let x = convolve(&mut net, x, 4, 3, 1);
    let a = relu(&mut net, x);
    let (w, b) = (net.weights(&[3, 4]), net.weights(&[3]));
    let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
    let y = match spelling {
        0 => {
            let x = net.op(Op::GlobalAveragePool, &[a]);
            let x = net.op(Op::Flatten { axis: 1 }, &[x]);
            net.op(Op::Gemm(gemm), &[x, w, b])
        }
        1 => {
            let mean = whycam_graph::op::ReduceKind::Mean;
            let x = net.op(Op::Reduce { kind: mean, axes: vec![2, 3], keep: false }, &[a]);
            let w = net.b.transpose_last(w).unwrap();
            let x = net.b.matmul(x, w).unwrap();
            net.b.add(x, b).unwrap()
        }
        _ => {
            let whole = window(5, 5, 0, false);
            let x = net.op(Op::AveragePool { window: whole, count_include_pad: true }, &[a]);
            let w = net.op(Op::Reshape { to: [3, 4, 1, 1].into() }, &[w]);
            net.op(Op::Conv(conv(2, 1, 0)), &[x, w, b])
        }
    };
    GapNet { asked: Asked::new(net, y), a, w, b }
}

/// Spec §1, check 1: behind a mean over Z cells, `α_k = w_k/Z`, and the sum of gradients is `w_k`.
#[test]
fn behind_gap_alpha_is_the_weight() {
    for spelling in 0..3 {
        let GapNet { asked, a, w, .. } = gap_net(spelling);
        let w = asked.constant(w);
        for class in 0..3 {
            let gradient = asked.map(class, signal(a, ReluRule::Gradient));
            for n in 0..2 {
                for k in 0..4 {
                    let cells = &gradient.data[(n * 4 + k) * 25..][..25];
                    let weight = w.at(&[class, k]);
                    assert!((sum(cells) - weight).abs() < 1e-12, "{spelling}: a sum of 25 float64");
                    assert!((sum(cells) / Z - weight / Z).abs() < 1e-12, "{spelling}: their mean");
                }
            }
        }
    }
}

/// Spec §1, check 2, and §21, 1: without the outer ReLU the map adds up to the score minus the bias,
/// and with it, Z times the map is the ReLU of CAM.
#[test]
fn behind_gap_the_map_is_cam() {
    for spelling in 0..3 {
        let GapNet { asked, a, w, b } = gap_net(spelling);
        let (w, b, activation) = (asked.constant(w), asked.constant(b), asked.value(a));
        let scores = asked.ask(&[0], &[]).remove(0);
        for class in 0..3 {
            let signed = asked.map(class, grad_cam(a, false));
            let map = asked.map(class, grad_cam(a, true));
            for n in 0..2 {
                let total = sum(&signed.data[n * 25..][..25]) + b.at(&[class]);
                assert!((total - scores.at(&[n, class])).abs() < 1e-12, "{spelling}: a sum of 25 float64");
            }
            let cam = Array::from_fn(&map.shape, |i| {
                (0..4).map(|k| w.at(&[class, k]) * activation.at(&[i[0], k, i[1], i[2]])).sum()
            });
            assert_close(&map.map(|v| v * Z), &cam.map(|v| v.max(0.0)), EXACT, "with the outer ReLU");
            assert_close(&signed.map(|v| v * Z), &cam, EXACT, "without");
        }
    }
}

/// Spec §11, check 2: the same at the last layer of a ResNet.
#[test]
fn the_last_layer_of_a_resnet_gives_cam() {
    let mut net = Net::new(8);
    let y = nets::resnet(&mut net, Images { count: 2, symbolic: true });
    let asked = Asked::new(net, y);
    let score = layer::score(&asked.graph, None).unwrap();
    let last = layer::automatic(&asked.graph, asked.image(), &score).unwrap();
    let head = asked.graph.node(asked.graph.value(y).producer.unwrap());
    let (w, activation) = (asked.constant(head.inputs[1].unwrap()), asked.value(last));
    let map = asked.map(1, grad_cam(last, true));
    let cells = (map.shape[1] * map.shape[2]) as f64;
    let cam = Array::from_fn(&map.shape, |i| {
        let terms = (0..w.shape[1]).map(|k| w.at(&[1, k]) * activation.at(&[i[0], k, i[1], i[2]]));
        terms.sum::<f64>().max(0.0)
    });
    assert!(cam.data.iter().any(|v| *v > 0.0));
    assert_close(&map.map(|v| v * cells), &cam, EXACT, "ResNet");
}

/// Spec §1, check 3: adding `d_k` to every cell of channel k changes the score by `Z·α_k·d_k`.
#[test]
fn alpha_is_the_finite_difference_of_a_whole_channel() {
    let mut net = Net::new(5);
    let x = net.input("image", Array::random(&[1, 2, 5, 5], 6));
    let d = net.input("d", Array::zeros(&[1, 4, 1, 1]));
    let x = convolve(&mut net, x, 4, 3, 1);
    let x = net.op(Op::Unary(UnaryFn::Softplus), &[x]);
    let a = net.b.add(x, d).unwrap();
    let x = convolve(&mut net, a, 4, 3, 2);
    let x = net.op(Op::Unary(UnaryFn::Tanh), &[x]);
    let y = pooled_linear(&mut net, x, 3);
    let asked = Asked::new(net, y);
    let inputs: Vec<(&str, Array)> = asked.given.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
    for class in 0..3 {
        let one_hot = Array::from_fn(&[1, 3], |i| if i[1] == class { 1.0 } else { 0.0 });
        let expected = finite_difference(&asked.graph, &inputs, "d", &one_hot);
        let gradient = asked.map(class, signal(a, ReluRule::Gradient));
        let total = Array::from_fn(&[1, 4, 1, 1], |i| sum(&gradient.data[i[1] * 25..][..25]));
        // Central differences of smooth functions in float64.
        assert_close(&total, &expected, 1e-8, "Z·α");
    }
}

/// Spec §1, check 4: a score scaled by s > 0 scales the map by s.
#[test]
fn the_map_is_as_large_as_the_score() {
    let maps = [1.0, 2.5].map(|s| {
        let mut net = Net::new(7);
        let x = net.input("image", Array::random(&[1, 2, 6, 6], 6));
        let x = convolve(&mut net, x, 3, 3, 1);
        let a = relu(&mut net, x);
        let x = convolve(&mut net, a, 3, 3, 2);
        let x = relu(&mut net, x);
        let y = pooled_linear(&mut net, x, 3);
        let y = net.b.scale(y, s).unwrap();
        Asked::new(net, y).map(1, grad_cam(a, true))
    });
    assert!(maps[0].data.iter().any(|v| *v > 0.0));
    assert_close(&maps[1], &maps[0].map(|v| v * 2.5), EXACT, "scaled");
}

/// Spec §1, check 4: channels permuted together with their weights leave the map unchanged.
#[test]
fn the_map_does_not_depend_on_the_order_of_channels() {
    let filters = Array::random(&[4, 2, 3, 3], 1);
    let next = Array::random(&[3, 4, 3, 3], 2);
    let maps = [[0, 1, 2, 3], [2, 0, 3, 1]].map(|order| {
        let mut net = Net::new(7);
        let x = net.input("image", Array::random(&[1, 2, 6, 6], 6));
        let mut weights = |net: &mut Net, shape: &[usize], pick: &dyn Fn(&[usize]) -> f64| {
            let values: Vec<f32> =
                Array::from_fn(shape, |i| pick(i)).data.iter().map(|v| *v as f32).collect();
            net.values(shape, &values)
        };
        let w = weights(&mut net, &[4, 2, 3, 3], &|i| filters.at(&[order[i[0]], i[1], i[2], i[3]]));
        let x = net.op(Op::Conv(conv(2, 1, 1)), &[x, w]);
        let a = relu(&mut net, x);
        let w = weights(&mut net, &[3, 4, 3, 3], &|i| next.at(&[i[0], order[i[1]], i[2], i[3]]));
        let x = net.op(Op::Conv(conv(2, 2, 1)), &[a, w]);
        let x = relu(&mut net, x);
        let y = pooled_linear(&mut net, x, 3);
        Asked::new(net, y).map(2, grad_cam(a, true))
    });
    assert!(maps[0].data.iter().any(|v| *v > 0.0));
    assert_close(&maps[1], &maps[0], EXACT, "permuted");
}

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

/// The classes asked at once are those asked one by one; the highest come first, in descending order.
#[test]
fn several_classes_equal_single_ones() {
    for symbolic in [true, false] {
        let mut net = Net::new(8);
        let y = nets::resnet(&mut net, Images { count: 3, symbolic });
        let asked = Asked::new(net, y);
        let score = layer::score(&asked.graph, None).unwrap();
        let last = layer::automatic(&asked.graph, asked.image(), &score).unwrap();
        let formulas = [
            grad_cam(last, true),
            signal(asked.image(), ReluRule::Guided),
            guided_grad_cam(asked.image(), last),
        ];
        let derived = asked.derive(Classes { top: 2, given: 1 }, &formulas);
        let target = Array::new(&[3, 1], vec![3.0, 0.0, 1.0]);
        let together = run_with(&derived.graph, &asked.given, &[(TARGET, &target)]);
        let (scores, classes) = (&together[0], &together[1]);
        assert_eq!(classes.shape, [3, 3]);
        for n in 0..3 {
            let mut order: Vec<usize> = (0..4).collect();
            order.sort_by(|&i, &j| scores.at(&[n, j]).total_cmp(&scores.at(&[n, i])));
            let expected = [order[0] as f64, order[1] as f64, target.at(&[n, 0])];
            assert_eq!(classes.data[n * 3..][..3], expected);
        }
        for class in 0..4 {
            let alone = asked.ask(&[class], &formulas);
            assert_eq!(*scores, alone[0]);
            for (many, one) in together.iter().zip(&alone).skip(2) {
                for n in 0..3 {
                    for k in (0..3).filter(|&k| classes.at(&[n, k]) == class as f64) {
                        let a = common::copy(&common::copy(many, n), k);
                        let b = common::copy(&common::copy(one, n), 0);
                        assert_close(&a, &b, EXACT, format!("class {class} of image {n}"));
                    }
                }
            }
        }
    }
}

/// Scores `[N,C,1,1]` and `[C]` are asked like `[N,C]`.
#[test]
fn scores_of_other_shapes() {
    let shapes: [Option<Shape>; 3] =
        [None, Some(Shape(vec![1.into(), 3.into(), 1.into(), 1.into()])), Some([3].into())];
    let answers = shapes.map(|shape| {
        let mut net = Net::new(9);
        let x = net.input("image", Array::random(&[1, 2, 5, 5], 1));
        let x = convolve(&mut net, x, 3, 3, 1);
        let a = relu(&mut net, x);
        let x = convolve(&mut net, a, 3, 3, 1);
        let x = relu(&mut net, x);
        let mut y = pooled_linear(&mut net, x, 3);
        if let Some(to) = shape {
            y = net.op(Op::Reshape { to }, &[y]);
        }
        Asked::new(net, y).ask(&[2, 0], &[grad_cam(a, true)])
    });
    assert!(answers[0][2].data.iter().any(|v| *v > 0.0));
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

/// The range is that of each map before the outer ReLU; NaN shows.
#[test]
fn the_range_is_told_before_the_relu() {
    let GapNet { asked, a, .. } = gap_net(0);
    let answer = asked.ask(&[0, 2], &[grad_cam(a, true)]);
    for (k, class) in [0, 2].into_iter().enumerate() {
        let signed = asked.map(class, grad_cam(a, false));
        for n in 0..2 {
            let cells = &signed.data[n * 25..][..25];
            let (low, high) =
                cells.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
            let told = [answer[3].at(&[n, k, 0]), answer[3].at(&[n, k, 1])];
            assert!((told[0] - low).abs() < 1e-12 && (told[1] - high).abs() < 1e-12, "the same float64 sums");
        }
    }
    let mut broken = asked;
    broken.given[0].1.data[0] = f64::NAN;
    let answer = broken.ask(&[0], &[grad_cam(a, true)]);
    assert!(
        answer[3].data[..2].iter().all(|v| v.is_nan()) && answer[3].data[2..].iter().all(|v| v.is_finite())
    );
}

#[test]
fn rules_that_act_are_counted() {
    let mut net = Net::new(1);
    let image = net.batch("image", Array::random(&[1, 2, 6, 6], 6));
    let x = convolve(&mut net, image, 3, 3, 1);
    let a = relu(&mut net, x);
    let x = convolve(&mut net, a, 3, 3, 1);
    let x = net.op(Op::Unary(UnaryFn::Gelu), &[x]);
    let y = pooled_linear(&mut net, x, 3);
    let asked = Asked::new(net, y);
    let guided = asked.derive(ONE, &[signal(image, ReluRule::Guided), signal(a, ReluRule::Guided)]).ruled;
    assert_eq!((guided[0].acted, guided[0].passed), (1, 1));
    assert_eq!((guided[1].acted, guided[1].passed), (0, 1), "the ReLU lies before the layer");
}

#[test]
fn what_has_no_map_is_refused() {
    let mut net = Net::new(1);
    let image = net.batch("image", Array::random(&[1, 2, 6, 6], 6));
    let x = convolve(&mut net, image, 3, 3, 1);
    let pooled = net.op(Op::GlobalAveragePool, &[x]);
    let flat = net.op(Op::Flatten { axis: 1 }, &[pooled]);
    let y = linear(&mut net, flat, 3, 4);
    let asked = Asked::new(net, y);
    let score = layer::score(&asked.graph, None).unwrap();
    for value in [image, pooled, flat] {
        let error = derive(&asked.graph, image, &score, ONE, &[grad_cam(value, true)]).unwrap_err();
        assert!(error.to_string().contains("not a layer with a grid"), "{error}");
    }
    for classes in [Classes { top: 5, given: 0 }, Classes { top: 0, given: 0 }] {
        let error = derive(&asked.graph, image, &score, classes, &[grad_cam(x, true)]).unwrap_err();
        assert!(error.to_string().contains("with 4"), "{error}");
    }
}

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

/// A byte image: the signal at it is a number, not a byte.
#[test]
fn byte_images_get_real_signals() {
    let numbers = Array::random_integers(&[1, 2, 4, 4], 3, 0, 255);
    let [bytes, floats] = [true, false].map(|bytes| {
        let mut net = Net::new(1);
        let image = match bytes {
            true => {
                net.given.push(("image".into(), numbers.clone()));
                net.b
                    .input("image", whycam_graph::DType::U8, Shape(vec![N, 2.into(), 4.into(), 4.into()]))
                    .unwrap()
            }
            false => net.batch("image", numbers.clone()),
        };
        let turned = net.op(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[image]);
        let x = net.op(Op::Cast(whycam_graph::DType::F32), &[turned]);
        let x = net.b.scale(x, 1.0 / 256.0).unwrap();
        let x = convolve(&mut net, x, 3, 3, 1);
        let x = relu(&mut net, x);
        let y = pooled_linear(&mut net, x, 3);
        Asked::new(net, y).map(0, signal(image, ReluRule::Gradient))
    });
    assert!(floats.data.iter().any(|v| *v != 0.0));
    assert_eq!(bytes, floats);
}
