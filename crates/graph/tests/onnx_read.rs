//! What ONNX leaves open is resolved: versions of operators, defaults, operands that are attributes in disguise.

mod onnx_support;

use onnx_support::proto::{AttributeProto, NodeProto, StringStringEntryProto, TensorProto};
use onnx_support::*;
use whycam_graph::engine::ModelBytes;
use whycam_graph::onnx::{ReadOptions, read};
use whycam_graph::{DType, Graph};
use whycam_interp::{Array, run};

/// A file of one node on an input `x` of `dims`, with integer and float constants as further operands.
fn one(opset: i64, dims: &str, op: &str, operands: &[&str], attributes: &[AttributeProto]) -> File {
    let mut inputs = vec!["x"];
    let mut made = file(opset).input("x", F32, dims);
    for (i, operand) in operands.iter().enumerate() {
        let name = ["a", "b", "c", "d"][i];
        inputs.push(if operand.is_empty() { "" } else { name });
        made = match operand.split_once(':') {
            Some(("i", list)) => made.ints(name, &numbers(list)),
            Some(("f", list)) => {
                let list: Vec<f32> = numbers(list);
                let dims = [list.len() as i64];
                made.init(float_tensor(name, if list.len() == 1 { &[] } else { &dims }, &list))
            }
            Some(("w", dims)) => made.floats(name, &numbers(dims)),
            _ => made,
        };
    }
    made.node(op, &inputs, &["y"], attributes).output("y")
}

fn numbers<T: std::str::FromStr>(list: &str) -> Vec<T> {
    list.split(',').filter_map(|n| n.parse().ok()).collect()
}

struct Case(
    &'static [i64],
    &'static str,
    &'static str,
    &'static [&'static str],
    Vec<AttributeProto>,
    &'static str,
);

