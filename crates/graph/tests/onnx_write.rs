//! What is written reads back the same, whatever the op and the version of ONNX's operators.

mod onnx_support;

use std::path::Path;

use onnx_support::{File, file, float_tensor, int, ints, node, text};
use whycam_graph::engine::ModelBytes;
use whycam_graph::graph::Header;
use whycam_graph::onnx::{ReadOptions, external_locations, lend, read, write};
use whycam_graph::op::*;
use whycam_graph::tensor::External;
use whycam_graph::{Build, DType, Dim, Graph, N, NamedNode, Op, Result, Shape, Tensor, ValueId};

/// The operands that an op is tried on.
#[derive(Clone)]
enum Arg {
    /// An input of floats.
    Input(&'static [Dim]),
    /// A constant of floats, counting up.
    Floats(&'static [usize]),
    Ints(&'static [i64]),
    Bytes(&'static [usize]),
}

use Arg::{Bytes, Floats, Input, Ints};

const fn f(n: usize) -> Dim {
    Dim::Fixed(n)
}

const NC: &[Dim] = &[N, f(4)];
const NCHW: &[Dim] = &[N, f(4), f(6), f(7)];
const ONES: &[Dim] = &[N, f(1), f(1), f(3)];
const FIXED: &[Dim] = &[f(2), f(4), f(6), f(7)];

fn header(opset: i64) -> Header {
    Header { ir_version: 9, opsets: [(String::new(), opset)].into(), ..Header::default() }
}

/// A graph of one op.
fn graph(opset: i64, op: Op, args: &[Arg]) -> Result<Graph> {
    let mut build = Build::new(header(opset));
    let mut operands: Vec<Option<ValueId>> = Vec::new();
    for (i, arg) in args.iter().enumerate() {
        let name = format!("operand {i}");
        let counting = |dims: &[usize]| (0..dims.iter().product()).map(|v| v as f32).collect::<Vec<f32>>();
        operands.push(Some(match arg {
            Input(dims) => build.input(&name, DType::F32, Shape(dims.to_vec()))?,
            Floats(dims) => build.named_constant(&name, Tensor::f32(dims, &counting(dims))?)?,
            Ints(values) => build.named_constant(&name, Tensor::i64(&[values.len()], values)?)?,
            Bytes(dims) => {
                let data = vec![1u8; dims.iter().product()];
                build.named_constant(&name, Tensor::new(DType::U8, dims.to_vec(), data)?)?
            }
        }));
    }
    let count = match &op {
        Op::Split { sizes, .. } => sizes.len(),
        Op::TopK { .. } => 2,
        _ => 1,
    };
    let node = NamedNode {
        op,
        inputs: operands,
        outputs: (0..count).map(|i| Some(format!("result {i}"))).collect(),
        name: "the node".into(),
        module: Some("layer1.it's".into()),
    };
    let outputs = build.named(node)?.into_iter().flatten().collect();
    Ok(build.finish(outputs))
}

fn every_op() -> Vec<(Op, Vec<Arg>)> {
    use UnaryFn as U;
    let x = || vec![Input(NCHW)];
    let window = |ceil_mode| Window {
        kernel: vec![3, 2],
        strides: vec![2, 1],
        dilations: vec![1, 1],
        pads: vec![(1, 0), (0, 1)],
        ceil_mode,
    };
    let conv =
        |groups| Conv { strides: vec![2, 1], dilations: vec![1, 2], pads: vec![(1, 2), (0, 1)], groups };
    let resize = |mode, coordinates, size, scales| Op::Resize(Resize { mode, coordinates, size, scales });
    let nearest = ResizeMode::Nearest;
    let mut all: Vec<(Op, Vec<Arg>)> = Vec::new();
    for unary in [
        U::Abs,
        U::Ceil,
        U::Clip { min: 0.0, max: 6.0 },
        U::Clip { min: f32::NEG_INFINITY, max: 1.0 },
        U::Clip { min: -1.0, max: f32::INFINITY },
        U::Clip { min: f32::NEG_INFINITY, max: f32::INFINITY },
        U::Cos,
        U::Elu(0.5),
        U::Erf,
        U::Exp,
        U::Floor,
        U::Gelu,
        U::GeluTanh,
        U::HardSigmoid { alpha: 0.1, beta: 0.4 },
        U::HardSwish,
        U::LeakyRelu(0.1),
        U::Log,
        U::Neg,
        U::Reciprocal,
        U::Relu,
        U::Round,
        U::Sigmoid,
        U::Sign,
        U::Sin,
        U::Softplus,
        U::Sqrt,
        U::Tanh,
    ] {
        all.push((Op::Unary(unary), x()));
    }
    use BinaryFn::{Add, Div, Max, Min, Mul, Pow, Sub};
    for binary in [Add, Div, Max, Min, Mul, Pow, Sub] {
        all.push((Op::Binary(binary), vec![Input(NCHW), Floats(&[4, 1, 1])]));
    }
    use CompareFn::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
    for compare in [Equal, Greater, GreaterOrEqual, Less, LessOrEqual] {
        all.push((Op::Compare(compare), vec![Input(NC), Floats(&[4])]));
    }
    use ReduceKind as R;
    for kind in
        [R::L1, R::L2, R::LogSum, R::LogSumExp, R::Max, R::Mean, R::Min, R::Prod, R::Sum, R::SumSquare]
    {
        all.push((Op::Reduce { kind, axes: vec![1, 3], keep: true }, x()));
        all.push((Op::Reduce { kind, axes: vec![0], keep: false }, x()));
    }
    use Coordinates::{AlignCorners, Asymmetric, HalfPixel, PytorchHalfPixel};
    use NearestMode::{Ceil, Floor, RoundPreferCeil, RoundPreferFloor};
    for (mode, coordinates) in [
        (nearest(RoundPreferFloor), HalfPixel),
        (nearest(RoundPreferCeil), PytorchHalfPixel),
        (nearest(Floor), Asymmetric),
        (nearest(Ceil), AlignCorners),
        (ResizeMode::Linear, HalfPixel),
    ] {
        all.push((resize(mode, coordinates, [12, 14], None), x()));
        all.push((resize(mode, coordinates, [13, 5], None), vec![Input(FIXED)]));
        all.push((resize(mode, coordinates, [13, 5], None), x()));
        all.push((resize(mode, coordinates, [9, 5], Some([1.6, 0.8])), x()));
    }
    all.extend([
        (Op::Identity, x()),
        (Op::Dropout, x()),
        (Op::Cast(DType::F16), x()),
        (Op::Cast(DType::Bool), x()),
        (Op::PRelu, vec![Input(NCHW), Floats(&[4, 1, 1])]),
        (Op::Conv(conv(1)), vec![Input(NCHW), Floats(&[8, 4, 3, 2])]),
        (Op::Conv(conv(2)), vec![Input(NCHW), Floats(&[8, 2, 3, 2]), Floats(&[8])]),
        (
            Op::ConvTranspose(ConvTranspose { conv: conv(2), output_padding: vec![1, 0] }),
            vec![Input(NCHW), Floats(&[4, 3, 4, 2]), Floats(&[6])],
        ),
        (Op::MatMul, vec![Input(NC), Floats(&[4, 5])]),
        (
            Op::Gemm(Gemm { alpha: 0.5, beta: 2.0, trans_a: false, trans_b: true }),
            vec![Input(NC), Floats(&[5, 4]), Floats(&[5])],
        ),
        (
            Op::BatchNorm { epsilon: 1e-3 },
            vec![Input(NCHW), Floats(&[4]), Floats(&[4]), Floats(&[4]), Floats(&[4])],
        ),
        (Op::Lrn(Lrn { size: 3, alpha: 0.2, beta: 0.5, bias: 2.0 }), x()),
        (Op::Softmax { axis: 1 }, x()),
        (Op::LogSoftmax { axis: 3 }, x()),
        (Op::MaxPool(window(true)), x()),
        (Op::MaxPool(Window { dilations: vec![2, 2], ..window(false) }), x()),
        (Op::AveragePool { window: window(true), count_include_pad: true }, x()),
        (Op::AveragePool { window: window(false), count_include_pad: false }, x()),
        (
            Op::AveragePool {
                window: Window { dilations: vec![2, 1], ..window(false) },
                count_include_pad: false,
            },
            x(),
        ),
        (Op::GlobalAveragePool, x()),
        (Op::GlobalMaxPool, x()),
        (Op::ArgMax { axis: 1, keep: false }, x()),
        (Op::TopK { axis: 1, k: 3 }, x()),
        (Op::Reshape { to: Shape(vec![N, f(168)]) }, x()),
        (Op::Reshape { to: Shape(vec![Dim::Batch(4), f(42)]) }, x()),
        (Op::Reshape { to: Shape(vec![f(4), Dim::Batch(7), f(6)]) }, x()),
        (Op::Reshape { to: Shape(vec![f(0), f(5)]) }, vec![Floats(&[5, 0])]),
        (Op::Flatten { axis: 1 }, x()),
        (Op::Transpose { perm: vec![0, 2, 3, 1] }, x()),
        (Op::Concat { axis: 1 }, vec![Input(FIXED), Floats(&[2, 3, 6, 7]), Floats(&[2, 1, 6, 7])]),
        (Op::Split { axis: 3, sizes: vec![1, 4, 2] }, x()),
        (
            Op::Slice(vec![
                Range { axis: 1, start: 1, end: 4, step: 2 },
                Range { axis: 2, start: 5, end: -1, step: -1 },
            ]),
            x(),
        ),
        (
            Op::Pad {
                mode: PadMode::Constant,
                before: vec![0, 0, 1, -2],
                after: vec![0, 0, 3, 0],
                value: -1.0,
            },
            x(),
        ),
        (Op::Pad { mode: PadMode::Edge, before: vec![0, 0, 1, 2], after: vec![0, 0, 3, 0], value: 0.0 }, x()),
        (Op::Pad { mode: PadMode::Reflect, before: vec![0, 0, 1, 2], after: vec![0; 4], value: 0.0 }, x()),
        (Op::Squeeze { axes: vec![1, 2] }, vec![Input(ONES)]),
        (Op::Unsqueeze { axes: vec![0, 3] }, vec![Input(NC)]),
        (Op::Expand { to: Shape(vec![f(3), N, f(4)]) }, vec![Input(NC)]),
        (Op::Gather { axis: 1 }, vec![Input(NC), Ints(&[0, 2])]),
        (Op::DepthToSpace { block: 2, mode: DepthMode::Dcr }, x()),
        (Op::DepthToSpace { block: 2, mode: DepthMode::Crd }, x()),
        (Op::Shape { start: 0, end: 4 }, x()),
        (Op::ConstantOfShape(Scalar::F32(1.5)), vec![Ints(&[2, 3])]),
        (Op::ConstantOfShape(Scalar::I64(-1)), vec![Ints(&[2])]),
        (Op::ConstantOfShape(Scalar::Bool(true)), vec![Ints(&[2])]),
        (Op::DequantizeLinear { axis: 0 }, vec![Bytes(&[2, 3]), Floats(&[2]), Bytes(&[2])]),
        (Op::QuantizeLinear { axis: 1, to: DType::U8 }, vec![Input(NCHW), Floats(&[4])]),
        (Op::QuantizeLinear { axis: 1, to: DType::I8 }, vec![Input(NCHW), Floats(&[4])]),
        (Op::QuantizeLinear { axis: 1, to: DType::U8 }, vec![Input(NCHW), Floats(&[4]), Bytes(&[4])]),
    ]);
    all
}

fn modules(graph: &Graph) -> Vec<(String, Option<String>)> {
    graph.nodes().map(|(_, n)| (n.name.clone(), n.module.clone())).collect()
}

/// The same graph after writing and reading, which must not change it.
fn round_trip(graph: &Graph) -> Graph {
    let written = write(graph).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    let again = read(&written, &ReadOptions::default()).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    assert_eq!(again.to_string(), graph.to_string());
    assert_eq!(modules(&again), modules(graph));
    again
}

#[test]
fn every_op_in_every_version() {
    for opset in [13, 17, 18, 20, 21, 25] {
        for (op, args) in every_op() {
            let graph = graph(opset, op.clone(), &args).unwrap_or_else(|e| panic!("{op}: {e}"));
            // See below for what older versions spell in other ways.
            let lacking = match op {
                Op::Unary(UnaryFn::HardSwish) => opset < 14,
                Op::QuantizeLinear { to: DType::I8, .. } => opset < 21 && args.len() == 2,
                _ => false,
            };
            if !lacking {
                round_trip(&graph);
            }
        }
    }
}

#[test]
fn ops_that_the_version_lacks_are_spelled_out() {
    let lines = |op: Op, opset| {
        let graph = graph(opset, op, &[Input(NC)]).unwrap();
        let again = read(&write(&graph).unwrap(), &ReadOptions::default()).unwrap();
        (onnx_support::node_lines(&again), again.header().opset())
    };
    let (text, opset) = lines(Op::Unary(UnaryFn::HardSwish), 13);
    assert_eq!(opset, 13);
    assert_eq!(
        text,
        "whycam/value/1: f32[N,4] = HardSigmoid(operand 0) alpha=0.16666667 beta=0.5\n\
         result 0: f32[N,4] = Mul(operand 0, whycam/value/1)"
    );
    let (text, opset) = lines(Op::Shape { start: 1, end: 2 }, 13);
    assert_eq!(opset, 13);
    assert_eq!(
        text,
        "whycam/value/1: i64[2] = Shape(operand 0) 0..2\nresult 0: i64[1] = Slice(whycam/value/1) 0=1..2:1"
    );
    assert_eq!(lines(Op::Shape { start: 1, end: 2 }, 15).0, "result 0: i64[1] = Shape(operand 0) 1..2");
    // Where nothing else says it, the version is raised.
    assert_eq!(lines(Op::Unary(UnaryFn::Gelu), 17).1, 20);
    assert_eq!(lines(Op::Unary(UnaryFn::Relu), 7).1, 13);
    assert_eq!(lines(Op::Unary(UnaryFn::Relu), 22).1, 22);
}

#[test]
fn a_zero_point_tells_the_type_where_no_attribute_can() {
    let quantize = Op::QuantizeLinear { axis: 1, to: DType::I8 };
    let graph = graph(13, quantize, &[Input(NCHW), Floats(&[4])]).unwrap();
    let again = read(&write(&graph).unwrap(), &ReadOptions::default()).unwrap().to_string();
    assert!(again.contains("const whycam/param/1: i8[4]"), "{again}");
    assert!(again.contains("= QuantizeLinear(operand 0, operand 1, whycam/param/1) axis=1 to=i8"), "{again}");
}

#[test]
fn logic_and_ranges() {
    let mut build = Build::new(header(13));
    let x = build.input("x", DType::Bool, Shape(NC.to_vec())).unwrap();
    let not = build.nodes(Op::Unary(UnaryFn::Not), &[Some(x)]).unwrap()[0];
    let and = build.nodes(Op::Binary(BinaryFn::And), &[Some(x), Some(not)]).unwrap()[0];
    let or = build.nodes(Op::Binary(BinaryFn::Or), &[Some(x), Some(and)]).unwrap()[0];
    let (a, b) = (Tensor::f32(&[], &[1.0]).unwrap(), Tensor::f32(&[4], &[0.0; 4]).unwrap());
    let (a, b) = (build.constant(a), build.constant(b));
    let chosen = build.nodes(Op::Where, &[Some(or), Some(a), Some(b)]).unwrap()[0];
    let numbers: Vec<_> =
        [0, 5, 2].iter().map(|&i| Some(build.constant(Tensor::i64(&[], &[i]).unwrap()))).collect();
    let range = build.nodes(Op::Range, &numbers).unwrap()[0];
    round_trip(&build.finish(vec![chosen, range]));
}

/// Batch sizes that −1 and 0 cannot express are computed from an input.
#[test]
fn shapes_with_the_batch_size() {
    for opset in [13, 15, 18] {
        let mut build = Build::new(header(opset));
        let x = build.input("x", DType::F32, Shape(vec![N, f(6)])).unwrap();
        let token = build.named_constant("token", Tensor::f32(&[1, 2], &[1.0, 2.0]).unwrap()).unwrap();
        let class =
            build.nodes(Op::Expand { to: Shape(vec![Dim::Batch(3), f(2)]) }, &[Some(token)]).unwrap()[0];
        let flat = build.nodes(Op::Reshape { to: Shape(vec![Dim::Batch(3), f(2)]) }, &[Some(x)]).unwrap()[0];
        let sum = build.nodes(Op::Binary(BinaryFn::Add), &[Some(class), Some(flat)]).unwrap()[0];
        let again = round_trip(&build.finish(vec![sum]));
        assert_eq!(again.shape(again.outputs()[0]).unwrap().to_string(), "[3N,2]");
    }
}

#[test]
fn values_of_other_types_keep_their_parameters() {
    for dtype in [DType::F16, DType::F64, DType::I64, DType::I32, DType::U8] {
        let mut build = Build::new(header(17));
        let x = build.input("x", dtype, Shape(vec![N, f(6)])).unwrap();
        let pad = Op::Pad { mode: PadMode::Constant, before: vec![0, 1], after: vec![0, 1], value: 2.0 };
        let mut y = build.nodes(pad, &[Some(x)]).unwrap()[0];
        if dtype.is_float() {
            y = build.nodes(Op::Unary(UnaryFn::Clip { min: -1.0, max: 6.0 }), &[Some(y)]).unwrap()[0];
        }
        round_trip(&build.finish(vec![y]));
    }
}

#[test]
fn what_the_file_says_of_itself_is_kept() {
    let header = Header {
        ir_version: 10,
        opsets: [(String::new(), 17), ("com.example".into(), 3)].into(),
        producer: ("maker".into(), "1.2".into()),
        name: "net".into(),
        metadata: [("whycam.labels".into(), "a\nb".into())].into(),
        functions: Vec::new(),
    };
    let mut build = Build::new(header.clone());
    let x = build.input("x", DType::F32, Shape(NC.to_vec())).unwrap();
    let again = round_trip(&build.finish(vec![x]));
    assert_eq!(again.header(), &header);
}

#[test]
fn external_constants_stay_in_their_files() {
    let data: Vec<u8> = (0..64u8).collect();
    let made = file(17)
        .input("x", onnx_support::F32, "N,4")
        .external("net.data", &data)
        .init(onnx_support::external_tensor(
            "w",
            &[4, 3],
            &[("location", "net.data"), ("offset", "8"), ("length", "48"), ("checksum", "0")],
        ))
        .node("MatMul", &["x", "w"], &["y"], &[])
        .output("y");
    let graph = made.read().unwrap();
    let weights = graph.value(graph.find("w").unwrap()).constant.clone().unwrap();
    assert_eq!(weights.data()[..], data[8..56]);
    assert_eq!(weights.external(), Some(&External { location: "net.data".into(), offset: 8 }));
    let written = write(&graph).unwrap();
    assert_eq!(written.external["net.data"].as_ptr(), made.external["net.data"].as_ptr());
    assert_eq!(external_locations(&written.proto).unwrap(), ["net.data"]);
    assert!(written.proto.len() < 200, "the data is not in the protobuf");
    round_trip(&graph);
}

#[test]
fn files_that_no_constant_needs_are_not_passed_on() {
    let made = file(17)
        .input("x", onnx_support::F32, "N,4")
        .external("net.data", &[0; 64])
        .init(onnx_support::external_tensor("w", &[4, 4], &[("location", "net.data")]))
        .node("MatMul", &["x", "w"], &["y"], &[])
        .node("Relu", &["x"], &["z"], &[])
        .output("z");
    assert!(write(&made.read().unwrap()).unwrap().external.is_empty());
}

#[test]
fn files_of_old_versions_are_written_in_newer_ones() {
    let made = file(9)
        .input("x", onnx_support::F32, "N,3,8,8")
        .init(float_tensor("w", &[4, 3, 1, 1], &[0.5; 12]))
        .node("Pad", &["x"], &["p"], &[ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1]), text("mode", "edge")])
        .node("Conv", &["p", "w"], &["c"], &[text("auto_pad", "SAME_LOWER")])
        .node("Softmax", &["c"], &["s"], &[])
        .node("Squeeze", &["s"], &["q"], &[])
        .node("ReduceSum", &["q"], &["r"], &[ints("axes", &[3, 2]), int("keepdims", 0)])
        .node("Slice", &["r"], &["y"], &[ints("axes", &[1]), ints("starts", &[-2]), ints("ends", &[9])])
        .output("y");
    let again = round_trip(&made.read().unwrap());
    assert_eq!((again.header().opset(), again.header().ir_version), (13, 8));
}

fn unknown(opset: i64, domain: &str) -> File {
    let special =
        onnx_support::proto::NodeProto { domain: domain.into(), ..node("Special", &["x"], &["y"], &[]) };
    file(opset).input("x", onnx_support::F32, "N,4").push(special).output("y")
}

#[test]
fn a_node_that_is_not_modelled_fixes_the_version() {
    let message = write(&unknown(11, "").read().unwrap()).unwrap_err().to_string();
    assert!(message.contains("version 11") && message.contains("Special"), "{message}");
    assert!(message.contains("hint: convert the model first: onnx.version_converter"), "{message}");
    assert!(write(&unknown(11, "com.example").read().unwrap()).is_ok());
    assert!(write(&unknown(13, "").read().unwrap()).is_ok());
}

#[test]
fn golden_nets() {
    let nets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/nets");
    let Ok(folders) = nets.read_dir() else { return };
    let files = folders.flatten().filter_map(|f| f.path().read_dir().ok()).flatten().flatten();
    let mut count = 0;
    for path in files.map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "onnx")) {
        let mut model = ModelBytes { proto: std::fs::read(&path).unwrap().into(), ..ModelBytes::default() };
        for location in external_locations(&model.proto).unwrap() {
            let data = std::fs::read(path.with_file_name(&location)).unwrap();
            model.external.insert(location, data.into());
        }
        let graph =
            read(&model, &ReadOptions::default()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        round_trip(&graph);
        count += 1;
    }
    assert!(count > 50, "only {count} files");
}

/// Large constants are lent as they are, small ones are in the file; what is read of it is the same graph.
#[test]
fn large_constants_are_lent() {
    let (large, small) = (vec![0.5; 1 << 14], vec![0.25; 1 << 7]);
    let made = file(17)
        .input("x", onnx_support::F32, "N,128")
        .init(float_tensor("large", &[128, 128], &large))
        .init(float_tensor("small", &[128], &small))
        .node("MatMul", &["x", "large"], &["m"], &[])
        .node("Add", &["m", "small"], &["y"], &[])
        .output("y");
    let graph = made.read().unwrap();
    let model = lend(&graph, false).unwrap();
    assert!(model.proto.len() < 4 * large.len());
    let constant = |name: &str| graph.value(graph.find(name).unwrap()).constant.clone().unwrap();
    let lent: Vec<_> = model.lent.values().map(|(name, _)| name.as_str()).collect();
    assert_eq!((lent, model.external.len()), (vec!["large"], 1));
    for (location, (name, tensor)) in &model.lent {
        assert_eq!(*tensor, constant(name));
        assert_eq!(model.external[location].as_ptr(), constant(name).data().as_ptr(), "nothing is copied");
    }
    let again = read(&model, &ReadOptions::default()).unwrap();
    let data = |graph: &Graph, name: &str| {
        graph.value(graph.find(name).unwrap()).constant.clone().unwrap().data().clone()
    };
    for name in ["large", "small"] {
        assert_eq!(data(&again, name), data(&graph, name));
    }
}

/// Large weights that products alone read are inputs when they are fed; others stay constants.
#[test]
fn weights_of_products_are_fed() {
    let large = vec![0.5; 1 << 14];
    let made = file(17)
        .input("x", onnx_support::F32, "N,128")
        .init(float_tensor("weights", &[128, 128], &large))
        .init(float_tensor("read otherwise too", &[128, 128], &large))
        .init(float_tensor("small", &[128, 2], &[0.25; 1 << 8]))
        .node("MatMul", &["x", "weights"], &["a"], &[])
        .node("MatMul", &["a", "read otherwise too"], &["b"], &[])
        .node("MatMul", &["b", "read otherwise too"], &["c"], &[])
        .node("Relu", &["read otherwise too"], &["d"], &[])
        .node("MatMul", &["c", "d"], &["e"], &[])
        .node("MatMul", &["e", "small"], &["y"], &[])
        .output("y");
    let graph = made.read().unwrap();
    let model = lend(&graph, true).unwrap();
    let constant = |name: &str| graph.value(graph.find(name).unwrap()).constant.clone().unwrap();
    assert_eq!(model.fed.into_iter().collect::<Vec<_>>(), [("weights".to_owned(), constant("weights"))]);
    let model = ModelBytes { fed: Default::default(), ..model };
    let again = read(&model, &ReadOptions::default()).unwrap();
    let inputs: Vec<_> = again.inputs().iter().map(|&id| again.value(id).name.as_str()).collect();
    assert_eq!(inputs, ["x", "weights"]);
    let weights = again.value(again.find("weights").unwrap());
    assert!(weights.constant.is_none() && weights.shape == graph.value(graph.find("weights").unwrap()).shape);
}
