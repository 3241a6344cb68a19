//! The laws of Grad-CAM: behind GAP it is CAM, and it scales and permutes with the network.

mod common;

use common::asked::{Asked, grad_cam, signal, sum};
use common::nets::{self, Images, convolve, pooled_linear, relu};
use common::{EXACT, Net, assert_close, conv, window};
use whycam_graph::diff::ReluRule;
use whycam_graph::op::{Gemm, Op, ReduceKind, UnaryFn};
use whycam_graph::{Emit, ValueId, layer};
use whycam_interp::Array;
use whycam_interp::check::finite_difference;

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
            let x = net.op(Op::Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep: false }, &[a]);
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
        let weights = |net: &mut Net, shape: &[usize], pick: &dyn Fn(&[usize]) -> f64| {
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
