//! Nodes that whycam does not model are kept as they are; functions are inlined.

mod onnx_support;

use onnx_support::proto::{
    AttributeProto, FunctionProto, GraphProto, NodeProto, OperatorSetIdProto, SparseTensorProto, TensorProto,
};
use onnx_support::*;
use prost::Message;
use whycam_graph::onnx::{ReadOptions, read, write};
use whycam_graph::{Build, Graph, Op};

fn again(graph: &Graph) -> Graph {
    let written = write(graph).unwrap();
    let again = read(&written, &ReadOptions::default()).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    assert_eq!(again.to_string(), graph.to_string());
    again
}

fn elsewhere(node: NodeProto) -> NodeProto {
    NodeProto { domain: "com.example".into(), ..node }
}

#[test]
fn unknown_operators_are_kept_as_they_are() {
    let special = elsewhere(node("Special", &["x", "", "w"], &["y", "", "z"], &[float("strength", 2.0)]));
    let mut made = file(17).input("x", F32, "N,4").floats("w", &[4]).push(special.clone());
    made.model.opset_import.push(OperatorSetIdProto { domain: "com.example".into(), version: 3 });
    let graph = made.output("y").output("z").read().unwrap();
    let Op::Opaque(kept) = &graph.nodes().next().unwrap().1.op else { panic!("{graph}") };
    assert_eq!(
        (kept.op_type.as_str(), kept.domain.as_str(), &kept.reason),
        ("Special", "com.example", &None)
    );
    assert_eq!(kept.proto[..], special.encode_to_vec());
    assert_eq!(again(&graph).header().opsets["com.example"], 3);
}

#[test]
fn results_are_as_the_file_declares() {
    let made = file(17)
        .input("x", F32, "batch,4")
        .push(elsewhere(node("Special", &["x"], &["a", "b", "c"], &[])))
        .declare("a", F32, "batch,8")
        .declare("b", F32, "batch,other")
        .declare("c", STRING, "8")
        .node("Relu", &["a"], &["y"], &[])
        .node("Relu", &["b"], &["z"], &[])
        .output("y")
        .output("z")
        .output("c");
    let graph = made.read().unwrap();
    assert_eq!(
        node_lines(&graph),
        "a: f32[N,8], b: f32[?], c: ?[?] = Special(x) opaque domain=com.example bytes=34\n\
         y: f32[N,8] = Relu(a)\nz: f32[?] = Relu(b)"
    );
    again(&graph);
}

#[test]
fn nodes_that_no_output_needs_are_dropped() {
    let made = file(17)
        .input("x", F32, "N,4")
        .push(elsewhere(node("Special", &["x"], &["a"], &[])))
        .node("Relu", &["x"], &["y"], &[])
        .output("y");
    assert_eq!(made.nodes(), "y: f32[N,4] = Relu(x)");
}

/// `y = If(c) { Add(x, w) } else { inner If { Mul(h, w) } }`, where `h` is made before.
fn branches() -> File {
    let deep = inner(&[node("Mul", &["h", "w"], &["deep"], &[])], "deep");
    let nested =
        node("If", &["c"], &["nested"], &[body("then_branch", deep.clone()), body("else_branch", deep)]);
    let then_branch = inner(&[node("Add", &["x", "w"], &["sum"], &[])], "sum");
    let else_branch = inner(&[nested], "nested");
    file(17)
        .input("x", F32, "N,4")
        .input("c", BOOL, "")
        .floats("w", &[4])
        .node("If", &["c"], &["y"], &[body("then_branch", then_branch), body("else_branch", else_branch)])
        .node("Relu", &["x"], &["h"], &[])
        .declare("y", F32, "N,4")
        .output("y")
}

#[test]
fn values_that_bodies_use_are_operands() {
    let graph = branches().read().unwrap();
    let text = node_lines(&graph);
    assert!(text.starts_with("h: f32[N,4] = Relu(x)\ny: f32[N,4] = If(c, x, w, h, c) opaque"), "{text}");
    again(&graph);
}

#[test]
fn bodies_follow_when_values_are_renamed() {
    let graph = branches().read().unwrap();
    let (h, outputs) = (graph.find("h").unwrap(), graph.outputs().to_vec());
    let mut build = Build::extend(&graph);
    build.rename(h, "renamed").unwrap();
    build.rename(outputs[0], "result").unwrap();
    let graph = build.finish(outputs);
    let text = read(&write(&graph).unwrap(), &ReadOptions::default()).unwrap().to_string();
    assert!(text.contains("result: f32[N,4] = If(c, x, w, renamed, c)"), "{text}");
}

