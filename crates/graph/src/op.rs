//! The closed set of operations that whycam models, with typed attributes.
//!
//! Every attribute is resolved: axes are non-negative, padding is explicit, defaults are filled in.
//! What ONNX leaves open (opsets, `auto_pad`, attribute-or-input) is settled by the reader.
//! Adding a variant makes the exhaustive matches print the rest of the to-do list.

use crate::graph::Graph;
use crate::shape::Shape;
use crate::tensor::DType;

/// An operation of a [`Node`](crate::graph::Node).
///
/// Operands are listed as `(inputs) -> outputs`; `?` marks an optional input.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `(x) -> y`, element by element.
    Unary(UnaryFn),
    /// `(a, b) -> y`, element by element with NumPy broadcasting.
    Binary(BinaryFn),
    /// `(a, b) -> bool`, element by element with NumPy broadcasting.
    Compare(CompareFn),
    /// `(condition, a, b) -> y`, with NumPy broadcasting.
    Where,
    /// `(x, slope) -> y`: `x` where positive, `slope · x` elsewhere; `slope` broadcasts to `x`.
    PRelu,
    /// `(x) -> y` with another element type.
    Cast(DType),
    /// `(x) -> x`.
    Identity,
    /// `(x) -> x`: dropout at inference.
    Dropout,
    /// `(x [N,C,spatial…], w [O,C/groups,kernel…], b? [O]) -> [N,O,spatial…]`, cross-correlation.
    Conv(Conv),
    /// `(x [N,C,spatial…], w [C,O/groups,kernel…], b? [O]) -> [N,O,spatial…]`, the adjoint of [`Op::Conv`].
    ConvTranspose(ConvTranspose),
    /// `(a, b) -> a·b`, NumPy's `matmul`.
    MatMul,
    /// `(a, b, c?) -> alpha · a·b + beta · c` on matrices.
    Gemm(Gemm),
    /// `(x [N,C,…], scale [C], bias [C], mean [C], var [C]) -> y`: `scale·(x − mean)/√(var + epsilon) + bias`.
    BatchNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// `(x [N,C,…]) -> y`: `x / (bias + alpha/size · Σ x²)^beta`, the sum over `size` neighbouring channels.
    Lrn(Lrn),
    /// `(x) -> exp(x) / Σ exp(x)` along one axis.
    Softmax {
        /// The axis that sums to one.
        axis: usize,
    },
    /// `(x) -> log softmax(x)` along one axis.
    LogSoftmax {
        /// The axis whose exponentials sum to one.
        axis: usize,
    },
    /// `(x [N,C,spatial…]) -> [N,C,spatial…]`, the maximum of each window; padding never wins.
    MaxPool(Window),
    /// `(x [N,C,spatial…]) -> [N,C,spatial…]`, the mean of each window.
    AveragePool {
        /// The windows.
        window: Window,
        /// Whether padding cells count in the divisor.
        count_include_pad: bool,
    },
    /// `(x [N,C,spatial…]) -> [N,C,1…]`, the mean over space.
    GlobalAveragePool,
    /// `(x [N,C,spatial…]) -> [N,C,1…]`, the maximum over space.
    GlobalMaxPool,
    /// `(x) -> y`, some axes reduced.
    Reduce {
        /// What the reduced cells become.
        kind: ReduceKind,
        /// The reduced axes, ascending.
        axes: Vec<usize>,
        /// Whether reduced axes stay with size 1.
        keep: bool,
    },
    /// `(x) -> i64`: index of the maximum along an axis; the first one on ties.
    ArgMax {
        /// The searched axis.
        axis: usize,
        /// Whether it stays with size 1.
        keep: bool,
    },
    /// `(x) -> (values, i64 indices)`: the `k` largest along an axis, in descending order.
    TopK {
        /// The searched axis.
        axis: usize,
        /// How many.
        k: usize,
    },
    /// `(x) -> y`: the same elements in another shape.
    Reshape {
        /// The shape of `y`.
        to: Shape,
    },
    /// `(x) -> [d0·…·d(axis−1), d(axis)·…]`.
    Flatten {
        /// The first axis of the second group.
        axis: usize,
    },
    /// `(x) -> y`: axis `i` of `y` is axis `perm[i]` of `x`.
    Transpose {
        /// The permutation.
        perm: Vec<usize>,
    },
    /// `(x…) -> y`: inputs joined along an axis.
    Concat {
        /// The joined axis.
        axis: usize,
    },
    /// `(x) -> y…`: the inverse of [`Op::Concat`].
    Split {
        /// The cut axis.
        axis: usize,
        /// Size of each output along it.
        sizes: Vec<usize>,
    },
    /// `(x) -> y`: a strided box out of `x`.
    Slice(Vec<Range>),
    /// `(x) -> y`: cells added around `x`, or removed where negative.
    Pad {
        /// Where added cells get their value.
        mode: PadMode,
        /// Added before each axis.
        before: Vec<i64>,
        /// Added behind each axis.
        after: Vec<i64>,
        /// The value for [`PadMode::Constant`].
        value: f32,
    },
    /// `(x) -> y`: axes of size 1 removed.
    Squeeze {
        /// The removed axes, counted in `x`, ascending.
        axes: Vec<usize>,
    },
    /// `(x) -> y`: axes of size 1 inserted.
    Unsqueeze {
        /// The inserted axes, counted in `y`, ascending.
        axes: Vec<usize>,
    },
    /// `(x) -> y`: `x` broadcast with a shape.
    Expand {
        /// The shape to broadcast with.
        to: Shape,
    },
    /// `(x, indices) -> y`: NumPy's `take` along an axis.
    Gather {
        /// The indexed axis.
        axis: usize,
    },
    /// `(x, i64 indices [batch…, at…, k]) -> y [batch…, at…, rest…]`: the slices of `x` that each row of
    /// `indices` names by its first `k` coordinates behind the batch axes, which both have.
    GatherNd {
        /// How many leading axes are the batch.
        batch: usize,
    },
    /// `(x, i64 indices [at…, k], updates [at…, rest…]) -> y`: `x` with the slices that the rows of `indices` name
    /// replaced by those of `updates`, or with these added to them.
    ScatterNd {
        /// Whether slices are added; else no slice is named twice.
        add: bool,
    },
    /// `(x [N,C·b²,H,W]) -> [N,C,H·b,W·b]`.
    DepthToSpace {
        /// The block size `b`.
        block: usize,
        /// How channels are split.
        mode: DepthMode,
    },
    /// `(x [N,C,H,W]) -> [N,C,H',W']`: spatial axes resampled.
    Resize(Resize),
    /// `(x) -> i64 [end − start]`: a range of the shape.
    Shape {
        /// The first axis told.
        start: usize,
        /// One behind the last axis told.
        end: usize,
    },
    /// `(i64 shape) -> y`: one value everywhere.
    ConstantOfShape(Scalar),
    /// `(start, limit, delta) -> i64 [n]`.
    Range,
    /// `(q, scale, zero_point?) -> (q − zero_point) · scale`; 1-D scales lie along `axis`.
    DequantizeLinear {
        /// The axis of a 1-D scale.
        axis: usize,
    },
    /// `(x, scale, zero_point?) -> saturate(round(x / scale) + zero_point)`.
    QuantizeLinear {
        /// The axis of a 1-D scale.
        axis: usize,
        /// The type of the result.
        to: DType,
    },
    /// A node that is written as it was read, and means what its body of ordinary ops means.
    Composite(Box<Composite>),
    /// A node that whycam does not model: kept as it was read, run by the engine, not differentiable.
    Opaque(Box<Opaque>),
}

