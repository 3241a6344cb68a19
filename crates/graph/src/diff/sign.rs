//! Which values are never negative, whatever the image: read off the ops and the values of constants.

use std::collections::HashMap;

use crate::graph::{Graph, Node, ValueId};
use crate::op::{BinaryFn, Op, PadMode, ReduceKind, Scalar, UnaryFn};
use crate::tensor::{DType, Tensor};

/// The signs of a graph's values.
pub(super) struct Signs(HashMap<ValueId, bool>);

impl Signs {
    /// Reads the graph from its inputs to its outputs.
    pub fn new(graph: &Graph) -> Signs {
        Signs(HashMap::new()).through(graph)
    }

    /// Reads the graph, some of whose values are known.
    fn through(mut self, graph: &Graph) -> Signs {
        for (_, node) in graph.nodes() {
            for (i, output) in node.outputs.iter().enumerate() {
                if let Some(output) = *output {
                    let sign = unsigned(graph, output) || self.result(graph, node, i);
                    self.0.insert(output, sign);
                }
            }
        }
        self
    }

    /// Whether no element of the value is ever negative.
    pub fn is_nonnegative(&mut self, graph: &Graph, id: ValueId) -> bool {
        if let Some(&known) = self.0.get(&id) {
            return known;
        }
        let constant = graph.value(id).constant.as_ref();
        let sign = unsigned(graph, id) || constant.is_some_and(Tensor::is_nonnegative);
        self.0.insert(id, sign);
        sign
    }

    fn operand(&mut self, graph: &Graph, node: &Node, i: usize) -> bool {
        node.inputs.get(i).copied().flatten().is_some_and(|id| self.is_nonnegative(graph, id))
    }

    fn operands(&mut self, graph: &Graph, node: &Node) -> bool {
        node.inputs.iter().flatten().all(|&id| self.is_nonnegative(graph, id))
    }

    /// Whether a node's result `index` is never negative.
    fn result(&mut self, graph: &Graph, node: &Node, index: usize) -> bool {
        match &node.op {
            Op::Unary(f) => is_nonnegative_fn(*f) || (keeps_sign(*f) && self.operand(graph, node, 0)),
            Op::Binary(f) => self.binary(graph, node, *f),
            Op::Gemm(g) => g.alpha >= 0.0 && g.beta >= 0.0 && self.operands(graph, node),
            Op::Conv(_) | Op::ConvTranspose(_) | Op::MatMul | Op::Concat { .. } => self.operands(graph, node),
            Op::Where => self.operand(graph, node, 1) && self.operand(graph, node, 2),
            Op::Reduce { kind, .. } => match kind {
                ReduceKind::L1 | ReduceKind::L2 | ReduceKind::SumSquare => true,
                ReduceKind::LogSum | ReduceKind::LogSumExp => false,
                ReduceKind::Max | ReduceKind::Mean | ReduceKind::Min | ReduceKind::Prod | ReduceKind::Sum => {
                    self.operand(graph, node, 0)
                }
            },
            Op::Pad { mode, value, .. } => {
                (*mode != PadMode::Constant || *value >= 0.0) && self.operand(graph, node, 0)
            }
            Op::DequantizeLinear { .. } => self.dequantised(graph, node),
            Op::ConstantOfShape(value) => match value {
                Scalar::F32(v) => *v >= 0.0,
                Scalar::I64(v) => *v >= 0,
                Scalar::Bool(_) => true,
            },
            Op::TopK { .. } => index == 1 || self.operand(graph, node, 0),
            Op::Softmax { .. } | Op::Compare(_) | Op::ArgMax { .. } | Op::Shape { .. } => true,
            Op::Composite(c) => {
                let operands = node.inputs.iter().flatten();
                let known = c.body.inputs().iter().zip(operands);
                let known = known.map(|(&input, &id)| (input, self.is_nonnegative(graph, id))).collect();
                let mut inside = Signs(known).through(&c.body);
                c.body.outputs().get(index).is_some_and(|&o| inside.is_nonnegative(&c.body, o))
            }
            Op::ScatterNd { .. } => self.operand(graph, node, 0) && self.operand(graph, node, 2),
            Op::PRelu
            | Op::Cast(_)
            | Op::Identity
            | Op::Dropout
            | Op::Lrn(_)
            | Op::GatherNd { .. }
            | Op::MaxPool(_)
            | Op::AveragePool { .. }
            | Op::GlobalAveragePool
            | Op::GlobalMaxPool
            | Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Transpose { .. }
            | Op::Split { .. }
            | Op::Slice(_)
            | Op::Squeeze { .. }
            | Op::Unsqueeze { .. }
            | Op::Expand { .. }
            | Op::Gather { .. }
            | Op::DepthToSpace { .. }
            | Op::Resize(_) => self.operand(graph, node, 0),
            Op::BatchNorm { .. }
            | Op::LogSoftmax { .. }
            | Op::Range
            | Op::QuantizeLinear { .. }
            | Op::Opaque(_) => false,
        }
    }

