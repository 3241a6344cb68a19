//! Where the maxima of windows lie, and maxima put back there.

use super::conv::{Geometry, sizes};
use crate::emit::Emit;
use crate::infer::pooled;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Refusal, Told, malformed, not_modelled};
use crate::op::{CompareFn, Op, PadMode, Range, Window};
use crate::shape::{Dim, Shape};
use crate::tensor::Tensor;

/// A max pool that also tells the cell of each window's first maximum, counted through the whole operand: in scan order,
/// or (`columns`) with the first spatial axis fastest.
pub(super) fn with_indices(cx: &mut Cx, window: &Window, columns: bool) -> Told<Form> {
    let mut b = Body::new(cx)?;
    let x = b.operand(0)?;
    let dims = b.dims(x)?;
    let axes = window.kernel.len();
    let size = (0..axes).map(|i| b.size(x, i + 2)).collect::<Told<Vec<_>>>()?;
    let y = b.emit(Op::MaxPool(window.clone()), &[x])?;
    let out = (0..axes).map(|i| b.size(y, i + 2)).collect::<Told<Vec<_>>>()?;
    // As far as windows reach, in the lowest number, which never wins.
    let (mut before, mut after) = (vec![0; axes + 2], vec![0; axes + 2]);
    for i in 0..axes {
        let count = pooled(window, i, size[i]).map_err(Refusal::Malformed)?;
        let reach = (count - 1) * window.strides[i] + (window.kernel[i] - 1) * window.dilations[i] + 1;
        before[i + 2] = window.pads[i].0 as i64;
        after[i + 2] = (reach as i64 - before[i + 2] - size[i] as i64).max(0);
    }
    let pad = Op::Pad { mode: PadMode::Constant, before, after, value: f32::NEG_INFINITY };
    let padded = b.emit(pad, &[x])?;
    let cells = window.kernel.iter().fold(1usize, |cells, &n| cells.saturating_mul(n));
    b.room(cells.saturating_mul(6))?;
    let mut index = None;
    // From the last cell of the window to the first, which wins.
    for cell in (0..cells).rev() {
        let mut rest = cell;
        let mut offset = vec![0; axes];
        for i in (0..axes).rev() {
            offset[i] = (rest % window.kernel[i]) * window.dilations[i];
            rest /= window.kernel[i];
        }
        let ranges = (0..axes).map(|i| {
            let start = offset[i] as i64;
            let last = start + ((out[i] - 1) * window.strides[i]) as i64;
            Range { axis: i + 2, start, end: last + 1, step: window.strides[i] as i64 }
        });
        let seen = b.emit(Op::Slice(ranges.collect()), &[padded])?;
        let here = b.counted(&[&[1, 1], &out[..]].concat(), |at| {
            let place = |i: usize| {
                let cell = at[i + 2] * window.strides[i] + offset[i];
                cell.saturating_sub(window.pads[i].0).min(size[i] - 1)
            };
            let order: Vec<usize> = if columns { (0..axes).rev().collect() } else { (0..axes).collect() };
            order.into_iter().fold(0, |flat, i| flat * size[i] + place(i)) as i64
        })?;
        index = Some(match index {
            None => here,
            Some(later) => {
                let hit = b.emit(Op::Compare(CompareFn::Equal), &[seen, y])?;
                b.emit(Op::Where, &[hit, here, later])?
            }
        });
    }
    let Some(index) = index else { return malformed("its windows have no cells") };
    // The images and channels before this one.
    let (image, channel) = (b.coordinates(y, 0, 0)?, b.coordinates(y, 1, 0)?);
    let channels = b.constant(Tensor::i64(&[], &[dims[1].at(1) as i64])?);
    let plane = b.constant(Tensor::i64(&[], &[size.iter().product::<usize>() as i64])?);
    let first = b.mul(image, channels)?;
    let first = b.add(first, channel)?;
    let first = b.mul(first, plane)?;
    let index = b.add(first, index)?;
    b.done(&[y, index])
}

/// `(x, indices) -> y`: zeros, but for the cells that `indices` count through the whole result, which get those of `x`.
pub(super) fn max_unpool(cx: &mut Cx) -> Told<Form> {
    let axes = cx.rank(0)?.saturating_sub(2);
    let Some(kernel) = sizes(cx, "kernel_shape", axes)?.filter(|_| axes > 0) else {
        return malformed("attribute \"kernel_shape\" is missing");
    };
    let geometry = Geometry::read(cx, kernel, false)?;
    let asked = cx.numbers(2, "output shape")?;
    let mut b = Body::new(cx)?;
    let (x, indices) = (b.operand(0)?, b.operand(1)?);
    let mut to = b.dims(x)?;
    for i in 0..axes {
        let full = b.size(x, i + 2)?.saturating_sub(1).saturating_mul(geometry.strides[i]);
        let full = full.saturating_add(geometry.kernel[i]);
        let Some(size) = full.checked_sub(geometry.pads[i].0 + geometry.pads[i].1) else {
            return malformed("its padding is larger than its result");
        };
        to[i + 2] = Dim::Fixed(size);
    }
    let differs = |asked: Vec<i64>| {
        let same = asked.iter().zip(&to).all(|(&n, d)| d.fixed().is_none_or(|d| i64::try_from(d) == Ok(n)));
        !same || asked.len() != to.len()
    };
    if asked.is_some_and(differs) {
        return not_modelled("engines disagree on indices where its result is larger than its windows");
    }
    let (count, total) = (b.product(&b.dims(x)?)?, b.product(&to)?);
    let updates = b.shaped(x, &[count])?;
    let at = b.shaped(indices, &[count, Dim::Fixed(1)])?;
    let zero = b.scalar(x, 0.0)?;
    let nothing = b.expand(zero, &Shape(vec![total]))?;
    let flat = b.emit(Op::ScatterNd { add: false }, &[nothing, at, updates])?;
    let y = b.shaped(flat, &to)?;
    b.done(&[y])
}
