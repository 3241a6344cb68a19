//! Rules of ops that move, drop or repeat cells: their transposed linear maps.

use super::Sweep;
use super::rules::Sent;
use crate::emit::{Emit, size_of};
use crate::error::{Error, Result};
use crate::graph::{Node, ValueId};
use crate::op::{CompareFn, Coordinates, DepthMode, NearestMode, Op, PadMode, Range, Resize, ResizeMode};
use crate::shape::{Dim, Shape};
use crate::tensor::{DType, Tensor};

pub(super) fn same_elements(s: &mut Sweep<'_>, node: &Node, g: ValueId) -> Result<ValueId> {
    let shape = s.shape(node.input(0)?)?;
    s.reshape(g, shape)
}

pub(super) fn transpose(s: &mut Sweep<'_>, perm: &[usize], g: ValueId) -> Result<ValueId> {
    let mut back = vec![0; perm.len()];
    for (i, &p) in perm.iter().enumerate() {
        back[p] = i;
    }
    s.transpose(g, &back)
}

pub(super) fn concat(
    s: &mut Sweep<'_>,
    node: &Node,
    axis: usize,
    g: ValueId,
    wanted: &[bool],
) -> Result<Sent> {
    let mut sent = Vec::new();
    let mut start = 0;
    for (i, &wanted) in wanted.iter().enumerate() {
        let size = size_of(&s.shape(node.input(i)?)?, axis)?;
        let range = Range { axis, start, end: start + size, step: 1 };
        start += size;
        sent.push(if wanted { Some(s.emit(Op::Slice(vec![range]), &[g])?) } else { None });
    }
    Ok(sent)
}

/// The signals of the pieces side by side; pieces without one are zero.
pub(super) fn split(
    s: &mut Sweep<'_>,
    node: &Node,
    axis: usize,
    sizes: &[usize],
    arrived: &[Option<ValueId>],
) -> Result<Sent> {
    if let Some(all) = arrived.iter().copied().collect::<Option<Vec<_>>>() {
        return Ok(vec![Some(s.emit(Op::Concat { axis }, &all)?)]);
    }
    let total = size_of(&s.shape(node.input(0)?)?, axis)?;
    let mut sum: Option<ValueId> = None;
    let mut start = 0;
    for (&size, signal) in sizes.iter().zip(arrived) {
        let end = start + size as i64;
        if let Some(signal) = *signal {
            let wide = s.fit(signal, axis, start, total - end)?;
            sum = Some(match sum {
                Some(before) => s.add(before, wide)?,
                None => wide,
            });
        }
        start = end;
    }
    Ok(vec![sum])
}

pub(super) fn slice(s: &mut Sweep<'_>, node: &Node, ranges: &[Range], g: ValueId) -> Result<ValueId> {
    let shape = s.shape(node.input(0)?)?;
    let mut g = g;
    for r in ranges {
        let total = size_of(&shape, r.axis)?;
        let count = size_of(&s.shape(g)?, r.axis)?;
        let mut first = r.start;
        if r.step < 0 {
            let flip = Range { axis: r.axis, start: count - 1, end: -1, step: -1 };
            g = s.emit(Op::Slice(vec![flip]), &[g])?;
            first = r.start + (count - 1) * r.step;
        }
        let step = r.step.unsigned_abs() as usize;
        g = s.spread(g, r.axis, step)?;
        g = s.fit(g, r.axis, first, total - first - count * step as i64)?;
    }
    Ok(g)
}

pub(super) fn pad(
    s: &mut Sweep<'_>,
    node: &Node,
    mode: PadMode,
    before: &[i64],
    after: &[i64],
    g: ValueId,
) -> Result<ValueId> {
    let shape = s.shape(node.input(0)?)?;
    let mut g = g;
    for axis in 0..before.len() {
        if (before[axis], after[axis]) == (0, 0) {
            continue;
        }
        if mode == PadMode::Constant {
            g = s.fit(g, axis, -before[axis], -after[axis])?;
            continue;
        }
        let n = size_of(&shape, axis)?;
        let m = n + before[axis] + after[axis];
        let source = |i: i64| match (mode, i - before[axis]) {
            (PadMode::Reflect, j) if j < 0 => -j,
            (PadMode::Reflect, j) if j >= n => 2 * (n - 1) - j,
            (_, j) => j.clamp(0, n - 1),
        };
        let rows = (0..m).map(|i| vec![(source(i) as usize, 1.0)]).collect::<Vec<_>>();
        g = transposed_map(s, g, axis, n as usize, &rows)?;
    }
    Ok(g)
}

