//! Receptive fields: which part of the image a cell of a layer can see.
//!
//! Along an axis, cell `i` of a value depends on no pixel outside of `[i·stride + low, i·stride + high]`. Convolutions and
//! pools widen that interval (Araujo et al. 2019, distill.pub/2019/computing-receptive-fields), joined values have the
//! hull of both, and what mixes all cells (a global pool, attention, a gate made of means) sees the whole image.

use std::collections::HashMap;

use super::Grids;
use super::places::Places;
use super::trace::Trace;
use crate::graph::{Graph, Node, ValueId};
use crate::op::{Conv, Coordinates, NearestMode, Op, ResizeMode, Window};

/// The part of the image that a cell of a layer can see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReceptiveField {
    /// A window of pixels about every cell.
    Window {
        /// Height and width in pixels, borders not regarded. Exact through convolutions and pools; behind something that
        /// enlarges, no cell sees more.
        size: [usize; 2],
        /// Pixels from one cell to the next, down and across.
        stride: [f64; 2],
    },
    /// The whole image: something before the layer mixes all cells.
    Whole,
}

/// The receptive fields of a graph's values.
pub struct ReceptiveFields(HashMap<ValueId, Field>);

impl ReceptiveFields {
    /// Follows the image through the graph.
    pub fn new(grids: &Grids<'_>) -> ReceptiveFields {
        let pixel = Span { stride: 1.0, low: 0.0, high: 0.0 };
        let image = HashMap::from([(grids.image, Field::Window([pixel; 2]))]);
        ReceptiveFields(follow(grids.graph, &grids.trace, image))
    }

    /// The field of a cell of the value; none where the value does not depend on the image, or by something that is not
    /// followed: an unknown operator, or attention within windows.
    pub fn of(&self, value: ValueId) -> Option<ReceptiveField> {
        match self.0.get(&value)? {
            Field::Unknown => None,
            Field::Whole => Some(ReceptiveField::Whole),
            Field::Window(spans) => Some(ReceptiveField::Window {
                size: spans.map(|span| (span.high - span.low).floor() as usize + 1),
                stride: spans.map(|span| span.stride),
            }),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    Window([Span; 2]),
    Whole,
    Unknown,
}

/// Cell `i` depends on pixels from `i·stride + low` to `i·stride + high`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    stride: f64,
    low: f64,
    high: f64,
}

impl Span {
    /// The span of cells of which the `i`-th depends on those from `scale·i + low` to `scale·i + high`.
    fn of(self, scale: f64, low: f64, high: f64) -> Span {
        Span {
            stride: self.stride * scale,
            low: self.low + self.stride * low,
            high: self.high + self.stride * high,
        }
    }
}

impl Field {
    /// The field of what depends on both.
    fn and(self, other: Field) -> Field {
        match (self, other) {
            (Field::Whole, _) | (_, Field::Whole) => Field::Whole,
            (Field::Window(a), Field::Window(b)) if (0..2).all(|i| a[i].stride == b[i].stride) => {
                let hull = |i: usize| Span {
                    stride: a[i].stride,
                    low: a[i].low.min(b[i].low),
                    high: a[i].high.max(b[i].high),
                };
                Field::Window([hull(0), hull(1)])
            }
            _ => Field::Unknown,
        }
    }

