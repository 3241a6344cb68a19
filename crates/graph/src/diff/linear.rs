//! Rules of linear ops: convolutions, matrix products, batch norm at inference.

use super::rules::Sent;
use super::{Sweep, pointwise};
use crate::emit::{Emit, size_of};
use crate::error::{Error, Result};
use crate::graph::{Node, ValueId};
use crate::op::{Conv, ConvTranspose, Gemm, Op, Range, UnaryFn};
use crate::shape::Shape;

/// The gradient of a convolution with respect to its input.
///
/// With stride 1 it is a convolution with the flipped and swapped weights, otherwise the
/// transposed convolution with the weights as they are.
pub(super) fn conv(s: &mut Sweep<'_>, node: &Node, conv: &Conv, g: ValueId) -> Result<ValueId> {
    let (x, w) = (node.input(0)?, node.input(1)?);
    let (input, weights) = (s.shape(x)?, s.shape(w)?);
    let axes = conv.strides.len();
    if conv.strides.iter().all(|&stride| stride == 1) {
        let mut g = g;
        let mut pads = Vec::new();
        for i in 0..axes {
            let reach = (size_of(&weights, i + 2)? - 1) * conv.dilations[i] as i64;
            let (before, behind) = (reach - conv.pads[i].0 as i64, reach - conv.pads[i].1 as i64);
            g = s.fit(g, i + 2, before.min(0), behind.min(0))?;
            pads.push((before.max(0) as usize, behind.max(0) as usize));
        }
        let swapped = flipped_and_swapped(s, w, conv.groups)?;
        let op =
            Conv { strides: vec![1; axes], dilations: conv.dilations.clone(), pads, groups: conv.groups };
        return s.emit(Op::Conv(op), &[g, swapped]);
    }
    let mut output_padding = Vec::new();
    for i in 0..axes {
        let reach = (size_of(&weights, i + 2)? - 1) * conv.dilations[i] as i64;
        let room = size_of(&input, i + 2)? + (conv.pads[i].0 + conv.pads[i].1) as i64 - reach - 1;
        output_padding.push((room % conv.strides[i] as i64) as usize);
    }
    s.emit(Op::ConvTranspose(ConvTranspose { conv: conv.clone(), output_padding }), &[g, w])
}

/// `[O, I/g, k…] → [I, O/g, k…]` with each kernel reversed, as a constant expression of the weights.
fn flipped_and_swapped(s: &mut Sweep<'_>, w: ValueId, groups: usize) -> Result<ValueId> {
    let shape = s.shape(w)?;
    let dims =
        shape.to_fixed().ok_or_else(|| Error::unfit("weights depend on the batch size", "fix the batch"))?;
    let (out, per_group, kernel) = (dims[0] / groups, dims[1], &dims[2..]);
    let mut swapped = w;
    if groups == 1 {
        let perm: Vec<usize> = [1, 0].into_iter().chain(2..dims.len()).collect();
        swapped = s.transpose(swapped, &perm)?;
    } else if out != 1 || per_group != 1 {
        let split: Vec<usize> = [groups, out, per_group].into_iter().chain(kernel.iter().copied()).collect();
        let perm: Vec<usize> = [0, 2, 1].into_iter().chain(3..split.len()).collect();
        let joined: Vec<usize> =
            [groups * per_group, out].into_iter().chain(kernel.iter().copied()).collect();
        swapped = s.reshape(swapped, Shape::fixed(&split))?;
        swapped = s.transpose(swapped, &perm)?;
        swapped = s.reshape(swapped, Shape::fixed(&joined))?;
    }
    let ranges: Vec<Range> = kernel
        .iter()
        .enumerate()
        .filter(|&(_, &k)| k > 1)
        .map(|(i, &k)| Range { axis: i + 2, start: k as i64 - 1, end: -1, step: -1 })
        .collect();
    if ranges.is_empty() { Ok(swapped) } else { s.emit(Op::Slice(ranges), &[swapped]) }
}

