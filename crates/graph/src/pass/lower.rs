//! Rewrites what an engine lacks in terms of what it has.

use super::blocked;
use super::rewrite::rewrite;
use super::solid::flattened;
use crate::diff::lrn_base;
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Build, Graph, Node, ValueId};
use crate::infer::pooled;
use crate::op::{BinaryFn, ConvTranspose, Op, Window};
use crate::shape::{Dim, Shape};
use crate::tensor::{DType, External, Tensor};

/// The graph in the ops of the named engine; other engines run it as it is.
///
/// rten has no LRN, no Dropout, no windows over three axes, only 32-bit floats, and takes no folders in the names of
/// external files. ONNX Runtime believes ONNX's shape inference, which counts a pool's last window even where that lies
/// in the padding altogether and is none, and it leaves its blocked layout for comparisons (`blocked.rs`).
///
/// # Errors
/// Those of making nodes.
pub fn lower(graph: &Graph, engine: &str) -> Result<Graph> {
    match engine {
        "rten" => Ok(with_data_files(for_rten(graph)?)),
        "ort" => for_ort(graph),
        _ => Ok(graph.clone()),
    }
}

fn for_rten(graph: &Graph) -> Result<Graph> {
    rewrite(graph, |b, node, inputs| {
        let (Some(Some(x)), op) = (inputs.first().copied(), &node.op) else { return Ok(None) };
        Ok(match op {
            Op::Dropout => Some(vec![x]),
            Op::Composite(c) if !kept_by_rten(node) => {
                let operands: Vec<ValueId> = inputs.iter().flatten().copied().collect();
                Some(b.inline(&c.body, &operands)?)
            }
            Op::Lrn(lrn) => {
                let base = lrn_base(b, x, lrn)?;
                let power = b.scalar(x, -lrn.beta)?;
                let power = b.emit(Op::Binary(BinaryFn::Pow), &[base, power])?;
                Some(vec![b.mul(x, power)?])
            }
            Op::MaxPool(_) | Op::AveragePool { .. } => flat(b, op, inputs)?.map(|y| vec![y]),
            Op::Conv(_) | Op::ConvTranspose(_) => match flat(b, op, inputs)? {
                Some(y) => Some(vec![y]),
                None => flattened(b, op, inputs)?.map(|y| vec![y]),
            },
            Op::Cast(DType::F32) => match b.graph().value(x).constant.clone() {
                Some(t) if t.dtype().is_float() => {
                    let single = Tensor::f32(t.shape(), &t.to_f32s())?;
                    Some(vec![b.constant(single)])
                }
                _ => None,
            },
            _ => None,
        })
    })
}

/// Composites that rten runs itself, and faster than their bodies: only their first result, but for the scale and zero
/// point of quantising. Its products of whole numbers saturate on processors without instructions for them, and its
/// convolutions of whole numbers pad with another number than the zero point: their bodies, in floats, are exact.
const RTEN_RUNS: [&str; 7] = [
    "DynamicQuantizeLinear",
    "GatherElements",
    "InstanceNormalization",
    "LayerNormalization",
    "RMSNormalization",
    "Tile",
    "Trilu",
];

fn kept_by_rten(node: &Node) -> bool {
    let name = node.op.name();
    let first_alone = node.outputs.iter().skip(1).all(Option::is_none);
    RTEN_RUNS.contains(&name) && (first_alone || name == "DynamicQuantizeLinear")
}

fn for_ort(graph: &Graph) -> Result<Graph> {
    let users = blocked::users(graph);
    rewrite(graph, |b, node, inputs| {
        let made = match (inputs.first().copied().flatten(), &node.op) {
            (Some(x), Op::MaxPool(window)) if window.ceil_mode => match without_ceil(window, &b.shape(x)?) {
                Some(window) => Some(b.emit(Op::MaxPool(window), &[x])?),
                None => None,
            },
            (_, Op::Cast(_)) => blocked::mask(b, node, inputs)?,
            _ => blocked::entry(b, node, inputs, &users)?,
        };
        Ok(made.map(|y| vec![y]))
    })
}

/// The same windows by padding alone, where a last window was dropped because it lay in the padding. To a maximum, the
/// width of the padding is nothing.
fn without_ceil(window: &Window, x: &Shape) -> Option<Window> {
    let mut plain = Window { ceil_mode: false, ..window.clone() };
    let mut dropped = false;
    for (i, pads) in plain.pads.iter_mut().enumerate() {
        let n = x.0.get(i + 2)?.fixed()?;
        let count = pooled(window, i, n).ok()?;
        let (stride, span) = (window.strides[i], (window.kernel[i] - 1) * window.dilations[i] + 1);
        let end = (count - 1) * stride + span;
        dropped |= n + pads.0 + pads.1 > end;
        pads.1 = end.saturating_sub(n + pads.0);
    }
    dropped.then_some(plain)
}

