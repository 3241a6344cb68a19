//! Other shapes for the same cells.

use crate::emit::Emit;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Told, dim, malformed, not_modelled, sized};
use crate::op::{DepthMode, Op};
use crate::shape::{Dim, Int, Shape};
use crate::tensor::Tensor;

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
    let mode = depth_mode(cx, 11)?;
    cx.plain(Op::DepthToSpace { block, mode })
}

/// The order of channels, an attribute since a version of the operator.
fn depth_mode(cx: &Cx, since: i64) -> Told<DepthMode> {
    match if cx.opset >= since { cx.attributes.string("mode")? } else { None } {
        None | Some("DCR") => Ok(DepthMode::Dcr),
        Some("CRD") => Ok(DepthMode::Crd),
        Some(other) => malformed(format!("mode is {other:?}")),
    }
}

/// The opposite of [`depth_to_space`].
pub(super) fn space_to_depth(cx: &mut Cx) -> Told<Form> {
    let Some(block) = cx.attributes.int("blocksize")? else {
        return malformed("attribute \"blocksize\" is missing");
    };
    let block = sized(block, "blocksize")?;
    let perm = match depth_mode(cx, 28)? {
        DepthMode::Dcr => [0, 3, 5, 1, 2, 4],
        DepthMode::Crd => [0, 1, 3, 5, 2, 4],
    };
    let mut b = Body::new(cx)?;
    let x = b.operand(0)?;
    let [n, c, Dim::Fixed(h), Dim::Fixed(w)] = b.dims(x)?[..] else {
        return not_modelled("its operand is no image");
    };
    if block == 0 || h % block != 0 || w % block != 0 {
        return malformed(format!("{h} by {w} cells do not make blocks of {block}"));
    }
    let (size, h, w) = (Dim::Fixed(block), Dim::Fixed(h / block), Dim::Fixed(w / block));
    let split = b.shaped(x, &[n, c, h, size, w, size])?;
    let moved = b.transpose(split, &perm)?;
    let deep = b.product(&[size, size, c])?;
    let y = b.shaped(moved, &[n, deep, h, w])?;
    b.done(&[y])
}

/// Each axis repeated: an axis of repeats before it, joined with it.
pub(super) fn tile(cx: &mut Cx) -> Told<Form> {
    let Some(repeats) = cx.known(1, "number of repeats")? else {
        return malformed("its repeats are missing");
    };
    let repeats = repeats.into_iter().map(dim).collect::<Told<Vec<_>>>()?;
    let mut b = Body::new(cx)?;
    let x = b.operand(0)?;
    let dims = b.dims(x)?;
    if repeats.len() != dims.len() {
        return malformed(format!("{} repeats do not fit {} axes", repeats.len(), dims.len()));
    }
    let (mut split, mut wide, mut joined) = (Vec::new(), Vec::new(), Vec::new());
    for (&r, &d) in repeats.iter().zip(&dims) {
        if r != Dim::Fixed(1) {
            split.push(Dim::Fixed(1));
            wide.push(r);
        }
        split.push(d);
        wide.push(d);
        joined.push(b.product(&[r, d])?);
    }
    let y = b.shaped(x, &split)?;
    let y = b.expand(y, &Shape(wide))?;
    let y = b.shaped(y, &joined)?;
    b.done(&[y])
}

/// The cells on and above the `k`-th diagonal of the last two axes, or on and below it; 0 elsewhere.
pub(super) fn trilu(cx: &mut Cx) -> Told<Form> {
    let upper = cx.attributes.flag("upper")?.unwrap_or(true);
    let k = match cx.numbers(1, "diagonal")? {
        None => 0,
        Some(k) if k.len() == 1 => k[0],
        Some(_) => return malformed("its diagonal is not one number"),
    };
    let mut b = Body::new(cx)?;
    let x = b.operand(0)?;
    let rank = b.dims(x)?.len();
    if rank < 2 {
        return malformed("its operand is no matrix");
    }
    let (rows, columns) = (b.size(x, rank - 2)?, b.size(x, rank - 1)?);
    let mask = b.mask(&[rows, columns], |at| {
        let diagonal = (at[1] as i64).saturating_sub(at[0] as i64);
        if upper { diagonal >= k } else { diagonal <= k }
    })?;
    let dtype = b.dtype(x);
    let zero = b.constant(Tensor::new(dtype, Vec::new(), vec![0; dtype.size()])?);
    let y = b.emit(Op::Where, &[mask, x, zero])?;
    b.done(&[y])
}

/// Sums of all cells before each along an axis, with it or without, or of all behind: a product with a triangle.
pub(super) fn cum_sum(cx: &mut Cx) -> Told<Form> {
    let exclusive = cx.attributes.flag("exclusive")?.unwrap_or(false);
    let reverse = cx.attributes.flag("reverse")?.unwrap_or(false);
    let axis = match cx.numbers(1, "axis")?.as_deref() {
        Some(&[axis]) => cx.axis(axis, cx.rank(0)?)?,
        _ => return malformed("its axis is not one number"),
    };
    if cx.dtype(0)?.is_some_and(|d| !d.is_float()) {
        return not_modelled("it adds up integers");
    }
    let mut b = Body::new(cx)?;
    let x = b.operand(0)?;
    let (n, rank) = (b.size(x, axis)?, b.dims(x)?.len());
    let triangle = b.filled(x, &[n, n], |at| {
        let (from, to) = if reverse { (at[1], at[0]) } else { (at[0], at[1]) };
        if from < to || (from == to && !exclusive) { 1.0 } else { 0.0 }
    })?;
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(axis, rank - 1);
    let moved = b.transpose(x, &perm)?;
    let sums = b.matmul(moved, triangle)?;
    let y = b.transpose(sums, &perm)?;
    b.done(&[y])
}
