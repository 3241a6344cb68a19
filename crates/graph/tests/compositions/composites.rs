//! Operators that mean what others mean, as files have them: each maps an image `[N,C,H,W]` to another value of four axes.

use whycam_graph::ValueId;
use whycam_interp::Array;

use crate::common::Net;
use crate::onnx_support::proto::AttributeProto;
use crate::onnx_support::{F32, File, file, float_tensor, int, int_tensor, ints, text};

/// The number of operators that [`composite`] knows.
pub const COMPOSITES: u8 = 21;

/// A file about an image `x`, and what its weights are drawn from.
struct Draft {
    file: File,
    seed: u64,
}

impl Draft {
    fn node(mut self, op: &str, inputs: &[&str], outputs: &[&str], attributes: &[AttributeProto]) -> Draft {
        self.file = self.file.node(op, inputs, outputs, attributes);
        self
    }

    /// Random weights.
    fn weights(mut self, name: &str, dims: &[usize]) -> Draft {
        self.seed += 1;
        let values: Vec<f32> = Array::random(dims, self.seed).data.iter().map(|&v| v as f32).collect();
        self.file = self.file.init(float_tensor(name, &signed(dims), &values));
        self
    }

    fn integers(mut self, name: &str, dims: &[usize], values: &[i64]) -> Draft {
        self.file = self.file.init(int_tensor(name, &signed(dims), values));
        self
    }
}

fn signed(dims: &[usize]) -> Vec<i64> {
    dims.iter().map(|&d| d as i64).collect()
}

