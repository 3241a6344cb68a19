//! The names of ONNX operators.

use crate::op::{BinaryFn, CompareFn, Op, ReduceKind, UnaryFn};

/// The function without parameters of that name.
pub(super) fn plain_unary(name: &str) -> Option<UnaryFn> {
    use UnaryFn as U;
    let all = [
        U::Abs,
        U::Acos,
        U::Acosh,
        U::Asin,
        U::Asinh,
        U::Atan,
        U::Atanh,
        U::Ceil,
        U::Cos,
        U::Cosh,
        U::Erf,
        U::Exp,
        U::Floor,
        U::HardSwish,
        U::Log,
        U::Neg,
        U::Not,
        U::Reciprocal,
        U::Relu,
        U::Round,
        U::Sigmoid,
        U::Sign,
        U::Sin,
        U::Sinh,
        U::Softplus,
        U::Sqrt,
        U::Tan,
        U::Tanh,
    ];
    all.into_iter().find(|&f| unary(f) == name)
}

/// The function of two operands of that name.
pub(super) fn binary_named(name: &str) -> Option<BinaryFn> {
    use BinaryFn as B;
    let all = [B::Add, B::And, B::Div, B::Max, B::Min, B::Mod, B::Mul, B::Or, B::Pow, B::Sub];
    all.into_iter().find(|&f| binary(f) == name)
}

/// The comparison of that name.
pub(super) fn compare_named(name: &str) -> Option<CompareFn> {
    use CompareFn as C;
    let all = [C::Equal, C::Greater, C::GreaterOrEqual, C::Less, C::LessOrEqual];
    all.into_iter().find(|&f| compare(f) == name)
}

/// The reduction of that name.
pub(super) fn reduce_named(name: &str) -> Option<ReduceKind> {
    use ReduceKind as R;
    let all = [R::L1, R::L2, R::LogSum, R::LogSumExp, R::Max, R::Mean, R::Min, R::Prod, R::Sum, R::SumSquare];
    all.into_iter().find(|&k| reduce(k) == name)
}

/// The operator that `op` is written as.
pub(crate) fn op_name(op: &Op) -> &str {
    match op {
        Op::Unary(f) => unary(*f),
        Op::Binary(f) => binary(*f),
        Op::Compare(f) => compare(*f),
        Op::Where => "Where",
        Op::PRelu => "PRelu",
        Op::Cast(_) => "Cast",
        Op::Identity => "Identity",
        Op::Dropout => "Dropout",
        Op::Conv(_) => "Conv",
        Op::ConvTranspose(_) => "ConvTranspose",
        Op::MatMul => "MatMul",
        Op::Gemm(_) => "Gemm",
        Op::BatchNorm { .. } => "BatchNormalization",
        Op::Lrn(_) => "LRN",
        Op::Softmax { .. } => "Softmax",
        Op::LogSoftmax { .. } => "LogSoftmax",
        Op::MaxPool(_) => "MaxPool",
        Op::AveragePool { .. } => "AveragePool",
        Op::GlobalAveragePool => "GlobalAveragePool",
        Op::GlobalMaxPool => "GlobalMaxPool",
        Op::Reduce { kind, .. } => reduce(*kind),
        Op::ArgMax { .. } => "ArgMax",
        Op::TopK { .. } => "TopK",
        Op::Reshape { .. } => "Reshape",
        Op::Flatten { .. } => "Flatten",
        Op::Transpose { .. } => "Transpose",
        Op::Concat { .. } => "Concat",
        Op::Split { .. } => "Split",
        Op::Slice(_) => "Slice",
        Op::Pad { .. } => "Pad",
        Op::Squeeze { .. } => "Squeeze",
        Op::Unsqueeze { .. } => "Unsqueeze",
        Op::Expand { .. } => "Expand",
        Op::Gather { .. } => "Gather",
        Op::DepthToSpace { .. } => "DepthToSpace",
        Op::Resize(_) => "Resize",
        Op::Shape { .. } => "Shape",
        Op::ConstantOfShape(_) => "ConstantOfShape",
        Op::Range => "Range",
        Op::DequantizeLinear { .. } => "DequantizeLinear",
        Op::QuantizeLinear { .. } => "QuantizeLinear",
        Op::GatherNd { .. } => "GatherND",
        Op::ScatterNd { .. } => "ScatterND",
        Op::Composite(c) => &c.kept.op_type,
        Op::Opaque(o) => &o.op_type,
    }
}

