//! Pools.

use super::conv::{AutoPad, Geometry, sizes, spatial};
use crate::onnx::read::node::{Cx, Form, Told, malformed, not_modelled};
use crate::op::{Op, Window};

pub(super) fn max_pool(cx: &mut Cx) -> Told<Form> {
    let window = window(cx, cx.opset >= 10)?;
    if cx.opset >= 8 && cx.attributes.int("storage_order")?.unwrap_or(0) != 0 && cx.outputs > 1 {
        return not_modelled("it tells indices in column-major order");
    }
    cx.plain(Op::MaxPool(window))
}

pub(super) fn average_pool(cx: &mut Cx) -> Told<Form> {
    let window = window(cx, cx.opset >= 19)?;
    let count_include_pad = cx.attributes.flag("count_include_pad")?.unwrap_or(false);
    cx.plain(Op::AveragePool { window, count_include_pad })
}

fn window(cx: &Cx, dilated: bool) -> Told<Window> {
    let x = cx.shape(0)?;
    let axes = x.rank().saturating_sub(2);
    let Some(kernel) = sizes(cx, "kernel_shape", axes)? else {
        return malformed("attribute \"kernel_shape\" is missing");
    };
    spatial(&x, axes)?;
    let mut geometry = Geometry::read(cx, kernel, dilated)?;
    geometry.resolve(&x)?;
    let same = matches!(geometry.auto_pad, AutoPad::Same { .. });
    if same && (0..axes).any(|i| geometry.strides[i] > geometry.extent(i)) {
        return not_modelled("engines disagree on automatic padding where windows do not touch");
    }
    let ceil = if cx.opset >= 10 { cx.attributes.flag("ceil_mode")?.unwrap_or(false) } else { false };
    let Geometry { kernel, strides, dilations, pads, .. } = geometry;
    // As many windows as fit the padding exactly leave nothing to round.
    Ok(Window { kernel, strides, dilations, pads, ceil_mode: ceil && !same })
}
