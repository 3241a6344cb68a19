//! What operators on levels are read as, and what is refused of them.

mod onnx_support;

use onnx_support::{
    F32, File, U8, file, float, int, ints, node, proto::NodeProto, proto::TensorProto, reason,
};
use whycam_graph::Result;
use whycam_graph::layer::find;
use whycam_graph::{Graph, Op};

const I8: i32 = 3;

/// A constant of levels, all the same.
fn levels(name: &str, dtype: i32, dims: &[i64], level: i32) -> TensorProto {
    let count = dims.iter().product::<i64>() as usize;
    TensorProto {
        name: name.into(),
        dims: dims.into(),
        data_type: dtype,
        int32_data: vec![level; count],
        ..TensorProto::default()
    }
}

fn contributed(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto { domain: "com.microsoft".into(), ..node(op, inputs, outputs, &[]) }
}

/// `x: float32[N,3,4,4]` as the levels `a_quantized`, with scales and zero points of several forms.
fn start() -> File {
    file(13)
        .input("x", F32, "N,3,4,4")
        .init(onnx_support::float_tensor("s", &[], &[0.5]))
        .init(onnx_support::float_tensor("s2", &[2], &[0.5, 0.25]))
        .init(onnx_support::float_tensor("s3", &[3], &[0.5, 0.25, 0.125]))
        .init(levels("z", U8, &[], 3))
        .init(levels("z8", I8, &[], 0))
        .init(levels("z2", I8, &[2], 0))
        .init(levels("w", I8, &[2, 3, 3, 3], 1))
        .init(levels("b", 6, &[2], 7))
        .node("QuantizeLinear", &["x", "s", "z"], &["a_quantized"], &[])
}

const CONV: [&str; 9] = ["a_quantized", "s", "z", "w", "s2", "z2", "s", "z", "b"];

#[test]
fn operators_on_levels_are_operators_between_roundings() {
    let graph = start().node("QLinearConv", &CONV, &["y"], &[]).output("y").read().expect("sound");
    let kinds: Vec<&str> = graph.nodes().map(|(_, node)| node.op.name()).collect();
    let one = ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Mul", "DequantizeLinear", "Conv"];
    assert_eq!(kinds, [&one[..], &["QuantizeLinear"]].concat(), "{graph}");
    // The names are those that onnxruntime gives where nodes of their own de-quantise; levels are named for them.
    let real = graph.find("a_DequantizeLinear_Output").expect("there");
    assert_eq!(find(&graph, "a_quantized").expect("there"), real);
    // A second user of the levels reads the same real numbers.
    let twice = start()
        .node("QLinearConv", &CONV, &["y"], &[])
        .push(contributed("QLinearSigmoid", &["a_quantized", "s", "z", "s", "z"], &["v"]))
        .output("y")
        .output("v")
        .read()
        .expect("sound");
    let users = |graph: &Graph| {
        let takes = |op: &Op| matches!(op, Op::DequantizeLinear { .. });
        graph.nodes().filter(|(_, n)| takes(&n.op) && n.inputs[0] == graph.find("a_quantized")).count()
    };
    assert_eq!((users(&graph), users(&twice)), (1, 1));
}

#[test]
fn a_name_that_the_file_has_is_not_taken() {
    let graph = start()
        .node("QLinearConv", &CONV, &["y"], &[])
        .node("Relu", &["x"], &["a_DequantizeLinear_Output"], &[])
        .output("y")
        .output("a_DequantizeLinear_Output")
        .read()
        .expect("sound");
    let id = graph.find("a_DequantizeLinear_Output").expect("there");
    let node = graph.node(graph.value(id).producer.expect("made"));
    assert_eq!(node.op.name(), "Relu");
}

