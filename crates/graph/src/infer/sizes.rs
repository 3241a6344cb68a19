//! The sizes of axes behind windows, products, slices and padding.

use super::Told;
use crate::op::{Conv, PadMode, Window};
use crate::shape::{Dim, Shape};

/// The size of spatial axis `i` (of `n` cells) after pooling.
pub(crate) fn pooled(w: &Window, i: usize, n: usize) -> Told<usize> {
    windows(n, [w.kernel[i], w.strides[i], w.dilations[i]], w.pads[i], w.ceil_mode)
}

/// How many windows `[kernel, stride, dilation]` fit on `n` padded cells.
pub(super) fn windows(
    n: usize,
    [k, stride, dilation]: [usize; 3],
    pads: (usize, usize),
    ceil: bool,
) -> Told<usize> {
    let span = extent(k, dilation).filter(|_| stride > 0).ok_or("a window is empty or too wide")?;
    let room = n.checked_add(pads.0).and_then(|n| n.checked_add(pads.1)).ok_or("padding is too wide")?;
    let room = room.checked_sub(span).ok_or(format!("a window of {span} does not fit {n} cells"))?;
    if !ceil {
        return Ok(room / stride + 1);
    }
    let count = room.div_ceil(stride) + 1;
    // A last window that starts in the padding behind is dropped (as PyTorch, Caffe and ONNX do).
    Ok(if (count - 1) * stride >= n + pads.0 { count - 1 } else { count })
}

/// Cells from the first to the last of a window.
pub(super) fn extent(k: usize, dilation: usize) -> Option<usize> {
    k.checked_sub(1)?.checked_mul(dilation)?.checked_add(1).filter(|_| dilation > 0)
}

pub(super) fn conv_geometry(conv: &Conv, x: &Shape, w: &[usize]) -> Told<Vec<usize>> {
    let axes = w.len().checked_sub(2).filter(|&n| n > 0).ok_or("weights have no spatial axis")?;
    let spatial = spatial(x, axes)?;
    if [conv.strides.len(), conv.dilations.len(), conv.pads.len()] != [axes; 3] {
        return Err("attributes do not fit the spatial axes".into());
    }
    Ok(spatial)
}

pub(super) fn spatial(x: &Shape, axes: usize) -> Told<Vec<usize>> {
    if axes == 0 || x.rank() != axes + 2 {
        return Err(format!("{x} does not have {axes} spatial axes"));
    }
    x.0[2..]
        .iter()
        .map(|d| d.fixed().ok_or_else(|| format!("a spatial axis of {x} depends on the batch")))
        .collect()
}

pub(super) fn fixed(shape: &Shape, what: &str) -> Told<Vec<usize>> {
    match shape.to_fixed() {
        Some(dims) if dims.len() >= 3 => Ok(dims),
        _ => Err(format!("{what} {shape} do not have kernels")),
    }
}

/// The slices of `x` that `indices` name, behind `batch` axes that both have.
pub(super) fn gathered(x: &Shape, indices: &Shape, batch: usize) -> Told<Shape> {
    let no = || format!("indices {indices} do not name slices of {x}");
    let (last, at) = indices.0.split_last().ok_or_else(no)?;
    let k = last.fixed().ok_or_else(no)?;
    let first = batch.checked_add(k).filter(|&n| n <= x.rank()).ok_or_else(no)?;
    match at.get(..batch) {
        Some(common) if *common == x.0[..batch] => Ok(Shape([at, &x.0[first..]].concat())),
        _ => Err(no()),
    }
}

pub(super) fn within(axis: usize, rank: usize) -> Told<()> {
    if axis < rank { Ok(()) } else { Err(format!("axis {axis} is outside rank {rank}")) }
}

pub(super) fn broadcast(a: &Shape, b: &Shape) -> Told<Shape> {
    a.broadcast(b).ok_or_else(|| format!("{a} and {b} do not broadcast"))
}

pub(super) fn reduced(x: &Shape, axes: &[usize], keep: bool) -> Told<Shape> {
    for &a in axes {
        within(a, x.rank())?;
    }
    let dims = x.0.iter().enumerate().filter_map(|(i, &d)| match axes.contains(&i) {
        true => keep.then_some(Dim::Fixed(1)),
        false => Some(d),
    });
    Ok(Shape(dims.collect()))
}

pub(super) fn matmul(a: &Shape, b: &Shape) -> Told<Shape> {
    let no = || format!("{a} and {b} cannot be multiplied");
    if a.rank() == 0 || b.rank() == 0 {
        return Err(no());
    }
    let (mut a2, mut b2) = (a.0.clone(), b.0.clone());
    if a.rank() == 1 {
        a2.insert(0, Dim::Fixed(1));
    }
    if b.rank() == 1 {
        b2.push(Dim::Fixed(1));
    }
    let (m, k) = (a2[a2.len() - 2], a2[a2.len() - 1]);
    let (l, n) = (b2[b2.len() - 2], b2[b2.len() - 1]);
    if k != l {
        return Err(no());
    }
    let batch = |d: &[Dim]| Shape(d[..d.len() - 2].to_vec());
    let mut y = batch(&a2).broadcast(&batch(&b2)).ok_or_else(no)?;
    if a.rank() > 1 {
        y.0.push(m);
    }
    if b.rank() > 1 {
        y.0.push(n);
    }
    Ok(y)
}

pub(super) fn range_len(r: &crate::op::Range, n: usize) -> Told<usize> {
    let last = i64::try_from(n).map_err(|_| "an axis is too long")?;
    let inside = if r.step > 0 {
        (0..=last).contains(&r.start) && (0..=last).contains(&r.end)
    } else {
        (-1..last.max(1)).contains(&r.start) && (-1..last.max(1)).contains(&r.end)
    };
    if r.step == 0 || !inside {
        return Err(format!("{}..{} by {} is not inside {n} cells", r.start, r.end, r.step));
    }
    let span = if r.step > 0 { r.end - r.start } else { r.start - r.end };
    let count = span.max(0).unsigned_abs().div_ceil(r.step.unsigned_abs());
    usize::try_from(count).map_err(|_| "an axis is too long".into())
}

pub(super) fn padded(d: Dim, before: i64, after: i64, mode: PadMode) -> Told<Dim> {
    let Dim::Fixed(n) = d else {
        return Err("the batch axis cannot be padded".into());
    };
    let limit = i64::try_from(n).map_err(|_| "an axis is too long")?;
    if mode == PadMode::Reflect && (before >= limit || after >= limit) {
        return Err(format!("{n} cells cannot be mirrored that far"));
    }
    limit
        .checked_add(before)
        .and_then(|n| n.checked_add(after))
        .filter(|_| before >= -limit && after >= -limit)
        .and_then(|n| usize::try_from(n).ok())
        .map(Dim::Fixed)
        .ok_or_else(|| format!("{before} and {after} cells cannot be added to {n}"))
}
