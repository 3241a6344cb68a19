//! Parts of values, and values put together.

use crate::onnx::read::node::{Cx, Form, Told, malformed, not_modelled, sized};
use crate::op::{Op, PadMode, Range};
use crate::shape::Dim;

pub(super) fn concat(cx: &mut Cx) -> Told<Form> {
    let axis = cx.axis_attribute(None)?;
    cx.plain(Op::Concat { axis })
}

pub(super) fn gather(cx: &mut Cx) -> Told<Form> {
    let axis = cx.axis_attribute(Some(0))?;
    cx.plain(Op::Gather { axis })
}

pub(super) fn split(cx: &mut Cx) -> Told<Form> {
    let axis = cx.axis_attribute(Some(0))?;
    let parts = cx.outputs;
    let count = if cx.opset >= 18 { cx.attributes.int("num_outputs")? } else { None };
    if count.is_some_and(|n| usize::try_from(n) != Ok(parts)) {
        return malformed(format!("num_outputs does not say that there are {parts} results"));
    }
    let sizes = match cx.listed("split", 1, 13)? {
        Some(sizes) => sizes.into_iter().map(|n| sized(n, "a part")).collect::<Told<Vec<_>>>()?,
        None => {
            let x = cx.shape(0)?;
            let Dim::Fixed(n) = x.0[axis] else {
                return not_modelled("it cuts the batch axis");
            };
            // All parts have the same size; the last one may be smaller.
            let part = n.div_ceil(parts.max(1));
            (0..parts).map(|i| n.saturating_sub(i * part).min(part)).collect()
        }
    };
    if sizes.len() != parts {
        return malformed(format!("it has {parts} results for {} parts", sizes.len()));
    }
    cx.on_first(Op::Split { axis, sizes })
}

pub(super) fn slice(cx: &mut Cx) -> Told<Form> {
    let starts = cx.listed("starts", 1, 10)?;
    let ends = cx.listed("ends", 2, 10)?;
    let axes = cx.listed("axes", 3, 10)?;
    let steps = if cx.opset >= 10 { cx.numbers(4, "steps")? } else { None };
    let (Some(starts), Some(ends)) = (starts, ends) else { return malformed("its bounds are missing") };
    let count = starts.len();
    let steps = steps.unwrap_or_else(|| vec![1; count]);
    let x = cx.shape(0)?;
    let axes = match axes {
        Some(axes) => axes.iter().map(|&a| cx.axis(a, x.rank())).collect::<Told<Vec<_>>>()?,
        None => (0..count).collect(),
    };
    if [ends.len(), axes.len(), steps.len()] != [count; 3] {
        return malformed("its bounds, axes and steps are not equally many");
    }
    let mut ranges: Vec<Range> = Vec::new();
    for (i, axis) in axes.into_iter().enumerate() {
        let Some(&dim) = x.0.get(axis) else { return malformed(format!("axis {axis} is outside {x}")) };
        if ranges.iter().any(|r| r.axis == axis) {
            return malformed("an axis is named twice");
        }
        let (start, end, step) = (starts[i], ends[i], steps[i]);
        match dim {
            Dim::Fixed(n) => ranges.push(range(axis, n, start, end, step)?),
            Dim::Batch(_) if start == 0 && step == 1 && end >= i64::from(i32::MAX) => {}
            Dim::Batch(_) => return not_modelled("it cuts the batch axis"),
        }
    }
    ranges.sort_by_key(|r| r.axis);
    match ranges.is_empty() {
        true => cx.on_first(Op::Identity),
        false => cx.on_first(Op::Slice(ranges)),
    }
}

/// Bounds clamped to `n` cells, as ONNX does.
fn range(axis: usize, n: usize, start: i64, end: i64, step: i64) -> Told<Range> {
    let n = i64::try_from(n).unwrap_or(i64::MAX);
    let from_front = |i: i64| if i < 0 { i.saturating_add(n) } else { i };
    let (start, end) = (from_front(start), from_front(end));
    Ok(match step {
        0 => return malformed("a step is 0"),
        _ if n == 0 => Range { axis, start: 0, end: 0, step: 1 },
        1.. => Range { axis, start: start.clamp(0, n), end: end.clamp(0, n), step },
        _ => Range { axis, start: start.clamp(0, n - 1), end: end.clamp(-1, n - 1), step },
    })
}

pub(super) fn pad(cx: &mut Cx) -> Told<Form> {
    let mode = match cx.attributes.string("mode")? {
        None | Some("constant") => PadMode::Constant,
        Some("edge") => PadMode::Edge,
        Some("reflect") => PadMode::Reflect,
        Some(other) => return not_modelled(format!("its mode is {other:?}")),
    };
    let Some(pads) = cx.listed("pads", 1, 11)? else { return malformed("its pads are missing") };
    let value = if cx.opset < 11 { cx.rounded("value")? } else { cx.like_first(2, "value")? };
    // The sum makes −0 the 0 that is not written.
    let value = if mode == PadMode::Constant { value.unwrap_or_default() + 0.0 } else { 0.0 };
    let rank = cx.rank(0)?;
    let axes = match if cx.opset >= 18 { cx.numbers(3, "axes")? } else { None } {
        Some(axes) => axes.iter().map(|&a| cx.axis(a, rank)).collect::<Told<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return malformed(format!("{} pads do not fit {} axes", pads.len(), axes.len()));
    }
    let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
    for (i, &axis) in axes.iter().enumerate() {
        (before[axis], after[axis]) = (pads[i], pads[i + axes.len()]);
    }
    if mode != PadMode::Constant && before.iter().chain(&after).any(|&n| n < 0) {
        return not_modelled("it repeats cells at one end and drops cells at another");
    }
    cx.on_first(Op::Pad { mode, before, after, value })
}