#[test]
fn forms_of_operators() {
    const ALL: &[i64] = &[7, 8, 9, 10, 11, 12, 13, 17, 18, 20, 21, 22, 28];
    const BEFORE_10: &[i64] = &[7, 8, 9];
    const BEFORE_11: &[i64] = &[7, 8, 9, 10];
    const SINCE_11: &[i64] = &[11, 12, 13, 18, 21];
    const BEFORE_13: &[i64] = &[7, 9, 11, 12];
    const SINCE_13: &[i64] = &[13, 14, 18, 21, 28];
    const BEFORE_18: &[i64] = &[7, 11, 13, 17];
    const SINCE_18: &[i64] = &[18, 20, 28];
    let cases = [
        Case(ALL, "N,4", "Relu", &[], vec![], "y: f32[N,4] = Relu(x)"),
        Case(ALL, "N,4", "LeakyRelu", &[], vec![], "y: f32[N,4] = LeakyRelu(x) alpha=0.01"),
        Case(ALL, "N,4", "HardSigmoid", &[], vec![], "y: f32[N,4] = HardSigmoid(x) alpha=0.2 beta=0.5"),
        Case(ALL, "N,4", "Elu", &[], vec![], "y: f32[N,4] = Elu(x) alpha=1.0"),
        Case(
            BEFORE_11,
            "N,4",
            "Clip",
            &[],
            vec![float("max", 6.0)],
            "y: f32[N,4] = Clip(x) min=-inf max=6.0",
        ),
        Case(BEFORE_11, "N,4", "Clip", &[], vec![], "y: f32[N,4] = Clip(x) min=-inf max=inf"),
        Case(SINCE_11, "N,4", "Clip", &["f:0", "f:6"], vec![], "y: f32[N,4] = Clip(x) min=0.0 max=6.0"),
        Case(SINCE_11, "N,4", "Clip", &["", "f:6"], vec![], "y: f32[N,4] = Clip(x) min=-inf max=6.0"),
        Case(ALL, "N,4", "Sum", &[], vec![], "y: f32[N,4] = Identity(x)"),
        Case(ALL, "N,2", "Max", &["f:0,1"], vec![], "y: f32[N,2] = Max(x, a)"),
        Case(
            ALL,
            "N,2",
            "Sum",
            &["f:0,1", "f:2,3"],
            vec![],
            "whycam/1: f32[N,2] = Add(x, a)\ny: f32[N,2] = Add(whycam/1, b)",
        ),
        Case(
            ALL,
            "N,2",
            "Mean",
            &["f:0,1"],
            vec![],
            "whycam/1: f32[N,2] = Add(x, a)\ny: f32[N,2] = Div(whycam/1, whycam/2)",
        ),
        Case(
            &[12, 13, 15],
            "N,2",
            "Pow",
            &["i:2"],
            vec![],
            "whycam/1: f32[1] = Cast(a) to=f32\ny: f32[N,2] = Pow(x, whycam/1)",
        ),
        // Convolutions and pools.
        Case(
            ALL,
            "N,3,8,9",
            "Conv",
            &["w:4,3,3,2"],
            vec![],
            "y: f32[N,4,6,8] = Conv(x, a) strides=[1, 1] dilations=[1, 1] pads=[(0, 0), (0, 0)] groups=1",
        ),
        Case(
            ALL,
            "N,3,8,9",
            "Conv",
            &["w:4,3,3,2"],
            vec![text("auto_pad", "SAME_UPPER"), ints("strides", &[2, 1])],
            "y: f32[N,4,4,9] = Conv(x, a) strides=[2, 1] dilations=[1, 1] pads=[(0, 1), (0, 1)] groups=1",
        ),
        Case(
            ALL,
            "N,3,8,9",
            "Conv",
            &["w:4,3,3,2"],
            vec![text("auto_pad", "SAME_LOWER"), ints("kernel_shape", &[3, 2])],
            "y: f32[N,4,8,9] = Conv(x, a) strides=[1, 1] dilations=[1, 1] pads=[(1, 1), (1, 0)] groups=1",
        ),
        Case(
            ALL,
            "N,2,5,5",
            "Conv",
            &["w:2,1,3,3"],
            vec![text("auto_pad", "VALID"), int("group", 2), ints("dilations", &[2, 2])],
            "y: f32[N,2,1,1] = Conv(x, a) strides=[1, 1] dilations=[2, 2] pads=[(0, 0), (0, 0)] groups=2",
        ),
        Case(
            ALL,
            "N,2,3",
            "ConvTranspose",
            &["w:2,4,3"],
            vec![ints("strides", &[2]), ints("output_shape", &[6])],
            "y: f32[N,4,6] = ConvTranspose(x, a) strides=[2] dilations=[1] pads=[(1, 0)] groups=1 output_padding=[0]",
        ),
        Case(
            ALL,
            "N,2,3",
            "ConvTranspose",
            &["w:2,4,3"],
            vec![ints("strides", &[2]), text("auto_pad", "SAME_UPPER")],
            "y: f32[N,4,6] = ConvTranspose(x, a) strides=[2] dilations=[1] pads=[(0, 1)] groups=1 output_padding=[0]",
        ),
        Case(
            ALL,
            "N,2,7,7",
            "MaxPool",
            &[],
            vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2]), ints("pads", &[0, 0, 1, 1])],
            "y: f32[N,2,4,4] = MaxPool(x) kernel=[2, 2] strides=[2, 2] dilations=[1, 1] pads=[(0, 1), (0, 1)] ceil=false",
        ),
        Case(
            &[10, 11, 22],
            "N,2,7,7",
            "AveragePool",
            &[],
            vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2]), int("ceil_mode", 1)],
            "y: f32[N,2,4,4] = AveragePool(x) kernel=[2, 2] strides=[2, 2] dilations=[1, 1] \
             pads=[(0, 0), (0, 0)] ceil=true count_include_pad=false",
        ),
        Case(
            ALL,
            "N,3",
            "Gemm",
            &["w:5,3", "w:5"],
            vec![int("transB", 1)],
            "y: f32[N,5] = Gemm(x, a, b) alpha=1.0 beta=1.0 trans_a=false trans_b=true",
        ),
        // Reductions and normalisations.
        Case(
            BEFORE_18,
            "N,3,2,2",
            "ReduceMean",
            &[],
            vec![ints("axes", &[-1, 2])],
            "y: f32[N,3,1,1] = ReduceMean(x) axes=[2, 3] keep=true",
        ),
        Case(
            SINCE_18,
            "N,3,2,2",
            "ReduceMean",
            &["i:-1,2"],
            vec![int("keepdims", 0)],
            "y: f32[N,3] = ReduceMean(x) axes=[2, 3] keep=false",
        ),
        Case(BEFORE_13, "N,3", "ReduceSum", &[], vec![], "y: f32[1,1] = ReduceSum(x) axes=[0, 1] keep=true"),
        Case(SINCE_13, "N,3", "ReduceSum", &["i:1"], vec![], "y: f32[N,1] = ReduceSum(x) axes=[1] keep=true"),
        Case(
            SINCE_13,
            "N,3",
            "ReduceSum",
            &[],
            vec![int("noop_with_empty_axes", 1)],
            "y: f32[N,3] = Identity(x)",
        ),
        Case(BEFORE_13, "N,3", "Softmax", &[], vec![], "y: f32[N,3] = Softmax(x) axis=1"),
        Case(BEFORE_13, "N,3,1,1", "Softmax", &[], vec![], "y: f32[N,3,1,1] = Softmax(x) axis=1"),
        Case(
            BEFORE_13,
            "N,3,2",
            "LogSoftmax",
            &[],
            vec![],
            "whycam/1: f32[N,6] = Flatten(x) axis=1\nwhycam/2: f32[N,6] = LogSoftmax(whycam/1) axis=1\n\
             y: f32[N,3,2] = Reshape(whycam/2) to=[N,3,2]",
        ),
        Case(SINCE_13, "N,3,2", "Softmax", &[], vec![], "y: f32[N,3,2] = Softmax(x) axis=2"),
        Case(
            &[7, 8],
            "N,2",
            "BatchNormalization",
            &["w:2", "w:2", "w:2", "w:2"],
            vec![int("spatial", 1), float("momentum", 0.5)],
            "y: f32[N,2] = BatchNormalization(x, a, b, c, d) epsilon=1e-5",
        ),
        Case(
            ALL,
            "N,5",
            "LRN",
            &[],
            vec![int("size", 5)],
            "y: f32[N,5] = LRN(x) size=5 alpha=0.0001 beta=0.75 bias=1.0",
        ),
        Case(
            ALL,
            "N,5",
            "ArgMax",
            &[],
            vec![int("axis", -1), int("keepdims", 0)],
            "y: i64[N] = ArgMax(x) axis=1 keep=false",
        ),
        Case(BEFORE_10, "N,5", "TopK", &[], vec![int("k", 2)], "y: f32[N,2], _ = TopK(x) axis=1 k=2"),
        Case(&[10, 11, 24], "N,5", "TopK", &["i:2"], vec![], "y: f32[N,2], _ = TopK(x) axis=1 k=2"),
        // Layout.
        Case(ALL, "N,3,2,2", "Reshape", &["i:0,-1"], vec![], "y: f32[N,12] = Reshape(x) to=[N,12]"),
        Case(ALL, "N,3,2,2", "Reshape", &["i:-1,6"], vec![], "y: f32[2N,6] = Reshape(x) to=[2N,6]"),
        Case(ALL, "N,3,2,2", "Flatten", &[], vec![], "y: f32[N,12] = Flatten(x) axis=1"),
        Case(ALL, "N,3,2,2", "Flatten", &[], vec![int("axis", 4)], "y: f32[12N,1] = Flatten(x) axis=4"),
        Case(ALL, "N,3,2", "Transpose", &[], vec![], "y: f32[2,3,N] = Transpose(x) perm=[2, 1, 0]"),
        Case(
            BEFORE_13,
            "N,1,2,1",
            "Squeeze",
            &[],
            vec![ints("axes", &[-1, 1])],
            "y: f32[N,2] = Squeeze(x) axes=[1, 3]",
        ),
        Case(ALL, "N,1,2,1", "Squeeze", &[], vec![], "y: f32[N,2] = Squeeze(x) axes=[1, 3]"),
        Case(SINCE_13, "N,1,2,1", "Squeeze", &["i:1"], vec![], "y: f32[N,2,1] = Squeeze(x) axes=[1]"),
        Case(
            BEFORE_13,
            "N,2",
            "Unsqueeze",
            &[],
            vec![ints("axes", &[3, -4])],
            "y: f32[1,N,2,1] = Unsqueeze(x) axes=[0, 3]",
        ),
        Case(SINCE_13, "N,2", "Unsqueeze", &["i:-1"], vec![], "y: f32[N,2,1] = Unsqueeze(x) axes=[2]"),
        Case(&[8, 13], "N,1", "Expand", &["i:3,1,4"], vec![], "y: f32[3,N,4] = Expand(x) to=[3,N,4]"),
        Case(
            ALL,
            "N,8,2,2",
            "DepthToSpace",
            &[],
            vec![int("blocksize", 2)],
            "y: f32[N,2,4,4] = DepthToSpace(x) block=2 mode=Dcr",
        ),
        // Parts.
        Case(
            BEFORE_13,
            "N,5",
            "Split",
            &[],
            vec![int("axis", 1), ints("split", &[5])],
            "y: f32[N,5] = Split(x) axis=1 sizes=[5]",
        ),
        Case(
            SINCE_13,
            "N,5",
            "Split",
            &["i:5"],
            vec![int("axis", -1)],
            "y: f32[N,5] = Split(x) axis=1 sizes=[5]",
        ),
        Case(
            SINCE_18,
            "N,5",
            "Split",
            &[],
            vec![int("axis", 1), int("num_outputs", 1)],
            "y: f32[N,5] = Split(x) axis=1 sizes=[5]",
        ),
        Case(
            BEFORE_10,
            "N,5,6",
            "Slice",
            &[],
            vec![ints("starts", &[-3, 1]), ints("ends", &[100, -1]), ints("axes", &[1, 2])],
            "y: f32[N,3,4] = Slice(x) 1=2..5:1 2=1..5:1",
        ),
        Case(
            &[10, 13],
            "N,5",
            "Slice",
            &["i:-1", "i:-100", "i:1", "i:-2"],
            vec![],
            "y: f32[N,3] = Slice(x) 1=4..-1:-2",
        ),
        Case(
            &[10, 13],
            "N,5",
            "Slice",
            &["i:0", "i:9223372036854775807"],
            vec![],
            "y: f32[N,5] = Identity(x)",
        ),
        Case(
            &[10, 13],
            "N,5",
            "Slice",
            &["i:0,-9", "i:2147483647,3"],
            vec![],
            "y: f32[N,3] = Slice(x) 1=0..3:1",
        ),
        Case(
            BEFORE_11,
            "N,5",
            "Pad",
            &[],
            vec![ints("pads", &[0, 1, 0, -2]), float("value", 2.0)],
            "y: f32[N,4] = Pad(x) mode=Constant before=[0, 1] after=[0, -2] value=2.0",
        ),
        Case(
            SINCE_11,
            "N,5",
            "Pad",
            &["i:0,1,0,1"],
            vec![text("mode", "reflect")],
            "y: f32[N,7] = Pad(x) mode=Reflect before=[0, 1] after=[0, 1] value=0.0",
        ),
        Case(
            SINCE_18,
            "N,5",
            "Pad",
            &["i:1,2", "f:3", "i:1"],
            vec![],
            "y: f32[N,8] = Pad(x) mode=Constant before=[0, 1] after=[0, 2] value=3.0",
        ),
        // Resampling.
        Case(
            &[7, 8],
            "N,1,2,3",
            "Upsample",
            &[],
            vec![floats("scales", &[1.0, 1.0, 2.0, 2.0])],
            "y: f32[N,1,4,6] = Resize(x) mode=Nearest(Floor) coordinates=Asymmetric size=[4, 6]",
        ),
        Case(
            &[9],
            "N,1,2,3",
            "Upsample",
            &["f:1,1,2,1.5"],
            vec![text("mode", "linear")],
            "y: f32[N,1,4,4] = Resize(x) mode=Linear coordinates=Asymmetric size=[4, 4] scales=[2.0, 1.5]",
        ),
        Case(
            &[10],
            "N,1,4,4",
            "Resize",
            &["f:1,1,0.5,0.5"],
            vec![],
            "y: f32[N,1,2,2] = Resize(x) mode=Nearest(Ceil) coordinates=Asymmetric size=[2, 2]",
        ),
        Case(
            SINCE_11,
            "N,1,4,4",
            "Resize",
            &["", "f:1,1,2,2"],
            vec![],
            "y: f32[N,1,8,8] = Resize(x) mode=Nearest(RoundPreferFloor) coordinates=HalfPixel size=[8, 8]",
        ),
        Case(
            SINCE_11,
            "2,1,4,4",
            "Resize",
            &["", "", "i:2,1,7,7"],
            vec![text("mode", "linear"), text("coordinate_transformation_mode", "align_corners")],
            "y: f32[2,1,7,7] = Resize(x) mode=Linear coordinates=AlignCorners size=[7, 7]",
        ),
        Case(
            SINCE_18,
            "N,1,4,4",
            "Resize",
            &["", "", "i:7,9"],
            vec![ints("axes", &[-1, 2])],
            "y: f32[N,1,9,7] = Resize(x) mode=Nearest(RoundPreferFloor) coordinates=HalfPixel size=[9, 7]",
        ),
        // Types and values.
        Case(ALL, "N,5", "Cast", &[], vec![int("to", 10)], "y: f16[N,5] = Cast(x) to=f16"),
        Case(&[15, 19, 24], "N,5", "CastLike", &["i:0"], vec![], "y: i64[N,5] = Cast(x) to=i64"),
        Case(&[7, 10, 11], "N,5", "Dropout", &[], vec![float("ratio", 0.3)], "y: f32[N,5] = Dropout(x)"),
        Case(&[12, 13, 22], "N,5", "Dropout", &["f:0.3"], vec![int("seed", 3)], "y: f32[N,5] = Dropout(x)"),
        Case(ALL, "N,5,2", "Shape", &[], vec![], "y: i64[3] = Shape(x) 0..3"),
        Case(
            &[15, 21],
            "N,5,2",
            "Shape",
            &[],
            vec![int("start", -2), int("end", 9)],
            "y: i64[2] = Shape(x) 1..3",
        ),
        Case(
            &[10, 13, 21],
            "N,5",
            "QuantizeLinear",
            &["f:0.1"],
            vec![],
            "y: u8[N,5] = QuantizeLinear(x, a) axis=0 to=u8",
        ),
        Case(
            &[21, 28],
            "N,5",
            "QuantizeLinear",
            &["f:0.1"],
            vec![int("output_dtype", 3)],
            "y: i8[N,5] = QuantizeLinear(x, a) axis=0 to=i8",
        ),
        Case(
            &[13, 21],
            "N,2,3",
            "QuantizeLinear",
            &["f:0.1,0.2"],
            vec![],
            "y: u8[N,2,3] = QuantizeLinear(x, a) axis=1 to=u8",
        ),
    ];
    for Case(opsets, dims, op, operands, attributes, wanted) in cases {
        for &opset in opsets {
            let made = one(opset, dims, op, operands, &attributes);
            assert_eq!(made.nodes(), wanted, "{op} in version {opset}");
        }
    }
}

