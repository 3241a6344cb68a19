//! Graphs as text: one line a node, stable, for `whycam inspect --graph`, goldens and messages.

use std::fmt;

use crate::graph::{Graph, Value, ValueId};
use crate::op::{Conv, Op, Resize, Window};

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &id in self.inputs() {
            writeln!(f, "input {}", About(self.value(id)))?;
        }
        for (_, value) in self.values().filter(|(_, v)| v.constant.is_some()) {
            writeln!(f, "const {}", About(value))?;
        }
        for (_, node) in self.nodes() {
            let outputs: Vec<String> = node.outputs.iter().map(|o| self.about(*o)).collect();
            let inputs: Vec<&str> = node.inputs.iter().map(|i| self.name(*i)).collect();
            let (name, attributes) = (node.op.name(), Attributes(&node.op).to_string());
            let gap = if attributes.is_empty() { "" } else { " " };
            writeln!(f, "{} = {name}({}){gap}{attributes}", outputs.join(", "), inputs.join(", "))?;
        }
        for &id in self.outputs() {
            writeln!(f, "output {}", About(self.value(id)))?;
        }
        Ok(())
    }
}

impl Graph {
    fn name(&self, id: Option<ValueId>) -> &str {
        id.map_or("_", |id| &self.value(id).name)
    }

    fn about(&self, id: Option<ValueId>) -> String {
        id.map_or("_".into(), |id| About(self.value(id)).to_string())
    }
}

/// A value's name, type and shape.
struct About<'a>(&'a Value);

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Value { name, dtype, shape, .. } = self.0;
        write!(f, "{name}: ")?;
        match dtype {
            Some(dtype) => write!(f, "{dtype}")?,
            None => f.write_str("?")?,
        }
        match shape {
            Some(shape) => write!(f, "{shape}"),
            None => f.write_str("[?]"),
        }
    }
}

/// Operands in a message.
pub(crate) fn operands(operands: &[Option<&Value>]) -> String {
    let told: Vec<String> =
        operands.iter().map(|v| v.map_or("none".into(), |v| About(v).to_string())).collect();
    told.join(", ")
}

/// The operator with its attributes: equal text means equal ops.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attributes = Attributes(self).to_string();
        let gap = if attributes.is_empty() { "" } else { " " };
        write!(f, "{}{gap}{attributes}", self.name())
    }
}

struct Attributes<'a>(&'a Op);

impl fmt::Display for Attributes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Op::Unary(u) => match u {
                crate::op::UnaryFn::Clip { min, max } => write!(f, "min={min:?} max={max:?}"),
                crate::op::UnaryFn::Elu(a) | crate::op::UnaryFn::LeakyRelu(a) => write!(f, "alpha={a:?}"),
                crate::op::UnaryFn::HardSigmoid { alpha, beta } => write!(f, "alpha={alpha:?} beta={beta:?}"),
                crate::op::UnaryFn::GeluTanh => f.write_str("approximate=tanh"),
                _ => Ok(()),
            },
            Op::Cast(to) => write!(f, "to={to}"),
            Op::Conv(c) => conv(f, c),
            Op::ConvTranspose(t) => {
                conv(f, &t.conv)?;
                write!(f, " output_padding={:?}", t.output_padding)
            }
            Op::Gemm(g) => {
                write!(f, "alpha={:?} beta={:?} trans_a={} trans_b={}", g.alpha, g.beta, g.trans_a, g.trans_b)
            }
            Op::BatchNorm { epsilon } => write!(f, "epsilon={epsilon:?}"),
            Op::Lrn(l) => {
                write!(f, "size={} alpha={:?} beta={:?} bias={:?}", l.size, l.alpha, l.beta, l.bias)
            }
            Op::Softmax { axis }
            | Op::LogSoftmax { axis }
            | Op::Flatten { axis }
            | Op::Concat { axis }
            | Op::Gather { axis }
            | Op::DequantizeLinear { axis } => write!(f, "axis={axis}"),
            Op::QuantizeLinear { axis, to } => write!(f, "axis={axis} to={to}"),
            Op::MaxPool(w) => window(f, w),
            Op::AveragePool { window: w, count_include_pad } => {
                window(f, w)?;
                write!(f, " count_include_pad={count_include_pad}")
            }
            Op::Reduce { axes, keep, .. } => write!(f, "axes={axes:?} keep={keep}"),
            Op::ArgMax { axis, keep } => write!(f, "axis={axis} keep={keep}"),
            Op::TopK { axis, k } => write!(f, "axis={axis} k={k}"),
            Op::Reshape { to } | Op::Expand { to } => write!(f, "to={to}"),
            Op::Transpose { perm } => write!(f, "perm={perm:?}"),
            Op::Split { axis, sizes } => write!(f, "axis={axis} sizes={sizes:?}"),
            Op::Slice(ranges) => {
                for (i, r) in ranges.iter().enumerate() {
                    let gap = if i > 0 { " " } else { "" };
                    write!(f, "{gap}{}={}..{}:{}", r.axis, r.start, r.end, r.step)?;
                }
                Ok(())
            }
            Op::Pad { mode, before, after, value } => {
                write!(f, "mode={mode:?} before={before:?} after={after:?} value={value:?}")
            }
            Op::Squeeze { axes } | Op::Unsqueeze { axes } => write!(f, "axes={axes:?}"),
            Op::DepthToSpace { block, mode } => write!(f, "block={block} mode={mode:?}"),
            Op::Resize(Resize { mode, coordinates, size, scales }) => {
                write!(f, "mode={mode:?} coordinates={coordinates:?} size={size:?}")?;
                scales.map_or(Ok(()), |s| write!(f, " scales={s:?}"))
            }
            Op::Shape { start, end } => write!(f, "{start}..{end}"),
            Op::ConstantOfShape(value) => write!(f, "value={value:?}"),
            Op::GatherNd { batch } => write!(f, "batch={batch}"),
            Op::ScatterNd { add } => write!(f, "add={add}"),
            Op::Composite(c) => write!(f, "kept bytes={}", c.kept.proto.len()),
            Op::Opaque(o) => {
                let domain = if o.domain.is_empty() { "ai.onnx" } else { &o.domain };
                write!(f, "opaque domain={domain} bytes={}", o.proto.len())
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
            | Op::Range => Ok(()),
        }
    }
}

fn conv(f: &mut fmt::Formatter<'_>, c: &Conv) -> fmt::Result {
    write!(f, "strides={:?} dilations={:?} pads={:?} groups={}", c.strides, c.dilations, c.pads, c.groups)
}

fn window(f: &mut fmt::Formatter<'_>, w: &Window) -> fmt::Result {
    write!(
        f,
        "kernel={:?} strides={:?} dilations={:?} pads={:?} ceil={}",
        w.kernel, w.strides, w.dilations, w.pads, w.ceil_mode
    )
}