#[test]
fn branches_that_are_known_take_the_place_of_their_node() {
    let branch = |op: &str| inner(&[node(op, &["x"], &["h"], &[]), node("Neg", &["h"], &["o"], &[])], "o");
    let choose = |output: &str| {
        node(
            "If",
            &["same"],
            &[output],
            &[body("then_branch", branch("Abs")), body("else_branch", branch("Relu"))],
        )
    };
    // The older PyTorch exporter asks such questions of shapes.
    let made = file(17)
        .input("x", F32, "N,4")
        .node("Shape", &["x"], &["shape"], &[])
        .ints("one", &[1])
        .ints("four", &[4])
        .node("Gather", &["shape", "one"], &["c"], &[])
        .node("Equal", &["c", "four"], &["same"], &[])
        .push(choose("y"))
        .push(choose("z"))
        .output("y")
        .output("z");
    assert_eq!(
        made.nodes(),
        "h: f32[N,4] = Abs(x)\no: f32[N,4] = Neg(h)\ny: f32[N,4] = Identity(o)\n\
         z/h: f32[N,4] = Abs(x)\nz/o: f32[N,4] = Neg(z/h)\nz: f32[N,4] = Identity(z/o)"
    );
    again(&made.read().unwrap());
}

#[test]
fn constants_of_foreign_types_are_kept() {
    let int4 = TensorProto {
        name: "q".into(),
        data_type: 22,
        dims: vec![4, 2],
        raw_data: vec![1, 2, 3, 4].into(),
        ..TensorProto::default()
    };
    let words = TensorProto {
        name: "words".into(),
        data_type: STRING,
        dims: vec![1],
        string_data: vec!["cat".into()],
        ..TensorProto::default()
    };
    let made = file(21)
        .input("x", F32, "N,4")
        .init(int4)
        .init(words)
        .floats("scale", &[])
        .node("DequantizeLinear", &["q", "scale"], &["w"], &[])
        .node("MatMul", &["x", "w"], &["y"], &[])
        .push(elsewhere(node("Name", &["words"], &["z"], &[])))
        .output("y")
        .output("z");
    let graph = made.read().unwrap();
    let text = graph.to_string();
    assert!(text.contains("q: ?[4,2] = Constant() opaque"), "{text}");
    assert!(text.contains("y: f32[N,2] = MatMul(x, w)"), "{text}");
    again(&graph);
}

#[test]
fn sparse_constants_are_kept() {
    let mut made = file(17).input("x", F32, "N,4").node("MatMul", &["x", "s"], &["y"], &[]).output("y");
    made.graph.sparse_initializer.push(SparseTensorProto {
        values: Some(float_tensor("s", &[1], &[2.0])),
        indices: Some(int_tensor("", &[1], &[0])),
        dims: vec![4, 4],
    });
    let graph = made.read().unwrap();
    assert!(graph.to_string().contains("s: ?[?] = Constant() opaque"), "{graph}");
    again(&graph);
}

fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: &[NodeProto]) -> FunctionProto {
    FunctionProto {
        name: name.into(),
        domain: "local".into(),
        input: inputs.iter().map(|&s| s.into()).collect(),
        output: outputs.iter().map(|&s| s.into()).collect(),
        node: nodes.iter().map(|n| n.encode_to_vec().into()).collect(),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        ..FunctionProto::default()
    }
}

fn call(name: &str, inputs: &[&str], outputs: &[&str], attributes: &[AttributeProto]) -> NodeProto {
    NodeProto { domain: "local".into(), ..node(name, inputs, outputs, attributes) }
}

fn leaky() -> FunctionProto {
    let body = [
        node("Mul", &["a", "b"], &["m"], &[]),
        node("LeakyRelu", &["m"], &["r"], &[reference("alpha", "slope")]),
    ];
    FunctionProto {
        attribute_proto: vec![float("slope", 0.25)],
        ..function("leaky", &["a", "b"], &["r"], &body)
    }
}

#[test]
fn functions_are_inlined() {
    let twice = function(
        "twice",
        &["a"],
        &["r", "same"],
        &[
            call("leaky", &["a", "a"], &["h"], &[]),
            call("leaky", &["h", "a"], &["r"], &[float("slope", 0.5)]),
            node("Identity", &["a"], &["same"], &[]),
        ],
    );
    let made = file(17)
        .input("x", F32, "N,4")
        .function(leaky())
        .function(twice)
        .push(NodeProto { name: "first".into(), ..call("twice", &["x"], &["y"], &[]) })
        .push(call("leaky", &["y", "y"], &["z"], &[float("slope", 0.125)]))
        .output("z");
    assert_eq!(
        made.nodes(),
        "leaky#2/m: f32[N,4] = Mul(x, x)\n\
         first#1/h: f32[N,4] = LeakyRelu(leaky#2/m) alpha=0.25\n\
         leaky#3/m: f32[N,4] = Mul(first#1/h, x)\n\
         y: f32[N,4] = LeakyRelu(leaky#3/m) alpha=0.5\n\
         leaky#4/m: f32[N,4] = Mul(y, y)\n\
         z: f32[N,4] = LeakyRelu(leaky#4/m) alpha=0.125"
    );
    let graph = made.read().unwrap();
    assert!(graph.header().functions.is_empty());
    again(&graph);
}

