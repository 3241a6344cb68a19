//! Regions of an image, sampled into grids of their own.

use crate::emit::Emit;
use crate::graph::ValueId;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Told, malformed, not_modelled, sized};
use crate::op::{BinaryFn, CompareFn, Op, Range, ReduceKind, UnaryFn};
use crate::shape::Dim;
use crate::tensor::{DType, Tensor};

/// How boxes are cut into bins, and bins sampled.
#[derive(Clone, Copy)]
struct Bins {
    /// Bins along an axis.
    count: usize,
    /// Samples along an axis of a bin.
    samples: usize,
    /// Pixels of the image in a cell, inverted.
    scale: f32,
    /// Whether cells' centres lie at halves.
    half_pixel: bool,
}

/// `(x [N,C,H,W], boxes [R,4], images [R]) -> [R,C,h,w]`: each box `x₁,y₁,x₂,y₂` of its image cut into bins, and the
/// bilinear samples at regular places of a bin averaged, or the largest taken (He et al. 2017, arXiv 1703.06870, §3).
///
/// Boxes are held constant, as in other implementations: no signal goes back to what made them.
///
/// A `sampling_ratio` of 0, ONNX's default, asks for ⌈side / bins⌉ samples of each box, a number that no shape tells. It is
/// not modelled. Written out for the largest box, the samples of 1000 boxes on a pyramid's level of 200×336 cells and 256
/// channels would be 1000·200·336·256 floats, 69 GB. Two products by the weights of rows and of columns, which a mean allows,
/// hold 1000·7·336·256 floats between them, 2.4 GB, and as much again on the way back.
pub(super) fn roi_align(cx: &mut Cx) -> Told<Form> {
    let a = &cx.attributes;
    let largest = match a.string("mode")?.unwrap_or("avg") {
        "avg" => false,
        "max" => true,
        other => return malformed(format!("its mode is {other:?}")),
    };
    let stated = if cx.opset >= 16 { Some(a.string("coordinate_transformation_mode")?) } else { None };
    let half_pixel = match stated.map(|s| s.unwrap_or("half_pixel")) {
        Some("half_pixel") => true,
        None | Some("output_half_pixel") => false,
        Some(other) => return malformed(format!("coordinate_transformation_mode is {other:?}")),
    };
    let samples = sized(a.int("sampling_ratio")?.unwrap_or(0), "sampling_ratio")?;
    let rows = sized(a.int("output_height")?.unwrap_or(1), "output_height")?;
    let columns = sized(a.int("output_width")?.unwrap_or(1), "output_width")?;
    let scale = a.float("spatial_scale")?.unwrap_or(1.0);
    if samples == 0 {
        return not_modelled(
            "its sampling_ratio is 0, so the number of its samples depends on the boxes; set it to another, such as 2, which \
             changes the scores a little",
        );
    }
    let mut b = Body::new(cx)?;
    let (x, boxes, images) = (b.operand(0)?, b.operand(1)?, b.operand(2)?);
    let [n, channels, ..] = b.dims(x)?[..] else { return malformed("its operand is no image") };
    let [count, Dim::Fixed(4)] = b.dims(boxes)?[..] else {
        return malformed("its boxes have not four sides");
    };
    if b.dims(x)?.len() != 4 || b.dims(images)? != [count] {
        return malformed("its operands do not fit");
    }
    let (height, width) = (b.size(x, 2)?, b.size(x, 3)?);
    if height == 0 || width == 0 {
        return malformed("its image has no cells");
    }
    let boxes = b.unary(UnaryFn::Hold, boxes)?;
    let bins = |count| Bins { count, samples, scale, half_pixel };
    let down = along(&mut b, boxes, 1, height, bins(rows))?;
    let across = along(&mut b, boxes, 0, width, bins(columns))?;
    // The cells of all images one after the other, channels last: [N·H·W, C].
    let cells = b.product(&[n, Dim::Fixed(height), Dim::Fixed(width)])?;
    let last = b.transpose(x, &[0, 2, 3, 1])?;
    let flat = b.shaped(last, &[cells, channels])?;
    let image = b.cast(images, DType::I64)?;
    let image = b.emit(Op::Unsqueeze { axes: vec![1] }, &[image])?;
    let [tall, wide] = [height, width].map(|n| Tensor::i64(&[], &[n as i64]));
    let (tall, wide) = (b.constant(tall?), b.constant(wide?));
    let first = b.mul(image, tall)?;
    let mut whole: Option<ValueId> = None;
    for (row, row_weight) in down {
        let row = b.add(first, row)?;
        let row = b.mul(row, wide)?;
        let row = b.emit(Op::Unsqueeze { axes: vec![2] }, &[row])?;
        let row_weight = b.emit(Op::Unsqueeze { axes: vec![2, 3] }, &[row_weight])?;
        for &(column, weight) in &across {
            let column = b.emit(Op::Unsqueeze { axes: vec![1] }, &[column])?;
            let weight = b.emit(Op::Unsqueeze { axes: vec![1, 3] }, &[weight])?;
            let at = b.add(row, column)?;
            let at = b.emit(Op::Unsqueeze { axes: vec![3] }, &[at])?;
            let seen = b.emit(Op::GatherNd { batch: 0 }, &[flat, at])?;
            let weight = b.mul(row_weight, weight)?;
            let part = b.mul(seen, weight)?;
            whole = Some(match whole {
                None => part,
                // The largest of what is mixed, each weighed, not of the mixtures.
                Some(before) if largest => b.emit(Op::Binary(BinaryFn::Max), &[before, part])?,
                Some(before) => b.add(before, part)?,
            });
        }
    }
    let Some(whole) = whole else { return malformed("it has no samples") };
    let [rows, columns, samples] = [rows, columns, samples].map(Dim::Fixed);
    let split = b.shaped(whole, &[count, rows, samples, columns, samples, channels])?;
    let kind = if largest { ReduceKind::Max } else { ReduceKind::Mean };
    let y = b.emit(Op::Reduce { kind, axes: vec![2, 4], keep: false }, &[split])?;
    let y = b.transpose(y, &[0, 3, 1, 2])?;
    b.done(&[y])
}

