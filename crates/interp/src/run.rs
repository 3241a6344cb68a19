//! Runs graphs, checking what inference said about every value.

use std::collections::HashMap;

use whycam_graph::{DType, Dim, Graph, Int, Op, Value, ValueId};

use crate::array::Array;
use crate::{layout, linear, norm, pointwise, pool, quant, reduce, resize};

/// Runs `graph` and returns its outputs, in order.
///
/// # Errors
/// As [`run_all`].
pub fn run(graph: &Graph, inputs: &[(&str, Array)]) -> Result<Vec<Array>, String> {
    let values = run_all(graph, inputs)?;
    let output =
        |id| values.get(id).cloned().ok_or_else(|| format!("{:?} is not made", graph.value(*id).name));
    graph.outputs().iter().map(output).collect()
}

/// Runs `graph` and returns every value. The batch size is that of the given inputs.
///
/// # Errors
/// When an input is missing, unknown or of another shape; when a node is opaque or its operands do
/// not fit; and when a value is not what inference said: its shape, its known integers, or that its
/// type has whole numbers only.
pub fn run_all(graph: &Graph, inputs: &[(&str, Array)]) -> Result<HashMap<ValueId, Array>, String> {
    let mut values = HashMap::new();
    let batch = batch_of(graph, inputs)?;
    for &id in graph.inputs() {
        let name = &graph.value(id).name;
        let (_, given) =
            inputs.iter().find(|(n, _)| n == name).ok_or(format!("input {name:?} is missing"))?;
        values.insert(id, given.clone());
    }
    if let Some((name, _)) =
        inputs.iter().find(|(n, _)| !graph.inputs().iter().any(|&i| graph.value(i).name == *n))
    {
        return Err(format!("there is no input {name:?}"));
    }
    for (id, value) in graph.values() {
        if let Some(tensor) = &value.constant {
            values.insert(id, Array::new(tensor.shape(), tensor.to_f64s()));
        }
    }
    for (&id, array) in &values {
        check(graph.value(id), array, batch)?;
    }
    for (_, node) in graph.nodes() {
        let place = |what: String| format!("{}: {what}", node.place());
        let mut operands = Vec::new();
        for input in &node.inputs {
            operands.push(match input {
                Some(id) => Some(values.get(id).ok_or_else(|| place("an operand is not made".into()))?),
                None => None,
            });
        }
        let dtype = node.inputs.first().copied().flatten().and_then(|id| graph.value(id).dtype);
        let results = eval(&node.op, &Operands { arrays: operands, dtype, batch }).map_err(place)?;
        for (id, array) in node.outputs.iter().zip(results) {
            if let Some(id) = id {
                check(graph.value(*id), &array, batch).map_err(place)?;
                values.insert(*id, array);
            }
        }
    }
    Ok(values)
}

/// `N`, from the given inputs; 1 where no input has it.
fn batch_of(graph: &Graph, inputs: &[(&str, Array)]) -> Result<usize, String> {
    let mut found = None;
    for (name, array) in inputs {
        let Some(shape) = graph.find(name).and_then(|id| graph.value(id).shape.as_ref()) else { continue };
        for (dim, &size) in shape.0.iter().zip(&array.shape) {
            let &Dim::Batch(c) = dim else { continue };
            if size % c != 0 || found.is_some_and(|n| n != size / c) {
                return Err(format!("input {name:?} {:?} does not have the batch of {shape}", array.shape));
            }
            found = Some(size / c);
        }
    }
    Ok(found.unwrap_or(1))
}

/// Whether a value is what inference said.
fn check(value: &Value, array: &Array, batch: usize) -> Result<(), String> {
    let name = &value.name;
    if let Some(shape) = &value.shape
        && shape.at(batch) != array.shape
    {
        return Err(format!("{name:?} is {:?}, but {shape} was inferred (N = {batch})", array.shape));
    }
    if let Some(ints) = &value.ints {
        let told: Vec<f64> = ints
            .iter()
            .map(|i| match i {
                Int::Lit(i) => *i as f64,
                Int::Batch(c) => *c as f64 * batch as f64,
            })
            .collect();
        if told != array.data {
            return Err(format!("{name:?} holds {:?}, but {ints:?} were inferred (N = {batch})", array.data));
        }
    }
    match value.dtype {
        Some(d) if !d.is_float() && array.data.iter().any(|v| v.fract() != 0.0) => {
            Err(format!("{name:?} is {d}, but holds numbers that are not whole"))
        }
        Some(DType::Bool) if array.data.iter().any(|&v| v != 0.0 && v != 1.0) => {
            Err(format!("{name:?} is bool, but holds numbers other than 0 and 1"))
        }
        _ => Ok(()),
    }
}

/// The operands of a node.
struct Operands<'a> {
    arrays: Vec<Option<&'a Array>>,
    /// The element type of the first one.
    dtype: Option<DType>,
    batch: usize,
}

impl<'a> Operands<'a> {
    fn get(&self, i: usize) -> Result<&'a Array, String> {
        self.optional(i).ok_or_else(|| format!("operand {i} is missing"))
    }

    fn optional(&self, i: usize) -> Option<&'a Array> {
        self.arrays.get(i).copied().flatten()
    }

    fn integer(&self) -> bool {
        self.dtype.is_some_and(|d| !d.is_float())
    }
}

