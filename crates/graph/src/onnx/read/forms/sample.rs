//! Images sampled at computed places.

use crate::emit::Emit;
use crate::error::Result;
use crate::graph::ValueId;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Told, malformed, not_modelled, sized};
use crate::op::{BinaryFn, CompareFn, Op, UnaryFn};
use crate::shape::Dim;
use crate::tensor::{DType, Tensor};

/// How the cells around a place are mixed.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// What lies outside the image.
#[derive(Clone, Copy, PartialEq)]
enum Outside {
    Zeros,
    Border,
    Reflection,
}

/// The cells that lie around all places along one axis, one at a time: which, with what weight.
struct Tap {
    cell: ValueId,
    weight: Option<ValueId>,
}

/// `(x [N,C,spatial…], grid [N,places…,axes]) -> [N,C,places…]`; the grid tells the last axis of `x` first, from −1 to 1
/// over cells' edges, or their centres where corners are aligned.
pub(super) fn grid_sample(cx: &mut Cx) -> Told<Form> {
    let mode = match cx.attributes.string("mode")?.unwrap_or("linear") {
        "nearest" => Mode::Nearest,
        "linear" | "bilinear" => Mode::Linear,
        "cubic" | "bicubic" => Mode::Cubic,
        other => return malformed(format!("its mode is {other:?}")),
    };
    let outside = match cx.attributes.string("padding_mode")?.unwrap_or("zeros") {
        "zeros" => Outside::Zeros,
        "border" => Outside::Border,
        "reflection" => Outside::Reflection,
        other => return malformed(format!("padding_mode is {other:?}")),
    };
    let corners = cx.attributes.flag("align_corners")?.unwrap_or(false);
    let mut b = Body::new(cx)?;
    let (x, grid) = (b.operand(0)?, b.operand(1)?);
    let (from, to) = (b.dims(x)?, b.dims(grid)?);
    let axes = from.len().saturating_sub(2);
    if axes == 0 || to.len() != from.len() || to[axes + 1] != Dim::Fixed(axes) || to[0] != from[0] {
        return malformed("its grid does not fit the image");
    }
    if axes > 3 {
        return not_modelled("it samples more than three axes");
    }
    let sizes = (0..axes).map(|i| b.size(x, i + 2)).collect::<Told<Vec<_>>>()?;
    if sizes.contains(&0) {
        return not_modelled("it samples nothing");
    }
    // The cells one after the other, channels last: [N, cells, C].
    let cells = sizes.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).map_or(Dim::Fixed(0), Dim::Fixed);
    let flat = b.shaped(x, &[from[0], from[1], cells])?;
    let flat = b.transpose(flat, &[0, 2, 1])?;
    let mut taps = Vec::new();
    for (axis, &size) in sizes.iter().enumerate() {
        let place = b.nth(grid, axes + 1, axes - 1 - axis)?;
        let place = to_cells(&mut b, place, size, corners)?;
        taps.push(along(&mut b, place, size, mode, outside, corners)?);
    }
    let mut sum: Option<ValueId> = None;
    let counts: Vec<usize> = taps.iter().map(Vec::len).collect();
    for index in 0..counts.iter().product::<usize>() {
        let (mut rest, mut at, mut weight) = (index, None::<ValueId>, None::<ValueId>);
        for ((axis, &size), taps) in sizes.iter().enumerate().zip(&taps) {
            let tap = &taps[rest % counts[axis]];
            rest /= counts[axis];
            at = Some(match at {
                None => tap.cell,
                Some(before) => {
                    let width = b.constant(Tensor::i64(&[], &[size as i64])?);
                    let rows = b.mul(before, width)?;
                    b.add(rows, tap.cell)?
                }
            });
            weight = match (weight, tap.weight) {
                (Some(a), Some(c)) => Some(b.mul(a, c)?),
                (a, c) => a.or(c),
            };
        }
        let Some(at) = at else { continue };
        let at = b.emit(Op::Unsqueeze { axes: vec![axes + 1] }, &[at])?;
        let mut part = b.emit(Op::GatherNd { batch: 1 }, &[flat, at])?;
        if let Some(weight) = weight {
            let weight = b.emit(Op::Unsqueeze { axes: vec![axes + 1] }, &[weight])?;
            part = b.mul(part, weight)?;
        }
        sum = Some(match sum {
            Some(before) => b.add(before, part)?,
            None => part,
        });
    }
    let Some(sum) = sum else { return not_modelled("it samples nothing") };
    let perm: Vec<usize> = [0, axes + 1].into_iter().chain(1..=axes).collect();
    let y = b.transpose(sum, &perm)?;
    b.done(&[y])
}

