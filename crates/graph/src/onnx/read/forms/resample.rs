//! Resampling as products with interpolation matrices: what [`Op::Resize`](crate::op::Op::Resize) does not say.

use super::resize::{nearest, scales};
use crate::emit::Emit;
use crate::graph::ValueId;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Told, malformed, not_modelled, sized};
use crate::op::{BinaryFn, NearestMode, Op};
use crate::shape::{Dim, Int};

/// At most this many cells are mixed along an axis, in all rows of its matrix together.
const MAX_MIXED: f64 = 16_777_216.0;

/// How the cells around a coordinate are mixed.
#[derive(Clone, Copy)]
enum Kernel {
    Nearest(NearestMode),
    /// `1 − |x|`, reaching one cell.
    Linear,
    /// Keys' cubic convolution (1981), equation 4, with that coefficient, reaching two cells.
    Cubic(f64),
}

/// One axis: `from` cells become `to`, whose coordinate grows by `1/scale`.
struct Axis {
    axis: usize,
    from: usize,
    to: usize,
    scale: f64,
    /// The part of the axis that is looked at.
    region: (f64, f64),
}

/// What the attributes say of all axes.
struct Sampling<'a> {
    kernel: Kernel,
    coordinates: &'a str,
    exclude_outside: bool,
    antialias: bool,
}

