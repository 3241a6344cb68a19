//! The signal of one class, 1 at one cell and 0 elsewhere: its product with a matrix is a row of that.

use super::Sweep;
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::ValueId;
use crate::op::{Gemm, Op};

/// The row that stands for a product of the seed with a matrix, which need not be read whole for it; `None` for other nodes,
/// and where nothing is known of the seed.
pub(super) fn through(s: &mut Sweep<'_>, op: &Op, inputs: &[ValueId]) -> Result<Option<ValueId>> {
    let (Some(cell), &[g, matrix]) = (s.seed.hot, inputs) else { return Ok(None) };
    if g != s.seed.cotangent || s.lifted.contains(&matrix) || s.shape(matrix)?.rank() != 2 {
        return Ok(None);
    }
    let rows = match op {
        Op::MatMul => matrix,
        Op::Gemm(Gemm { alpha: 1.0, trans_a: false, trans_b: false, .. }) => matrix,
        Op::Gemm(Gemm { alpha: 1.0, trans_a: false, trans_b: true, .. }) => s.transpose_last(matrix)?,
        _ => return Ok(None),
    };
    s.whole(Op::Gather { axis: 0 }, &[rows, cell]).map(Some)
}
