//! Other shapes for the same cells.

use crate::onnx::read::node::{Cx, Form, Told, dim, malformed, not_modelled, sized};
use crate::op::{DepthMode, Op};
use crate::shape::{Dim, Int, Shape};

pub(super) fn reshape(cx: &mut Cx) -> Told<Form> {
    let Some(target) = cx.known(1, "target shape")? else {
        return malformed("its target shape is missing");
    };
    let allow_zero = cx.opset >= 14 && cx.attributes.flag("allowzero")?.unwrap_or(false);
    let mut to = Vec::new();
    let mut open = None;
    for (i, &n) in target.iter().enumerate() {
        to.push(match n {
            Int::Lit(-1) if open.is_none() => {
                open = Some(i);
                Dim::Fixed(1)
            }
            Int::Lit(0) if !allow_zero => match cx.shape(0)?.0.get(i) {
                Some(&same) => same,
                None => return malformed(format!("its target keeps axis {i}, which is not there")),
            },
            n => dim(n)?,
        });
    }
    let mut to = Shape(to);
    if let Some(open) = open {
        let from = cx.shape(0)?;
        let rest = from.elements().zip(to.elements()).and_then(|(all, others)| divide(all, others));
        match rest {
            Some(rest) => to.0[open] = rest,
            None if from.to_fixed().is_some() && to.to_fixed().is_some() => {
                return malformed(format!("{from} does not divide by {to}"));
            }
            None => return not_modelled(format!("{from} does not divide by {to}")),
        }
    }
    cx.on_first(Op::Reshape { to })
}

/// The quotient, where it is a dimension.
fn divide(all: Dim, by: Dim) -> Option<Dim> {
    let exact = |a: usize, b: usize| (b > 0 && a.is_multiple_of(b)).then(|| a / b);
    match (all, by) {
        (Dim::Fixed(a), Dim::Fixed(b)) | (Dim::Batch(a), Dim::Batch(b)) => exact(a, b).map(Dim::Fixed),
        (Dim::Batch(c), Dim::Fixed(b)) => exact(c, b).map(Dim::Batch),
        (Dim::Fixed(_), Dim::Batch(_)) => None,
    }
}

pub(super) fn flatten(cx: &mut Cx) -> Told<Form> {
    let rank = cx.rank(0)?;
    let axis = match cx.attributes.int("axis")?.unwrap_or(1) {
        axis if usize::try_from(axis) == Ok(rank) => rank,
        axis => cx.axis(axis, rank)?,
    };
    cx.plain(Op::Flatten { axis })
}

pub(super) fn transpose(cx: &mut Cx) -> Told<Form> {
    let rank = cx.rank(0)?;
    let perm = match cx.attributes.ints("perm")? {
        Some(perm) => perm.iter().map(|&a| cx.axis(a, rank)).collect::<Told<_>>()?,
        None => (0..rank).rev().collect(),
    };
    cx.plain(Op::Transpose { perm })
}

pub(super) fn squeeze(cx: &mut Cx) -> Told<Form> {
    let x = cx.shape(0)?;
    let axes = match cx.listed("axes", 1, 13)? {
        Some(axes) => cx.axes(&axes, x.rank())?,
        None => (0..x.rank()).filter(|&i| x.0[i] == Dim::Fixed(1)).collect(),
    };
    cx.on_first(Op::Squeeze { axes })
}

pub(super) fn unsqueeze(cx: &mut Cx) -> Told<Form> {
    let Some(axes) = cx.listed("axes", 1, 13)? else { return malformed("its axes are missing") };
    let axes = cx.axes(&axes, cx.rank(0)? + axes.len())?;
    cx.on_first(Op::Unsqueeze { axes })
}

pub(super) fn expand(cx: &mut Cx) -> Told<Form> {
    let Some(to) = cx.known(1, "target shape")? else { return malformed("its target shape is missing") };
    let mut to = Shape(to.into_iter().map(dim).collect::<Told<_>>()?);
    if let Some(result) = cx.shape(0).ok().and_then(|x| x.broadcast(&to)) {
        to = result;
    }
    cx.on_first(Op::Expand { to })
}

pub(super) fn depth_to_space(cx: &mut Cx) -> Told<Form> {
    let Some(block) = cx.attributes.int("blocksize")? else {
        return malformed("attribute \"blocksize\" is missing");
    };
    let block = sized(block, "blocksize")?;
    let mode = if cx.opset >= 11 { cx.attributes.string("mode")? } else { None };
    let mode = match mode {
        None | Some("DCR") => DepthMode::Dcr,
        Some("CRD") => DepthMode::Crd,
        Some(other) => return malformed(format!("mode is {other:?}")),
    };
    cx.plain(Op::DepthToSpace { block, mode })
}
