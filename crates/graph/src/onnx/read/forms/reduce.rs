//! Reductions along axes.

use crate::emit::Emit;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Told, malformed, not_modelled, sized};
use crate::op::{Op, ReduceKind, UnaryFn};
use crate::tensor::DType;

pub(super) fn reduce(kind: ReduceKind, cx: &mut Cx) -> Told<Form> {
    let since = if kind == ReduceKind::Sum { 13 } else { 18 };
    let keep = cx.attributes.flag("keepdims")?.unwrap_or(true);
    let noop = cx.opset >= since && cx.attributes.flag("noop_with_empty_axes")?.unwrap_or(false);
    let listed = cx.listed("axes", 1, since)?.unwrap_or_default();
    let rank = cx.rank(0)?;
    let axes = if listed.is_empty() { (0..rank).collect() } else { cx.axes(&listed, rank)? };
    if axes.is_empty() || (listed.is_empty() && noop) {
        use ReduceKind::{Max, Mean, Min, Prod, Sum};
        return match kind {
            Max | Mean | Min | Prod | Sum => cx.on_first(Op::Identity),
            _ => not_modelled("it reduces no axis"),
        };
    }
    cx.on_first(Op::Reduce { kind, axes, keep })
}

pub(super) fn arg_max(cx: &mut Cx) -> Told<Form> {
    let keep = cx.attributes.flag("keepdims")?.unwrap_or(true);
    if cx.opset >= 12 && cx.attributes.flag("select_last_index")?.unwrap_or(false) {
        return not_modelled("it prefers the last maximum");
    }
    cx.plain(Op::ArgMax { axis: cx.axis_attribute(Some(0))?, keep })
}

pub(super) fn top_k(cx: &mut Cx) -> Told<Form> {
    let axis = cx.axis_attribute(Some(-1))?;
    let k = if cx.opset < 10 {
        cx.attributes.int("k")?
    } else {
        cx.numbers(1, "number of results")?.and_then(|k| k.first().copied())
    };
    let Some(k) = k else { return malformed("the number of results is missing") };
    if cx.opset >= 11 {
        // Results that need not be sorted may be.
        cx.attributes.flag("sorted")?;
        if !cx.attributes.flag("largest")?.unwrap_or(true) {
            return smallest(cx, Op::TopK { axis, k: sized(k, "the number of results")? });
        }
    }
    cx.on_first(Op::TopK { axis, k: sized(k, "the number of results")? })
}

/// The smallest numbers: the largest of their opposites.
fn smallest(cx: &mut Cx, top: Op) -> Told<Form> {
    if !cx.dtype(0)?.is_some_and(DType::is_float) {
        return not_modelled("it looks for the smallest integers");
    }
    let mut b = Body::new(cx)?;
    let x = b.operand(0)?;
    let opposite = b.unary(UnaryFn::Neg, x)?;
    let found = b.several(top, opposite)?;
    let y = b.unary(UnaryFn::Neg, found[0])?;
    b.done(&[y, found[1]])
}