/// The graph with its external files numbered, where one lies in a folder or is not called `.data`: of files larger than
/// 2 GiB, PyTorch's older exporter makes one for each weight, called as the weight is.
fn with_data_files(mut graph: Graph) -> Graph {
    let locations: Vec<String> = graph.buffers.keys().cloned().collect();
    if locations.iter().all(|l| l.ends_with(".data") && !l.contains(['/', '\\'])) {
        return graph;
    }
    let flat = |location: &str| locations.iter().position(|l| l == location).map(|i| format!("{i}.data"));
    for value in &mut graph.values {
        let moved = value.constant.as_ref().and_then(|c| Some((c.external()?, c)));
        if let Some((place, constant)) = moved
            && let Some(location) = flat(&place.location)
        {
            let place = External { location: location.into(), offset: place.offset };
            value.constant = Some(constant.clone().with_external(place));
        }
    }
    let buffers = std::mem::take(&mut graph.buffers);
    graph.buffers =
        buffers.into_values().enumerate().map(|(i, bytes)| (format!("{i}.data"), bytes)).collect();
    graph
}

/// An op over three spatial axes, on two neighbours of which its windows have one cell, as an op over two.
fn flat(b: &mut Build, op: &Op, inputs: &[Option<ValueId>]) -> Result<Option<ValueId>> {
    let mut op = op.clone();
    let (Some(Some(x)), weights) = (inputs.first(), inputs.get(1).copied().flatten()) else {
        return Ok(None);
    };
    let kernel = match (&op, weights) {
        (Op::MaxPool(window) | Op::AveragePool { window, .. }, _) => window.kernel.clone(),
        (_, Some(w)) => b.shape(w)?.to_fixed().unwrap_or_default().into_iter().skip(2).collect(),
        (_, None) => return Ok(None),
    };
    if kernel.len() != 3 {
        return Ok(None);
    }
    let moves = match &op {
        Op::MaxPool(w) | Op::AveragePool { window: w, .. } => (&w.strides, &w.pads),
        Op::Conv(c) | Op::ConvTranspose(ConvTranspose { conv: c, .. }) => (&c.strides, &c.pads),
        _ => return Ok(None),
    };
    let idle = |i: usize| (kernel[i], moves.0[i], moves.1[i]) == (1, 1, (0, 0));
    let Some(first) = (0..2).find(|&i| idle(i) && idle(i + 1)) else { return Ok(None) };
    match &mut op {
        Op::MaxPool(w) | Op::AveragePool { window: w, .. } => {
            for list in [&mut w.kernel, &mut w.strides, &mut w.dilations] {
                list.remove(first);
            }
            w.pads.remove(first);
        }
        Op::Conv(c) | Op::ConvTranspose(ConvTranspose { conv: c, .. }) => {
            for list in [&mut c.strides, &mut c.dilations] {
                list.remove(first);
            }
            c.pads.remove(first);
        }
        _ => return Ok(None),
    }
    if let Op::ConvTranspose(t) = &mut op {
        t.output_padding.remove(first);
    }
    let join = |b: &mut Build, id: ValueId| -> Result<(ValueId, [Dim; 2])> {
        let mut shape = b.shape(id)?;
        let parts = [shape.0[first + 2], shape.0[first + 3]];
        let joined = parts[0].times(parts[1]).unwrap_or(parts[0]);
        shape.0.splice(first + 2..first + 4, [joined]);
        Ok((b.reshape(id, shape)?, parts))
    };
    let (x, parts) = join(b, *x)?;
    let mut operands = vec![x];
    if let Some(w) = weights {
        operands.push(join(b, w)?.0);
    }
    operands.extend(inputs.get(2).copied().flatten());
    let y = b.emit(op, &operands)?;
    let mut to = b.shape(y)?;
    to.0.splice(first + 2..first + 3, parts);
    Ok(Some(b.reshape(y, to)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same number of windows, and no rounding up is left; windows that need none are not touched.
    #[test]
    fn a_last_window_in_the_padding_is_dropped_by_padding() {
        let mut rewritten = 0;
        for n in 2..12 {
            for (kernel, stride, pad) in [(2, 2, 0), (2, 2, 1), (3, 2, 1), (3, 3, 1), (2, 3, 1)] {
                let window = Window {
                    kernel: vec![kernel],
                    strides: vec![stride],
                    dilations: vec![1],
                    pads: vec![(pad, pad)],
                    ceil_mode: true,
                };
                let Ok(count) = pooled(&window, 0, n) else { continue };
                if let Some(plain) = without_ceil(&window, &Shape::fixed(&[1, 1, n])) {
                    rewritten += 1;
                    assert!(!plain.ceil_mode && plain.pads[0].1 < kernel, "{n} {window:?}");
                    assert_eq!(pooled(&plain, 0, n), Ok(count), "{n} {window:?}");
                    // What ONNX counts without looking where the last window starts.
                    assert_eq!((n + 2 * pad - kernel).div_ceil(stride) + 1, count + 1, "{n} {window:?}");
                }
            }
        }
        assert!(rewritten > 5, "{rewritten}");
    }
}
