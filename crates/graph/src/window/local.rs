//! Which nodes compute a cell from cells near it, and how far those are.

use super::span::Kernel;
use crate::graph::{Graph, Node, ValueId};
use crate::layer::is_constant;
use crate::op::{Conv, Op, Window};

/// How a node reads its operand.
pub(super) enum Reach {
    /// Each cell from the cells of the same place.
    Cell,
    /// Each cell from those that a kernel sees.
    Kernel {
        /// Along rows and along columns.
        along: [Kernel; 2],
        /// What padding holds.
        padding: f32,
        /// The same without padding.
        bare: Op,
    },
}

/// Height and width of a map `[N,C,H,W]`.
pub(super) fn grid(graph: &Graph, value: ValueId) -> Option<[usize; 2]> {
    match graph.shape(value).ok()?.0[..] {
        [_, _, height, width] => Some([height.fixed()?, width.fixed()?]),
        _ => None,
    }
}

/// How far a node reads, if it is local: for every cell the same function of cells near it in maps `[N,C,H,W]`. `changes`
/// tells of operands whether they depend on the image.
pub(super) fn reach(graph: &Graph, node: &Node, changes: impl Fn(ValueId) -> bool) -> Option<Reach> {
    let result = grid(graph, node.outputs.iter().flatten().next().copied()?)?;
    let parameters = |from: usize| {
        let mut rest = node.inputs.iter().skip(from).flatten();
        rest.all(|&id| !changes(id) && is_constant(graph, id))
    };
    match &node.op {
        Op::Conv(conv) if parameters(1) => {
            let weights = graph.shape(node.inputs.get(1).copied().flatten()?).ok()?.to_fixed()?;
            let along = kernels(weights.get(2..)?, &conv.strides, &conv.dilations, &conv.pads)?;
            let bare = Op::Conv(Conv { pads: vec![(0, 0); 2], ..conv.clone() });
            Some(Reach::Kernel { along, padding: 0.0, bare })
        }
        Op::MaxPool(window) => pool(window, f32::NEG_INFINITY, Op::MaxPool),
        Op::AveragePool { window, count_include_pad } => {
            // The divisor of a kernel at the border is another one.
            let padded = window.pads.iter().any(|&pads| pads != (0, 0));
            if window.ceil_mode || (padded && !count_include_pad) {
                return None;
            }
            pool(window, 0.0, |window| Op::AveragePool { window, count_include_pad: true })
        }
        Op::BatchNorm { .. } if parameters(1) => Some(Reach::Cell),
        Op::Unary(_) | Op::Identity | Op::Dropout | Op::Lrn(_) | Op::Concat { axis: 1 } => {
            cells(graph, node, result)
        }
        Op::Binary(_) | Op::PRelu => cells(graph, node, result),
        _ => None,
    }
}

fn pool(window: &Window, padding: f32, op: impl FnOnce(Window) -> Op) -> Option<Reach> {
    let along = kernels(&window.kernel, &window.strides, &window.dilations, &window.pads)?;
    let bare = op(Window { pads: vec![(0, 0); 2], ceil_mode: false, ..window.clone() });
    Some(Reach::Kernel { along, padding, bare })
}

fn kernels(
    sizes: &[usize],
    strides: &[usize],
    dilations: &[usize],
    pads: &[(usize, usize)],
) -> Option<[Kernel; 2]> {
    let number = |n: usize| i64::try_from(n).ok().filter(|&n| n < 1 << 20);
    let kernel = |axis: usize| {
        let [size, dilation] = [*sizes.get(axis)?, *dilations.get(axis)?].map(number);
        let size = (size?.checked_sub(1)?) * dilation? + 1;
        Some(Kernel { size, stride: number(*strides.get(axis)?)?, before: number(pads.get(axis)?.0)? })
    };
    if sizes.len() != 2 { None } else { Some([kernel(0)?, kernel(1)?]) }
}

/// All operands are maps of the result's grid, or constants that are the same in each cell.
fn cells(graph: &Graph, node: &Node, result: [usize; 2]) -> Option<Reach> {
    let fits = |&id: &ValueId| {
        let even = || graph.shape(id).is_ok_and(|s| s.0.iter().rev().take(2).all(|d| d.fixed() == Some(1)));
        if is_constant(graph, id) { even() } else { grid(graph, id) == Some(result) }
    };
    node.inputs.iter().flatten().all(fits).then_some(Reach::Cell)
}