    fn windows(self, change: impl Fn(usize, Span) -> Span) -> Field {
        match self {
            Field::Window([rows, columns]) => Field::Window([change(0, rows), change(1, columns)]),
            other => other,
        }
    }
}

fn follow(graph: &Graph, trace: &Trace<'_>, mut fields: HashMap<ValueId, Field>) -> HashMap<ValueId, Field> {
    for (_, node) in graph.nodes() {
        let made = match &node.op {
            Op::Composite(composite) => {
                let body = &composite.body;
                let operands = body.inputs().iter().zip(node.inputs.iter().flatten());
                let given = operands.filter_map(|(&i, operand)| Some((i, *fields.get(operand)?))).collect();
                let inner = follow(body, &trace.inside(node, body), given);
                body.outputs().iter().map(|output| inner.get(output).copied()).collect()
            }
            // A shape is nothing of the image.
            Op::Shape { .. } => Vec::new(),
            _ => match field(trace, node, &fields) {
                Some(field) => vec![Some(field); node.outputs.len()],
                None => Vec::new(),
            },
        };
        let made = node.outputs.iter().zip(made).filter_map(|(o, field)| Some(((*o)?, field?)));
        fields.extend(made.collect::<Vec<_>>());
    }
    fields
}

/// The field of a node's results; none where it does not depend on the image.
fn field(trace: &Trace<'_>, node: &Node, fields: &HashMap<ValueId, Field>) -> Option<Field> {
    let input = |i: usize| node.inputs.get(i).copied().flatten();
    let operands = node.inputs.iter().flatten().filter_map(|i| fields.get(i).copied());
    let joined = operands.reduce(Field::and)?;
    let places = |i: usize| input(i).and_then(|i| trace.of(i));
    // Whether cells lie along the axis of an operand.
    let along = |i: usize, axis: usize| places(i).is_some_and(|p| p.varying().contains(&axis));
    let mixed_if = |mixed: bool| if mixed { Field::Whole } else { joined };
    let spatial = |reach: &dyn Fn(usize, Span) -> Span| match places(0).map(axes) {
        Some(Some([2, 3])) => joined.windows(reach),
        _ => unless_whole(joined),
    };
    Some(match &node.op {
        Op::Unary(_)
        | Op::PRelu
        | Op::Cast(_)
        | Op::Identity
        | Op::Dropout
        | Op::BatchNorm { .. }
        | Op::Lrn(_)
        | Op::Binary(_)
        | Op::Compare(_)
        | Op::Where
        | Op::DequantizeLinear { .. }
        | Op::QuantizeLinear { .. }
        | Op::Reshape { .. }
        | Op::Flatten { .. }
        | Op::Squeeze { .. }
        | Op::Unsqueeze { .. }
        | Op::Transpose { .. }
        | Op::Expand { .. }
        | Op::Split { .. }
        | Op::Gather { .. } => joined,
        Op::Conv(Conv { strides, dilations, pads, .. }) => {
            let kernel = trace.dims(input(1)?)?;
            let kernel = kernel.get(2..)?;
            if kernel.iter().chain(strides).all(|&k| k == 1) {
                return Some(joined);
            }
            spatial(&|axis, span| reach(span, kernel[axis], strides[axis], dilations[axis], pads[axis].0))
        }
        Op::MaxPool(w) | Op::AveragePool { window: w, .. } => {
            let Window { kernel, strides, dilations, pads, .. } = w;
            spatial(&|axis, span| reach(span, kernel[axis], strides[axis], dilations[axis], pads[axis].0))
        }
        // Cell `o` is made of those `i` with `o = i·s − p + d·k`.
        Op::ConvTranspose(t) => {
            let Conv { strides, dilations, pads, .. } = &t.conv;
            let kernel = trace.dims(input(1)?)?;
            let kernel = kernel.get(2..)?;
            spatial(&|axis, span| {
                let (step, pad) = (strides[axis] as f64, pads[axis].0 as f64);
                let far = (dilations[axis] * (kernel[axis] - 1)) as f64;
                span.of(1.0 / step, (pad - far) / step, pad / step)
            })
        }
        Op::DepthToSpace { block, .. } => {
            let block = *block as f64;
            spatial(&|_, span| span.of(1.0 / block, (1.0 - block) / block, 0.0))
        }
        Op::Resize(resize) => {
            let from = trace.dims(input(0)?)?;
            let from = [*from.get(2)?, *from.get(3)?];
            spatial(&|axis, span| {
                resized(span, from[axis], resize.size[axis], resize.mode, resize.coordinates)
            })
        }
        Op::Slice(ranges) => {
            let mut field = joined;
            for range in ranges.iter().filter(|range| along(0, range.axis)) {
                let at = |axes: [usize; 2]| axes.iter().position(|&axis| axis == range.axis);
                field = match places(0).and_then(axes).and_then(at) {
                    Some(at) => field.windows(|axis, span| match axis == at {
                        true => span.of(range.step as f64, range.start as f64, range.start as f64),
                        false => span,
                    }),
                    // A part of tokens in a row: each sees what it saw.
                    None if range.step == 1 => field,
                    None => unless_whole(field),
                };
            }
            field
        }
        Op::Pad { before, .. } => {
            let padded = (0..before.len()).any(|axis| before[axis] != 0 && along(0, axis));
            match places(0).and_then(axes) {
                _ if !padded => joined,
                Some(axes) => joined.windows(|axis, span| {
                    let moved = before[axes[axis]] as f64;
                    span.of(1.0, -moved, -moved)
                }),
                None => unless_whole(joined),
            }
        }
        Op::Concat { axis } => {
            let placed = (0..node.inputs.len()).filter(|&i| along(i, *axis)).count();
            if placed > 1 { unless_whole(joined) } else { joined }
        }
        Op::GlobalAveragePool | Op::GlobalMaxPool => Field::Whole,
        Op::Reduce { axes, .. } => mixed_if(axes.iter().any(|&axis| along(0, axis))),
        Op::Softmax { axis } | Op::LogSoftmax { axis } | Op::ArgMax { axis, .. } | Op::TopK { axis, .. } => {
            mixed_if(along(0, *axis))
        }
        Op::MatMul => {
            let rank = |i: usize| input(i).and_then(|i| trace.dims(i)).map(|dims| dims.len());
            let (a, b) = (rank(0)?, rank(1)?);
            let sums = a.checked_sub(1).is_some_and(|axis| along(0, axis))
                || b.checked_sub(2).is_some_and(|axis| along(1, axis));
            let both = [0, 1].iter().all(|&i| places(i).is_some());
            let apart = (0..a.saturating_sub(2)).any(|axis| along(0, axis) && !is_batch(places(0), axis));
            match (sums || both, apart) {
                (false, _) => joined,
                (true, false) => Field::Whole,
                // Windows, each of which is mixed on its own.
                (true, true) => unless_whole(joined),
            }
        }
        Op::Gemm(gemm) => {
            mixed_if(along(0, usize::from(!gemm.trans_a)) || along(1, usize::from(gemm.trans_b)))
        }
        Op::GatherNd { .. }
        | Op::ScatterNd { .. }
        | Op::Shape { .. }
        | Op::ConstantOfShape(_)
        | Op::Range
        | Op::Composite(_)
        | Op::Opaque(_) => unless_whole(joined),
    })
}

/// What is known when nothing of a node is: whoever sees everything cannot see more.
fn unless_whole(field: Field) -> Field {
    if field == Field::Whole { Field::Whole } else { Field::Unknown }
}

/// The axes of rows and columns, where a value has them.
fn axes(places: &Places) -> Option<[usize; 2]> {
    let is = |&[rows, columns]: &[usize; 2]| places.in_order([0, rows, columns]);
    [[2, 3], [1, 2]].into_iter().filter(|_| places.dims().len() == 4).find(is)
}

/// Whether an axis tells images apart and nothing else.
fn is_batch(places: Option<&Places>, axis: usize) -> bool {
    let Some(places) = places else { return false };
    let mut index = vec![0; places.dims().len()];
    let mut cell = |at: usize| {
        index[axis] = at;
        places.at(&index).map(|place| place.cell)
    };
    let first = cell(0);
    (1..places.dims()[axis]).all(|at| cell(at) == first)
}

/// The span behind windows of `kernel` cells.
fn reach(span: Span, kernel: usize, stride: usize, dilation: usize, pad: usize) -> Span {
    let (pad, far) = (pad as f64, (dilation * (kernel - 1)) as f64);
    span.of(stride as f64, -pad, far - pad)
}

/// The span behind a resize: the hull of what cells read about the place that they look at.
fn resized(span: Span, from: usize, to: usize, mode: ResizeMode, coordinates: Coordinates) -> Span {
    let (n, m) = (from as f64, to as f64);
    let (scale, start) = match coordinates {
        Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (n / m, n / m / 2.0 - 0.5),
        Coordinates::Asymmetric => (n / m, 0.0),
        Coordinates::AlignCorners => (if to > 1 { (n - 1.0) / (m - 1.0) } else { 0.0 }, 0.0),
    };
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for i in 0..to {
        let place = scale * i as f64 + start;
        let [first, last] = match mode {
            ResizeMode::Linear => [place.floor(), place.ceil()],
            ResizeMode::Nearest(mode) => {
                [match mode {
                    NearestMode::Floor => place.floor(),
                    NearestMode::Ceil => place.ceil(),
                    NearestMode::RoundPreferFloor => (place - 0.5).ceil(),
                    NearestMode::RoundPreferCeil => (place + 0.5).floor(),
                }; 2]
            }
        };
        (low, high) = (low.min(first - place), high.max(last - place));
    }
    span.of(scale, start + low, start + high)
}