/// What the node's body makes of its operands.
fn composite(body: &Graph, operands: &Operands<'_>) -> Result<Vec<Array>, String> {
    let given: Vec<(&str, Array)> = body
        .inputs()
        .iter()
        .zip(operands.arrays.iter().flatten())
        .map(|(&id, array)| (body.value(id).name.as_str(), (*array).clone()))
        .collect();
    run(body, &given)
}

fn eval(op: &Op, operands: &Operands<'_>) -> Result<Vec<Array>, String> {
    let arg = |i: usize| operands.get(i);
    let optional = |i: usize| operands.optional(i);
    let result = match op {
        Op::Unary(f) => pointwise::unary(*f, arg(0)?),
        Op::Binary(f) => pointwise::binary(*f, operands.integer(), arg(0)?, arg(1)?)?,
        Op::Compare(f) => pointwise::compare(*f, arg(0)?, arg(1)?)?,
        Op::Where => pointwise::select(arg(0)?, arg(1)?, arg(2)?)?,
        Op::PRelu => pointwise::prelu(arg(0)?, arg(1)?)?,
        Op::Cast(to) => pointwise::cast(*to, arg(0)?),
        Op::Identity | Op::Dropout => arg(0)?.clone(),
        Op::Conv(c) => linear::conv(c, arg(0)?, arg(1)?, optional(2))?,
        Op::ConvTranspose(t) => linear::conv_transpose(t, arg(0)?, arg(1)?, optional(2))?,
        Op::MatMul => linear::matmul(arg(0)?, arg(1)?)?,
        Op::Gemm(g) => linear::gemm(g, arg(0)?, arg(1)?, optional(2))?,
        Op::BatchNorm { epsilon } => {
            norm::batch_norm(*epsilon, arg(0)?, [arg(1)?, arg(2)?, arg(3)?, arg(4)?])?
        }
        Op::Lrn(l) => norm::lrn(l, arg(0)?),
        Op::Softmax { axis } => norm::softmax(*axis, arg(0)?),
        Op::LogSoftmax { axis } => norm::log_softmax(*axis, arg(0)?),
        Op::MaxPool(w) => pool::max_pool(w, arg(0)?),
        Op::AveragePool { window, count_include_pad } => {
            pool::average_pool(window, *count_include_pad, arg(0)?)
        }
        Op::GlobalAveragePool => pool::global_average_pool(arg(0)?),
        Op::GlobalMaxPool => pool::global_max_pool(arg(0)?),
        Op::Reduce { kind, axes, keep } => reduce::reduce(*kind, axes, *keep, operands.integer(), arg(0)?)?,
        Op::ArgMax { axis, keep } => reduce::arg_max(*axis, *keep, arg(0)?)?,
        Op::TopK { axis, k } => {
            let (values, indices) = reduce::top_k(*axis, *k, arg(0)?);
            return Ok(vec![values, indices]);
        }
        Op::Reshape { to } => arg(0)?.reshape(&to.at(operands.batch))?,
        Op::Flatten { axis } => layout::flatten(*axis, arg(0)?)?,
        Op::Transpose { perm } => layout::transpose(perm, arg(0)?),
        Op::Concat { axis } => {
            let parts: Result<Vec<_>, _> = (0..operands.arrays.len()).map(arg).collect();
            layout::concat(*axis, &parts?)?
        }
        Op::Split { axis, sizes } => return Ok(layout::split(*axis, sizes, arg(0)?)),
        Op::Slice(ranges) => layout::slice(ranges, arg(0)?),
        Op::Pad { mode, before, after, value } => layout::pad(*mode, before, after, *value, arg(0)?),
        Op::Squeeze { axes } => layout::squeeze(axes, arg(0)?)?,
        Op::Unsqueeze { axes } => layout::unsqueeze(axes, arg(0)?)?,
        Op::Expand { to } => layout::expand(&to.at(operands.batch), arg(0)?)?,
        Op::Gather { axis } => layout::gather(*axis, arg(0)?, arg(1)?)?,
        Op::GatherNd { batch } => layout::gather_nd(*batch, arg(0)?, arg(1)?)?,
        Op::ScatterNd { add } => layout::scatter_nd(*add, arg(0)?, arg(1)?, arg(2)?)?,
        Op::DepthToSpace { block, mode } => layout::depth_to_space(*block, *mode, arg(0)?),
        Op::Resize(r) => resize::resize(r, arg(0)?),
        Op::Shape { start, end } => layout::shape(*start, *end, arg(0)?),
        Op::ConstantOfShape(value) => layout::constant_of_shape(*value, arg(0)?),
        Op::Range => layout::range(arg(0)?, arg(1)?, arg(2)?)?,
        Op::DequantizeLinear { axis } => quant::dequantize(arg(0)?, arg(1)?, optional(2), *axis)?,
        Op::QuantizeLinear { axis, to } => quant::quantize(arg(0)?, arg(1)?, optional(2), *axis, *to)?,
        Op::Composite(c) => return composite(&c.body, operands),
        Op::Opaque(o) => return Err(format!("{} is not modelled", o.op_type)),
    };
    Ok(vec![result])
}
