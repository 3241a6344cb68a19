//! How each op is spelled in the version that is written.

use super::attributes::{float, int, ints, pads, tensor, text, whole};
use super::node::{Draft, Writer};
use super::tensors;
use crate::error::Result;
use crate::graph::Node;
use crate::onnx::dtype;
use crate::op::{
    Conv, Coordinates, DepthMode, NearestMode, Op, PadMode, ReduceKind, Resize, ResizeMode, Scalar,
};
use crate::op::{UnaryFn, Window};
use crate::shape::{Dim, Shape};
use crate::tensor::{DType, Tensor};

impl Writer<'_> {
    /// Adds to the draft of a node what its op says: attributes, and parameters that are operands.
    pub fn complete(&mut self, node: &Node, draft: &mut Draft) -> Result<()> {
        let Draft { inputs, attributes, .. } = draft;
        match &node.op {
            Op::Unary(f) => return self.unary(*f, node, draft),
            Op::Cast(to) => attributes.push(int("to", dtype::number(*to))),
            Op::Conv(c) => attributes.extend(conv(c)),
            Op::ConvTranspose(t) => {
                attributes.extend(conv(&t.conv));
                attributes.push(ints("output_padding", &t.output_padding));
            }
            Op::Gemm(g) => attributes.extend([
                float("alpha", g.alpha),
                float("beta", g.beta),
                int("transA", g.trans_a),
                int("transB", g.trans_b),
            ]),
            Op::BatchNorm { epsilon } => attributes.push(float("epsilon", *epsilon)),
            Op::Lrn(l) => attributes.extend([
                int("size", l.size),
                float("alpha", l.alpha),
                float("beta", l.beta),
                float("bias", l.bias),
            ]),
            Op::MaxPool(w) => {
                attributes.extend(window(w));
                attributes.push(ints("dilations", &w.dilations));
            }
            Op::AveragePool { window: w, count_include_pad } => {
                attributes.extend(window(w));
                attributes.push(int("count_include_pad", *count_include_pad));
                if w.dilations.iter().any(|&d| d != 1) {
                    attributes.push(ints("dilations", &w.dilations));
                }
            }
            Op::Reduce { kind, axes, keep } => {
                attributes.push(int("keepdims", *keep));
                match self.opset >= 18 || *kind == ReduceKind::Sum {
                    true => inputs.push(self.sizes(axes)?),
                    false => attributes.push(ints("axes", axes)),
                }
            }
            Op::ArgMax { axis, keep } => attributes.extend([int("axis", *axis), int("keepdims", *keep)]),
            Op::TopK { axis, k } => {
                inputs.push(self.sizes(&[*k])?);
                attributes.push(int("axis", *axis));
            }
            Op::Reshape { to } => return self.reshape(node, to, draft),
            Op::Expand { to } => return self.expand(node, to, draft),
            Op::Transpose { perm } => attributes.push(ints("perm", perm)),
            Op::Split { axis, sizes } => {
                inputs.push(self.sizes(sizes)?);
                attributes.push(int("axis", *axis));
            }
            Op::Slice(ranges) if ranges.is_empty() => draft.op_type = "Identity".into(),
            Op::Slice(ranges) => {
                let x = self.shape_of(node)?;
                // Before the first cell is written as "so far from behind".
                let end = |r: &crate::op::Range| match r.end {
                    -1 => x.0.get(r.axis).and_then(|d| d.fixed()).map_or(i64::MIN, |n| -1 - whole(n)),
                    end => end,
                };
                inputs.push(self.ints(&ranges.iter().map(|r| r.start).collect::<Vec<_>>())?);
                inputs.push(self.ints(&ranges.iter().map(end).collect::<Vec<_>>())?);
                inputs.push(self.sizes(&ranges.iter().map(|r| r.axis).collect::<Vec<_>>())?);
                inputs.push(self.ints(&ranges.iter().map(|r| r.step).collect::<Vec<_>>())?);
            }
            Op::Pad { mode, before, after, value } => {
                inputs.push(self.ints(&[before.as_slice(), after.as_slice()].concat())?);
                if *value != 0.0 {
                    let dtype = self.dtype_of(node)?;
                    inputs.push(self.scalar(dtype, *value)?);
                }
                attributes.push(text(
                    "mode",
                    match mode {
                        PadMode::Constant => "constant",
                        PadMode::Edge => "edge",
                        PadMode::Reflect => "reflect",
                    },
                ));
            }
            Op::Squeeze { axes } | Op::Unsqueeze { axes } => inputs.push(self.sizes(axes)?),
            Op::DepthToSpace { block, mode } => {
                let mode = if *mode == DepthMode::Dcr { "DCR" } else { "CRD" };
                attributes.extend([int("blocksize", *block), text("mode", mode)]);
            }
            Op::Resize(r) => return self.resize(node, r, draft),
            Op::Shape { start, end } => return self.shape(node, *start, *end, draft),
            Op::ConstantOfShape(value) => {
                let value = match value {
                    Scalar::F32(v) => Tensor::f32(&[1], &[*v])?,
                    Scalar::I64(v) => Tensor::i64(&[1], &[*v])?,
                    Scalar::Bool(v) => Tensor::new(DType::Bool, vec![1], vec![u8::from(*v)])?,
                };
                attributes.push(tensor("value", tensors::proto("", &value)));
            }
            Op::Softmax { axis }
            | Op::LogSoftmax { axis }
            | Op::Flatten { axis }
            | Op::Concat { axis }
            | Op::Gather { axis }
            | Op::DequantizeLinear { axis } => attributes.push(int("axis", *axis)),
            Op::GatherNd { batch } => attributes.push(int("batch_dims", *batch)),
            Op::ScatterNd { add: true } => attributes.push(text("reduction", "add")),
            Op::ScatterNd { add: false } => {}
            Op::QuantizeLinear { axis, to } => {
                attributes.push(int("axis", *axis));
                let told = node.inputs.get(2).copied().flatten().is_some() || *to == DType::U8;
                if !told && self.opset >= 21 {
                    attributes.push(int("output_dtype", dtype::number(*to)));
                } else if !told {
                    // A zero point tells the type.
                    let scale = self.graph.shape(node.input(1)?)?.to_fixed().unwrap_or_default();
                    inputs.truncate(2);
                    inputs.push(self.param(tensors::filled(*to, &scale, 0.0)?));
                }
            }
            Op::Binary(_)
            | Op::Compare(_)
            | Op::Where
            | Op::PRelu
            | Op::Identity
            | Op::Dropout
            | Op::MatMul
            | Op::GlobalAveragePool
            | Op::GlobalMaxPool
            | Op::Range
            | Op::Composite(_)
            | Op::Opaque(_) => {}
        }
        Ok(())
    }

    fn unary(&mut self, f: UnaryFn, node: &Node, draft: &mut Draft) -> Result<()> {
        let Draft { inputs, attributes, .. } = draft;
        match f {
            UnaryFn::Clip { min, max } => {
                let dtype = self.dtype_of(node)?;
                for (bound, none) in [(min, f32::NEG_INFINITY), (max, f32::INFINITY)] {
                    inputs.push(if bound == none { String::new() } else { self.scalar(dtype, bound)? });
                }
            }
            UnaryFn::Elu(alpha) | UnaryFn::LeakyRelu(alpha) => attributes.push(float("alpha", alpha)),
            UnaryFn::HardSigmoid { alpha, beta } => {
                attributes.extend([float("alpha", alpha), float("beta", beta)]);
            }
            UnaryFn::GeluTanh => attributes.push(text("approximate", "tanh")),
            UnaryFn::HardSwish if self.opset < 14 => {
                let gate = vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
                let gate = self.helper("HardSigmoid", inputs.clone(), gate);
                inputs.push(gate);
                draft.op_type = "Mul".into();
            }
            UnaryFn::Abs
            | UnaryFn::Acos
            | UnaryFn::Acosh
            | UnaryFn::Asin
            | UnaryFn::Asinh
            | UnaryFn::Atan
            | UnaryFn::Atanh
            | UnaryFn::Ceil
            | UnaryFn::Cos
            | UnaryFn::Cosh
            | UnaryFn::Erf
            | UnaryFn::Exp
            | UnaryFn::Floor
            | UnaryFn::Gelu
            | UnaryFn::HardSwish
            | UnaryFn::Hold
            | UnaryFn::Log
            | UnaryFn::Neg
            | UnaryFn::Not
            | UnaryFn::Reciprocal
            | UnaryFn::Relu
            | UnaryFn::Round
            | UnaryFn::Sigmoid
            | UnaryFn::Sign
            | UnaryFn::Sin
            | UnaryFn::Sinh
            | UnaryFn::Softplus
            | UnaryFn::Sqrt
            | UnaryFn::Tan
            | UnaryFn::Tanh => {}
        }
        Ok(())
    }

    /// `N` is written as 0 where the operand has it at the same place, as −1 elsewhere, and computed
    /// if that is not enough.
    fn reshape(&mut self, node: &Node, to: &Shape, draft: &mut Draft) -> Result<()> {
        let from = self.graph.value(node.input(0)?).shape.as_ref();
        let empty = to.0.contains(&Dim::Fixed(0));
        let written = to.0.iter().enumerate().map(|(i, d)| match d {
            Dim::Fixed(n) => whole(*n),
            batch if from.is_some_and(|from| from.0.get(i) == Some(batch)) => 0,
            Dim::Batch(_) => -1,
        });
        let written: Vec<i64> = written.collect();
        let open = written.iter().filter(|&&n| n == -1).count();
        let operand = match open == 0 || (open == 1 && from.is_some()) {
            true if !empty => self.ints(&written)?,
            _ => self.dims(&to.0)?,
        };
        draft.inputs.push(operand);
        if empty {
            draft.attributes.push(int("allowzero", 1));
        }
        Ok(())
    }

    /// `N` is written as 1 where the operand has it, and computed elsewhere.
    fn expand(&mut self, node: &Node, to: &Shape, draft: &mut Draft) -> Result<()> {
        let from = self.graph.value(node.input(0)?).shape.clone().unwrap_or_default();
        let aligned = |i: usize| (i + from.rank()).checked_sub(to.rank()).and_then(|j| from.0.get(j));
        let dims = to.0.iter().enumerate().map(|(i, d)| match d {
            Dim::Batch(_) if aligned(i) == Some(d) => Dim::Fixed(1),
            d => *d,
        });
        let dims: Vec<Dim> = dims.collect();
        draft.inputs.push(self.dims(&dims)?);
        Ok(())
    }

    fn shape(&mut self, node: &Node, start: usize, end: usize, draft: &mut Draft) -> Result<()> {
        let rank = self.shape_of(node)?.rank();
        if (start, end) == (0, rank) {
            return Ok(());
        }
        if self.opset >= 15 {
            draft.attributes.extend([int("start", start), int("end", end)]);
            return Ok(());
        }
        let all = self.helper("Shape", draft.inputs.clone(), Vec::new());
        draft.inputs = vec![all, self.sizes(&[start])?, self.sizes(&[end])?];
        draft.op_type = "Slice".into();
        Ok(())
    }

    fn resize(&mut self, node: &Node, resize: &Resize, draft: &mut Draft) -> Result<()> {
        let Resize { mode, coordinates, size, scales } = resize;
        let coordinates = match coordinates {
            Coordinates::HalfPixel => "half_pixel",
            Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
            Coordinates::AlignCorners => "align_corners",
            Coordinates::Asymmetric => "asymmetric",
        };
        draft.attributes.push(text("coordinate_transformation_mode", coordinates));
        match mode {
            ResizeMode::Linear => draft.attributes.push(text("mode", "linear")),
            ResizeMode::Nearest(nearest) => draft.attributes.extend([
                text("mode", "nearest"),
                text(
                    "nearest_mode",
                    match nearest {
                        NearestMode::RoundPreferFloor => "round_prefer_floor",
                        NearestMode::RoundPreferCeil => "round_prefer_ceil",
                        NearestMode::Floor => "floor",
                        NearestMode::Ceil => "ceil",
                    },
                ),
            ]),
        }
        let x = self.shape_of(node)?;
        let batch = x.0.first().is_some_and(|d| d.fixed().is_none());
        // With an open batch, scales are the simpler statement, if they come to the same size.
        let scales = scales.or_else(|| if batch { exact_scales(&x, *size) } else { None });
        let (scales, sizes) = match scales {
            Some([h, w]) => (self.param(Tensor::f32(&[4], &[1.0, 1.0, h, w])?), String::new()),
            None => {
                let mut dims = x.0;
                dims.truncate(2);
                dims.extend(size.map(Dim::Fixed));
                (String::new(), self.dims(&dims)?)
            }
        };
        draft.inputs.extend([String::new(), scales, sizes]);
        Ok(())
    }

    /// The element type of a node's first operand; float32 where it is not known.
    fn dtype_of(&self, node: &Node) -> Result<DType> {
        Ok(self.graph.value(node.input(0)?).dtype.unwrap_or(DType::F32))
    }

    fn shape_of(&self, node: &Node) -> Result<Shape> {
        self.graph.shape(node.input(0)?).cloned()
    }
}

