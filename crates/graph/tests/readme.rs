//! The README's example of a derived graph is what the compiler derives.

use whycam_graph::derive::{Classes, Formula, Recipe, Reduce, derive};
use whycam_graph::diff::{ReluRule, Rules};
use whycam_graph::op::{Conv, Gemm, UnaryFn};
use whycam_graph::{Build, DType, Graph, Header, N, NamedNode, Op, Shape, Tensor, ValueId, layer};

fn named(b: &mut Build, op: Op, inputs: &[ValueId], output: &str) -> ValueId {
    let node = NamedNode {
        op,
        inputs: inputs.iter().copied().map(Some).collect(),
        outputs: vec![Some(output.into())],
        name: String::new(),
        module: None,
    };
    b.named(node).expect("fits")[0].expect("one result")
}

/// Conv → Relu → GlobalAveragePool → Flatten → Gemm.
fn network() -> Graph {
    let mut b =
        Build::new(Header { ir_version: 8, opsets: [(String::new(), 13)].into(), ..Header::default() });
    let image =
        b.input("image", DType::F32, Shape(vec![N, 3.into(), 8.into(), 8.into()])).expect("free name");
    let w = Tensor::f32(&[4, 3, 3, 3], &[0.1; 108]).expect("whole");
    let fc = Tensor::f32(&[2, 4], &[0.1; 8]).expect("whole");
    let w = b.named_constant("conv.weight", w).expect("free name");
    let fc = b.named_constant("fc.weight", fc).expect("free name");
    let conv = Conv { strides: vec![1, 1], dilations: vec![1, 1], pads: vec![(1, 1); 2], groups: 1 };
    let conv = named(&mut b, Op::Conv(conv), &[image, w], "conv");
    let relu = named(&mut b, Op::Unary(UnaryFn::Relu), &[conv], "relu");
    let gap = named(&mut b, Op::GlobalAveragePool, &[relu], "gap");
    let flat = named(&mut b, Op::Flatten { axis: 1 }, &[gap], "flat");
    let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
    let scores = named(&mut b, Op::Gemm(gemm), &[flat, fc], "logits");
    b.finish(vec![scores])
}

/// The text of the derived graph.
fn derived(rule: ReluRule) -> String {
    let graph = network();
    let image = layer::image_input(&graph).expect("an image");
    let score = layer::score(&graph, None).expect("two classes");
    let rules = Rules { relu: rule, ..Rules::default() };
    let recipe = Recipe { read_at: image, rules, reduce: Reduce::SIGNAL };
    let classes = Classes { top: 1, given: 0 };
    let derived = derive(&graph, image, &score, classes, &[Formula::Single(recipe)]).expect("derives");
    derived.graph.to_string()
}

#[test]
fn the_readme_shows_what_is_derived() {
    let readme = include_str!("../../../README.md");
    let block =
        readme.split("```text\n").nth(1).and_then(|b| b.split("```").next()).expect("a block of text");
    let guided = derived(ReluRule::Guided);
    let mut lines = guided.lines();
    for shown in block.lines() {
        assert!(lines.any(|l| l == shown), "not derived, or not in this order: {shown}\n{guided}");
    }
    let relus = |text: &str| text.lines().filter(|l| l.contains(" = Relu(")).count();
    let gradient = derived(ReluRule::Gradient);
    assert_eq!((relus(&gradient), relus(&guided), relus(block)), (1, 2, 2));
    assert_eq!(gradient.lines().count() + 1, guided.lines().count(), "one line more");
}
