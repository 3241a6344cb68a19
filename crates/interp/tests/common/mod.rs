//! One-node graphs.

#![allow(dead_code, reason = "each test file uses some of these")]

use whycam_graph::op::{Conv, Window};
use whycam_graph::{Build, DType, Graph, Header, Op, Shape};
use whycam_interp::{Array, run};

/// The graph of `op` over inputs `x0, x1, …` of these types and shapes.
pub fn graph_of(op: Op, inputs: &[(DType, Shape)]) -> Result<Graph, String> {
    let mut b = Build::new(Header::default());
    let mut ids = Vec::new();
    for (i, (dtype, shape)) in inputs.iter().enumerate() {
        ids.push(Some(b.input(&format!("x{i}"), *dtype, shape.clone()).unwrap()));
    }
    let outputs = b.nodes(op, &ids).map_err(|e| e.to_string())?;
    Ok(b.finish(outputs))
}

/// The results of `op` on operands of these types.
pub fn typed(op: Op, operands: &[(DType, Array)]) -> Result<Vec<Array>, String> {
    let about: Vec<_> = operands.iter().map(|(d, a)| (*d, Shape::fixed(&a.shape))).collect();
    let graph = graph_of(op, &about)?;
    let names: Vec<_> = (0..operands.len()).map(|i| format!("x{i}")).collect();
    let given: Vec<_> =
        names.iter().map(String::as_str).zip(operands.iter().map(|(_, a)| a.clone())).collect();
    run(&graph, &given)
}

/// The one result of `op` on float operands.
#[track_caller]
pub fn apply(op: Op, operands: &[&Array]) -> Array {
    let floats: Vec<_> = operands.iter().map(|&a| (DType::F32, a.clone())).collect();
    let mut results = typed(op, &floats).unwrap();
    assert_eq!(results.len(), 1);
    results.remove(0)
}

/// The one result of `op` on int64 operands.
#[track_caller]
pub fn integers(op: Op, operands: &[&Array]) -> Array {
    let ints: Vec<_> = operands.iter().map(|&a| (DType::I64, a.clone())).collect();
    typed(op, &ints).unwrap().remove(0)
}

/// A vector.
pub fn vector(data: &[f64]) -> Array {
    Array::new(&[data.len()], data.to_vec())
}

/// One image of one channel.
pub fn image(height: usize, width: usize, data: &[f64]) -> Array {
    Array::new(&[1, 1, height, width], data.to_vec())
}

/// 0, 1, 2, …
pub fn counting(shape: &[usize]) -> Array {
    let mut next = -1.0;
    Array::from_fn(shape, |_| {
        next += 1.0;
        next
    })
}

#[track_caller]
pub fn assert_close(a: &Array, b: &[f64]) {
    assert_eq!(a.data.len(), b.len(), "{a:?}");
    for (x, y) in a.data.iter().zip(b) {
        assert!((x - y).abs() <= 1e-12 * y.abs().max(1.0), "{:?} is not {b:?}", a.data);
    }
}

/// A convolution with the same geometry along `axes` axes.
pub fn conv(axes: usize, stride: usize, dilation: usize, pads: (usize, usize), groups: usize) -> Conv {
    Conv { strides: vec![stride; axes], dilations: vec![dilation; axes], pads: vec![pads; axes], groups }
}

/// Windows with the same geometry along `axes` axes.
pub fn window(axes: usize, kernel: usize, stride: usize, pads: (usize, usize), ceil_mode: bool) -> Window {
    Window {
        kernel: vec![kernel; axes],
        strides: vec![stride; axes],
        dilations: vec![1; axes],
        pads: vec![pads; axes],
        ceil_mode,
    }
}
