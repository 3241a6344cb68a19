//! Half floats made float32: what changes, and what does not.

mod onnx_support;

use onnx_support::proto::{NodeProto, TensorProto};
use onnx_support::{F16, F32, file, ints, node};
use whycam_graph::{DType, Op, pass};

fn halves(name: &str, count: usize) -> TensorProto {
    // 0x3c00 is 1.
    TensorProto {
        name: name.into(),
        dims: vec![count as i64],
        data_type: F16,
        int32_data: vec![0x3c00; count],
        ..TensorProto::default()
    }
}

#[test]
fn all_but_constants_and_opaque_nodes_is_float32() {
    let foreign = NodeProto { domain: "foreign".into(), ..node("Turn", &["b"], &["c"], &[]) };
    let graph = file(17)
        .input("x", F16, "N,4")
        .init(halves("w", 4))
        .node("Mul", &["x", "w"], &["a"], &[])
        .node("LayerNormalization", &["a", "w"], &["b"], &[])
        .declare("c", F16, "N,4")
        .push(foreign)
        .node("Cast", &["c"], &["d"], &[onnx_support::int("to", i64::from(F16))])
        .node("ReduceMax", &["d"], &["y"], &[ints("axes", &[1])])
        .output("y")
        .read()
        .expect("sound");
    let wide = pass::widen(&graph).expect("sound").expect("something is widened");
    let dtype = |name: &str| wide.value(wide.find(name).expect(name)).dtype;
    for name in ["x", "a", "b", "d", "y"] {
        assert_eq!(dtype(name), Some(DType::F32), "{name}");
    }
    assert_eq!((dtype("w"), dtype("c")), (Some(DType::F16), Some(DType::F16)));
    let (_, opaque) = wide.nodes().find(|(_, n)| matches!(n.op, Op::Opaque(_))).expect("kept");
    assert_eq!(wide.value(opaque.input(0).expect("one")).dtype, Some(DType::F16));
    assert!(wide.nodes().any(|(_, n)| matches!(n.op, Op::Composite(_))), "kept as it is");
    assert_eq!(wide.outputs().len(), 1);
}

/// Weights that are stored in half precision and cast where they are used leave nothing to widen.
#[test]
fn other_graphs_stay_as_they_are() {
    let graph = file(17)
        .input("x", F32, "N,4")
        .init(halves("w", 4))
        .node("Cast", &["w"], &["v"], &[onnx_support::int("to", i64::from(F32))])
        .node("Mul", &["x", "v"], &["y"], &[])
        .output("y");
    assert!(pass::widen(&graph.read().expect("sound")).expect("sound").is_none());
}