/// The node as a composite, where it is more than [`Op::Resize`]: cubic, smoothed, of other axes than an image's last
/// two, cropped, or keeping the aspect ratio.
pub(super) fn resample(cx: &mut Cx) -> Told<Option<Form>> {
    let mode = cx.attributes.string("mode")?.unwrap_or("nearest");
    let coordinates = cx.attributes.string("coordinate_transformation_mode")?.unwrap_or("half_pixel");
    let coefficient = cx.attributes.float("cubic_coeff_a")?.unwrap_or(-0.75);
    let outside = cx.attributes.float("extrapolation_value")?.unwrap_or(0.0);
    let exclude_outside = cx.attributes.flag("exclude_outside")?.unwrap_or(false);
    let rounding = nearest(cx)?; // PyTorch writes it for every mode
    let kernel = match mode {
        "nearest" => Kernel::Nearest(rounding),
        "linear" => Kernel::Linear,
        "cubic" => Kernel::Cubic(f64::from(coefficient)),
        other => return malformed(format!("its mode is {other:?}")),
    };
    let (mut antialias, mut policy, mut listed) = (false, "stretch", None);
    if cx.opset >= 18 {
        antialias = cx.attributes.flag("antialias")?.unwrap_or(false);
        policy = cx.attributes.string("keep_aspect_ratio_policy")?.unwrap_or("stretch");
        listed = cx.attributes.ints("axes")?;
    }
    let x = cx.shape(0)?;
    let axes = match listed {
        Some(listed) => listed.iter().map(|&a| cx.axis(a, x.rank())).collect::<Told<Vec<_>>>()?,
        None => (0..x.rank()).collect(),
    };
    let crops = coordinates == "tf_crop_and_resize";
    let region = if crops {
        match cx.reals(1) {
            Some(region) if region.len() == 2 * axes.len() => region,
            Some(_) => return malformed("its region does not fit the axes"),
            None => return not_modelled("its region is computed from data"),
        }
    } else {
        Vec::new()
    };
    let sizes = cx.known(3, "size")?.filter(|s| !s.is_empty());
    let told = if sizes.is_none() { scales(cx, 2)? } else { None };
    let mut list = Vec::new();
    for (i, &axis) in axes.iter().enumerate() {
        let region = if crops { (region[i], region[i + axes.len()]) } else { (0.0, 1.0) };
        let from = match (x.0[axis], &sizes, &told) {
            (Dim::Fixed(from), ..) => from,
            (dim, Some(sizes), _) if sizes.get(i) == Some(&Int::from(dim)) && region == (0.0, 1.0) => {
                continue;
            }
            (_, _, Some(told)) if told.get(i) == Some(&1.0) && region == (0.0, 1.0) => continue,
            _ => return not_modelled("it resamples the batch"),
        };
        let (to, scale) = match (&sizes, &told) {
            (Some(sizes), _) => {
                let Some(&size) = sizes.get(i).filter(|_| sizes.len() == axes.len()) else {
                    return malformed("its sizes do not fit the axes");
                };
                let Int::Lit(to) = size else { return not_modelled("a size depends on the batch") };
                let to = sized(to, "a size")?;
                (to, to as f64 / from.max(1) as f64)
            }
            (None, Some(told)) => {
                let Some(&scale) = told.get(i).filter(|_| told.len() == axes.len()) else {
                    return malformed("its scales do not fit the axes");
                };
                (sized((from as f32 * scale) as i64, "a size")?, f64::from(scale))
            }
            (None, None) => return malformed("it has neither sizes nor scales"),
        };
        list.push(Axis { axis, from, to, scale, region });
    }
    if policy != "stretch" && sizes.is_some() {
        let all = list.iter().map(|a| a.scale);
        let scale = match policy {
            "not_larger" => all.fold(f64::INFINITY, f64::min),
            "not_smaller" => all.fold(0.0, f64::max),
            other => return malformed(format!("keep_aspect_ratio_policy is {other:?}")),
        };
        for axis in &mut list {
            (axis.scale, axis.to) = (scale, (scale * axis.from as f64 + 0.5).floor() as usize);
        }
    }
    let image = x.rank() == 4 && list.iter().all(|a| a.axis >= 2 || (a.from == a.to && a.scale == 1.0));
    let plain = matches!(coordinates, "half_pixel" | "pytorch_half_pixel" | "align_corners" | "asymmetric");
    let simple = !matches!(kernel, Kernel::Cubic(_)) && !exclude_outside && !antialias && policy == "stretch";
    let sides = x.0.iter().skip(2).all(|d| d.fixed().is_some());
    if image && plain && simple && sides {
        return Ok(None);
    }
    if !plain && !crops && coordinates != "half_pixel_symmetric" {
        return malformed(format!("its coordinates are {coordinates:?}"));
    }
    if list.iter().any(|a| a.from == 0 || a.to == 0) {
        return not_modelled("it resamples nothing");
    }
    let sampling = Sampling { kernel, coordinates, exclude_outside, antialias };
    let mut b = Body::new(cx)?;
    let mut y = b.operand(0)?;
    let mut beyond: Option<ValueId> = None;
    for axis in list.iter().filter(|a| crops || a.from != a.to || a.scale != 1.0) {
        y = sampling.along(&mut b, y, axis)?;
        if crops {
            let mut dims = vec![1; x.rank()];
            dims[axis.axis] = axis.to;
            let out = b.mask(&dims, |at| {
                let source = sampling.source(axis, at[axis.axis]);
                source < 0.0 || source > axis.from as f64 - 1.0
            })?;
            beyond = Some(match beyond {
                Some(before) => b.emit(Op::Binary(BinaryFn::Or), &[before, out])?,
                None => out,
            });
        }
    }
    if let Some(beyond) = beyond {
        let value = b.scalar(y, outside)?;
        y = b.emit(Op::Where, &[beyond, value, y])?;
    }
    b.done(&[y]).map(Some)
}

