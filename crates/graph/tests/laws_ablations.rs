//! The laws of Grad-CAM's ablations (Table A2 of the paper's supplement), and of layers in residual networks.

mod common;

use common::asked::{Asked, grad_cam, recipe, signal};
use common::nets::{self, Images, add, batch_norm, convolve, pooled_linear, relu};
use common::{EXACT, Net, RELU_RULES, assert_close};
use whycam_graph::derive::{Formula, Part, Reduce, Weights};
use whycam_graph::diff::ReluRule;
use whycam_graph::op::Op;
use whycam_graph::{Emit, ValueId, layer};
use whycam_interp::Array;
use whycam_interp::check::finite_difference;

fn ablated(read_at: ValueId, rule: ReluRule, part: Part, weights: Weights, relu: bool) -> Formula {
    Formula::Single(recipe(read_at, rule, Reduce { part, weights, ..Reduce::grad_cam(relu) }))
}

/// A rectified layer, and a mean and a linear layer with weights of that range above it.
fn behind_a_mean(low: f64) -> (Asked, ValueId) {
    let mut net = Net::new(31);
    let x = net.batch("image", Array::random(&[2, 3, 6, 6], 32));
    let x = convolve(&mut net, x, 5, 3, 1);
    let a = relu(&mut net, x);
    let x = net.op(Op::GlobalAveragePool, &[a]);
    let x = net.op(Op::Flatten { axis: 1 }, &[x]);
    let w = net.between(&[5, 3], low, 1.0);
    let y = net.b.matmul(x, w).unwrap();
    (Asked::new(net, y), a)
}

/// Where a channel's gradients are equal, their mean is their maximum, and their absolute mean where they are positive.
#[test]
fn equal_gradients_have_one_pool() {
    for (low, positive) in [(-1.0, false), (0.1, true)] {
        let (asked, a) = behind_a_mean(low);
        for class in 0..3 {
            let map = |part, weights| asked.map(class, ablated(a, ReluRule::Gradient, part, weights, false));
            let [mean, maximum, absolute] = [
                map(Part::Whole, Weights::Mean),
                map(Part::Whole, Weights::Max),
                map(Part::Absolute, Weights::Mean),
            ];
            assert!(mean.data.iter().any(|v| v.abs() > 1e-3));
            assert_close(&maximum, &mean, EXACT, "the maximum");
            let same = absolute.data.iter().zip(&mean.data).all(|(a, m)| (a - m).abs() < 1e-12);
            assert_eq!(same, positive, "absolute values of weights from {low}");
        }
    }
}

/// The rules of ReLUs change nothing where none lies above the layer, and something where one does.
#[test]
fn rules_act_on_the_relus_above_the_layer_alone() {
    let (asked, a) = behind_a_mean(-1.0);
    let mean = |asked: &Asked, class, at, rule| {
        asked.map(class, ablated(at, rule, Part::Whole, Weights::Mean, false))
    };
    let [gradient, deconvnet, guided] = RELU_RULES.map(|rule| mean(&asked, 1, a, rule));
    assert_eq!((&gradient, &gradient), (&deconvnet, &guided));
    assert!(gradient.data.iter().any(|&v| v != 0.0));

    let mut net = Net::new(33);
    let x = net.batch("image", Array::random(&[1, 2, 6, 6], 34));
    let x = convolve(&mut net, x, 4, 3, 1);
    let a = relu(&mut net, x);
    let x = convolve(&mut net, a, 4, 3, 1);
    let x = relu(&mut net, x);
    let y = pooled_linear(&mut net, x, 3);
    let asked = Asked::new(net, y);
    let [gradient, deconvnet, guided] =
        RELU_RULES.map(|rule| [0, 1, 2].map(|class| mean(&asked, class, a, rule)));
    assert!(gradient != deconvnet && gradient != guided && deconvnet != guided);
}

/// The outer ReLU leaves a map alone that is nowhere negative; that of absolute gradients at a rectified layer is none.
#[test]
fn absolute_gradients_make_the_relu_idle() {
    let (asked, a) = behind_a_mean(-1.0);
    for class in 0..3 {
        let [signed, map] = [false, true].map(|relu| {
            asked.map(class, ablated(a, ReluRule::Gradient, Part::Absolute, Weights::Mean, relu))
        });
        assert!(signed.data.iter().all(|&v| v >= 0.0) && signed.data.iter().any(|&v| v > 0.0));
        assert_eq!(signed, map);
    }
}