/// Sends a signal back through a linear map along one axis: output cell `i` is the weighted sum `rows[i]` of input cells.
fn transposed_map(
    s: &mut Sweep<'_>,
    g: ValueId,
    axis: usize,
    n: usize,
    rows: &[Vec<(usize, f32)>],
) -> Result<ValueId> {
    let mut matrix = vec![0.0; rows.len() * n];
    for (i, row) in rows.iter().enumerate() {
        for &(j, weight) in row {
            matrix[i * n + j] += weight;
        }
    }
    let matrix = s.floats(g, &[rows.len(), n], &matrix)?;
    times_along(s, g, axis, matrix)
}

/// `g · matrix` along one axis: the axis is moved last, multiplied, and moved back.
fn times_along(s: &mut Sweep<'_>, g: ValueId, axis: usize, matrix: ValueId) -> Result<ValueId> {
    let rank = s.shape(g)?.rank();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(axis, rank - 1);
    let moved = s.transpose(g, &perm)?;
    let moved = s.matmul(moved, matrix)?;
    s.transpose(moved, &perm)
}

/// Up to this many cells, a matrix of zeros and ones sends a signal back to where it was gathered.
const ONE_HOT: usize = 1 << 20;

/// Adds signals to the cells of one axis that they were gathered from: the axis is moved to the front.
fn scatter_along(
    s: &mut Sweep<'_>,
    shape: &Shape,
    axis: usize,
    indices: ValueId,
    g: ValueId,
) -> Result<ValueId> {
    let mut at = s.shape(indices)?;
    let (rank, picked) = (shape.rank(), at.rank());
    let index = s.cast(indices, DType::I64)?;
    at.0.push(Dim::Fixed(1));
    let index = s.reshape(index, at)?;
    let front = (axis..axis + picked).chain(0..axis).chain(axis + picked..rank - 1 + picked);
    let moved = s.transpose(g, &front.collect::<Vec<_>>())?;
    let perm: Vec<usize> = [axis].into_iter().chain((0..rank).filter(|&i| i != axis)).collect();
    let zeros = s.zeros(g, &Shape(perm.iter().map(|&p| shape.0[p]).collect()))?;
    let sum = s.emit(Op::ScatterNd { add: true }, &[zeros, index, moved])?;
    transpose(s, &perm, sum)
}

/// Signals are added to the slices that they were gathered from; batch axes become coordinates.
pub(super) fn gather_nd(s: &mut Sweep<'_>, node: &Node, batch: usize, g: ValueId) -> Result<Sent> {
    let (x, mut indices) = (node.input(0)?, node.input(1)?);
    let shape = s.shape(x)?;
    if batch > 0 {
        let mut at = s.shape(indices)?;
        let last = at.rank() - 1;
        at.0[last] = Dim::Fixed(1);
        let mut parts = Vec::new();
        for axis in 0..batch {
            let line = s.coordinates(indices, axis, 0)?;
            parts.push(s.expand(line, &at)?);
        }
        parts.push(indices);
        indices = s.emit(Op::Concat { axis: last }, &parts)?;
    }
    let zeros = s.zeros(g, &shape)?;
    Ok(vec![Some(s.emit(Op::ScatterNd { add: true }, &[zeros, indices, g])?)])
}

/// Updates get the signal of their slices; what was replaced gets none.
pub(super) fn scatter_nd(
    s: &mut Sweep<'_>,
    node: &Node,
    add: bool,
    g: ValueId,
    wanted: &[bool],
) -> Result<Sent> {
    let (indices, updates) = (node.input(1)?, node.input(2)?);
    let mut sent = vec![None; 3];
    if wanted[0] {
        let zeros = if add { None } else { Some(s.zeros(g, &s.shape(updates)?)?) };
        sent[0] = Some(match zeros {
            Some(zeros) => s.emit(Op::ScatterNd { add: false }, &[g, indices, zeros])?,
            None => g,
        });
    }
    if wanted[2] {
        sent[2] = Some(s.emit(Op::GatherNd { batch: 0 }, &[g, indices])?);
    }
    Ok(sent)
}