/// A pool of bytes means a pool of what they stand for, whether layout ops moved them or not.
#[test]
fn pools_of_levels_are_pools_of_real_numbers() {
    let pool =
        |f: File, x: &str| f.node("MaxPool", &[x], &["y"], &[ints("kernel_shape", &[2, 2])]).output("y");
    let kinds = |graph: Result<Graph>| -> Vec<String> {
        graph.expect("sound").nodes().map(|(_, node)| node.op.name().to_owned()).collect()
    };
    let moved = start().node("Transpose", &["a_quantized"], &["t"], &[ints("perm", &[0, 1, 3, 2])]);
    let around = ["DequantizeLinear", "MaxPool", "QuantizeLinear"];
    assert_eq!(kinds(pool(start(), "a_quantized").read())[1..], around);
    assert_eq!(kinds(pool(moved, "t").read())[2..], around);
    // Bytes that nothing quantised are bytes.
    let bytes = file(13).input("x", U8, "N,3,4,4");
    assert_eq!(kinds(pool(bytes, "x").read()), ["MaxPool"]);
}

#[test]
fn parameters_that_do_not_fit_are_errors() {
    let conv = |at: usize, name: &str| {
        let mut operands = CONV;
        operands[at] = name;
        start().node("QLinearConv", &operands, &["y"], &[]).output("y").refusal()
    };
    let cases = [
        // As many scales as there are input channels.
        (4, "s3", "do not lie along axis 0"),
        (5, "z", "a zero point of type u8 for levels of type i8"),
        (1, "s2", "scales of shape [2] where one is allowed"),
        (7, "s", "levels of type f32"),
        (1, "z", "a scale of type u8"),
        (0, "x", "levels of type f32"),
    ];
    for (at, name, expected) in &cases {
        let told = conv(*at, name);
        assert!(told.contains(expected), "operand {at} as {name:?}: {told}");
    }
    for (inputs, expected) in [
        (["x", "s2", "z"], "do not lie along axis"),
        (["x", "s", "z2"], "do not lie along axis"),
        (["a_quantized", "s", "z8"], "a zero point of type i8 for levels of type u8"),
    ] {
        let op = if inputs[0] == "x" { "QuantizeLinear" } else { "DequantizeLinear" };
        let told = start().node(op, &inputs, &["y"], &[]).output("y").refusal();
        assert!(told.contains(expected), "{told}");
    }
    let missing = start().node("QLinearConv", &CONV[..6], &["y"], &[]).output("y").refusal();
    assert!(missing.contains("operand 6 is missing"), "{missing}");
    let concat = ["s", "z", "a_quantized", "s"];
    let cut = start().push(contributed("QLinearConcat", &concat, &["y"])).output("y");
    assert!(cut.refusal().contains("axis"), "{}", cut.refusal());
}

#[test]
fn forms_that_are_not_modelled_say_why() {
    let pool = |attributes| NodeProto {
        attribute: attributes,
        ..contributed("QLinearGlobalAveragePool", &["a_quantized", "s", "z", "s", "z"], &["y"])
    };
    let read = |node| start().push(node).output("y").read().expect("kept");
    let last = read(pool(vec![int("channels_last", 1)]));
    assert_eq!(reason(&last, "y").as_deref(), Some("its channels are the last axis"));
    let other = read(pool(vec![float("beta", 1.0)]));
    assert!(reason(&other, "y").expect("told").contains("\"beta\""));
    assert_eq!(reason(&read(contributed("QLinearReduceMean", &["a_quantized"], &["y"])), "y"), None);
}

/// Products of whole numbers are kept as they are, and mean sums less their zero points.
#[test]
fn whole_number_products_are_composites() {
    let graph = file(13)
        .input("x", F32, "N,3,4,4")
        .init(levels("w", U8, &[2, 3, 3, 3], 1))
        .init(levels("z2", U8, &[2], 3))
        .node("DynamicQuantizeLinear", &["x"], &["q", "s", "z"], &[])
        .node("ConvInteger", &["q", "w", "z", "z2"], &["y"], &[])
        .output("y")
        .output("s")
        .read()
        .expect("sound");
    for (_, node) in graph.nodes() {
        assert!(matches!(node.op, Op::Composite(_)), "{}", node.op);
    }
    let real = file(13)
        .input("x", F32, "N,3,4,4")
        .floats("w", &[2, 3, 3, 3])
        .node("ConvInteger", &["x", "w"], &["y"], &[])
        .output("y");
    assert!(real.refusal().contains("operand of type f32"), "{}", real.refusal());
}