/// PyTorch's older exporter writes the rounding of `nearest` beside every mode.
#[test]
fn a_mode_of_resize_ignores_what_is_for_others() {
    for mode in ["linear", "cubic"] {
        let attributes = [text("mode", mode), text("nearest_mode", "floor")];
        let graph = one(17, "N,1,2,2", "Resize", &["", "f:1,1,2,2"], &attributes).read().expect(mode);
        assert!(!node_lines(&graph).contains("opaque"), "{mode}: {graph}");
        let flat = run(&graph, &[("x", Array::from_fn(&[1, 1, 2, 2], |_| 3.0))]).expect(mode);
        assert!(flat[0].data.iter().all(|v| (v - 3.0).abs() < 1e-6), "{mode}: {:?}", flat[0]);
    }
}

#[test]
fn eye_like_has_ones_on_the_diagonal_that_it_names() {
    for (k, expected) in
        [(0, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]), (1, [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]), (-5, [0.0; 6])]
    {
        let graph = one(9, "2,3", "EyeLike", &[], &[int("k", k)]).read().expect("valid");
        let made = run(&graph, &[("x", Array::zeros(&[2, 3]))]).expect("it runs");
        assert_eq!(made[0].data, expected, "{k}");
    }
}

/// As PyTorch's older exporter counts cells: `start + step · i` up to a limit that a shape gives, ⌈(limit − start) / step⌉ of them.
#[test]
fn ranges_of_floats() {
    let cases: [(f32, f32, &[f64]); 3] =
        [(0.0, 1.0, &[0.0, 1.0, 2.0]), (0.5, 1.0, &[0.5, 1.5, 2.5]), (4.0, -0.75, &[4.0, 3.25])];
    for (start, step, expected) in cases {
        let graph = file(17)
            .input("x", F32, "1,3")
            .ints("last", &[-1])
            .node("Constant", &[], &["start"], &[float("value_float", start)])
            .node("Constant", &[], &["step"], &[float("value_float", step)])
            .node("Shape", &["x"], &["shape"], &[])
            .node("Gather", &["shape", "last"], &["axis"], &[])
            .node("Squeeze", &["axis"], &["size"], &[])
            .node("Cast", &["size"], &["limit"], &[int("to", 1)])
            .node("Range", &["start", "limit", "step"], &["y"], &[])
            .output("y")
            .read()
            .expect("valid");
        assert!(!node_lines(&graph).contains("opaque"), "{graph}");
        let made = run(&graph, &[("x", Array::zeros(&[1, 3]))]).expect("it runs");
        assert_eq!(made[0].data, expected);
    }
}