impl Sampling<'_> {
    /// `x` times the matrix of an axis.
    fn along(&self, b: &mut Body, x: ValueId, axis: &Axis) -> Told<ValueId> {
        // A row holds as many cells as the kernel reaches.
        let width = 2.0 * self.reach(axis) + 2.0;
        if !(axis.scale > 0.0 && width * axis.to as f64 <= MAX_MIXED) {
            return not_modelled(format!("it resamples {} cells by {}", axis.from, axis.scale));
        }
        let rows: Vec<Vec<(usize, f64)>> = (0..axis.to).map(|i| self.row(axis, i)).collect();
        let matrix = b.filled(x, &[axis.from, axis.to], |at| {
            rows[at[1]].iter().filter(|(cell, _)| *cell == at[0]).map(|(_, w)| *w as f32).sum()
        })?;
        let rank = b.dims(x)?.len();
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(axis.axis, rank - 1);
        let moved = b.transpose(x, &perm)?;
        let mixed = b.matmul(moved, matrix)?;
        Ok(b.transpose(mixed, &perm)?)
    }

    /// The coordinate that cell `i` of the result looks at.
    fn source(&self, axis: &Axis, i: usize) -> f64 {
        let (i, n, m) = (i as f64, axis.from as f64, axis.to as f64);
        match self.coordinates {
            "align_corners" if axis.to == 1 => 0.0,
            "align_corners" => i * (n - 1.0) / (m - 1.0),
            "asymmetric" => i / axis.scale,
            "pytorch_half_pixel" if axis.to == 1 => 0.0,
            "half_pixel_symmetric" => {
                let offset = n / 2.0 * (1.0 - m / (axis.scale * n));
                offset + (i + 0.5) / axis.scale - 0.5
            }
            "tf_crop_and_resize" if axis.to == 1 => (axis.region.0 + axis.region.1) / 2.0 * (n - 1.0),
            "tf_crop_and_resize" => {
                let (start, end) = axis.region;
                start * (n - 1.0) + i * (end - start) * (n - 1.0) / (m - 1.0)
            }
            _ => (i + 0.5) / axis.scale - 0.5,
        }
    }

    /// Where it shrinks, a smoothing kernel is as much wider.
    fn squeeze(&self, axis: &Axis) -> f64 {
        if self.antialias { axis.scale.min(1.0) } else { 1.0 }
    }

    /// How far from its coordinate a cell of the result looks.
    fn reach(&self, axis: &Axis) -> f64 {
        let cells = if matches!(self.kernel, Kernel::Cubic(_)) { 2.0 } else { 1.0 };
        cells / self.squeeze(axis)
    }

    /// The cells that cell `i` of the result mixes; a cell may be listed more than once.
    fn row(&self, axis: &Axis, i: usize) -> Vec<(usize, f64)> {
        let source = self.source(axis, i);
        let last = axis.from as f64 - 1.0;
        let clamped = |x: f64| x.clamp(0.0, last) as usize;
        let weight: Box<dyn Fn(f64) -> f64> = match self.kernel {
            Kernel::Nearest(mode) => {
                let cell = match mode {
                    NearestMode::RoundPreferFloor => (source - 0.5).ceil(),
                    NearestMode::RoundPreferCeil => (source + 0.5).floor(),
                    NearestMode::Floor => source.floor(),
                    NearestMode::Ceil => source.ceil(),
                };
                return vec![(clamped(cell), 1.0)];
            }
            Kernel::Linear => Box::new(|x| (1.0 - x.abs()).max(0.0)),
            Kernel::Cubic(a) => Box::new(move |x| cubic(a, x.abs())),
        };
        let (squeeze, reach) = (self.squeeze(axis), self.reach(axis));
        let first = (source - reach).floor() as i64;
        let behind = (source + reach).ceil() as i64;
        let inside = |cell: f64| !self.exclude_outside || (0.0..=last).contains(&cell);
        let cells = (first..=behind).map(|c| c as f64).filter(|&c| inside(c));
        let mut row: Vec<(usize, f64)> =
            cells.map(|c| (clamped(c), weight((c - source) * squeeze))).filter(|(_, w)| *w != 0.0).collect();
        let sum: f64 = row.iter().map(|(_, w)| w).sum();
        if (self.exclude_outside || self.antialias) && sum != 0.0 {
            row.iter_mut().for_each(|(_, w)| *w /= sum);
        }
        row
    }
}

/// Keys' kernel: `(a+2)x³ − (a+3)x² + 1` up to 1, `ax³ − 5ax² + 8ax − 4a` up to 2.
fn cubic(a: f64, x: f64) -> f64 {
    match x {
        ..=1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        ..2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        _ => 0.0,
    }
}