/// An element-wise function of one argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UnaryFn {
    /// `|x|`
    Abs,
    /// `arccos x`
    Acos,
    /// `arcosh x`
    Acosh,
    /// `arcsin x`
    Asin,
    /// `arsinh x`
    Asinh,
    /// `arctan x`
    Atan,
    /// `artanh x`
    Atanh,
    /// `⌈x⌉`
    Ceil,
    /// `min(max(x, min), max)`; an absent bound is infinite.
    Clip {
        /// The lower bound.
        min: f32,
        /// The upper bound.
        max: f32,
    },
    /// `cos x`
    Cos,
    /// `cosh x`
    Cosh,
    /// `x` where positive, `alpha · (eˣ − 1)` elsewhere.
    Elu(f32),
    /// The error function.
    Erf,
    /// `eˣ`
    Exp,
    /// `⌊x⌋`
    Floor,
    /// `x · Φ(x)`, exact.
    Gelu,
    /// `x · Φ(x)`, the tanh approximation.
    GeluTanh,
    /// `clip(alpha · x + beta, 0, 1)`
    HardSigmoid {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// `x · clip(x/6 + 1/2, 0, 1)`
    HardSwish,
    /// `x`, held constant: no signal goes back through it.
    Hold,
    /// `x` where not negative, `alpha · x` elsewhere.
    LeakyRelu(f32),
    /// `ln x`
    Log,
    /// `−x`
    Neg,
    /// Logical negation of bool.
    Not,
    /// `1/x`
    Reciprocal,
    /// `max(x, 0)`
    Relu,
    /// Rounded to the nearest integer, halves to even.
    Round,
    /// `1 / (1 + e⁻ˣ)`
    Sigmoid,
    /// −1, 0 or 1.
    Sign,
    /// `sin x`
    Sin,
    /// `sinh x`
    Sinh,
    /// `ln(1 + eˣ)`
    Softplus,
    /// `√x`
    Sqrt,
    /// `tan x`
    Tan,
    /// `tanh x`
    Tanh,
}

