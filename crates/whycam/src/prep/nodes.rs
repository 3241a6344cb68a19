//! The same preparation as ordinary nodes: all but resizing.

use whycam_graph::op::{self, Op, UnaryFn};
use whycam_graph::{Build, DType, Emit, Tensor, ValueId};

use super::{Layout, Order, Prep, Range};
use crate::error::Result;

impl Prep {
    /// The input of a model, float32 of its layout, from photos `uint8[N,H,W,3]` that have the right size: the very numbers of
    /// [`Prep::apply`].
    pub(crate) fn nodes(
        &self,
        b: &mut Build,
        photo: ValueId,
        channels: usize,
        layout: Layout,
    ) -> Result<ValueId> {
        self.check_channels(channels)?;
        let mut x = b.emit(Op::Cast(DType::F32), &[photo])?;
        match (channels, self.order) {
            (3, Order::Rgb) => {}
            (3, Order::Bgr) => {
                x = b.emit(Op::Slice(vec![op::Range { axis: 3, start: 2, end: -1, step: -1 }]), &[x])?;
            }
            (1, _) => {
                let weights = b.constant(Tensor::f32(&[3], &[299.0, 587.0, 114.0])?);
                let weighted = b.mul(x, weights)?;
                let thousandfold = b.sum(weighted, &[3], true)?;
                let moved = b.shift(thousandfold, 500.0)?;
                let thousand = b.scalar(moved, 1000.0)?;
                let luma = b.div(moved, thousand)?;
                x = b.unary(UnaryFn::Floor, luma)?;
            }
            _ => return Err(super::PrepError::Input { channels, height: 1, width: 1 }.into()),
        }
        if self.range == Range::One {
            let white = b.scalar(x, 255.0)?;
            x = b.div(x, white)?;
        }
        let mean = b.constant(Tensor::f32(&[self.mean.len()], &self.mean)?);
        let std = b.constant(Tensor::f32(&[self.std.len()], &self.std)?);
        let centred = b.sub(x, mean)?;
        x = b.div(centred, std)?;
        Ok(match layout {
            Layout::Nchw => b.transpose(x, &[0, 3, 1, 2])?,
            Layout::Nhwc => x,
        })
    }
}