/// A pre-activation block whose last convolution is 0 is the identity: Grad-CAM before it is Grad-CAM behind it.
#[test]
fn an_idle_block_changes_no_map() {
    let mut net = Net::new(37);
    let x = net.batch("image", Array::random(&[2, 3, 6, 6], 38));
    let x = convolve(&mut net, x, 4, 3, 1);
    let before = batch_norm(&mut net, x);
    let branch = relu(&mut net, before);
    let branch = convolve(&mut net, branch, 4, 3, 1);
    let branch = relu(&mut net, branch);
    let nothing = net.values(&[4, 4, 3, 3], &[0.0; 144]);
    let branch = net.op(Op::Conv(common::conv(2, 1, 1)), &[branch, nothing]);
    let behind = add(&mut net, branch, before);
    let x = convolve(&mut net, behind, 4, 3, 2);
    let x = relu(&mut net, x);
    let y = pooled_linear(&mut net, x, 3);
    let asked = Asked::new(net, y);
    for class in 0..3 {
        let [a, b] = [before, behind].map(|at| asked.map(class, grad_cam(at, false)));
        assert!(a.data.iter().any(|v| v.abs() > 1e-3));
        assert_close(&a, &b, EXACT, "before and behind");
    }
}

/// In a pre-activation network as fb.resnet.torch has them the gradient at a block's signed sum is that of the branch and
/// of the shortcut together: the next stage normalises before it forks. The automatic layer is the rectified one at the end.
#[test]
fn pre_activation_blocks_get_the_gradient_of_branch_and_shortcut() {
    let mut net = Net::new(39);
    let activate = |net: &mut Net, x| {
        let x = batch_norm(net, x);
        relu(net, x)
    };
    let image = net.input("image", Array::random(&[1, 2, 6, 6], 40));
    let d = net.input("d", Array::zeros(&[1, 4, 1, 1]));
    let x = convolve(&mut net, image, 4, 3, 1);
    let first = activate(&mut net, x);
    let branch = convolve(&mut net, first, 4, 3, 1);
    let branch = activate(&mut net, branch);
    let branch = convolve(&mut net, branch, 4, 3, 1);
    let sum = add(&mut net, branch, first);
    let sum = net.b.add(sum, d).unwrap();
    let fork = activate(&mut net, sum);
    let branch = convolve(&mut net, fork, 6, 3, 2);
    let branch = activate(&mut net, branch);
    let branch = convolve(&mut net, branch, 6, 3, 1);
    let shortcut = convolve(&mut net, fork, 6, 1, 2);
    let last = add(&mut net, branch, shortcut);
    let rectified = activate(&mut net, last);
    let y = pooled_linear(&mut net, rectified, 3);
    let asked = Asked::new(net, y);

    let score = layer::score(&asked.graph, None).unwrap();
    assert_eq!(layer::automatic(&asked.graph, asked.image(), &score).unwrap(), rectified);
    assert!(asked.value(sum).data.iter().any(|&v| v < 0.0), "a signed sum");
    let inputs: Vec<(&str, Array)> = asked.given.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
    for class in 0..3 {
        let one_hot = Array::from_fn(&[1, 3], |i| if i[1] == class { 1.0 } else { 0.0 });
        let expected = finite_difference(&asked.graph, &inputs, "d", &one_hot);
        let gradient = asked.map(class, signal(sum, ReluRule::Gradient));
        let total = Array::from_fn(&[1, 4, 1, 1], |i| gradient.data[i[1] * 36..][..36].iter().sum());
        // Central differences of a piecewise linear function in float64, away from its kinks.
        assert_close(&total, &expected, 1e-7, "at the sum");
    }
}

/// Stages halve the grid, and the sweep of a network tells each block's.
#[test]
fn a_sweep_has_the_grids_of_the_stages() {
    let mut net = Net::new(8);
    let y = nets::resnet(&mut net, Images { count: 1, symbolic: true });
    let asked = Asked::new(net, y);
    let score = layer::score(&asked.graph, None).unwrap();
    let layers = layer::sweep(&asked.graph, asked.image(), &score);
    let sides: Vec<usize> = layers.iter().map(|&at| asked.value(at).shape[2]).collect();
    assert_eq!(sides, [9, 5, 3]);
}
