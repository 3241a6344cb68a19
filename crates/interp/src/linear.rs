//! Convolutions and matrix products.

use whycam_graph::op::{Conv, ConvTranspose, Gemm};

use crate::array::{Array, broadcast, each};
use crate::window::{Slide, cell};

fn bias_of(bias: Option<&Array>, channels: usize) -> Result<Array, String> {
    match bias {
        None => Ok(Array::zeros(&[channels])),
        Some(b) if b.shape == [channels] => Ok(b.clone()),
        Some(b) => Err(format!("the bias {:?} does not have {channels} channels", b.shape)),
    }
}

/// `y[n,o,p] = b[o] + Σ_c Σ_q w[o,c,q] · x[n, C/g·⌊o/(O/g)⌋ + c, s·p + d·q − pad]`, zero outside.
pub(crate) fn conv(conv: &Conv, x: &Array, w: &Array, bias: Option<&Array>) -> Result<Array, String> {
    let slide = Slide::of_conv(conv, &w.shape[2..]);
    let (outputs, inputs) = (w.shape[0], w.shape[1]);
    let bias = bias_of(bias, outputs)?;
    let mut shape = vec![x.shape[0], outputs];
    shape.extend((0..slide.kernel.len()).map(|axis| slide.count(axis, x.shape[axis + 2], false)));
    Ok(Array::from_fn(&shape, |at| {
        let (n, o, window) = (at[0], at[1], &at[2..]);
        let group = o / (outputs / conv.groups);
        let mut sum = bias.at(&[o]);
        each(&w.shape[1..], |cq| {
            let (c, tap) = (cq[0], &cq[1..]);
            let seen = cell(x, n, group * inputs + c, slide.positions(window, tap)).unwrap_or(0.0);
            sum += w.at(&[&[o], cq].concat()) * seen;
        });
        sum
    }))
}

/// The adjoint of [`conv`], scattered: `y[n, O/g·⌊c/(C/g)⌋ + o, s·p + d·q − pad] += w[c,o,q] · x[n,c,p]`.
pub(crate) fn conv_transpose(
    t: &ConvTranspose,
    x: &Array,
    w: &Array,
    bias: Option<&Array>,
) -> Result<Array, String> {
    let slide = Slide::of_conv(&t.conv, &w.shape[2..]);
    let (inputs, outputs) = (w.shape[0], w.shape[1]);
    let bias = bias_of(bias, outputs * t.conv.groups)?;
    let mut shape = vec![x.shape[0], outputs * t.conv.groups];
    for axis in 0..slide.kernel.len() {
        let (before, behind) = t.conv.pads[axis];
        let reach = slide.strides[axis] * (x.shape[axis + 2] - 1) + slide.extent(axis);
        shape.push(reach + t.output_padding[axis] - before - behind);
    }
    let mut y = Array::from_fn(&shape, |at| bias.at(&at[1..2]));
    each(&x.shape, |from| {
        let (n, c, window) = (from[0], from[1], &from[2..]);
        let group = c / (inputs / t.conv.groups);
        each(&w.shape[1..], |oq| {
            let (o, tap) = (oq[0], &oq[1..]);
            let mut to = vec![n, group * outputs + o];
            for (position, &size) in slide.positions(window, tap).zip(&shape[2..]) {
                match usize::try_from(position) {
                    Ok(p) if p < size => to.push(p),
                    _ => return,
                }
            }
            *y.at_mut(&to) += w.at(&[&[c], oq].concat()) * x.at(from);
        });
    });
    Ok(y)
}

/// NumPy's `matmul`: a one-axis `a` is a row, a one-axis `b` a column, and that axis goes again.
pub(crate) fn matmul(a: &Array, b: &Array) -> Result<Array, String> {
    let rows = if a.rank() == 1 { a.reshape(&[1, a.shape[0]])? } else { a.clone() };
    let columns = if b.rank() == 1 { b.reshape(&[b.shape[0], 1])? } else { b.clone() };
    let (stack_a, m, k) = matrices(&rows)?;
    let (stack_b, l, n) = matrices(&columns)?;
    if k != l {
        return Err(format!("{:?} and {:?} cannot be multiplied", a.shape, b.shape));
    }
    let stack = broadcast(stack_a, stack_b)?;
    let y = Array::from_fn(&[&stack[..], &[m, n]].concat(), |at| {
        let (s, i, j) = (&at[..at.len() - 2], at[at.len() - 2], at[at.len() - 1]);
        (0..k)
            .map(|k| rows.broadcast_at(&[s, &[i, k]].concat()) * columns.broadcast_at(&[s, &[k, j]].concat()))
            .sum()
    });
    let mut shape = stack;
    if a.rank() > 1 {
        shape.push(m);
    }
    if b.rank() > 1 {
        shape.push(n);
    }
    y.reshape(&shape)
}

fn matrices(a: &Array) -> Result<(&[usize], usize, usize), String> {
    match a.shape.as_slice() {
        [stack @ .., m, n] => Ok((stack, *m, *n)),
        shape => Err(format!("{shape:?} is not a matrix")),
    }
}

/// `alpha · a·b + beta · c`, the factors transposed where asked.
pub(crate) fn gemm(g: &Gemm, a: &Array, b: &Array, c: Option<&Array>) -> Result<Array, String> {
    let flip = |m: &Array, flip: bool| match (m.shape.as_slice(), flip) {
        (_, false) => Ok(m.clone()),
        (&[rows, columns], true) => Ok(Array::from_fn(&[columns, rows], |i| m.at(&[i[1], i[0]]))),
        (shape, true) => Err(format!("{shape:?} is not a matrix")),
    };
    let product = matmul(&flip(a, g.trans_a)?, &flip(b, g.trans_b)?)?;
    Ok(Array::from_fn(&product.shape, |i| {
        let bias = c.map_or(0.0, |c| f64::from(g.beta) * c.broadcast_at(i));
        f64::from(g.alpha) * product.at(i) + bias
    }))
}