/// One more operator; `a` and `b` choose its form.
pub fn composite(net: &mut Net, x: ValueId, op: u8, a: usize, b: usize) -> ValueId {
    let shape = net.shape(x);
    let [c, h, w] = [1, 2, 3].map(|axis| shape.0[axis].at(1));
    let batch = shape.0[0].fixed();
    let dims: Vec<String> = [batch.map_or("N".to_owned(), |n| n.to_string())]
        .into_iter()
        .chain([c, h, w].map(|d| d.to_string()))
        .collect();
    let even = |n: usize| if n.is_multiple_of(2) { 2 } else { 1 };
    let file = file(23).input("x", F32, &dims.join(","));
    let d = Draft { file, seed: (a * 100 + b) as u64 };
    let d = match op {
        0 => d.weights("s", &[w]).weights("t", &[w]).node(
            "LayerNormalization",
            &["x", "s", "t"],
            &["y"],
            &[int("axis", -1)],
        ),
        1 => {
            let groups = if a.is_multiple_of(2) { 1 } else { c as i64 };
            d.weights("s", &[c]).weights("t", &[c]).node(
                "GroupNormalization",
                &["x", "s", "t"],
                &["y"],
                &[int("num_groups", groups)],
            )
        }
        2 => d.weights("s", &[c]).weights("t", &[c]).node(
            "InstanceNormalization",
            &["x", "s", "t"],
            &["y"],
            &[],
        ),
        3 => d.weights("s", &[w]).node("RMSNormalization", &["x", "s"], &["y"], &[int("axis", -1)]),
        4 => d.node("LpNormalization", &["x"], &["y"], &[int("axis", 1 + (a % 3) as i64)]),
        5 => d.node("MeanVarianceNormalization", &["x"], &["y"], &[ints("axes", &[2, 3])]),
        6 => d.node(["Mish", "Celu", "Softsign", "Selu"][a % 4], &["x"], &["y"], &[]),
        7 => d.integers("axis", &[], &[1 + (a % 3) as i64]).node(
            "CumSum",
            &["x", "axis"],
            &["y"],
            &[int("exclusive", (b % 2) as i64), int("reverse", (b / 2 % 2) as i64)],
        ),
        8 => d.integers("r", &[4], &[1, 1, 1 + (a % 2) as i64, 2]).node("Tile", &["x", "r"], &["y"], &[]),
        9 => d.node("SpaceToDepth", &["x"], &["y"], &[int("blocksize", even(h).min(even(w)))]),
        10 => {
            let floats = float_tensor("f", &[4], &[1.0, 1.0, 1.5, 2.0]);
            let mut d = d;
            d.file = d.file.init(floats);
            d.node("Resize", &["x", "", "f"], &["y"], &[text("mode", "cubic")])
        }
        11 => d
            .integers("one", &[1], &[1])
            .node("ReduceMean", &["x", "one"], &["m"], &[])
            .node("Sin", &["m"], &["n"], &[])
            .node("Concat", &["m", "n"], &["g"], &[int("axis", 1)])
            .node("Transpose", &["g"], &["t"], &[ints("perm", &[0, 2, 3, 1])])
            .node("Tanh", &["t"], &["grid"], &[])
            .node(
                "GridSample",
                &["x", "grid"],
                &["y"],
                &[
                    text("mode", ["linear", "cubic"][a % 2]),
                    text("padding_mode", ["zeros", "border", "reflection"][b % 3]),
                ],
            ),
        12..=14 => {
            let (name, gates) = [("LSTM", 4), ("GRU", 3), ("RNN", 1)][usize::from(op) - 12];
            let ways = 1 + a % 2;
            d.weights("w", &[ways, gates * 2, c * w])
                .weights("r", &[ways, gates * 2, 2])
                .weights("z", &[ways, gates * 4])
                .integers("to", &[3], &[0, 0, -1])
                .node("Transpose", &["x"], &["t"], &[ints("perm", &[2, 0, 1, 3])])
                .node("Reshape", &["t", "to"], &["s"], &[])
                .node(
                    name,
                    &["s", "w", "r", "z"],
                    &["u"],
                    &[int("hidden_size", 2), text("direction", ["forward", "bidirectional"][a % 2])],
                )
                .node("Transpose", &["u"], &["y"], &[ints("perm", &[2, 1, 0, 3])])
        }
        15 => d.node("Attention", &["x", "x", "x"], &["y"], &[int("is_causal", (a % 2) as i64)]),
        16 => d.weights("m", &[c, 1 + a % 3]).node(
            "Einsum",
            &["x", "m"],
            &["y"],
            &[text("equation", "nchw,cd->ndhw")],
        ),
        17 => {
            let window = ints("kernel_shape", &[even(h), even(w)]);
            let steps = ints("strides", &[even(h), even(w)]);
            d.node("MaxPool", &["x"], &["p", "i"], &[window.clone(), steps.clone()]).node(
                "MaxUnpool",
                &["p", "i"],
                &["y"],
                &[window, steps],
            )
        }
        18 => {
            let boxes = [0.0, 0.3, 2.1, 1.9, -1.0, 0.0, 1.4, 2.6, 0.7, 0.2, 3.9, 3.1];
            let mut d = d.integers("images", &[3], &[0, 0, 0]);
            d.file = d.file.init(float_tensor("boxes", &[3, 4], &boxes));
            d.node(
                "RoiAlign",
                &["x", "boxes", "images"],
                &["y"],
                &[
                    int("output_height", 1 + (b % 2) as i64),
                    int("output_width", 2),
                    int("sampling_ratio", 2),
                    text("mode", ["avg", "max"][a % 2]),
                ],
            )
        }
        19 => {
            let size = [c, h, w][a % 3];
            let many: Vec<i64> = (0..c * h * w).map(|i| (i % size) as i64).collect();
            let (axis, dims) = (int("axis", 1 + (a % 3) as i64), [1, c, h, w]);
            d.integers("i", &dims, &many).node("GatherElements", &["x", "i"], &["y"], &[axis])
        }
        _ => d.integers("k", &[1], &[1]).node(
            "TopK",
            &["x", "k"],
            &["y", ""],
            &[int("axis", 1 + (a % 3) as i64), int("largest", 0)],
        ),
    };
    let graph = d.file.output("y").read().unwrap_or_else(|e| panic!("composite {op}: {e}"));
    let text = graph.to_string();
    assert!(text.contains(" kept ") && !text.contains("opaque"), "composite {op} is none:\n{text}");
    net.b.inline(&graph, &[x]).unwrap()[0]
}
