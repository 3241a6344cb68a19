//! Convolutions and matrix products.

use crate::onnx::read::node::{Cx, Form, Refusal, Told, malformed, not_modelled, sized};
use crate::op::{Conv, ConvTranspose, Gemm, Op};
use crate::shape::Shape;

/// How the `auto_pad` attribute pads.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum AutoPad {
    NotSet,
    Valid,
    /// As many windows as `ceil(size / stride)`; `upper` puts an odd cell behind.
    Same {
        upper: bool,
    },
}

/// The attributes that convolutions and pools share; one entry per spatial axis.
pub(super) struct Geometry {
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    pub pads: Vec<(usize, usize)>,
    pub auto_pad: AutoPad,
}

impl Geometry {
    /// Reads the attributes, for windows of size `kernel`.
    pub fn read(cx: &Cx, kernel: Vec<usize>, dilated: bool) -> Told<Geometry> {
        let axes = kernel.len();
        let dilations = if dilated { ones(cx, "dilations", axes)? } else { vec![1; axes] };
        let auto_pad = match cx.attributes.string("auto_pad")? {
            None | Some("" | "NOTSET") => AutoPad::NotSet,
            Some("VALID") => AutoPad::Valid,
            Some("SAME_UPPER") => AutoPad::Same { upper: true },
            Some("SAME_LOWER") => AutoPad::Same { upper: false },
            Some(other) => return malformed(format!("auto_pad is {other:?}")),
        };
        let pads = sizes(cx, "pads", 2 * axes)?.unwrap_or_else(|| vec![0; 2 * axes]);
        let pads = match auto_pad {
            AutoPad::NotSet => (0..axes).map(|i| (pads[i], pads[i + axes])).collect(),
            _ => vec![(0, 0); axes],
        };
        Ok(Geometry { strides: ones(cx, "strides", axes)?, kernel, dilations, pads, auto_pad })
    }

    /// Cells from the first to the last of a window.
    pub fn extent(&self, axis: usize) -> usize {
        self.kernel[axis].saturating_sub(1).saturating_mul(self.dilations[axis]).saturating_add(1)
    }

    /// Replaces `auto_pad` by the padding it comes to on `x`.
    pub fn resolve(&mut self, x: &Shape) -> Told<()> {
        let AutoPad::Same { upper } = self.auto_pad else { return Ok(()) };
        for (axis, n) in spatial(x, self.kernel.len())?.into_iter().enumerate() {
            let stride = self.strides[axis];
            let Some(steps) = n.div_ceil(stride.max(1)).checked_sub(1) else {
                return malformed(format!("{x} has no cells"));
            };
            let total = (steps * stride + self.extent(axis)).saturating_sub(n);
            self.pads[axis] = halves(total, upper);
        }
        Ok(())
    }
}

/// An amount of padding, before and behind; an odd cell goes behind where `upper`.
fn halves(total: usize, upper: bool) -> (usize, usize) {
    let (less, more) = (total / 2, total.div_ceil(2));
    if upper { (less, more) } else { (more, less) }
}

/// The sizes of the spatial axes.
pub(super) fn spatial(x: &Shape, axes: usize) -> Told<Vec<usize>> {
    if x.rank() != axes + 2 {
        return malformed(format!("{x} does not have {axes} spatial axes"));
    }
    let sizes = x.0[2..].iter().map(|d| d.fixed()).collect::<Option<_>>();
    sizes.ok_or_else(|| Refusal::NotModelled(format!("a spatial axis of {x} depends on the batch size")))
}

/// A list of `count` sizes, if it is given.
pub(super) fn sizes(cx: &Cx, name: &str, count: usize) -> Told<Option<Vec<usize>>> {
    let Some(list) = cx.attributes.ints(name)? else { return Ok(None) };
    if list.len() != count {
        return malformed(format!("{name} has {} numbers instead of {count}", list.len()));
    }
    list.iter().map(|&n| sized(n, name)).collect::<Told<_>>().map(Some)
}

fn ones(cx: &Cx, name: &str, count: usize) -> Told<Vec<usize>> {
    Ok(sizes(cx, name, count)?.unwrap_or_else(|| vec![1; count]))
}

/// The kernel of the weights, which the attribute may state again.
fn kernel(cx: &Cx) -> Told<Vec<usize>> {
    let weights = cx.shape(1)?;
    let Some(dims) = weights.to_fixed().filter(|dims| dims.len() >= 3) else {
        return malformed(format!("weights of shape {weights}"));
    };
    let kernel = dims[2..].to_vec();
    match sizes(cx, "kernel_shape", kernel.len())? {
        Some(told) if told != kernel => {
            malformed(format!("kernel_shape is {told:?}, but the weights are {weights}"))
        }
        _ => Ok(kernel),
    }
}

fn groups(cx: &Cx) -> Told<usize> {
    sized(cx.attributes.int("group")?.unwrap_or(1), "group")
}

pub(super) fn conv(cx: &mut Cx) -> Told<Form> {
    let mut geometry = Geometry::read(cx, kernel(cx)?, true)?;
    geometry.resolve(&cx.shape(0)?)?;
    let Geometry { strides, dilations, pads, .. } = geometry;
    cx.plain(Op::Conv(Conv { strides, dilations, pads, groups: groups(cx)? }))
}

pub(super) fn conv_transpose(cx: &mut Cx) -> Told<Form> {
    let mut geometry = Geometry::read(cx, kernel(cx)?, true)?;
    let axes = geometry.kernel.len();
    let mut output_padding = sizes(cx, "output_padding", axes)?.unwrap_or_else(|| vec![0; axes]);
    let output_shape = sizes(cx, "output_shape", axes)?;
    if output_shape.is_some() || matches!(geometry.auto_pad, AutoPad::Same { .. }) {
        for (axis, n) in spatial(&cx.shape(0)?, axes)?.into_iter().enumerate() {
            let stride = geometry.strides[axis];
            let wanted = output_shape.as_ref().map_or(n.saturating_mul(stride), |w| w[axis]);
            let full = n.saturating_sub(1).saturating_mul(stride).saturating_add(geometry.extent(axis));
            let full = full.saturating_add(output_padding[axis]);
            if wanted > full && output_shape.is_none() {
                return not_modelled("engines disagree on automatic padding where windows do not touch");
            }
            // A result that is larger than all windows together grows at its end.
            output_padding[axis] += wanted.saturating_sub(full);
            let same_upper = geometry.auto_pad == AutoPad::Same { upper: true };
            geometry.pads[axis] = halves(full.saturating_sub(wanted), same_upper);
        }
    }
    let Geometry { strides, dilations, pads, .. } = geometry;
    let conv = Conv { strides, dilations, pads, groups: groups(cx)? };
    cx.plain(Op::ConvTranspose(ConvTranspose { conv, output_padding }))
}

pub(super) fn gemm(cx: &mut Cx) -> Told<Form> {
    let a = &cx.attributes;
    let gemm = Gemm {
        alpha: a.float("alpha")?.unwrap_or(1.0),
        beta: a.float("beta")?.unwrap_or(1.0),
        trans_a: a.flag("transA")?.unwrap_or(false),
        trans_b: a.flag("transB")?.unwrap_or(false),
    };
    cx.plain(Op::Gemm(gemm))
}
