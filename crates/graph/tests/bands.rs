//! Signals of one token, or of a part of an axis: right, and computed there alone.

mod common;

use common::{Net, cases, derived, prove, separated};
use proptest::prelude::*;
use whycam_graph::diff::ReluRule;
use whycam_graph::op::{BinaryFn, Op, Range, ReduceKind, UnaryFn};
use whycam_graph::{Dim, Graph, Shape, ValueId, pass};

const TOKENS: usize = 5;
const WIDTH: usize = 4;

/// How one token is taken.
#[derive(Clone, Copy, Debug)]
enum Pick {
    Gather(i64),
    Slice(usize),
}

/// `(x − mean) · factor` along the last axis, without the root that makes it a norm.
fn centred(net: &mut Net, x: ValueId) -> ValueId {
    let mean = net.op(Op::Reduce { kind: ReduceKind::Mean, axes: vec![2], keep: true }, &[x]);
    let moved = net.op(Op::Binary(BinaryFn::Sub), &[x, mean]);
    let factor = net.weights(&[WIDTH]);
    net.op(Op::Binary(BinaryFn::Mul), &[moved, factor])
}

/// A block of a transformer with two heads, behind it one token and two classes. With `joined`, tokens and images are one axis
/// where heads are joined, as PyTorch's `MultiheadAttention` has it.
fn block(net: &mut Net, x: ValueId, pick: Pick, f: UnaryFn, joined: bool) -> ValueId {
    let dims = net.shape(x).0;
    let normed = centred(net, x);
    let mut heads = Vec::new();
    for perm in [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]] {
        let w = net.weights(&[WIDTH, WIDTH]);
        let all = net.op(Op::MatMul, &[normed, w]);
        let to = Shape(vec![dims[0], dims[1], Dim::Fixed(2), Dim::Fixed(WIDTH / 2)]);
        let split = net.op(Op::Reshape { to }, &[all]);
        heads.push(net.op(Op::Transpose { perm: perm.to_vec() }, &[split]));
    }
    let products = net.op(Op::MatMul, &[heads[0], heads[1]]);
    let attention = net.op(Op::Softmax { axis: 3 }, &[products]);
    let mixed = net.op(Op::MatMul, &[attention, heads[2]]);
    let out = net.weights(&[WIDTH, WIDTH]);
    let mixed = if joined {
        let mixed = net.op(Op::Transpose { perm: vec![2, 0, 1, 3] }, &[mixed]);
        let rows = dims[0].times(dims[1]).unwrap();
        let mixed = net.op(Op::Reshape { to: Shape(vec![rows, dims[2]]) }, &[mixed]);
        let mixed = net.op(Op::MatMul, &[mixed, out]);
        let mixed = net.op(Op::Reshape { to: Shape(vec![dims[1], dims[0], dims[2]]) }, &[mixed]);
        net.op(Op::Transpose { perm: vec![1, 0, 2] }, &[mixed])
    } else {
        let mixed = net.op(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[mixed]);
        let mixed = net.op(Op::Reshape { to: Shape(dims) }, &[mixed]);
        net.op(Op::MatMul, &[mixed, out])
    };
    let x = net.op(Op::Binary(BinaryFn::Add), &[x, mixed]);
    let normed = centred(net, x);
    let (up, down) = (net.weights(&[WIDTH, 3 * WIDTH]), net.weights(&[3 * WIDTH, WIDTH]));
    let inside = net.op(Op::MatMul, &[normed, up]);
    let inside = net.op(Op::Unary(f), &[inside]);
    let outside = net.op(Op::MatMul, &[inside, down]);
    let x = net.op(Op::Binary(BinaryFn::Add), &[x, outside]);
    let x = centred(net, x);
    let token = match pick {
        Pick::Gather(at) => {
            let at = net.integers(&[], &[at]);
            net.op(Op::Gather { axis: 1 }, &[x, at])
        }
        Pick::Slice(at) => {
            let range = Range { axis: 1, start: at as i64, end: at as i64 + 1, step: 1 };
            let row = net.op(Op::Slice(vec![range]), &[x]);
            net.op(Op::Squeeze { axes: vec![1] }, &[row])
        }
    };
    let head = net.weights(&[WIDTH, 2]);
    net.op(Op::MatMul, &[token, head])
}

fn picks() -> impl Strategy<Value = Pick> {
    let tokens = TOKENS as i64;
    prop_oneof![(-tokens..tokens).prop_map(Pick::Gather), (0..TOKENS).prop_map(Pick::Slice)]
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn one_token(
        pick in picks(),
        f in prop::sample::select(vec![UnaryFn::Gelu, UnaryFn::Relu, UnaryFn::Tanh]),
        batch: bool,
        joined: bool,
        seed: u64,
    ) {
        let mut net = Net::new(seed);
        let x = separated(&[2, TOKENS, WIDTH], seed);
        let x = if batch { net.batch("x", x) } else { net.input("x", x) };
        let y = block(&mut net, x, pick, f, joined);
        prove(net, y);
    }
}

/// Multiplications of the matrix products that the graph has and the other has not.
fn products(graph: &Graph, without: &Graph) -> usize {
    let count = |graph: &Graph| -> usize {
        let node = |n: &whycam_graph::Node| {
            let (Op::MatMul | Op::Gemm(_)) = n.op else { return 0 };
            let cells = graph.shape(n.outputs[0].unwrap()).unwrap().at(1).iter().product::<usize>();
            let a = graph.shape(n.inputs[0].unwrap()).unwrap().at(1);
            cells * a[a.len() - 1]
        };
        graph.nodes().map(|(_, n)| node(n)).sum()
    };
    count(graph) - count(without)
}

/// Only what reaches keys and values of every token is work for all tokens.
#[test]
fn one_token_is_less_work() {
    for (joined, batch) in [(false, false), (true, false), (true, true)] {
        let mut net = Net::new(1);
        let x = separated(&[1, TOKENS, WIDTH], 1);
        let x = if batch { net.batch("x", x) } else { net.input("x", x) };
        let y = block(&mut net, x, Pick::Gather(0), UnaryFn::Gelu, joined);
        let (graph, _) = net.finish(y);
        let (t, w) = (TOKENS, WIDTH);
        for copies in [1, 3] {
            let swept = derived(&graph, y, &[x], ReluRule::Gradient, Some(copies)).unwrap();
            let swept = pass::prune(&swept);
            // The head and the perceptron for one token.
            let token = 2 * w + 2 * w * 3 * w;
            // Attention: its values' and scores' signals for one query, and the signals of query, keys and values.
            let attention = 2 * w * t + 2 * w * t;
            // Their projections: query and what is behind attention for one token, keys and values for all.
            let projections = 2 * w * w + 2 * t * w * w;
            // The forward pass stands in both, but for the products that only the score needs.
            let forward_unused = t * w * 3 * w + w * 2;
            let expected = copies * (token + attention + projections);
            let found = products(&swept, &graph) + forward_unused;
            assert_eq!(found, expected, "{copies} copies, joined {joined}\n{swept}");
        }
    }
}
