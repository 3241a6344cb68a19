//! Resampling.

use super::resample;
use crate::onnx::read::node::{Cx, Form, Told, malformed, not_modelled, sized};
use crate::op::{Coordinates, NearestMode, Op, Resize, ResizeMode};
use crate::shape::{Dim, Int};

pub(super) fn resize(cx: &mut Cx) -> Told<Form> {
    if cx.opset < 11 {
        return upsample(cx);
    }
    if let Some(form) = resample::resample(cx)? {
        return Ok(form);
    }
    let mode = cx.attributes.string("mode")?.unwrap_or("nearest");
    let coordinates = coordinates(cx)?;
    let nearest = nearest(cx)?;
    let mode = match mode {
        "nearest" => ResizeMode::Nearest(nearest),
        _ => ResizeMode::Linear,
    };
    let mut axes: Vec<usize> = (0..4).collect();
    if cx.opset >= 18
        && let Some(listed) = cx.attributes.ints("axes")?
    {
        let rank = cx.rank(0)?;
        axes = listed.iter().map(|&a| cx.axis(a, rank)).collect::<Told<_>>()?;
    }
    finish(cx, 2, Some(3), &axes, mode, coordinates)
}

pub(super) fn nearest(cx: &Cx) -> Told<NearestMode> {
    Ok(match cx.attributes.string("nearest_mode")?.unwrap_or("round_prefer_floor") {
        "round_prefer_floor" => NearestMode::RoundPreferFloor,
        "round_prefer_ceil" => NearestMode::RoundPreferCeil,
        "floor" => NearestMode::Floor,
        "ceil" => NearestMode::Ceil,
        other => return malformed(format!("nearest_mode is {other:?}")),
    })
}

fn coordinates(cx: &Cx) -> Told<Coordinates> {
    Ok(match cx.attributes.string("coordinate_transformation_mode")?.unwrap_or("half_pixel") {
        "half_pixel" => Coordinates::HalfPixel,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        other => return not_modelled(format!("its coordinates are {other:?}")),
    })
}

/// Upsample, and Resize before version 11.
pub(super) fn upsample(cx: &mut Cx) -> Told<Form> {
    let mode = match cx.attributes.string("mode")?.unwrap_or("nearest") {
        "nearest" => {
            let scales = scales(cx, 1)?.unwrap_or_default();
            // Larger: the cell before. Smaller: the cell behind, as ONNX Runtime has it.
            match (scales.iter().all(|&s| s >= 1.0), scales.iter().all(|&s| s <= 1.0)) {
                (true, _) => ResizeMode::Nearest(NearestMode::Floor),
                (_, true) => ResizeMode::Nearest(NearestMode::Ceil),
                _ => return not_modelled("it makes one side longer and another shorter"),
            }
        }
        "linear" | "bilinear" => ResizeMode::Linear,
        other => return not_modelled(format!("its mode is {other:?}")),
    };
    finish(cx, 1, None, &[0, 1, 2, 3], mode, Coordinates::Asymmetric)
}

/// The scales, from an operand or, before version 9, an attribute.
pub(super) fn scales(cx: &Cx, index: usize) -> Told<Option<Vec<f32>>> {
    if cx.opset < 9 {
        return Ok(cx.attributes.floats("scales")?.map(<[f32]>::to_vec));
    }
    if cx.input(index).is_none() {
        return Ok(None);
    }
    match cx.reals(index) {
        Some(scales) => {
            Ok(Some(scales.iter().map(|&s| s as f32).collect()).filter(|s: &Vec<f32>| !s.is_empty()))
        }
        None => not_modelled("its scales are computed from data"),
    }
}

/// Only the last two of four axes may change.
fn finish(
    cx: &mut Cx,
    scales_at: usize,
    sizes_at: Option<usize>,
    axes: &[usize],
    mode: ResizeMode,
    coordinates: Coordinates,
) -> Told<Form> {
    let x = cx.shape(0)?;
    let [_, _, Dim::Fixed(h), Dim::Fixed(w)] = x.0[..] else {
        return not_modelled(format!("it resamples {x}"));
    };
    let sizes = match sizes_at {
        Some(at) => cx.known(at, "size")?.filter(|s| !s.is_empty()),
        None => None,
    };
    let (mut size, mut stated) = ([h, w], None);
    if let Some(sizes) = sizes {
        if sizes.len() != axes.len() {
            return malformed("its sizes do not fit the axes");
        }
        for (&axis, &n) in axes.iter().zip(&sizes) {
            match (axis, n) {
                (2 | 3, Int::Lit(n)) => size[axis - 2] = sized(n, "a size")?,
                (_, n) if Int::from(x.0[axis]) == n => {}
                _ => return not_modelled("it resamples batch or channels"),
            }
        }
    } else if let Some(scales) = scales(cx, scales_at)? {
        if scales.len() != axes.len() {
            return malformed("its scales do not fit the axes");
        }
        let mut spatial = [1.0; 2];
        for (&axis, &s) in axes.iter().zip(&scales) {
            match axis {
                2 | 3 => {
                    spatial[axis - 2] = s;
                    size[axis - 2] = sized((size[axis - 2] as f32 * s) as i64, "a size")?;
                }
                _ if s == 1.0 => {}
                _ => return not_modelled("it resamples batch or channels"),
            }
        }
        let plain = [ratio(size[0], h), ratio(size[1], w)];
        stated = Some(spatial).filter(|s| *s != plain);
    } else {
        return malformed("it has neither sizes nor scales");
    }
    cx.on_first(Op::Resize(Resize { mode, coordinates, size, scales: stated }))
}

fn ratio(to: usize, from: usize) -> f32 {
    to as f32 / from as f32
}