/// How many samples a region has must not depend on the region; what to do about it is said.
#[test]
fn regions_that_say_no_number_of_samples_are_not_modelled() {
    let attributes = [int("output_height", 2), int("output_width", 2)];
    for (samples, is_modelled) in [(None, false), (Some(0), false), (Some(2), true)] {
        let attributes: Vec<_> =
            attributes.iter().cloned().chain(samples.map(|count| int("sampling_ratio", count))).collect();
        let graph = file(16)
            .input("x", F32, "1,1,4,4")
            .floats("boxes", &[1, 4])
            .ints("images", &[0])
            .node("RoiAlign", &["x", "boxes", "images"], &["y"], &attributes)
            .output("y")
            .read()
            .expect("valid");
        assert_eq!(!node_lines(&graph).contains("opaque"), is_modelled, "{graph}");
        if !is_modelled {
            let reason = reason(&graph, "y").expect("it is told");
            assert!(reason.contains("sampling_ratio is 0") && reason.contains("such as 2"), "{reason}");
        }
    }
}

/// Sizes out of a file are checked before anything is made of them.
#[test]
fn windows_and_regions_of_absurd_sizes_are_not_modelled() {
    let huge = 1 << 31;
    let attributes = [int("sampling_ratio", huge), int("output_height", huge), int("output_width", huge)];
    let regions = file(16)
        .input("x", F32, "1,1,4,4")
        .floats("boxes", &[1, 4])
        .ints("images", &[0])
        .node("RoiAlign", &["x", "boxes", "images"], &["y"], &attributes)
        .output("y");
    let attributes = [ints("kernel_shape", &[huge, huge]), ints("pads", &[huge, huge, huge, huge])];
    let windows = file(12)
        .input("x", F32, "1,1,4,4")
        .node("MaxPool", &["x"], &["y", "cells"], &attributes)
        .output("y")
        .output("cells");
    for (made, why) in [(regions, "constant of shape"), (windows, "nodes")] {
        let graph = made.read().expect("a node that is not modelled");
        let reason = reason(&graph, "y").unwrap_or_else(|| panic!("{graph}"));
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn forms_that_are_not_modelled() {
    let cases = [
        Case(&[13], "N,1,4,4", "Resize", &["", "f:2,1,2,2"], vec![], "it resamples the batch"),
        Case(
            &[18],
            "N,1,4,4",
            "Resize",
            &["", "f:1,1,1000000,1"],
            vec![text("mode", "cubic")],
            "it resamples 4 cells by 1000000",
        ),
        Case(
            &[14],
            "1000000,1,2",
            "RNN",
            &["w:1,3,2", "w:1,3,3"],
            vec![],
            "it would take more than 20000 nodes",
        ),
        Case(
            &[10],
            "N,1,4,4",
            "Resize",
            &["f:1,1,2,0.5"],
            vec![],
            "it makes one side longer and another shorter",
        ),
        Case(
            &[7],
            "N,2",
            "BatchNormalization",
            &["w:2", "w:2", "w:2", "w:2"],
            vec![int("spatial", 0)],
            "it has statistics for each cell",
        ),
        Case(&[13], "N,4", "ArgMax", &[], vec![int("select_last_index", 1)], "it prefers the last maximum"),
        Case(&[13], "N,4", "Slice", &["i:0", "i:1"], vec![], "it cuts the batch axis"),
        Case(&[13], "N,4", "Pad", &["i:0,1,0,1"], vec![text("mode", "wrap")], "its mode is \"wrap\""),
        Case(&[13], "N,4", "Cast", &[], vec![int("to", 17)], "it makes elements of type number 17"),
        Case(
            &[21],
            "N,4",
            "DequantizeLinear",
            &["f:1"],
            vec![int("block_size", 2)],
            "its scales are in blocks",
        ),
        Case(&[13], "N,4", "Reshape", &["i:3,-1"], vec![], "[N,4] does not divide by [3,1]"),
        Case(&[18], "N,4", "ReduceL1", &[], vec![int("noop_with_empty_axes", 1)], "it reduces no axis"),
    ];
    for Case(opsets, dims, op, operands, attributes, wanted) in cases {
        let graph =
            one(opsets[0], dims, op, operands, &attributes).read().unwrap_or_else(|e| panic!("{op}: {e}"));
        assert_eq!(reason(&graph, "y").as_deref(), Some(wanted), "{op}");
    }
}

/// `max((⌈h/2⌉ − 1)·2 + 3 − h, 0)` and its half, as PyTorch writes the padding of TensorFlow's SAME: by way of floats.
#[test]
fn pads_and_scales_computed_with_reals_are_known() {
    let real = |name: &'static str, value: f32| float_tensor(name, &[], &[value]);
    let cast = |to: i64| [int("to", to)];
    let graph = file(13)
        .input("x", F32, "N,1,9,4")
        .ints("two", &[2])
        .ints("zero", &[0])
        .init(real("stride", 2.0))
        .init(real("one", 1.0))
        .init(real("window", 3.0))
        .init(real("nothing", 0.0))
        .node("Shape", &["x"], &["shape"], &[])
        .node("Gather", &["shape", "two"], &["h"], &[int("axis", 0)])
        .node("Cast", &["h"], &["height"], &cast(1))
        .node("Div", &["height", "stride"], &["steps"], &[])
        .node("Ceil", &["steps"], &["count"], &[])
        .node("Sub", &["count", "one"], &["last"], &[])
        .node("Mul", &["last", "stride"], &["start"], &[])
        .node("Add", &["start", "window"], &["end"], &[])
        .node("Sub", &["end", "height"], &["over"], &[])
        .node("Clip", &["over", "nothing"], &["total"], &[])
        .node("Div", &["total", "stride"], &["half"], &[])
        .node("Cast", &["half"], &["before"], &cast(7))
        .node("Cast", &["total"], &["all"], &cast(7))
        .node("Sub", &["all", "before"], &["after"], &[])
        .node(
            "Concat",
            &["zero", "zero", "before", "zero", "zero", "zero", "after", "zero"],
            &["pads"],
            &[int("axis", 0)],
        )
        .node("Pad", &["x", "pads"], &["y"], &[])
        .output("y")
        .read()
        .unwrap();
    // ⌈9/2⌉ = 5 windows end at 4·2 + 3 = 11: one row before and one behind.
    let pad = graph.to_string().lines().find(|l| l.starts_with("y: ")).unwrap().to_owned();
    assert!(pad.starts_with("y: f32[N,1,11,4] = Pad(x)"), "{pad}");

    let graph = file(13)
        .input("x", F32, "N,1,4,6")
        .init(float_tensor("a", &[4], &[1.0, 1.0, 3.0, 3.0]))
        .init(float_tensor("b", &[4], &[1.0, 1.0, 2.0, 2.0]))
        .node("Div", &["a", "b"], &["scales"], &[])
        .node("Resize", &["x", "", "scales"], &["y"], &[text("mode", "nearest")])
        .output("y")
        .read()
        .unwrap();
    assert!(graph.to_string().contains("y: f32[N,1,6,9] = Resize(x"), "{graph}");
}

#[test]
fn operands_computed_from_data_are_not_modelled() {
    let graph = file(13)
        .input("x", F32, "N,4")
        .input("to", I64, "2")
        .node("Reshape", &["x", "to"], &["y"], &[])
        .output("y")
        .read()
        .unwrap();
    assert_eq!(reason(&graph, "y").as_deref(), Some("its target shape is computed from data"));
}

#[test]
fn a_batch_size_written_into_the_model_is_left_to_the_engine() {
    let graph = one(13, "N,4", "Reshape", &["i:1,4"], &[]).read().unwrap();
    assert!(reason(&graph, "y").unwrap().contains("does not have the elements"));
    // But what holds for no batch size is an error.
    let message = one(13, "N,4", "Reshape", &["i:1,5"], &[]).refusal();
    assert!(message.contains("[N,4] does not have the elements of [1,5]"), "{message}");
}

#[test]
fn attributes_that_are_not_understood_are_refused() {
    let message = one(13, "N,4", "Relu", &[], &[float("slope", 0.1)]).refusal();
    assert!(message.contains("the Relu node that makes \"y\" has an attribute \"slope\""), "{message}");
    let message = one(13, "N,4", "Squeeze", &[], &[ints("axes", &[0])]).refusal();
    assert!(
        message.contains("has an attribute \"axes\", which version 13 of the operator does not have"),
        "{message}"
    );
    let message = one(13, "N,4", "LeakyRelu", &[], &[int("alpha", 1)]).refusal();
    assert!(message.contains("attribute \"alpha\" is Int, not Float"), "{message}");
    let message = one(13, "N,4", "LeakyRelu", &[], &[float("alpha", 1.0), float("alpha", 2.0)]).refusal();
    assert!(message.contains("attribute \"alpha\" is given twice"), "{message}");
}

#[test]
fn versions_out_of_range_are_refused() {
    for opset in [0, 1, 6, 29] {
        let message = one(opset, "N,4", "Relu", &[], &[]).refusal();
        assert!(
            message.contains(&format!("version {opset} of ONNX's operators; 7 to 28 are read")),
            "{message}"
        );
        assert!(message.contains("hint: convert it with onnx.version_converter"), "{message}");
    }
}

#[test]
fn training_mode_is_refused() {
    let message =
        one(14, "N,2", "BatchNormalization", &["w:2", "w:2", "w:2", "w:2"], &[int("training_mode", 1)])
            .refusal();
    assert!(message.contains("hint: export it in evaluation mode"), "{message}");
}

#[test]
fn results_that_are_not_modelled_matter_only_when_used() {
    let dropout = |output: &str| {
        let file = file(12).input("x", F32, "N,4").node("Dropout", &["x"], &["y", "mask"], &[]);
        file.output(output).read().unwrap()
    };
    assert!(dropout("y").to_string().contains("y: f32[N,4] = Dropout(x)"));
    assert_eq!(reason(&dropout("mask"), "mask").as_deref(), Some("its result 1 is used"));
}

#[test]
fn a_max_pool_tells_indices_only_when_they_are_used() {
    let pool = |output: &str| {
        let file = file(12).input("x", F32, "N,1,4,4").node(
            "MaxPool",
            &["x"],
            &["y", "indices"],
            &[ints("kernel_shape", &[2, 2])],
        );
        file.output(output).read().unwrap().to_string()
    };
    assert!(pool("y").contains("y: f32[N,1,3,3] = MaxPool(x)"));
    assert!(pool("indices").contains("indices: i64[N,1,3,3] = MaxPool(x) kept"), "{}", pool("indices"));
}

#[test]
fn constants_in_every_form() {
    let constant = |attribute: AttributeProto| {
        let graph = file(13).node("Constant", &[], &["y"], &[attribute]).output("y").read().unwrap();
        let id = graph.find("y").unwrap();
        graph.value(id).constant.clone().unwrap()
    };
    assert_eq!(constant(float("value_float", 2.0)).to_f32s(), [2.0]);
    assert_eq!(constant(floats("value_floats", &[1.0, 2.0])).shape(), [2]);
    assert_eq!(constant(int("value_int", 5)).to_i64s().unwrap(), [5]);
    assert_eq!(constant(ints("value_ints", &[5, 6])).dtype(), DType::I64);
    assert_eq!(constant(tensor("value", float_tensor("", &[2, 1], &[1.0, 2.0]))).shape(), [2, 1]);

    let typed = |data_type: i32, with: fn(&mut TensorProto)| {
        let mut proto = TensorProto { data_type, dims: vec![2], ..TensorProto::default() };
        with(&mut proto);
        constant(tensor("value", proto))
    };
    let short = |t: &mut TensorProto| t.int32_data = vec![1, 2];
    for (number, dtype) in
        [(2, DType::U8), (3, DType::I8), (4, DType::U16), (5, DType::I16), (6, DType::I32), (9, DType::Bool)]
    {
        assert_eq!(typed(number, short).dtype(), dtype);
        assert_eq!(typed(number, short).to_f64s()[0], 1.0);
    }
    let half = typed(F16, |t| t.int32_data = vec![0x3c00, 0xc000]);
    assert_eq!(half.to_f32s(), [1.0, -2.0]);
    assert_eq!(typed(16, |t| t.int32_data = vec![0x3f80, 0xc000]).to_f32s(), [1.0, -2.0]);
    assert_eq!(typed(F32, |t| t.float_data = vec![0.5, 1.5]).to_f32s(), [0.5, 1.5]);
    assert_eq!(typed(11, |t| t.double_data = vec![0.5, 1.5]).to_f64s(), [0.5, 1.5]);
    assert_eq!(typed(I64, |t| t.int64_data = vec![-1, 7]).to_i64s().unwrap(), [-1, 7]);
    assert_eq!(typed(12, |t| t.uint64_data = vec![1, 7]).to_i64s().unwrap(), [1, 7]);
    assert_eq!(typed(13, |t| t.uint64_data = vec![1, 7]).to_i64s().unwrap(), [1, 7]);
    let empty =
        constant(tensor("value", TensorProto { data_type: F32, dims: vec![0], ..TensorProto::default() }));
    assert!(empty.is_empty());
}

#[test]
fn filled_values_take_their_type() {
    let filled = |t: TensorProto| {
        file(13)
            .ints("s", &[2])
            .node("ConstantOfShape", &["s"], &["y"], &[tensor("value", t)])
            .output("y")
            .nodes()
    };
    assert_eq!(filled(float_tensor("", &[1], &[1.5])), "y: f32[2] = ConstantOfShape(s) value=F32(1.5)");
    assert_eq!(filled(int_tensor("", &[1], &[3])), "y: i64[2] = ConstantOfShape(s) value=I64(3)");
    let half =
        TensorProto { data_type: F16, dims: vec![1], int32_data: vec![0x3c00], ..TensorProto::default() };
    assert_eq!(
        filled(half),
        "whycam/1: f32[2] = ConstantOfShape(s) value=F32(1.0)\ny: f16[2] = Cast(whycam/1) to=f16"
    );
}

/// What vision transformers do: a class token for each image of the batch.
#[test]
fn shape_arithmetic_with_an_open_batch() {
    let made = file(13)
        .input("x", F32, "batch,4,3,3")
        .floats("token", &[1, 1, 9])
        .init(int_tensor("zero", &[], &[0]))
        .ints("axis", &[0])
        .ints("four", &[4])
        .ints("one", &[1])
        .ints("open", &[-1])
        .node("Shape", &["x"], &["shape"], &[])
        .node("Gather", &["shape", "zero"], &["n"], &[])
        .node("Unsqueeze", &["n", "axis"], &["n1"], &[])
        .node("Concat", &["n1", "four", "open"], &["flat"], &[int("axis", 0)])
        .node("Reshape", &["x", "flat"], &["tokens"], &[])
        .node("Concat", &["n1", "one", "open"], &["wide"], &[int("axis", 0)])
        .node("ConstantOfShape", &["axis"], &["unused"], &[])
        .node("Concat", &["n1", "one", "one"], &["wide1"], &[int("axis", 0)])
        .node("Expand", &["token", "wide1"], &["class"], &[])
        .node("Concat", &["class", "tokens"], &["y"], &[int("axis", 1)])
        .output("y");
    assert_eq!(
        made.nodes(),
        "tokens: f32[N,4,9] = Reshape(x) to=[N,4,9]\nclass: f32[N,1,9] = Expand(token) to=[N,1,9]\n\
         y: f32[N,5,9] = Concat(class, tokens) axis=1"
    );
}

fn sized(dims: &str, size: Option<[usize; 2]>) -> Result<String, String> {
    let made = file(13).input("x", F32, dims).node("Relu", &["x"], &["y"], &[]).output("y");
    let graph: Graph = read(&made.bytes(), &ReadOptions { size }).map_err(|e| e.to_string())?;
    Ok(graph.value(graph.inputs()[0]).shape.as_ref().unwrap().to_string())
}

#[test]
fn open_axes_of_inputs() {
    assert_eq!(sized("batch,3,8,9", None).unwrap(), "[N,3,8,9]");
    assert_eq!(sized("?,3,8,9", None).unwrap(), "[N,3,8,9]");
    assert_eq!(sized("-1,5", None).unwrap(), "[N,5]");
    assert_eq!(sized("0,5", None).unwrap(), "[N,5]");
    assert_eq!(sized("2,3,8,9", None).unwrap(), "[2,3,8,9]");
    assert_eq!(sized("1,3,height,width", Some([32, 48])).unwrap(), "[1,3,32,48]");
    assert_eq!(sized("1,3,224,224", Some([32, 48])).unwrap(), "[1,3,32,48]");
    assert_eq!(sized("n,h,w,3", Some([32, 48])).unwrap(), "[N,32,48,3]");
    assert_eq!(sized("1,224,224,3", Some([32, 48])).unwrap(), "[1,32,48,3]");
    assert_eq!(sized("1,64,4,4", Some([8, 8])).unwrap(), "[1,64,8,8]");
    assert!(sized("1,3,h,w", None).unwrap_err().ends_with("hint: give --size HEIGHTxWIDTH"));
    assert!(sized("1,c,8,8", None).unwrap_err().contains("leaves axis 1 open"));
    assert!(sized("1,length", None).unwrap_err().contains("leaves axis 1 open"));
    assert!(sized("1,10", Some([8, 8])).unwrap_err().contains("no input of the model has a height"));
}

#[test]
fn another_size_overrides_what_the_file_declares() {
    let made = file(13)
        .input("x", F32, "N,3,8,8")
        .declare("m", F32, "N,3,8,8")
        .node("Relu", &["x"], &["m"], &[])
        .node("GlobalAveragePool", &["m"], &["y"], &[])
        .output("y");
    let graph = read(&made.bytes(), &ReadOptions { size: Some([16, 12]) }).unwrap();
    assert!(node_lines(&graph).starts_with("m: f32[N,3,16,12] = Relu(x)"), "{graph}");

    let made = made.floats("w", &[192, 10]).node("Flatten", &["m"], &["f"], &[]).node(
        "MatMul",
        &["f", "w"],
        &["s"],
        &[],
    );
    let graph = File {
        graph: onnx_support::proto::GraphProto { output: vec![value("s", F32, None)], ..made.graph.clone() },
        ..made
    };
    assert!(graph.read().is_ok());
    let message = read(&graph.bytes(), &ReadOptions { size: Some([16, 12]) }).unwrap_err().to_string();
    assert!(
        message.starts_with("the model does not fit that size: the MatMul node that makes \"s\""),
        "{message}"
    );
}

#[test]
fn constants_that_are_listed_as_inputs_are_constants() {
    let graph = file(9)
        .input("x", F32, "N,2")
        .input("w", F32, "2,2")
        .floats("w", &[2, 2])
        .node("MatMul", &["x", "w"], &["y"], &[])
        .output("y")
        .read()
        .unwrap();
    assert_eq!(graph.inputs().len(), 1);
}

#[test]
fn nodes_may_stand_in_any_order() {
    let made = file(13)
        .input("x", F32, "N,2")
        .node("Neg", &["b"], &["c"], &[])
        .node("Abs", &["a"], &["b"], &[])
        .node("Relu", &["x"], &["a"], &[])
        .output("c");
    assert_eq!(made.nodes(), "a: f32[N,2] = Relu(x)\nb: f32[N,2] = Abs(a)\nc: f32[N,2] = Neg(b)");
}

#[test]
fn modules_of_both_exporters() {
    let scopes = "['', 'layer4', 'layer4.2', 'layer4.2.conv1', 'conv2d_52']";
    let entry = StringStringEntryProto { key: "pkg.torch.onnx.name_scopes".into(), value: scopes.into() };
    let newer = NodeProto { metadata_props: vec![entry], ..node("Relu", &["x"], &["a"], &[]) };
    let older = NodeProto { name: "/layer4/layer4.2/relu/Relu".into(), ..node("Relu", &["a"], &["b"], &[]) };
    let graph = file(13)
        .input("x", F32, "N,2")
        .push(newer)
        .push(older)
        .node("Relu", &["b"], &["y"], &[])
        .output("y")
        .read()
        .unwrap();
    let modules: Vec<_> = graph.nodes().map(|(_, n)| n.module.as_deref()).collect();
    assert_eq!(modules, [Some("layer4.2.conv1"), Some("layer4.2.relu"), None]);
}

#[test]
fn weights_are_slices_of_the_file() {
    let made = file(13)
        .input("x", F32, "N,64")
        .floats("w", &[64, 64])
        .node("MatMul", &["x", "w"], &["y"], &[])
        .output("y");
    let ModelBytes { proto, external, .. } = made.bytes();
    let range = proto.as_ptr_range();
    let graph = read(
        &ModelBytes { proto: proto.clone(), external, ..ModelBytes::default() },
        &ReadOptions::default(),
    )
    .unwrap();
    let weights = graph.value(graph.find("w").unwrap()).constant.clone().unwrap();
    assert!(range.contains(&weights.data().as_ptr()));
}
