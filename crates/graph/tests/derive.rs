//! What derived graphs return: classes, maps and ranges, and what is refused.

mod common;

use common::asked::{Asked, ONE, grad_cam, guided_grad_cam, signal};
use common::nets::{self, Images, convolve, linear, pooled_linear, relu};
use common::{EXACT, Net, assert_close, run_with};
use whycam_graph::derive::{Classes, TARGET, derive};
use whycam_graph::diff::ReluRule;
use whycam_graph::op::{Op, UnaryFn};
use whycam_graph::{Shape, layer};
use whycam_interp::Array;

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
        let together = run_with(&derived.ranged().unwrap(), &asked.given, &[(TARGET, &target)]);
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
    let mut net = Net::new(8);
    let y = nets::resnet(&mut net, Images { count: 2, symbolic: true });
    let mut asked = Asked::new(net, y);
    let score = layer::score(&asked.graph, None).unwrap();
    let last = layer::automatic(&asked.graph, asked.image(), &score).unwrap();
    let answer = asked.ask(&[0, 2], &[grad_cam(last, true)]);
    for (k, class) in [0, 2].into_iter().enumerate() {
        let signed = asked.map(class, grad_cam(last, false));
        for n in 0..2 {
            let cells = common::copy(&signed, n).data;
            let (low, high) =
                cells.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
            let told = [answer[3].at(&[n, k, 0]), answer[3].at(&[n, k, 1])];
            assert!(low < high);
            assert!((told[0] - low).abs() < 1e-12 && (told[1] - high).abs() < 1e-12, "the same float64 sums");
        }
    }
    asked.given[0].1.data[0] = f64::NAN;
    let range = &asked.ask(&[0], &[grad_cam(last, true)])[3];
    assert!(range.data[..2].iter().all(|v| v.is_nan()), "{range:?}");
    assert!(range.data[2..].iter().all(|v| v.is_finite()), "the other image: {range:?}");
}

/// Behind a mean and a linear layer: the class is found, a row of weights looked up, divided by the number of cells and
/// multiplied with the layer. Nothing is copied, reshaped twice or made twice.
#[test]
fn little_is_added_for_one_class() {
    let mut net = Net::new(3);
    let image = net.batch("image", Array::random(&[2, 2, 6, 6], 6));
    let x = convolve(&mut net, image, 3, 3, 1);
    let a = relu(&mut net, x);
    let y = pooled_linear(&mut net, a, 4);
    let asked = Asked::new(net, y);
    let (image, before) = (asked.image(), asked.graph.nodes().count());
    let formulas =
        [grad_cam(a, true), grad_cam(a, true), grad_cam(a, false), signal(image, ReluRule::Gradient)];
    let top = Classes { top: 1, given: 0 };
    let one = asked.derive(top, &formulas[..1]).graph;
    let added: Vec<&str> = one.nodes().skip(before).map(|(_, node)| node.op.name()).collect();
    let row = ["TopK", "Reshape", "Gather", "Reshape", "Div"];
    assert_eq!(added, [&row[..], &["Reshape", "MatMul", "Reshape", "Relu"]].concat(), "{one}");
    let all = asked.derive(top, &formulas);
    assert_eq!(all.maps, [[2, 3], [2, 3], [3, 3], [4, 4]]);
    let name = |id: &whycam_graph::ValueId| all.graph.value(*id).name.as_str();
    assert_eq!(name(&all.graph.outputs()[0]), asked.graph.value(y).name);
    let ranged = all.ranged().unwrap();
    let told = run_with(&ranged, &asked.given, &[]);
    assert_eq!(told.len(), 10);
    assert_eq!((&told[2], &told[3]), (&told[4], &told[5]));
    assert_eq!(told[3], told[7], "the range is that before the ReLU");
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