pub(super) fn gather(s: &mut Sweep<'_>, node: &Node, axis: usize, g: ValueId) -> Result<Sent> {
    let (shape, indices) = (s.shape(node.input(0)?)?, node.input(1)?);
    let count = s.shape(indices)?.elements().and_then(Dim::fixed);
    let (n, count) = match (shape.0[axis].fixed(), count) {
        (Some(n), Some(count)) if count.saturating_mul(n) <= ONE_HOT => (n as i64, count),
        _ => return Ok(vec![Some(scatter_along(s, &shape, axis, indices, g)?)]),
    };
    // One row per index, the indexed axis at its place: […, count, …].
    let mut flat = shape.clone();
    flat.0[axis] = Dim::Fixed(count);
    let g = s.reshape(g, flat)?;
    if let Some(at) = picked(s, indices, n) {
        return Ok(vec![Some(s.fit(g, axis, at, n - 1 - at)?)]);
    }
    // Negative indices count from the end, so each cell answers to two numbers.
    let column = s.reshape(indices, [count, 1].into())?;
    let cells: Vec<i64> = (0..n).collect();
    let from_end: Vec<i64> = (0..n).map(|i| i - n).collect();
    let mut hits = Vec::new();
    for numbers in [cells, from_end] {
        let numbers = match s.dtype(indices) {
            DType::I32 => {
                let bytes: Vec<u8> = numbers.iter().flat_map(|&i| (i as i32).to_le_bytes()).collect();
                Tensor::new(DType::I32, vec![n as usize], bytes)?
            }
            _ => Tensor::i64(&[n as usize], &numbers)?,
        };
        let numbers = s.constant(numbers);
        hits.push(s.emit(Op::Compare(CompareFn::Equal), &[column, numbers])?);
    }
    let hit = s.emit(Op::Binary(crate::op::BinaryFn::Or), &hits)?;
    let one = s.scalar(g, 1.0)?;
    let matrix = s.keep_where(hit, one)?;
    Ok(vec![Some(times_along(s, g, axis, matrix)?)])
}

/// The cell that a gather picks, of `n`, where it is one that is known.
fn picked(s: &Sweep<'_>, indices: ValueId, n: i64) -> Option<i64> {
    let constant = s.graph.value(indices).constant.as_ref().filter(|c| c.len() == 1)?;
    let at = constant.to_f64s()[0] as i64;
    let at = if at < 0 { at + n } else { at };
    (0..n).contains(&at).then_some(at)
}

pub(super) fn depth_to_space(
    s: &mut Sweep<'_>,
    node: &Node,
    block: usize,
    mode: DepthMode,
    g: ValueId,
) -> Result<ValueId> {
    let shape = s.shape(node.input(0)?)?;
    let [n, c, h, w] = shape.0[..] else {
        return Err(Error::tensor(format!("{shape} is not an image")));
    };
    let channels = Dim::Fixed(c.at(1) / (block * block));
    let b = Dim::Fixed(block);
    let split = s.reshape(g, Shape(vec![n, channels, h, b, w, b]))?;
    let perm = match mode {
        DepthMode::Dcr => [0, 3, 5, 1, 2, 4],
        DepthMode::Crd => [0, 1, 3, 5, 2, 4],
    };
    let deep = s.transpose(split, &perm)?;
    s.reshape(deep, shape)
}

/// Both spatial axes are linear maps of their own.
pub(super) fn resize(s: &mut Sweep<'_>, node: &Node, r: &Resize, g: ValueId) -> Result<ValueId> {
    let shape = s.shape(node.input(0)?)?;
    let mut g = g;
    for i in 0..2 {
        let n = size_of(&shape, i + 2)? as usize;
        let rows = samples(r, i, n);
        g = transposed_map(s, g, i + 2, n, &rows)?;
    }
    Ok(g)
}

/// Which input cells each output cell along spatial axis `i` of `n` cells mixes, and how much of each.
fn samples(r: &Resize, i: usize, n: usize) -> Vec<Vec<(usize, f32)>> {
    let m = r.size[i];
    let scale = r.scales.map_or(m as f64 / n as f64, |s| f64::from(s[i]));
    let at = |o: usize| match r.coordinates {
        Coordinates::PytorchHalfPixel if m == 1 => 0.0,
        Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (o as f64 + 0.5) / scale - 0.5,
        Coordinates::AlignCorners if m == 1 => 0.0,
        Coordinates::AlignCorners => o as f64 * (n - 1) as f64 / (m - 1) as f64,
        Coordinates::Asymmetric => o as f64 / scale,
    };
    let cell = |x: f64| (x.max(0.0) as usize).min(n - 1);
    let row = |o: usize| {
        let x = at(o);
        match r.mode {
            ResizeMode::Nearest(mode) => vec![(
                cell(match mode {
                    NearestMode::RoundPreferFloor => (x - 0.5).ceil(),
                    NearestMode::RoundPreferCeil => (x + 0.5).floor(),
                    NearestMode::Floor => x.floor(),
                    NearestMode::Ceil => x.ceil(),
                }),
                1.0,
            )],
            ResizeMode::Linear => {
                let x = x.clamp(0.0, (n - 1) as f64);
                let low = x.floor();
                let part = (x - low) as f32;
                vec![(cell(low), 1.0 - part), (cell(low + 1.0), part)]
            }
        }
    };
    (0..m).map(row).collect()
}
