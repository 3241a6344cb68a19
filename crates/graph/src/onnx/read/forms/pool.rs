//! Pools, and windows put back.

use super::conv::{AutoPad, Geometry, sizes, spatial};
use super::unpool;
use crate::emit::Emit;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Told, malformed, not_modelled, sized};
use crate::op::{BinaryFn, CompareFn, Conv, ConvTranspose, Op, UnaryFn, Window};
use crate::shape::Dim;

pub(super) fn max_pool(cx: &mut Cx) -> Told<Form> {
    let window = window(cx, cx.opset >= 10)?;
    let columns = cx.opset >= 8 && cx.attributes.int("storage_order")?.unwrap_or(0) != 0;
    match cx.used {
        ..=1 => cx.plain(Op::MaxPool(window)),
        _ => unpool::with_indices(cx, &window, columns),
    }
}

pub(super) fn average_pool(cx: &mut Cx) -> Told<Form> {
    let window = window(cx, cx.opset >= 19)?;
    let count_include_pad = cx.attributes.flag("count_include_pad")?.unwrap_or(false);
    cx.plain(Op::AveragePool { window, count_include_pad })
}

/// `(Σ |x|ᵖ)^(1/p)` of each window; 0 where that is.
pub(super) fn lp_pool(cx: &mut Cx) -> Told<Form> {
    let window = window(cx, cx.opset >= 18)?;
    if window.ceil_mode {
        return not_modelled("it rounds the number of its windows up");
    }
    let p = cx.attributes.int("p")?.unwrap_or(2);
    let cells = window.kernel.iter().product::<usize>() as f32;
    let mut b = Body::new(cx)?;
    let x = b.operand(0)?;
    let size = b.unary(UnaryFn::Abs, x)?;
    let power = match p {
        1 => size,
        2 => b.mul(x, x)?,
        p => {
            let p = b.scalar(x, p as f32)?;
            b.emit(Op::Binary(BinaryFn::Pow), &[size, p])?
        }
    };
    let mean = b.emit(Op::AveragePool { window, count_include_pad: true }, &[power])?;
    let sum = b.scale(mean, cells)?;
    if p == 1 {
        return b.done(&[sum]);
    }
    let some = b.compare(sum, CompareFn::Greater, 0.0)?;
    let one = b.scalar(sum, 1.0)?;
    let safe = b.emit(Op::Where, &[some, sum, one])?;
    let root = match p {
        2 => b.unary(UnaryFn::Sqrt, safe)?,
        p => {
            let inverse = b.scalar(safe, 1.0 / p as f32)?;
            b.emit(Op::Binary(BinaryFn::Pow), &[safe, inverse])?
        }
    };
    let y = b.keep_where(some, root)?;
    b.done(&[y])
}

/// `(x [N,C·cells,windows], image shape, window shape) -> [N,C,image…]`: cells of windows added up where they lie, by a
/// transposed convolution with one-hot kernels.
pub(super) fn col2im(cx: &mut Cx) -> Told<Form> {
    let list = |numbers: Option<Vec<i64>>, what: &str| match numbers {
        Some(numbers) => numbers.into_iter().map(|n| sized(n, what)).collect::<Told<Vec<usize>>>(),
        None => malformed(format!("its {what} is missing")),
    };
    let image = list(cx.numbers(1, "image shape")?, "image shape")?;
    let kernel = list(cx.numbers(2, "window shape")?, "window shape")?;
    let axes = kernel.len();
    if image.len() != axes || axes == 0 || kernel.contains(&0) {
        return malformed("its windows do not fit its image");
    }
    let geometry = Geometry::read(cx, kernel, true)?;
    let (mut windows, mut output_padding) = (Vec::new(), Vec::new());
    for (i, &n) in image.iter().enumerate() {
        let (stride, room) = (geometry.strides[i], n.saturating_add(geometry.pads[i].0 + geometry.pads[i].1));
        let Some(rest) = room.checked_sub(geometry.extent(i)).filter(|_| stride > 0) else {
            return malformed("its windows do not fit its image");
        };
        windows.push(Dim::Fixed(rest / stride + 1));
        output_padding.push(rest % stride);
    }
    let Geometry { kernel, strides, dilations, pads, .. } = geometry;
    let mut b = Body::new(cx)?;
    let x = b.operand(0)?;
    let [n, _, _] = b.dims(x)?[..] else { return malformed("its operand has not three axes") };
    let Some(cells) = kernel.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) else {
        return malformed("its windows are too large");
    };
    let channels = b.size(x, 1)?;
    if channels % cells != 0 {
        return malformed(format!("{channels} channels do not make windows of {cells} cells"));
    }
    let rows = b.product(&[n, Dim::Fixed(channels / cells)])?;
    let columns = b.shaped(x, &[&[rows, Dim::Fixed(cells)], &windows[..]].concat())?;
    let hot = b.filled(x, &[&[cells, 1], &kernel[..]].concat(), |at| {
        let cell = at[2..].iter().zip(&kernel).fold(0, |cell, (i, k)| cell * k + i);
        if cell == at[0] { 1.0 } else { 0.0 }
    })?;
    let conv = Conv { strides, dilations, pads, groups: 1 };
    let y = b.emit(Op::ConvTranspose(ConvTranspose { conv, output_padding }), &[columns, hot])?;
    let image: Vec<Dim> = image.into_iter().map(Dim::Fixed).collect();
    let y = b.shaped(y, &[&[n, Dim::Fixed(channels / cells)], &image[..]].concat())?;
    b.done(&[y])
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