fn unary(f: UnaryFn) -> &'static str {
    match f {
        UnaryFn::Abs => "Abs",
        UnaryFn::Acos => "Acos",
        UnaryFn::Acosh => "Acosh",
        UnaryFn::Asin => "Asin",
        UnaryFn::Asinh => "Asinh",
        UnaryFn::Atan => "Atan",
        UnaryFn::Atanh => "Atanh",
        UnaryFn::Ceil => "Ceil",
        UnaryFn::Clip { .. } => "Clip",
        UnaryFn::Cos => "Cos",
        UnaryFn::Cosh => "Cosh",
        UnaryFn::Elu(_) => "Elu",
        UnaryFn::Erf => "Erf",
        UnaryFn::Exp => "Exp",
        UnaryFn::Floor => "Floor",
        UnaryFn::Gelu | UnaryFn::GeluTanh => "Gelu",
        UnaryFn::HardSigmoid { .. } => "HardSigmoid",
        UnaryFn::HardSwish => "HardSwish",
        UnaryFn::Hold => "Identity",
        UnaryFn::LeakyRelu(_) => "LeakyRelu",
        UnaryFn::Log => "Log",
        UnaryFn::Neg => "Neg",
        UnaryFn::Not => "Not",
        UnaryFn::Reciprocal => "Reciprocal",
        UnaryFn::Relu => "Relu",
        UnaryFn::Round => "Round",
        UnaryFn::Sigmoid => "Sigmoid",
        UnaryFn::Sign => "Sign",
        UnaryFn::Sin => "Sin",
        UnaryFn::Sinh => "Sinh",
        UnaryFn::Softplus => "Softplus",
        UnaryFn::Sqrt => "Sqrt",
        UnaryFn::Tan => "Tan",
        UnaryFn::Tanh => "Tanh",
    }
}

fn binary(f: BinaryFn) -> &'static str {
    match f {
        BinaryFn::Add => "Add",
        BinaryFn::And => "And",
        BinaryFn::Div => "Div",
        BinaryFn::Max => "Max",
        BinaryFn::Min => "Min",
        BinaryFn::Mod => "Mod",
        BinaryFn::Mul => "Mul",
        BinaryFn::Or => "Or",
        BinaryFn::Pow => "Pow",
        BinaryFn::Sub => "Sub",
    }
}

fn compare(f: CompareFn) -> &'static str {
    match f {
        CompareFn::Equal => "Equal",
        CompareFn::Greater => "Greater",
        CompareFn::GreaterOrEqual => "GreaterOrEqual",
        CompareFn::Less => "Less",
        CompareFn::LessOrEqual => "LessOrEqual",
    }
}

fn reduce(kind: ReduceKind) -> &'static str {
    match kind {
        ReduceKind::L1 => "ReduceL1",
        ReduceKind::L2 => "ReduceL2",
        ReduceKind::LogSum => "ReduceLogSum",
        ReduceKind::LogSumExp => "ReduceLogSumExp",
        ReduceKind::Max => "ReduceMax",
        ReduceKind::Mean => "ReduceMean",
        ReduceKind::Min => "ReduceMin",
        ReduceKind::Prod => "ReduceProd",
        ReduceKind::Sum => "ReduceSum",
        ReduceKind::SumSquare => "ReduceSumSquare",
    }
}