/// An element-wise function of two arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum BinaryFn {
    Add,
    And,
    Div,
    Max,
    Min,
    /// The remainder of a floored division, with the sign of the divisor; of integers.
    Mod,
    Mul,
    Or,
    Pow,
    Sub,
}

/// An element-wise comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum CompareFn {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// What the cells of a reduced axis become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ReduceKind {
    L1,
    L2,
    LogSum,
    LogSumExp,
    Max,
    Mean,
    Min,
    Prod,
    Sum,
    SumSquare,
}

/// Geometry of a convolution; one entry per spatial axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Step between windows.
    pub strides: Vec<usize>,
    /// Step between the cells of a window.
    pub dilations: Vec<usize>,
    /// Zeros before and behind each axis.
    pub pads: Vec<(usize, usize)>,
    /// Channel groups that do not see each other.
    pub groups: usize,
}

/// Geometry of a transposed convolution; one entry per spatial axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvTranspose {
    /// The geometry of the convolution that this is the adjoint of.
    pub conv: Conv,
    /// Cells added behind each axis of the result.
    pub output_padding: Vec<usize>,
}

/// Windows of a pool; one entry per spatial axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Size of a window.
    pub kernel: Vec<usize>,
    /// Step between windows.
    pub strides: Vec<usize>,
    /// Step between the cells of a window.
    pub dilations: Vec<usize>,
    /// Padding before and behind each axis.
    pub pads: Vec<(usize, usize)>,
    /// Whether a last, incomplete window is kept.
    pub ceil_mode: bool,
}

/// A matrix product with a bias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gemm {
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of the bias.
    pub beta: f32,
    /// Whether `a` is transposed first.
    pub trans_a: bool,
    /// Whether `b` is transposed first.
    pub trans_b: bool,
}

/// Local response normalisation across channels (Krizhevsky et al. 2012, §3.3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lrn {
    /// Number of channels in a neighbourhood.
    pub size: usize,
    /// Scale, divided by `size` (as Caffe and Torch do).
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// Constant in the base.
    pub bias: f32,
}