/// The adjoint of the adjoint: the convolution itself, without bias and without the windows that
/// output padding as wide as the stride makes room for.
pub(super) fn conv_transpose(
    s: &mut Sweep<'_>,
    node: &Node,
    t: &ConvTranspose,
    g: ValueId,
) -> Result<ValueId> {
    let (shape, w) = (s.shape(node.input(0)?)?, node.input(1)?);
    let mut signal = s.emit(Op::Conv(t.conv.clone()), &[g, w])?;
    for axis in 2..shape.rank() {
        let extra = size_of(&s.shape(signal)?, axis)? - size_of(&shape, axis)?;
        signal = s.fit(signal, axis, 0, -extra)?;
    }
    Ok(signal)
}

pub(super) fn matmul(s: &mut Sweep<'_>, node: &Node, g: ValueId, wanted: &[bool]) -> Result<Sent> {
    let (a, b) = (node.input(0)?, node.input(1)?);
    let (shape_a, shape_b) = (s.shape(a)?, s.shape(b)?);
    // A vector operand is a matrix with one row or column; the signal gets that axis back.
    let (mut a, mut b, mut g) = (a, b, g);
    if shape_b.rank() == 1 {
        b = s.emit(Op::Unsqueeze { axes: vec![1] }, &[b])?;
        let last = s.shape(g)?.rank();
        g = s.emit(Op::Unsqueeze { axes: vec![last] }, &[g])?;
    }
    if shape_a.rank() == 1 {
        a = s.emit(Op::Unsqueeze { axes: vec![0] }, &[a])?;
        let row = s.shape(g)?.rank() - 1;
        g = s.emit(Op::Unsqueeze { axes: vec![row] }, &[g])?;
    }
    let mut sent = vec![None, None];
    if wanted[0] {
        let signal = match (s.shape(g)?.rank(), s.shape(b)?.rank()) {
            (2, 2) => s.matmul_transposed(g, b)?,
            _ => {
                let bt = s.transpose_last(b)?;
                s.matmul(g, bt)?
            }
        };
        sent[0] = Some(vector(s, signal, &shape_a, 0)?);
    }
    if wanted[1] {
        let at = s.transpose_last(a)?;
        let signal = s.matmul(at, g)?;
        sent[1] = Some(vector(s, signal, &shape_b, 1)?);
    }
    Ok(sent)
}

/// The signal of a vector operand without the axis of size 1 that it was given.
fn vector(s: &mut Sweep<'_>, signal: ValueId, shape: &Shape, from_end: usize) -> Result<ValueId> {
    if shape.rank() != 1 {
        return Ok(signal);
    }
    let rank = s.shape(signal)?.rank();
    let axis = rank - 1 - (1 - from_end);
    s.emit(Op::Squeeze { axes: vec![axis] }, &[signal])
}

pub(super) fn gemm(s: &mut Sweep<'_>, node: &Node, gemm: Gemm, g: ValueId, wanted: &[bool]) -> Result<Sent> {
    let (a, b) = (node.input(0)?, node.input(1)?);
    let mut sent = vec![None; node.inputs.len()];
    let scaled = if gemm.alpha == 1.0 { g } else { s.scale(g, gemm.alpha)? };
    if wanted[0] {
        let signal = if gemm.trans_b { s.matmul(scaled, b)? } else { s.matmul_transposed(scaled, b)? };
        sent[0] = Some(if gemm.trans_a { s.transpose_last(signal)? } else { signal });
    }
    if wanted[1] {
        let left = if gemm.trans_a { a } else { s.transpose_last(a)? };
        let signal = s.matmul(left, scaled)?;
        sent[1] = Some(if gemm.trans_b { s.transpose_last(signal)? } else { signal });
    }
    if wanted.get(2) == Some(&true) {
        sent[2] = Some(if gemm.beta == 1.0 { g } else { s.scale(g, gemm.beta)? });
    }
    Ok(sent)
}

/// `g · scale/√(var + ε)`, channel by channel.
pub(super) fn batch_norm(s: &mut Sweep<'_>, node: &Node, epsilon: f32, g: ValueId) -> Result<ValueId> {
    let (scale, var) = (node.input(1)?, node.input(4)?);
    let var = s.shift(var, epsilon)?;
    let deviation = s.unary(UnaryFn::Sqrt, var)?;
    let factor = s.div(scale, deviation)?;
    let rank = s.shape(g)?.rank();
    let factor = pointwise::along(s, factor, 1, rank)?;
    s.mul(g, factor)
}
