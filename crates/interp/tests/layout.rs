//! Ops that move cells, and running whole graphs.

mod common;

use common::{apply, counting, graph_of, image, typed, vector};
use whycam_graph::op::{BinaryFn, DepthMode, Opaque, PadMode, Range, ReduceKind, Scalar, UnaryFn};
use whycam_graph::{Build, DType, Dim, Header, N, Op, Shape, Tensor};
use whycam_interp::check::{finite_difference, max_relative, relative_l2};
use whycam_interp::{Array, run, run_all};

#[test]
fn reshaping() {
    let x = counting(&[2, 1, 3]);
    let shape = |op| {
        let y = apply(op, &[&x]);
        assert_eq!(y.data, x.data);
        y.shape
    };
    assert_eq!(shape(Op::Reshape { to: [3, 2].into() }), [3, 2]);
    assert_eq!(shape(Op::Flatten { axis: 2 }), [2, 3]);
    assert_eq!(shape(Op::Flatten { axis: 0 }), [1, 6]);
    assert_eq!(shape(Op::Squeeze { axes: vec![1] }), [2, 3]);
    assert_eq!(shape(Op::Unsqueeze { axes: vec![0, 2] }), [1, 2, 1, 1, 3]);
    assert_eq!(shape(Op::Identity), [2, 1, 3]);
    assert_eq!(shape(Op::Dropout), [2, 1, 3]);
}

#[test]
fn transpose_moves_axes() {
    let y = apply(Op::Transpose { perm: vec![2, 0, 1] }, &[&counting(&[2, 2, 3])]);
    assert_eq!(y.shape, [3, 2, 2]);
    assert_eq!(y.data, [0.0, 3.0, 6.0, 9.0, 1.0, 4.0, 7.0, 10.0, 2.0, 5.0, 8.0, 11.0]);
}

#[test]
fn split_undoes_concat() {
    let (a, b) = (counting(&[2, 1]), counting(&[2, 2]).map(|v| v + 10.0));
    let joined = apply(Op::Concat { axis: 1 }, &[&a, &b]);
    assert_eq!(joined.data, [0.0, 10.0, 11.0, 1.0, 12.0, 13.0]);
    let parts = typed(Op::Split { axis: 1, sizes: vec![1, 2] }, &[(DType::F32, joined)]).unwrap();
    assert_eq!(parts, [a, b]);
}

#[test]
fn slices() {
    let x = counting(&[6]);
    let slice = |start, end, step| apply(Op::Slice(vec![Range { axis: 0, start, end, step }]), &[&x]).data;
    assert_eq!(slice(1, 6, 2), [1.0, 3.0, 5.0]);
    assert_eq!(slice(5, -1, -1), [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]);
    assert_eq!(slice(4, 0, -3), [4.0, 1.0]);
    assert!(slice(3, 3, 1).is_empty());
    let corner =
        [Range { axis: 2, start: 1, end: 2, step: 1 }, Range { axis: 3, start: 1, end: -1, step: -1 }];
    assert_eq!(apply(Op::Slice(corner.to_vec()), &[&image(2, 2, &[1.0, 2.0, 3.0, 4.0])]).data, [4.0, 3.0]);
}