/// `(theta [N,axes,axes+1], size) -> [N,places…,axes]`: `theta · (x, y, …, 1)` at every cell of an image of that size,
/// from −1 to 1 over cells' edges, or their centres where corners are aligned (Jaderberg et al. 2015, equation 1).
pub(super) fn affine_grid(cx: &mut Cx) -> Told<Form> {
    let corners = cx.attributes.flag("align_corners")?.unwrap_or(false);
    let Some(size) = cx.numbers(1, "size")? else { return malformed("its size is missing") };
    let places = size.iter().skip(2).map(|&n| sized(n, "its size")).collect::<Told<Vec<usize>>>()?;
    let mut b = Body::new(cx)?;
    let theta = b.operand(0)?;
    let axes = places.len();
    let [n, rows, columns] = b.dims(theta)?[..] else {
        return malformed("its operand is no batch of matrices");
    };
    if axes == 0 || rows != Dim::Fixed(axes) || columns != Dim::Fixed(axes + 1) {
        return malformed("its matrices do not fit its size");
    }
    let at = |cell: usize, size: usize| match corners {
        true if size < 2 => 0.0,
        true => 2.0 * cell as f32 / (size - 1) as f32 - 1.0,
        false => (2 * cell + 1) as f32 / size as f32 - 1.0,
    };
    // One row per place: its coordinates, the last axis first, and 1.
    let all = [&places[..], &[axes + 1]].concat();
    let line = b.filled(theta, &all, |index| match axes.checked_sub(index[axes] + 1) {
        Some(axis) => at(index[axis], places[axis]),
        None => 1.0,
    })?;
    let cells = b.product(&places.iter().map(|&d| Dim::Fixed(d)).collect::<Vec<_>>())?;
    let line = b.shaped(line, &[cells, Dim::Fixed(axes + 1)])?;
    let turned = b.transpose(theta, &[0, 2, 1])?;
    let grid = b.matmul(line, turned)?;
    let to: Vec<Dim> = [n].into_iter().chain(places.into_iter().chain([axes]).map(Dim::Fixed)).collect();
    let y = b.shaped(grid, &to)?;
    b.done(&[y])
}

/// From −1 … 1 to cells, the first of which is 0.
fn to_cells(b: &mut Body, place: ValueId, size: usize, corners: bool) -> Result<ValueId> {
    let wide = if corners { size as f32 - 1.0 } else { size as f32 };
    let shifted = b.shift(place, 1.0)?;
    let scaled = b.scale(shifted, wide / 2.0)?;
    if corners { Ok(scaled) } else { b.shift(scaled, -0.5) }
}

/// Brought inside, where it is not zero outside.
fn inside(b: &mut Body, x: ValueId, size: usize, outside: Outside, corners: bool) -> Result<ValueId> {
    let last = size as f32 - 1.0;
    let x = match outside {
        Outside::Reflection if last > 0.0 || !corners => {
            // Mirrored at the outermost centres, or at the edges: period twice the width.
            let (low, wide) = if corners { (0.0, last) } else { (-0.5, size as f32) };
            let from_low = b.shift(x, -low)?;
            let far = b.unary(UnaryFn::Abs, from_low)?;
            let turns = b.scale(far, 0.5 / wide)?;
            let turns = b.unary(UnaryFn::Floor, turns)?;
            let turns = b.scale(turns, 2.0 * wide)?;
            let phase = b.sub(far, turns)?;
            let back = b.scale(phase, -1.0)?;
            let back = b.shift(back, 2.0 * wide)?;
            let folded = b.emit(Op::Binary(BinaryFn::Min), &[phase, back])?;
            b.shift(folded, low)?
        }
        _ => x,
    };
    b.unary(UnaryFn::Clip { min: 0.0, max: last }, x)
}

/// The cells that are mixed along an axis of `size` cells at each place.
fn along(
    b: &mut Body,
    place: ValueId,
    size: usize,
    mode: Mode,
    outside: Outside,
    corners: bool,
) -> Result<Vec<Tap>> {
    // A cubic kernel looks at cells that are brought inside each for itself.
    let place = match (mode, outside) {
        (Mode::Cubic, _) | (_, Outside::Zeros) => place,
        _ => inside(b, place, size, outside, corners)?,
    };
    let offsets: &[f32] = match mode {
        Mode::Nearest => &[0.0],
        Mode::Linear => &[0.0, 1.0],
        Mode::Cubic => &[-1.0, 0.0, 1.0, 2.0],
    };
    let first = b.unary(if mode == Mode::Nearest { UnaryFn::Round } else { UnaryFn::Floor }, place)?;
    let beyond = b.sub(place, first)?;
    let mut taps = Vec::new();
    for &offset in offsets {
        let mut cell = if offset == 0.0 { first } else { b.shift(first, offset)? };
        let away = b.shift(beyond, -offset)?;
        let away = b.unary(UnaryFn::Abs, away)?;
        let mut weight = match mode {
            Mode::Nearest => None,
            Mode::Linear => {
                let back = b.scale(away, -1.0)?;
                Some(b.shift(back, 1.0)?)
            }
            Mode::Cubic => Some(cubic(b, away, (-0.5..1.5).contains(&offset))?),
        };
        if outside == Outside::Zeros {
            let low = b.compare(cell, CompareFn::GreaterOrEqual, 0.0)?;
            let high = b.compare(cell, CompareFn::LessOrEqual, size as f32 - 1.0)?;
            let both = b.emit(Op::Binary(BinaryFn::And), &[low, high])?;
            let whole = match weight {
                Some(weight) => weight,
                None => b.scalar(cell, 1.0)?,
            };
            weight = Some(b.keep_where(both, whole)?);
        }
        cell = inside(b, cell, size, outside, corners)?;
        taps.push(Tap { cell: b.emit(Op::Cast(DType::I64), &[cell])?, weight });
    }
    Ok(taps)
}

/// Keys' cubic kernel with the coefficient −3/4, at distances up to 1 (`near`) or from 1 to 2.
fn cubic(b: &mut Body, x: ValueId, near: bool) -> Result<ValueId> {
    const A: f32 = -0.75;
    let [c3, c2, c1, c0] =
        if near { [A + 2.0, -(A + 3.0), 0.0, 1.0] } else { [A, -5.0 * A, 8.0 * A, -4.0 * A] };
    let mut y = b.scale(x, c3)?;
    for c in [c2, c1] {
        y = b.shift(y, c)?;
        y = b.mul(y, x)?;
    }
    b.shift(y, c0)
}