    fn binary(&mut self, graph: &Graph, node: &Node, f: BinaryFn) -> bool {
        let (a, b) = (self.operand(graph, node, 0), self.operand(graph, node, 1));
        match f {
            BinaryFn::Add | BinaryFn::Div | BinaryFn::Min => a && b,
            BinaryFn::Mul => (a && b) || node.inputs[0] == node.inputs[1],
            BinaryFn::Max => a || b,
            BinaryFn::Mod => b,
            BinaryFn::Pow => a || has_even_exponent(graph, node),
            BinaryFn::Sub => false,
            BinaryFn::And | BinaryFn::Or => true,
        }
    }

    /// `q − zero_point` is not negative where the zero point is the least level, or the levels are not negative and it
    /// is not positive.
    fn dequantised(&mut self, graph: &Graph, node: &Node) -> bool {
        let Some(q) = node.inputs.first().copied().flatten() else { return false };
        let bound = match graph.value(q).dtype {
            _ if self.is_nonnegative(graph, q) => 0,
            Some(DType::I8) => i8::MIN.into(),
            Some(DType::I16) => i16::MIN.into(),
            _ => return false,
        };
        let zero_points = match node.inputs.get(2).copied().flatten() {
            Some(zero) => graph.value(zero).constant.as_ref().and_then(Tensor::to_i64s),
            None => Some(vec![0]),
        };
        self.operand(graph, node, 1) && zero_points.is_some_and(|all| all.iter().all(|&zero| zero <= bound))
    }
}

/// Whether the type of the value has no negative numbers.
fn unsigned(graph: &Graph, id: ValueId) -> bool {
    graph.value(id).dtype.is_some_and(|d| !d.is_signed())
}

/// Whether the function has no negative values.
fn is_nonnegative_fn(f: UnaryFn) -> bool {
    match f {
        UnaryFn::Abs
        | UnaryFn::Exp
        | UnaryFn::HardSigmoid { .. }
        | UnaryFn::Relu
        | UnaryFn::Sigmoid
        | UnaryFn::Softplus
        | UnaryFn::Sqrt => true,
        UnaryFn::Clip { min, .. } => min >= 0.0,
        _ => false,
    }
}

/// Whether the function has no negative values where its argument has none.
fn keeps_sign(f: UnaryFn) -> bool {
    match f {
        UnaryFn::Clip { max, .. } => max >= 0.0,
        UnaryFn::Ceil
        | UnaryFn::Elu(_)
        | UnaryFn::Erf
        | UnaryFn::Floor
        | UnaryFn::Gelu
        | UnaryFn::GeluTanh
        | UnaryFn::HardSwish
        | UnaryFn::Hold
        | UnaryFn::LeakyRelu(_)
        | UnaryFn::Reciprocal
        | UnaryFn::Round
        | UnaryFn::Sign
        | UnaryFn::Tanh => true,
        _ => false,
    }
}

