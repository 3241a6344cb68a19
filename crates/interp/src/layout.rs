//! Ops that move cells, or make them from shapes.

use whycam_graph::op::{DepthMode, PadMode, Range, Scalar};

use crate::array::{Array, broadcast, each};

pub(crate) fn flatten(axis: usize, x: &Array) -> Result<Array, String> {
    x.reshape(&[x.shape[..axis].iter().product(), x.shape[axis..].iter().product()])
}

/// Axis `i` of the result is axis `perm[i]` of `x`.
pub(crate) fn transpose(perm: &[usize], x: &Array) -> Array {
    let shape: Vec<usize> = perm.iter().map(|&p| x.shape[p]).collect();
    Array::from_fn(&shape, |at| {
        let mut from = vec![0; at.len()];
        for (&p, &i) in perm.iter().zip(at) {
            from[p] = i;
        }
        x.at(&from)
    })
}

pub(crate) fn concat(axis: usize, parts: &[&Array]) -> Result<Array, String> {
    let first = parts.first().ok_or("nothing to join")?;
    let mut shape = first.shape.clone();
    shape[axis] = parts.iter().map(|p| p.shape[axis]).sum();
    for p in parts {
        let fits = |i: usize| i == axis || p.shape[i] == shape[i];
        if p.rank() != shape.len() || !(0..shape.len()).all(fits) {
            return Err(format!("{:?} does not continue {:?} along axis {axis}", p.shape, first.shape));
        }
    }
    Ok(Array::from_fn(&shape, |at| {
        let mut from = at.to_vec();
        let mut part = 0;
        while from[axis] >= parts[part].shape[axis] {
            from[axis] -= parts[part].shape[axis];
            part += 1;
        }
        parts[part].at(&from)
    }))
}

pub(crate) fn split(axis: usize, sizes: &[usize], x: &Array) -> Vec<Array> {
    let mut start = 0;
    let mut parts = Vec::new();
    for &size in sizes {
        let mut shape = x.shape.clone();
        shape[axis] = size;
        parts.push(Array::from_fn(&shape, |at| {
            let mut from = at.to_vec();
            from[axis] += start;
            x.at(&from)
        }));
        start += size;
    }
    parts
}

/// Index `i` along a range's axis becomes `start + i · step`, as long as that is before `end`.
pub(crate) fn slice(ranges: &[Range], x: &Array) -> Array {
    let mut shape = x.shape.clone();
    for r in ranges {
        shape[r.axis] = 0;
        let mut i = r.start;
        while if r.step > 0 { i < r.end } else { i > r.end } {
            shape[r.axis] += 1;
            i += r.step;
        }
    }
    Array::from_fn(&shape, |at| {
        let mut from = at.to_vec();
        for r in ranges {
            from[r.axis] = (r.start + at[r.axis] as i64 * r.step) as usize;
        }
        x.at(&from)
    })
}

/// Cells `before` and `after` each axis are added, or removed where negative.
pub(crate) fn pad(mode: PadMode, before: &[i64], after: &[i64], value: f32, x: &Array) -> Array {
    let size = |i: usize| (x.shape[i] as i64 + before[i] + after[i]) as usize;
    let shape: Vec<usize> = (0..x.rank()).map(size).collect();
    Array::from_fn(&shape, |at| {
        let mut from = Vec::new();
        for (axis, &i) in at.iter().enumerate() {
            let (i, last) = (i as i64 - before[axis], x.shape[axis] as i64 - 1);
            let inside = (0..=last).contains(&i);
            from.push(match mode {
                PadMode::Constant if !inside => return value.into(),
                PadMode::Constant => i,
                PadMode::Edge => i.clamp(0, last),
                PadMode::Reflect if i < 0 => -i,
                PadMode::Reflect if i > last => 2 * last - i,
                PadMode::Reflect => i,
            } as usize);
        }
        x.at(&from)
    })
}

pub(crate) fn squeeze(axes: &[usize], x: &Array) -> Result<Array, String> {
    let mut shape = x.shape.clone();
    for &axis in axes.iter().rev() {
        shape.remove(axis);
    }
    x.reshape(&shape)
}

pub(crate) fn unsqueeze(axes: &[usize], x: &Array) -> Result<Array, String> {
    let mut shape = x.shape.clone();
    for &axis in axes {
        shape.insert(axis, 1);
    }
    x.reshape(&shape)
}

pub(crate) fn expand(to: &[usize], x: &Array) -> Result<Array, String> {
    Ok(Array::from_fn(&broadcast(&x.shape, to)?, |at| x.broadcast_at(at)))
}

