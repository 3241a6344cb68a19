//! Convolutions over three spatial axes as sums of convolutions over two: for each cell of the kernel along the third axis
//! one, in which the cells along that axis are rows of the batch.

use crate::emit::{Emit, size_of};
use crate::error::Result;
use crate::graph::{Build, ValueId};
use crate::op::{Conv, ConvTranspose, Op, Range};
use crate::shape::{Dim, Shape};

/// The convolution of `x [N,C,a,b,c]`, or `None` where `op` is none over three axes.
pub(super) fn flattened(b: &mut Build, op: &Op, inputs: &[Option<ValueId>]) -> Result<Option<ValueId>> {
    let (Some(Some(x)), Some(Some(w))) = (inputs.first().copied(), inputs.get(1).copied()) else {
        return Ok(None);
    };
    let Some(kernel) = b.shape(w)?.to_fixed().filter(|dims| dims.len() == 5) else { return Ok(None) };
    // The axis along which the kernel is shortest needs the fewest terms.
    let Some(axis) = (0..3).min_by_key(|&i| kernel[i + 2]) else { return Ok(None) };
    let mut total: Option<ValueId> = None;
    for at in 0..kernel[axis + 2] {
        let range = Range { axis: axis + 2, start: at as i64, end: at as i64 + 1, step: 1 };
        let plane = b.emit(Op::Slice(vec![range]), &[w])?;
        let plane = b.emit(Op::Squeeze { axes: vec![axis + 2] }, &[plane])?;
        let term = match op {
            Op::Conv(conv) => conv_term(b, conv, x, plane, axis, at, kernel[axis + 2])?,
            Op::ConvTranspose(t) => transposed_term(b, t, x, plane, axis, at, kernel[axis + 2])?,
            _ => return Ok(None),
        };
        total = Some(match total {
            Some(before) => b.add(before, term)?,
            None => term,
        });
    }
    let (Some(total), Some(bias)) = (total, inputs.get(2).copied().flatten()) else { return Ok(total) };
    let channels = b.shape(bias)?.0[0];
    let one = Dim::Fixed(1);
    let bias = b.reshape(bias, Shape(vec![one, channels, one, one, one]))?;
    Ok(Some(b.add(total, bias)?))
}

/// Without the entry of one axis.
fn without<T: Clone>(list: &[T], axis: usize) -> Vec<T> {
    list.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, v)| v.clone()).collect()
}

fn flat_conv(conv: &Conv, axis: usize) -> Conv {
    Conv {
        strides: without(&conv.strides, axis),
        dilations: without(&conv.dilations, axis),
        pads: without(&conv.pads, axis),
        groups: conv.groups,
    }
}

/// What one plane of the kernel adds to a convolution: of every window the cell that the plane meets.
fn conv_term(
    b: &mut Build,
    conv: &Conv,
    x: ValueId,
    plane: ValueId,
    axis: usize,
    at: usize,
    kernel: usize,
) -> Result<ValueId> {
    let (stride, dilation, pads) = (conv.strides[axis], conv.dilations[axis], conv.pads[axis]);
    let padded = b.fit(x, axis + 2, pads.0 as i64, pads.1 as i64)?;
    let size = size_of(&b.shape(padded)?, axis + 2)?;
    let windows = (size - ((kernel - 1) * dilation) as i64 - 1) / stride as i64 + 1;
    let start = (at * dilation) as i64;
    let end = start + (windows - 1) * stride as i64 + 1;
    let cells =
        b.emit(Op::Slice(vec![Range { axis: axis + 2, start, end, step: stride as i64 }]), &[padded])?;
    planar(b, Op::Conv(flat_conv(conv, axis)), cells, plane, axis)
}

/// What one plane of the kernel adds to a transposed convolution: every cell's part, moved to where the plane puts it.
fn transposed_term(
    b: &mut Build,
    t: &ConvTranspose,
    x: ValueId,
    plane: ValueId,
    axis: usize,
    at: usize,
    kernel: usize,
) -> Result<ValueId> {
    let (stride, dilation, pads) = (t.conv.strides[axis], t.conv.dilations[axis], t.conv.pads[axis]);
    let flat =
        ConvTranspose { conv: flat_conv(&t.conv, axis), output_padding: without(&t.output_padding, axis) };
    let part = planar(b, Op::ConvTranspose(flat), x, plane, axis)?;
    let cells = size_of(&b.shape(part)?, axis + 2)?;
    let full = (cells - 1) * stride as i64 + ((kernel - 1) * dilation) as i64 + 1;
    let size = full - (pads.0 + pads.1) as i64 + t.output_padding[axis] as i64;
    let spread = b.spread(part, axis + 2, stride)?;
    let before = (at * dilation) as i64 - pads.0 as i64;
    let behind = size - before - cells * stride as i64;
    b.fit(spread, axis + 2, before, behind)
}

/// An op over the two other axes, with the cells along one axis among the images.
fn planar(b: &mut Build, op: Op, x: ValueId, w: ValueId, axis: usize) -> Result<ValueId> {
    let to_front: Vec<usize> = [0, axis + 2].into_iter().chain((1..5).filter(|&i| i != axis + 2)).collect();
    let moved = b.transpose(x, &to_front)?;
    let shape = b.shape(moved)?;
    let images = shape.0[0].times(shape.0[1]).unwrap_or(shape.0[0]);
    let folded = b.reshape(moved, Shape([&[images], &shape.0[2..]].concat()))?;
    let y = b.emit(op, &[folded, w])?;
    let made = b.shape(y)?;
    let split = b.reshape(y, Shape([&shape.0[..2], &made.0[1..]].concat()))?;
    let mut back: Vec<usize> = [0].into_iter().chain(2..5).collect();
    back.insert(axis + 2, 1);
    b.transpose(split, &back)
}