#[test]
fn pads() {
    let x = vector(&[1.0, 2.0, 3.0]);
    let pad = |mode, before, after| {
        apply(Op::Pad { mode, before: vec![before], after: vec![after], value: 9.0 }, &[&x]).data
    };
    assert_eq!(pad(PadMode::Constant, 1, 2), [9.0, 1.0, 2.0, 3.0, 9.0, 9.0]);
    assert_eq!(pad(PadMode::Constant, -1, 1), [2.0, 3.0, 9.0]);
    assert_eq!(pad(PadMode::Edge, 2, 1), [1.0, 1.0, 1.0, 2.0, 3.0, 3.0]);
    assert_eq!(pad(PadMode::Reflect, 2, 2), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
}

#[test]
fn expand_and_gather() {
    let column = Array::new(&[2, 1], vec![1.0, 2.0]);
    assert_eq!(
        apply(Op::Expand { to: [2, 1, 2].into() }, &[&column]).data,
        [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]
    );
    let take = |axis, indices: Array| {
        let x = (DType::F32, counting(&[2, 3]));
        typed(Op::Gather { axis }, &[x, (DType::I64, indices)]).map(|mut y| y.remove(0))
    };
    assert_eq!(take(1, vector(&[-1.0, 0.0])).unwrap().data, [2.0, 0.0, 5.0, 3.0]);
    assert_eq!(take(0, Array::scalar(1.0)).unwrap(), vector(&[3.0, 4.0, 5.0]));
    assert_eq!(take(1, Array::zeros(&[2, 2])).unwrap().shape, [2, 2, 2]);
    assert!(take(0, Array::scalar(2.0)).is_err());
}

#[test]
fn depth_to_space() {
    let x = Array::new(&[1, 8, 1, 1], (0..8).map(f64::from).collect());
    let on = |mode| apply(Op::DepthToSpace { block: 2, mode }, &[&x]);
    assert_eq!(on(DepthMode::Dcr).data, [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
    assert_eq!(on(DepthMode::Crd).data, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    assert_eq!(on(DepthMode::Crd).shape, [1, 2, 2, 2]);
}

/// `N` in a chain of shape arithmetic: `[N, 2, 3] -> [N, 6]`, `[2N, 3]`, ones of `[N, 2]`, `0..2`.
#[test]
fn shapes_with_the_batch() {
    let mut b = Build::new(Header::default());
    let x = b.input("x", DType::F32, Shape(vec![N, Dim::Fixed(2), Dim::Fixed(3)])).unwrap();
    let int = |b: &mut Build, v: i64| b.constant(Tensor::i64(&[], &[v]).unwrap());
    let node = |b: &mut Build, op: Op, inputs: &[_]| {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        b.nodes(op, &inputs).unwrap()[0]
    };
    let (zero, one, two) = (int(&mut b, 0), int(&mut b, 1), int(&mut b, 2));
    let shape = node(&mut b, Op::Shape { start: 0, end: 3 }, &[x]);
    let batch = node(&mut b, Op::Gather { axis: 0 }, &[shape, zero]);
    let batch = node(&mut b, Op::Unsqueeze { axes: vec![0] }, &[batch]);
    let double = node(&mut b, Op::Binary(BinaryFn::Mul), &[batch, two]);
    let middle = node(&mut b, Op::Slice(vec![Range { axis: 0, start: 1, end: 2, step: 1 }]), &[shape]);
    let dims = node(&mut b, Op::Concat { axis: 0 }, &[batch, middle]);
    let ones = node(&mut b, Op::ConstantOfShape(Scalar::F32(1.0)), &[dims]);
    let count = node(&mut b, Op::Range, &[zero, two, one]);
    let flat = node(&mut b, Op::Flatten { axis: 1 }, &[x]);
    let merged = node(&mut b, Op::Reshape { to: Shape(vec![Dim::Batch(2), Dim::Fixed(3)]) }, &[x]);
    let graph = b.finish(vec![double, ones, count, flat, merged]);
    for n in [1, 3] {
        let given = counting(&[n, 2, 3]);
        let outputs = run(&graph, &[("x", given.clone())]).unwrap();
        assert_eq!(outputs[0].data, [2.0 * n as f64]);
        assert_eq!(outputs[1], Array::new(&[n, 2], vec![1.0; 2 * n]));
        assert_eq!(outputs[2], vector(&[0.0, 1.0]));
        assert_eq!(outputs[3], given.reshape(&[n, 6]).unwrap());
        assert_eq!(outputs[4], given.reshape(&[2 * n, 3]).unwrap());
        assert_eq!(run_all(&graph, &[("x", given)]).unwrap().len(), graph.values().count());
    }
}

#[test]
fn refusals() {
    let graph = graph_of(Op::Identity, &[(DType::F32, [2].into())]).unwrap();
    let run = |inputs: &[(&str, Array)]| run(&graph, inputs).unwrap_err();
    assert!(run(&[]).contains("missing"));
    assert!(run(&[("x0", vector(&[1.0]))]).contains("[2]"));
    assert!(run(&[("x0", vector(&[1.0, 2.0])), ("y", vector(&[]))]).contains("no input"));
    let integers = graph_of(Op::Identity, &[(DType::I64, [1].into())]).unwrap();
    assert!(whycam_interp::run(&integers, &[("x0", vector(&[0.5]))]).unwrap_err().contains("whole"));
}

#[test]
fn opaque_nodes_do_not_run() {
    let mut b = Build::new(Header::default());
    let x = b.input("x", DType::F32, [1].into()).unwrap();
    let op = Op::Opaque(Box::new(Opaque {
        op_type: "Mystery".into(),
        domain: String::new(),
        proto: Default::default(),
        captured: Vec::new(),
        reason: None,
    }));
    let node = whycam_graph::NamedNode {
        op,
        inputs: vec![Some(x)],
        outputs: vec![Some("y".into())],
        name: String::new(),
        module: None,
    };
    let y = b.named(node).unwrap()[0].unwrap();
    let graph = b.finish(vec![y]);
    assert!(run(&graph, &[("x", vector(&[1.0]))]).unwrap_err().contains("Mystery"));
}

#[test]
fn differences_of_known_gradients() {
    let x = Array::random(&[2, 3], 5);
    let g = Array::random(&[2, 3], 6);
    let graph = graph_of(Op::Unary(UnaryFn::Tanh), &[(DType::F32, [2, 3].into())]).unwrap();
    let inputs = [("x0", x.clone())];
    let measured = finite_difference(&graph, &inputs, "x0", &g);
    let known = Array::from_fn(&[2, 3], |i| g.at(i) * (1.0 - x.at(i).tanh().powi(2)));
    assert!(max_relative(&measured, &known) < 1e-9);
    assert!(relative_l2(&measured, &known) < 1e-9);
    assert_eq!(inputs[0].1, x);
}

#[test]
fn distances() {
    let (a, b) = (vector(&[3.0, 0.0]), vector(&[0.0, 4.0]));
    assert_eq!(relative_l2(&a, &b), 1.25);
    assert_eq!(max_relative(&a, &b), 1.0);
    assert_eq!(relative_l2(&Array::zeros(&[2]), &Array::zeros(&[2])), 0.0);
    assert!(max_relative(&vector(&[f64::NAN, 0.0]), &b).is_nan());
}

#[test]
fn random_numbers_repeat() {
    let a = Array::random(&[1000], 7);
    assert_eq!(a, Array::random(&[1000], 7));
    assert_ne!(a, Array::random(&[1000], 8));
    assert!(a.data.iter().all(|v| (-1.0..1.0).contains(v)));
    assert!(a.data.iter().sum::<f64>().abs() < 100.0);
    let ties = Array::random_integers(&[1000], 7, -1, 1);
    for wanted in [-1.0, 0.0, 1.0] {
        assert!(ties.data.iter().filter(|&&v| v == wanted).count() > 250);
    }
    assert!(ties.data.iter().all(|v| [-1.0, 0.0, 1.0].contains(v)));
}

/// Inference tracks integers flat; on matrices it must not mistake rows for cells.
#[test]
fn integers_of_matrices() {
    let vector = Tensor::i64(&[4], &[1, 2, 3, 4]).unwrap();
    let square = Op::Reshape { to: [2, 2].into() };
    for op in [
        Op::Slice(vec![Range { axis: 0, start: 1, end: -1, step: -1 }]),
        Op::Concat { axis: 1 },
        Op::Gather { axis: 0 },
        Op::Binary(BinaryFn::Add),
        Op::Reshape { to: [4].into() },
        Op::Reduce { kind: ReduceKind::Prod, axes: vec![], keep: true },
    ] {
        let mut b = Build::new(Header::default());
        let x = b.constant(vector.clone());
        let square = Some(b.nodes(square.clone(), &[Some(x)]).unwrap()[0]);
        let one = Some(b.constant(Tensor::i64(&[1], &[1]).unwrap()));
        let operands = match op {
            Op::Concat { .. } => vec![square, square],
            Op::Gather { .. } | Op::Binary(_) => vec![square, one],
            _ => vec![square],
        };
        let y = b.nodes(op, &operands).unwrap();
        run(&b.finish(y), &[]).unwrap();
    }
}