/// `y[a…, i…, b…] = x[a…, indices[i…], b…]`, negative indices counting from the end.
pub(crate) fn gather(axis: usize, x: &Array, indices: &Array) -> Result<Array, String> {
    let size = x.shape[axis] as f64;
    if let Some(i) = indices.data.iter().find(|&&i| i < -size || i >= size) {
        return Err(format!("index {i} is outside axis {axis} of {:?}", x.shape));
    }
    let shape = [&x.shape[..axis], &indices.shape, &x.shape[axis + 1..]].concat();
    Ok(Array::from_fn(&shape, |at| {
        let behind = axis + indices.rank();
        let i = indices.at(&at[axis..behind]);
        let i = if i < 0.0 { i + size } else { i };
        x.at(&[&at[..axis], &[i as usize], &at[behind..]].concat())
    }))
}

/// The index in `x` that the row `at` of `indices` names, behind the first `batch` numbers of `at`.
fn named(x: &Array, indices: &Array, batch: usize, at: &[usize]) -> Result<Vec<usize>, String> {
    let mut index = at[..batch].to_vec();
    for i in 0..indices.shape[at.len()] {
        let axis = index.len();
        let (coordinate, size) = (indices.at(&[at, &[i]].concat()), x.shape[axis] as f64);
        if coordinate < -size || coordinate >= size {
            return Err(format!("index {coordinate} is outside axis {axis} of {:?}", x.shape));
        }
        index.push(if coordinate < 0.0 { coordinate + size } else { coordinate } as usize);
    }
    Ok(index)
}

/// `y[batch…, at…, rest…] = x[batch…, indices[batch…, at…, :]…, rest…]`
pub(crate) fn gather_nd(batch: usize, x: &Array, indices: &Array) -> Result<Array, String> {
    let (k, at) = indices.shape.split_last().ok_or("indices without axes")?;
    let shape = [at, &x.shape[batch + k..]].concat();
    let mut wrong = None;
    let y = Array::from_fn(&shape, |i| match named(x, indices, batch, &i[..at.len()]) {
        Ok(index) => x.at(&[&index[..], &i[at.len()..]].concat()),
        Err(e) => {
            wrong = Some(e);
            0.0
        }
    });
    wrong.map_or(Ok(y), Err)
}

/// `y = x`, then for each row `at` in order: `y[indices[at…, :]…, rest…] = updates[at…, rest…]`, or `+=`.
pub(crate) fn scatter_nd(add: bool, x: &Array, indices: &Array, updates: &Array) -> Result<Array, String> {
    let at = indices.rank().checked_sub(1).ok_or("indices without axes")?;
    let mut y = x.clone();
    let mut wrong = None;
    each(&updates.shape, |i| match named(x, indices, 0, &i[..at]) {
        Ok(index) => {
            let cell = y.at_mut(&[&index[..], &i[at..]].concat());
            *cell = updates.at(i) + if add { *cell } else { 0.0 };
        }
        Err(e) => wrong = Some(e),
    });
    wrong.map_or(Ok(y), Err)
}

/// `[N,C·b²,H,W] -> [N,C,H·b,W·b]`: each cell becomes a block.
pub(crate) fn depth_to_space(block: usize, mode: DepthMode, x: &Array) -> Array {
    let channels = x.shape[1] / (block * block);
    let shape = [x.shape[0], channels, x.shape[2] * block, x.shape[3] * block];
    Array::from_fn(&shape, |at| {
        let (c, i, j) = (at[1], at[2] % block, at[3] % block);
        let channel = match mode {
            DepthMode::Dcr => (i * block + j) * channels + c,
            DepthMode::Crd => (c * block + i) * block + j,
        };
        x.at(&[at[0], channel, at[2] / block, at[3] / block])
    })
}

pub(crate) fn shape(start: usize, end: usize, x: &Array) -> Array {
    let sizes: Vec<f64> = x.shape[start..end].iter().map(|&d| d as f64).collect();
    Array::new(&[sizes.len()], sizes)
}

pub(crate) fn constant_of_shape(value: Scalar, shape: &Array) -> Array {
    let shape: Vec<usize> = shape.data.iter().map(|&d| d as usize).collect();
    let value = match value {
        Scalar::F32(v) => v.into(),
        Scalar::I64(v) => v as f64,
        Scalar::Bool(v) => f64::from(u8::from(v)),
    };
    Array::from_fn(&shape, |_| value)
}

/// `start, start + delta, …` as long as it is before `limit`.
pub(crate) fn range(start: &Array, limit: &Array, delta: &Array) -> Result<Array, String> {
    let (&[start], &[limit], &[delta]) = (&start.data[..], &limit.data[..], &delta.data[..]) else {
        return Err("the ends of a range are not single".into());
    };
    if delta == 0.0 {
        return Err("a range with step 0".into());
    }
    let mut cells = Vec::new();
    let mut i = start;
    while if delta > 0.0 { i < limit } else { i > limit } {
        cells.push(i);
        i += delta;
    }
    Ok(Array::new(&[cells.len()], cells))
}