/// The least scales, from `size / input` on, that come to the size whether they are multiplied in single or in double
/// precision, as engines and ONNX's shape inference do.
fn exact_scales(x: &Shape, size: [usize; 2]) -> Option<[f32; 2]> {
    let mut scales = [0.0; 2];
    for (i, to) in size.into_iter().enumerate() {
        let from = x.0.get(i + 2)?.fixed()? as f32;
        let comes_to = |scale: &f32| {
            let double = (f64::from(from) * f64::from(*scale)) as usize;
            ((from * scale) as usize, double) == (to, to)
        };
        let nearest = to as f32 / from;
        scales[i] = [nearest, nearest.next_up()].into_iter().find(comes_to)?;
    }
    Some(scales)
}

fn conv(c: &Conv) -> [crate::onnx::proto::AttributeProto; 4] {
    [ints("strides", &c.strides), ints("dilations", &c.dilations), pads(&c.pads), int("group", c.groups)]
}

fn window(w: &Window) -> [crate::onnx::proto::AttributeProto; 4] {
    [
        ints("kernel_shape", &w.kernel),
        ints("strides", &w.strides),
        pads(&w.pads),
        int("ceil_mode", w.ceil_mode),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 · (5/3 in float32) is 5 in float32 but less than 5 in float64.
    #[test]
    fn scales_come_to_the_size_in_either_precision() {
        for from in 1..40 {
            for to in 1..300 {
                let scales =
                    exact_scales(&Shape::fixed(&[1, 1, from, from]), [to, to]).expect("there are some");
                let single = (from as f32 * scales[0]).floor();
                let double = (from as f64 * f64::from(scales[0])).floor();
                assert_eq!((single as usize, double as usize), (to, to), "{from} to {to}");
                // One unit in the last place at most.
                assert!((f64::from(scales[0]) * from as f64 / to as f64 - 1.0).abs() < 1.5e-7);
            }
        }
    }
}
