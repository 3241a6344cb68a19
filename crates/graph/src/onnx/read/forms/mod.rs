//! What each of ONNX's own operators becomes, one file per family.

mod activation;
mod attention;
mod conv;
mod dynamic;
mod einsum;
mod index;
mod layout;
mod norm;
mod pick;
mod pointwise;
mod pool;
mod quantised;
mod recurrent;
mod reduce;
mod regions;
mod resample;
mod resize;
mod sample;
mod unpool;
mod values;

use super::node::{Cx, Form, Refusal, Told};
use crate::onnx::names;
use crate::op::Op;

/// The domain of the operators that onnxruntime's own tools emit.
pub(super) const MICROSOFT: &str = "com.microsoft";

/// The form of an operator.
pub(super) fn form(domain: &str, op_type: &str, cx: &mut Cx) -> Told<Form> {
    if domain == MICROSOFT {
        return quantised::contributed(op_type, cx);
    }
    if let Some(form) = quantised::on_levels(op_type, cx) {
        return form;
    }
    match op_type {
        "Identity" => cx.plain(Op::Identity),
        "Where" => cx.plain(Op::Where),
        "PRelu" => cx.plain(Op::PRelu),
        "MatMul" => cx.plain(Op::MatMul),
        "GlobalAveragePool" => cx.plain(Op::GlobalAveragePool),
        "GlobalMaxPool" => cx.plain(Op::GlobalMaxPool),
        "Clip" => pointwise::clip(cx),
        "Elu" => pointwise::elu(cx),
        "Gelu" => pointwise::gelu(cx),
        "HardSigmoid" => pointwise::hard_sigmoid(cx),
        "LeakyRelu" => pointwise::leaky_relu(cx),
        "Sum" | "Max" | "Min" | "Mean" => pointwise::variadic(op_type, cx),
        "Pow" => pointwise::pow(cx),
        "Mod" => pointwise::modulo(cx),
        "Celu" => activation::celu(cx),
        "Hardmax" => activation::hardmax(cx),
        "Mish" => activation::mish(cx),
        "Selu" => activation::selu(cx),
        "Shrink" => activation::shrink(cx),
        "Softsign" => activation::softsign(cx),
        "Swish" => activation::swish(cx),
        "ThresholdedRelu" => activation::thresholded_relu(cx),
        "SwiGLU" => activation::swi_glu(cx),
        "GRU" => recurrent::gru(cx),
        "LSTM" => recurrent::lstm(cx),
        "RNN" => recurrent::rnn(cx),
        "Attention" => attention::attention(cx),
        "RotaryEmbedding" => attention::rotary(cx),
        "Einsum" => einsum::einsum(cx),
        "GatherElements" => pick::gather_elements(cx),
        "GatherND" => pick::gather_nd(cx),
        "Scatter" | "ScatterElements" => pick::scatter_elements(cx),
        "ScatterND" => pick::scatter_nd(cx),
        "GroupNormalization" => norm::group_norm(cx),
        "InstanceNormalization" => norm::instance_norm(cx),
        "LayerNormalization" => norm::layer_norm(cx),
        "LpNormalization" => norm::lp_norm(cx),
        "MeanVarianceNormalization" => norm::mean_variance_norm(cx),
        "RMSNormalization" => norm::rms_norm(cx),
        "CumSum" => layout::cum_sum(cx),
        "SpaceToDepth" => layout::space_to_depth(cx),
        "Tile" => layout::tile(cx),
        "Trilu" => layout::trilu(cx),
        "Cast" => values::cast(cx),
        "CastLike" => values::cast_like(cx),
        "Constant" => values::constant(cx),
        "ConstantOfShape" => values::constant_of_shape(cx),
        "EyeLike" => values::eye_like(cx),
        "Range" => values::range(cx),
        "Shape" => values::shape(cx),
        "Size" => values::size(cx),
        "Dropout" => values::dropout(cx),
        "DequantizeLinear" => quantised::dequantize(cx),
        "QuantizeLinear" => quantised::quantize(cx),
        "QLinearConv" => quantised::conv(cx),
        "QLinearMatMul" => quantised::matmul(cx),
        "DynamicQuantizeLinear" => dynamic::dynamic_quantize(cx),
        "ConvInteger" => dynamic::conv_integer(cx),
        "MatMulInteger" => dynamic::matmul_integer(cx),
        "Conv" => conv::conv(cx),
        "ConvTranspose" => conv::conv_transpose(cx),
        "Gemm" => conv::gemm(cx),
        "MaxPool" => pool::max_pool(cx),
        "MaxUnpool" => unpool::max_unpool(cx),
        "RoiAlign" => regions::roi_align(cx),
        "LpPool" => pool::lp_pool(cx),
        "Col2Im" => pool::col2im(cx),
        "AffineGrid" => sample::affine_grid(cx),
        "GridSample" => sample::grid_sample(cx),
        "OneHot" => pick::one_hot(cx),
        "ReverseSequence" => pick::reverse_sequence(cx),
        "AveragePool" => pool::average_pool(cx),
        "BatchNormalization" => norm::batch_norm(cx),
        "LRN" => norm::lrn(cx),
        "Softmax" => norm::softmax(cx, |axis| Op::Softmax { axis }),
        "LogSoftmax" => norm::softmax(cx, |axis| Op::LogSoftmax { axis }),
        "ArgMax" => reduce::arg_max(cx),
        "TopK" => reduce::top_k(cx),
        "Reshape" => layout::reshape(cx),
        "Flatten" => layout::flatten(cx),
        "Transpose" => layout::transpose(cx),
        "Squeeze" => layout::squeeze(cx),
        "Unsqueeze" => layout::unsqueeze(cx),
        "Expand" => layout::expand(cx),
        "DepthToSpace" => layout::depth_to_space(cx),
        "Concat" => index::concat(cx),
        "Split" => index::split(cx),
        "Slice" => index::slice(cx),
        "Pad" => index::pad(cx),
        "Gather" => index::gather(cx),
        "Resize" => resize::resize(cx),
        "Upsample" => resize::upsample(cx),
        name => {
            if let Some(f) = names::plain_unary(name) {
                cx.plain(Op::Unary(f))
            } else if let Some(f) = names::binary_named(name) {
                cx.plain(Op::Binary(f))
            } else if let Some(f) = names::compare_named(name) {
                cx.plain(Op::Compare(f))
            } else if let Some(kind) = names::reduce_named(name) {
                reduce::reduce(kind, cx)
            } else {
                Err(Refusal::Unknown)
            }
        }
    }
}