/// A strided range of one axis: `start, start + step, …` as long as it is before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The axis.
    pub axis: usize,
    /// First index, inside the axis.
    pub start: i64,
    /// One step behind the last index; −1 is one before the first cell, for negative steps.
    pub end: i64,
    /// Never 0.
    pub step: i64,
}

/// Where padding gets its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PadMode {
    /// One value.
    Constant,
    /// The nearest cell.
    Edge,
    /// Mirrored at the edge cell, which is not repeated.
    Reflect,
}

/// How [`Op::DepthToSpace`] splits channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DepthMode {
    /// Channels are `[b, b, C]`.
    Dcr,
    /// Channels are `[C, b, b]`.
    Crd,
}

/// How [`Op::Resize`] samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResizeMode {
    /// The nearest cell.
    Nearest(NearestMode),
    /// Bilinear, clamped at the borders.
    Linear,
}

/// How a coordinate becomes the nearest index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are ONNX's")]
pub enum NearestMode {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// Which source coordinate an output cell `i` looks at; `s` is the scale, `n → m` the sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coordinates {
    /// `(i + 1/2)/s − 1/2`
    HalfPixel,
    /// As [`Coordinates::HalfPixel`], but 0 when the output has one cell.
    PytorchHalfPixel,
    /// `i · (n − 1)/(m − 1)`
    AlignCorners,
    /// `i/s`
    Asymmetric,
}

/// Resampling of the last two axes of a 4-D value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resize {
    /// How values are mixed.
    pub mode: ResizeMode,
    /// Which coordinates are looked at.
    pub coordinates: Coordinates,
    /// `[H', W']`.
    pub size: [usize; 2],
    /// The scales `[s_h, s_w]` that the model states, where they are not just `size / input`.
    pub scales: Option<[f32; 2]>,
}

/// One element of a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// A float.
    F32(f32),
    /// An integer.
    I64(i64),
    /// A truth value.
    Bool(bool),
}

/// A node that stays as the file has it, with what it means in ordinary ops.
#[derive(Clone, Debug)]
pub struct Composite {
    /// The node as it is written.
    pub kept: Opaque,
    /// The version of ONNX's operators that it was written for.
    pub opset: i64,
    /// The same results from the same operands, those left out aside; holds no composite itself.
    pub body: Graph,
}

impl PartialEq for Composite {
    /// The body follows from the node.
    fn eq(&self, other: &Composite) -> bool {
        self.kept == other.kept && self.opset == other.opset
    }
}

/// A node of a kind that whycam does not model, as the file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Opaque {
    /// Operator name.
    pub op_type: String,
    /// Operator domain; empty for ONNX's own.
    pub domain: String,
    /// The encoded `NodeProto`, whose input and output names are replaced on writing.
    pub proto: bytes::Bytes,
    /// Values that the node's subgraphs use by name; they are inputs behind the declared ones.
    pub captured: Vec<String>,
    /// Why the node is not modelled, when its operator is known but this form of it is not.
    pub reason: Option<String>,
}

impl Op {
    /// The operator's name, as ONNX spells it.
    pub fn name(&self) -> &str {
        crate::onnx::op_name(self)
    }

    /// Whether the op only rearranges, keeps or drops cells: no arithmetic, no parameters.
    pub fn is_layout(&self) -> bool {
        matches!(
            self,
            Op::Identity
                | Op::Dropout
                | Op::Reshape { .. }
                | Op::Flatten { .. }
                | Op::Transpose { .. }
                | Op::Squeeze { .. }
                | Op::Unsqueeze { .. }
        )
    }

    /// Whether the op pools over space.
    pub fn is_pool(&self) -> bool {
        matches!(self, Op::MaxPool(_) | Op::AveragePool { .. } | Op::GlobalAveragePool | Op::GlobalMaxPool)
    }
}
