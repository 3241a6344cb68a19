//! Windows that slide over the spatial axes of `[N, C, spatial…]`.

use whycam_graph::op::{Conv, Window};

use crate::array::Array;

/// How windows lie; one entry per spatial axis.
pub(crate) struct Slide<'a> {
    pub kernel: &'a [usize],
    pub strides: &'a [usize],
    pub dilations: &'a [usize],
    pub pads: &'a [(usize, usize)],
}

impl<'a> Slide<'a> {
    pub fn of_pool(w: &'a Window) -> Slide<'a> {
        Slide { kernel: &w.kernel, strides: &w.strides, dilations: &w.dilations, pads: &w.pads }
    }

    pub fn of_conv(conv: &'a Conv, kernel: &'a [usize]) -> Slide<'a> {
        Slide { kernel, strides: &conv.strides, dilations: &conv.dilations, pads: &conv.pads }
    }

    /// The input coordinate that cell `tap` of window `window` lies on, along `axis`; outside in the padding.
    pub fn position(&self, axis: usize, window: usize, tap: usize) -> i64 {
        (window * self.strides[axis] + tap * self.dilations[axis]) as i64 - self.pads[axis].0 as i64
    }

    /// The input coordinates that cell `tap` of window `window` lies on.
    pub fn positions(&self, window: &[usize], tap: &[usize]) -> impl Iterator<Item = i64> {
        (0..self.kernel.len()).map(|axis| self.position(axis, window[axis], tap[axis]))
    }

    /// Cells from the first to the last of a window.
    pub fn extent(&self, axis: usize) -> usize {
        self.dilations[axis] * (self.kernel[axis] - 1) + 1
    }

    /// How many windows there are along `axis` of `n` cells.
    ///
    /// A window counts when it lies inside the padded cells. With `ceil`, one more counts when the
    /// last one does not reach their end, unless it starts in the padding behind.
    pub fn count(&self, axis: usize, n: usize, ceil: bool) -> usize {
        let (before, behind) = self.pads[axis];
        let end = |window: usize| window * self.strides[axis] + self.extent(axis);
        let mut count = 0;
        while end(count) <= before + n + behind {
            count += 1;
        }
        if ceil {
            if count > 0 && end(count - 1) < before + n + behind {
                count += 1;
            }
            if count > 0 && (count - 1) * self.strides[axis] >= before + n {
                count -= 1;
            }
        }
        count
    }
}

/// The cell of channel `c` of image `n` at a spatial position; `None` outside.
pub(crate) fn cell(x: &Array, n: usize, c: usize, position: impl Iterator<Item = i64>) -> Option<f64> {
    let mut offset = n * x.shape[1] + c;
    for (p, &size) in position.zip(&x.shape[2..]) {
        let p = usize::try_from(p).ok().filter(|&p| p < size)?;
        offset = offset * size + p;
    }
    Some(x.data[offset])
}
