//! Reductions, and searches along an axis.

use std::cmp::Ordering;

use whycam_graph::op::ReduceKind;

use crate::array::{Array, each};
use crate::norm::row;
use crate::pointwise::{max, min};

/// `integer` tells the element type: the mean of integers is an integer, rounded towards zero.
pub(crate) fn reduce(
    kind: ReduceKind,
    axes: &[usize],
    keep: bool,
    integer: bool,
    x: &Array,
) -> Result<Array, String> {
    let kept = |i: usize| !axes.contains(&i);
    let size = |i: usize| if kept(i) { x.shape[i] } else { 1 };
    let shape: Vec<usize> = (0..x.rank()).map(size).collect();
    let reduced_shape: Vec<usize> = axes.iter().map(|&a| x.shape[a]).collect();
    let y = Array::from_fn(&shape, |at| {
        let mut cells = Vec::new();
        each(&reduced_shape, |along| {
            let mut from = at.to_vec();
            for (&axis, &i) in axes.iter().zip(along) {
                from[axis] = i;
            }
            cells.push(x.at(&from));
        });
        let y = reduce_cells(kind, &cells);
        if integer { y.trunc() } else { y }
    });
    match keep {
        true => Ok(y),
        false => y.reshape(&(0..x.rank()).filter(|&i| kept(i)).map(|i| x.shape[i]).collect::<Vec<_>>()),
    }
}

fn reduce_cells(kind: ReduceKind, cells: &[f64]) -> f64 {
    let sum = |f: fn(f64) -> f64| cells.iter().map(|&v| f(v)).sum::<f64>();
    let most = || cells.iter().copied().fold(f64::NEG_INFINITY, max);
    match kind {
        ReduceKind::L1 => sum(f64::abs),
        ReduceKind::L2 => sum(|v| v * v).sqrt(),
        ReduceKind::LogSum => sum(|v| v).ln(),
        // Subtracting the maximum changes nothing but avoids overflow.
        ReduceKind::LogSumExp => {
            let top = most();
            top + cells.iter().map(|v| (v - top).exp()).sum::<f64>().ln()
        }
        ReduceKind::Max => most(),
        ReduceKind::Mean => sum(|v| v) / cells.len() as f64,
        ReduceKind::Min => cells.iter().copied().fold(f64::INFINITY, min),
        ReduceKind::Prod => cells.iter().product(),
        ReduceKind::Sum => sum(|v| v),
        ReduceKind::SumSquare => sum(|v| v * v),
    }
}

/// The index of the maximum along `axis`; the first one on ties.
pub(crate) fn arg_max(axis: usize, keep: bool, x: &Array) -> Result<Array, String> {
    let mut shape = x.shape.clone();
    shape[axis] = 1;
    let y = Array::from_fn(&shape, |at| {
        let row = row(axis, x, at);
        let mut best = 0;
        for i in 1..row.len() {
            if row[i] > row[best] {
                best = i;
            }
        }
        best as f64
    });
    if !keep {
        shape.remove(axis);
    }
    y.reshape(&shape)
}

/// The `k` largest along `axis`, in descending order, and their indices; the first ones on ties.
pub(crate) fn top_k(axis: usize, k: usize, x: &Array) -> (Array, Array) {
    let mut shape = x.shape.clone();
    shape[axis] = k;
    let indices = Array::from_fn(&shape, |at| {
        let row = row(axis, x, at);
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&i, &j| row[j].partial_cmp(&row[i]).unwrap_or(Ordering::Equal).then(i.cmp(&j)));
        order[at[axis]] as f64
    });
    let values = Array::from_fn(&shape, |at| {
        let mut from = at.to_vec();
        from[axis] = indices.at(at) as usize;
        x.at(&from)
    });
    (values, indices)
}