fn has_even_exponent(graph: &Graph, node: &Node) -> bool {
    let exponent = node.inputs.get(1).copied().flatten().and_then(|id| graph.value(id).constant.as_ref());
    exponent.is_some_and(|t| t.to_f64s().iter().all(|v| v % 2.0 == 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::Emit;
    use crate::graph::{Build, Header};
    use crate::op::{Conv, Lrn, Resize};

    fn build() -> (Build, ValueId, ValueId) {
        let mut b = Build::new(Header::default());
        let x = b.input("x", DType::F32, [1, 2, 4, 4].into()).unwrap();
        let a = b.unary(UnaryFn::Relu, x).unwrap();
        (b, x, a)
    }

    fn is_nonnegative(b: &Build, id: ValueId) -> bool {
        Signs::new(b.graph()).is_nonnegative(b.graph(), id)
    }

    #[test]
    fn constants_are_known_by_their_values() {
        let mut b = Build::new(Header::default());
        let floats = |values: &[f32]| Tensor::f32(&[values.len()], values).unwrap();
        let half = |v: f32| Tensor::floats(DType::F16, &[], &[v]).unwrap();
        for (tensor, expected) in [
            (floats(&[0.0, 1.0, f32::MIN_POSITIVE]), true),
            (floats(&[0.0, -0.0]), true),
            (floats(&[1.0, -f32::MIN_POSITIVE]), false),
            (floats(&[]), true),
            (half(-1.0), false),
            (half(1.0), true),
            (Tensor::i64(&[2], &[0, i64::MAX]).unwrap(), true),
            (Tensor::i64(&[2], &[0, -1]).unwrap(), false),
            (Tensor::i64(&[1], &[i64::MIN]).unwrap(), false),
            (Tensor::new(DType::U8, vec![1], vec![0xff]).unwrap(), true),
            (Tensor::new(DType::I8, vec![1], vec![0x80]).unwrap(), false),
        ] {
            assert_eq!(tensor.is_nonnegative(), expected, "{tensor:?}");
            let id = b.constant(tensor);
            assert_eq!(is_nonnegative(&b, id), expected);
        }
    }

    #[test]
    fn functions_of_one_argument() {
        let clip = |min, max| UnaryFn::Clip { min, max };
        for (f, of_signed, of_nonnegative) in [
            (UnaryFn::Abs, true, true),
            (UnaryFn::Exp, true, true),
            (UnaryFn::Sigmoid, true, true),
            (UnaryFn::Softplus, true, true),
            (UnaryFn::Sqrt, true, true),
            (clip(0.0, 6.0), true, true),
            (clip(-1.0, 6.0), false, true),
            (clip(-2.0, -1.0), false, false),
            (UnaryFn::Tanh, false, true),
            (UnaryFn::Gelu, false, true),
            (UnaryFn::LeakyRelu(0.1), false, true),
            (UnaryFn::Neg, false, false),
            (UnaryFn::Log, false, false),
            (UnaryFn::Sin, false, false),
        ] {
            let (mut b, x, a) = build();
            let (y, z) = (b.unary(f, x).unwrap(), b.unary(f, a).unwrap());
            assert_eq!((is_nonnegative(&b, y), is_nonnegative(&b, z)), (of_signed, of_nonnegative), "{f:?}");
        }
    }

    #[test]
    fn functions_of_two_arguments() {
        let (mut b, x, a) = build();
        let two = b.scalar(x, 2.0).unwrap();
        let mut told = |f, l, r| {
            let y = b.emit(Op::Binary(f), &[l, r]).unwrap();
            is_nonnegative(&b, y)
        };
        assert!(told(BinaryFn::Add, a, two) && !told(BinaryFn::Add, a, x));
        assert!(told(BinaryFn::Mul, a, a) && told(BinaryFn::Mul, x, x) && !told(BinaryFn::Mul, x, a));
        assert!(told(BinaryFn::Max, x, a) && !told(BinaryFn::Min, x, a));
        assert!(told(BinaryFn::Pow, x, two) && told(BinaryFn::Pow, two, x) && !told(BinaryFn::Pow, x, a));
        assert!(told(BinaryFn::Div, a, two) && !told(BinaryFn::Div, x, two));
        assert!(!told(BinaryFn::Sub, a, two));
    }

    #[test]
    fn sums_pools_and_layout_keep_the_sign() {
        let conv = Conv { strides: vec![1; 2], dilations: vec![1; 2], pads: vec![(1, 1); 2], groups: 2 };
        let blur = Tensor::f32(&[2, 1, 3, 3], &[0.1; 18]).unwrap();
        let resize = Resize {
            mode: crate::op::ResizeMode::Linear,
            coordinates: crate::op::Coordinates::HalfPixel,
            size: [8, 8],
            scales: None,
        };
        let pad = |value| Op::Pad { mode: PadMode::Constant, before: vec![0; 4], after: vec![1; 4], value };
        for (op, keeps) in [
            (Op::GlobalAveragePool, true),
            (Op::Lrn(Lrn { size: 3, alpha: 1.0, beta: 0.5, bias: 1.0 }), true),
            (Op::Resize(resize), true),
            (Op::Transpose { perm: vec![3, 2, 1, 0] }, true),
            (Op::Cast(DType::F16), true),
            (pad(0.0), true),
            (pad(-1.0), false),
            (Op::Reduce { kind: ReduceKind::Sum, axes: vec![1], keep: true }, true),
            (Op::Reduce { kind: ReduceKind::LogSum, axes: vec![1], keep: true }, false),
            (Op::LogSoftmax { axis: 1 }, false),
        ] {
            let (mut b, x, a) = build();
            let (y, z) = (b.emit(op.clone(), &[x]).unwrap(), b.emit(op.clone(), &[a]).unwrap());
            assert_eq!((is_nonnegative(&b, y), is_nonnegative(&b, z)), (false, keeps), "{op}");
        }
        let (mut b, x, a) = build();
        let w = b.constant(blur);
        let (y, z) =
            (b.emit(Op::Conv(conv.clone()), &[x, w]).unwrap(), b.emit(Op::Conv(conv), &[a, w]).unwrap());
        assert_eq!((is_nonnegative(&b, y), is_nonnegative(&b, z)), (false, true), "a blur");
        let halves = b.nodes(Op::Split { axis: 1, sizes: vec![1, 1] }, &[Some(a)]).unwrap();
        assert!(halves.iter().all(|&h| is_nonnegative(&b, h)));
        let both = b.emit(Op::Concat { axis: 1 }, &[a, x]).unwrap();
        assert!(!is_nonnegative(&b, both));
    }

    #[test]
    fn quantised_values_are_what_they_stand_for() {
        let of = |q: DType, zero_point: u8| {
            let mut b = Build::new(Header::default());
            let x = b.input("q", q, [1, 4].into()).unwrap();
            let scale = b.constant(Tensor::f32(&[], &[0.1]).unwrap());
            let zero = b.constant(Tensor::new(q, vec![], vec![zero_point]).unwrap());
            let y = b.emit(Op::DequantizeLinear { axis: 1 }, &[x, scale, zero]).unwrap();
            is_nonnegative(&b, y)
        };
        assert!(of(DType::U8, 0) && !of(DType::U8, 1));
        assert!(of(DType::I8, 0x80) && !of(DType::I8, 0));
    }
}