/// The two cells that are mixed at each of a box's samples along an axis of `size` cells, with their weights, as
/// `[R, samples]`; `side` is the place of the axis among a box's coordinates.
fn along(b: &mut Body, boxes: ValueId, side: i64, size: usize, bins: Bins) -> Told<[(ValueId, ValueId); 2]> {
    let mut ends = [boxes; 2];
    for (end, column) in ends.iter_mut().zip([side, side + 2]) {
        let range = Range { axis: 1, start: column, end: column + 1, step: 1 };
        *end = b.emit(Op::Slice(vec![range]), &[boxes])?;
        *end = b.scale(*end, bins.scale)?;
        if bins.half_pixel {
            *end = b.shift(*end, -0.5)?;
        }
    }
    let mut length = b.sub(ends[1], ends[0])?;
    if !bins.half_pixel {
        length = b.unary(UnaryFn::Clip { min: 1.0, max: f32::INFINITY }, length)?;
    }
    // Samples lie in the middle of equal parts of a box.
    let parts = bins.count.saturating_mul(bins.samples);
    let middles = b.filled(length, &[1, parts], |at| (at[1] as f32 + 0.5) / parts as f32)?;
    let place = b.mul(length, middles)?;
    let place = b.add(ends[0], place)?;
    // More than a cell beyond the first centre, or at the edge behind the last, there is nothing.
    let low = b.compare(place, CompareFn::GreaterOrEqual, -1.0)?;
    let high = b.compare(place, CompareFn::LessOrEqual, size as f32)?;
    let inside = b.emit(Op::Binary(BinaryFn::And), &[low, high])?;
    let place = b.unary(UnaryFn::Clip { min: 0.0, max: size as f32 - 1.0 }, place)?;
    let first = b.unary(UnaryFn::Floor, place)?;
    let second = b.shift(first, 1.0)?;
    let second = b.unary(UnaryFn::Clip { min: 0.0, max: size as f32 - 1.0 }, second)?;
    let to_second = b.sub(place, first)?;
    let to_first = b.scale(to_second, -1.0)?;
    let to_first = b.shift(to_first, 1.0)?;
    let mut taps = [(first, to_first), (second, to_second)];
    for (cell, weight) in &mut taps {
        *cell = b.emit(Op::Cast(DType::I64), &[*cell])?;
        *weight = b.keep_where(inside, *weight)?;
    }
    Ok(taps)
}