#[test]
fn functions_may_hand_operands_through_and_leave_results_out() {
    let pass = function("pass", &["a", "b"], &["a", "r"], &[node("Neg", &["b"], &["r"], &[])]);
    let made = file(17)
        .input("x", F32, "N,4")
        .function(pass)
        .push(call("pass", &["x", "x"], &["y"], &[]))
        .output("y");
    assert_eq!(made.nodes(), "y: f32[N,4] = Identity(x)");
}

#[test]
fn bodies_in_functions_are_renamed_with_them() {
    let branch = |op: &str| inner(&[node(op, &["m"], &["o"], &[])], "o");
    let choose = function(
        "choose",
        &["a", "c"],
        &["r"],
        &[
            node("Neg", &["a"], &["m"], &[]),
            node(
                "If",
                &["c"],
                &["r"],
                &[body("then_branch", branch("Abs")), body("else_branch", branch("Relu"))],
            ),
        ],
    );
    let made = file(17)
        .input("x", F32, "N,4")
        .input("flag", BOOL, "")
        .function(choose)
        .push(call("choose", &["x", "flag"], &["y"], &[]))
        .output("y");
    let graph = made.read().unwrap();
    let text = node_lines(&graph);
    assert!(text.contains("choose#1/m: f32[N,4] = Neg(x)\ny: ?[?] = If(flag, choose#1/m) opaque"), "{text}");
    again(&graph);
}

#[test]
fn functions_that_bodies_call_are_kept() {
    let branch = |slope: f32| inner(&[call("leaky", &["x", "x"], &["o"], &[float("slope", slope)])], "o");
    let made = file(17)
        .input("x", F32, "N,4")
        .input("flag", BOOL, "")
        .function(leaky())
        .function(function("unused", &["a"], &["r"], &[node("Neg", &["a"], &["r"], &[])]))
        .node("If", &["flag"], &["y"], &[body("then_branch", branch(0.1)), body("else_branch", branch(0.2))])
        .output("y");
    let graph = again(&made.read().unwrap());
    assert_eq!(graph.header().functions, [leaky().encode_to_vec()]);
}

#[test]
fn functions_without_end_are_refused() {
    let recursive = function("f", &["a"], &["r"], &[call("f", &["a"], &["r"], &[])]);
    let made =
        file(17).input("x", F32, "N,4").function(recursive).push(call("f", &["x"], &["y"], &[])).output("y");
    assert!(made.refusal().contains("functions call functions more than 16 deep"), "{}", made.refusal());
    // Each doubles the one before.
    let large = NodeProto { doc_string: "x".repeat(1 << 20), ..node("Neg", &["a"], &["r"], &[]) };
    let mut made = file(17).input("x", F32, "N,4").function(function("f0", &["a"], &["r"], &[large]));
    for i in 1..15 {
        let before = format!("f{}", i - 1);
        let body = [call(&before, &["a"], &["b"], &[]), call(&before, &["b"], &["r"], &[])];
        made = made.function(function(&format!("f{i}"), &["a"], &["r"], &body));
    }
    let made = made.push(call("f14", &["x"], &["y"], &[])).output("y");
    assert!(made.refusal().contains("functions take more than 268435456 bytes when inlined"));
}

#[test]
fn graphs_inside_graphs_have_a_limit() {
    let deep = |levels: usize| {
        let mut graph = inner(&[node("Identity", &["x"], &["o"], &[])], "o");
        for _ in 1..levels {
            graph = inner(&[node("If", &["c"], &["o"], &[body("then_branch", graph)])], "o");
        }
        file(17)
            .input("x", F32, "N,4")
            .input("c", BOOL, "")
            .node("If", &["c"], &["y"], &[body("then_branch", graph)])
            .output("y")
    };
    let graph: GraphProto = deep(16).graph;
    assert_eq!(graph.node.len(), 1);
    let text = again(&deep(16).read().unwrap()).to_string();
    assert!(text.contains("If(c, x, c)"), "{text}");
    assert!(deep(17).refusal().contains("graphs inside graphs more than 16 deep"));
    assert!(deep(2_000).refusal().contains("graphs inside graphs more than 16 deep"));
}
