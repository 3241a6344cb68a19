//! Sizes that depend on data, held at what one image makes of them.

mod common;
mod onnx_support;

use common::{derived, run_with};
use onnx_support::{F32, file};
use whycam_graph::diff::ReluRule;
use whycam_graph::onnx::{hold, unsettled};
use whycam_graph::{Dim, Shape, Tensor};
use whycam_interp::Array;

/// The squares of those numbers that are not zero, one after the other.
fn found() -> whycam_graph::Graph {
    file(17)
        .input("x", F32, "N,2,3")
        .node("Mul", &["x", "x"], &["square"], &[])
        .node("NonZero", &["x"], &["places"], &[])
        .node("Transpose", &["places"], &["rows"], &[])
        .node("GatherND", &["square", "rows"], &["found"], &[])
        .output("found")
        .read()
        .unwrap()
}

#[test]
fn what_is_held_has_shapes_and_gradients() {
    let graph = found();
    assert!(graph.shape(graph.find("found").unwrap()).is_err());
    let open: Vec<&str> = unsettled(&graph).iter().map(|&id| graph.value(id).name.as_str()).collect();
    assert_eq!(open, ["places", "rows"]);

    let x = Array::new(&[1, 2, 3], vec![0.0, 2.0, 0.0, -3.0, 0.0, 5.0]);
    let places = Tensor::i64(&[3, 3], &[0, 0, 0, 0, 1, 1, 1, 0, 2]).unwrap();
    let held = hold(&graph, &[(graph.find("places").unwrap(), places)]).unwrap();
    let target = held.find("found").unwrap();
    assert_eq!(held.shape(target).unwrap(), &Shape::fixed(&[3]));
    // The image is one.
    assert_eq!(held.shape(held.inputs()[0]).unwrap().0[0], Dim::Fixed(1));
    assert!(unsettled(&held).is_empty());

    let image = held.find("x").unwrap();
    let sent = derived(&held, target, &[image], ReluRule::Gradient, None).unwrap();
    let cotangent = Array::new(&[3], vec![1.0, 10.0, 100.0]);
    let signal = run_with(&sent, &[("x".into(), x)], &[("cotangent", &cotangent)]).remove(0);
    assert_eq!(signal.data, [0.0, 4.0, 0.0, -60.0, 0.0, 1000.0]);
}

#[test]
fn nothing_is_open_where_shapes_are_known() {
    let graph = file(17)
        .input("x", F32, "N,4")
        .node("NonZero", &["x"], &["places"], &[])
        .node("Relu", &["x"], &["y"], &[])
        .output("y")
        .read()
        .unwrap();
    assert!(unsettled(&graph).is_empty(), "what no output needs is dropped");
}
