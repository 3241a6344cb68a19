//! Rules of windowed pools.

use super::Sweep;
use crate::emit::{Emit, size_of};
use crate::error::{Error, Result};
use crate::graph::{Node, ValueId};
use crate::op::{BinaryFn, CompareFn, Conv, ConvTranspose, Op, PadMode, Range, UnaryFn, Window};
use crate::shape::{Dim, Shape};

/// Every window's signal to one cell: its first maximum in scan order.
///
/// For each offset inside the window, in scan order, the cells at that offset are compared with the
/// maximum; a window that has found its cell takes no further one. Signals are put back by
/// rearranging cells where windows tile the input, and by a transposed convolution with one-hot
/// kernels elsewhere.
pub(super) fn max_pool(s: &mut Sweep<'_>, node: &Node, w: &Window, g: ValueId) -> Result<ValueId> {
    let x = node.input(0)?;
    let y = node.outputs.first().copied().flatten().unwrap_or(x);
    let layout = Layout::new(s, node, w)?;
    let padded = layout.pad(s, x)?;
    let offsets = offsets(&w.kernel);
    let mut taken: Option<ValueId> = None;
    let mut parts = Vec::new();
    for (i, offset) in offsets.iter().enumerate() {
        let cells = layout.cells(s, padded, w, offset)?;
        let mut hit = s.emit(Op::Compare(CompareFn::Equal), &[cells, y])?;
        if let Some(before) = taken {
            let free = s.unary(UnaryFn::Not, before)?;
            let fresh = s.emit(Op::Binary(BinaryFn::And), &[hit, free])?;
            if i + 1 < offsets.len() {
                taken = Some(s.emit(Op::Binary(BinaryFn::Or), &[before, hit])?);
            }
            hit = fresh;
        } else {
            taken = Some(hit);
        }
        parts.push(s.gate(hit, g)?);
    }
    layout.put_back(s, w, &parts)
}

/// Every window's signal, divided by its number of cells, to all of its cells.
pub(super) fn average_pool(
    s: &mut Sweep<'_>,
    node: &Node,
    w: &Window,
    count_include_pad: bool,
    g: ValueId,
) -> Result<ValueId> {
    let layout = Layout::new(s, node, w)?;
    let counts = layout.counts(w, count_include_pad);
    let dims: Vec<usize> = [1, 1].into_iter().chain(layout.out.iter().copied()).collect();
    // A window without cells has nobody to send to.
    let counts: Vec<f32> = counts.into_iter().map(|n| n.max(1) as f32).collect();
    let counts = match counts.iter().all(|c| *c == counts[0]) {
        true => s.scalar(g, counts[0])?,
        false => s.floats(g, &dims, &counts)?,
    };
    let share = s.div(g, counts)?;
    let parts = vec![share; w.kernel.iter().product()];
    layout.put_back(s, w, &parts)
}

/// Index tuples of a window in scan order.
fn offsets(kernel: &[usize]) -> Vec<Vec<usize>> {
    kernel.iter().fold(vec![vec![]], |all, &k| {
        all.iter().flat_map(|o| (0..k).map(move |i| o.iter().copied().chain([i]).collect())).collect()
    })
}

/// Where the windows lie on the padded input.
struct Layout {
    /// Shape of the input.
    shape: Shape,
    /// Spatial sizes of the input.
    size: Vec<usize>,
    /// Spatial sizes of the output.
    out: Vec<usize>,
    /// Cells before the input, and cells behind it that windows reach (negative where they do not reach its end).
    pads: Vec<(i64, i64)>,
}

impl Layout {
    fn new(s: &Sweep<'_>, node: &Node, w: &Window) -> Result<Layout> {
        let shape = s.shape(node.input(0)?)?;
        let (mut size, mut out, mut pads) = (Vec::new(), Vec::new(), Vec::new());
        for (i, k) in w.kernel.iter().enumerate() {
            let n = size_of(&shape, i + 2)?;
            let m = crate::infer::pooled(w, i, n as usize).map_err(Error::tensor)?;
            let reach = (m - 1) * w.strides[i] + (k - 1) * w.dilations[i] + 1;
            let before = w.pads[i].0 as i64;
            pads.push((before, reach as i64 - before - n));
            size.push(n as usize);
            out.push(m);
        }
        Ok(Layout { shape, size, out, pads })
    }

    /// The input with the lowest number around it, so that padding never wins, as far as windows reach.
    fn pad(&self, s: &mut Sweep<'_>, x: ValueId) -> Result<ValueId> {
        let mut before = vec![0; self.shape.rank()];
        let mut after = before.clone();
        for (i, &(b, e)) in self.pads.iter().enumerate() {
            (before[i + 2], after[i + 2]) = (b, e.max(0));
        }
        if before.iter().chain(&after).all(|&p| p == 0) {
            return Ok(x);
        }
        s.emit(Op::Pad { mode: PadMode::Constant, before, after, value: f32::NEG_INFINITY }, &[x])
    }

    /// The cells at one offset of every window. Offsets that lie a multiple of the stride apart share the cells that are a
    /// stride apart, since engines pick these one by one.
    fn cells(&self, s: &mut Sweep<'_>, padded: ValueId, w: &Window, offset: &[usize]) -> Result<ValueId> {
        let (mut strided, mut moved) = (Vec::new(), Vec::new());
        for (i, &o) in offset.iter().enumerate() {
            let (stride, out, axis) = (w.strides[i], self.out[i], i + 2);
            let start = |o: usize| o * w.dilations[i];
            let phase = start(o) % stride;
            let shared = (0..w.kernel[i]).map(start).filter(|start| start % stride == phase);
            let furthest = shared.max().unwrap_or(0) / stride;
            let range = |start: usize, count: usize, step: usize| {
                let end = start + (count - 1) * step + 1;
                Range { axis, start: start as i64, end: end as i64, step: step as i64 }
            };
            if stride > 1 {
                strided.push(range(phase, out + furthest, stride));
            }
            if stride == 1 || furthest > 0 {
                moved.push(range(start(o) / stride, out, 1));
            }
        }
        let mut cells = padded;
        for ranges in [strided, moved].into_iter().filter(|ranges| !ranges.is_empty()) {
            cells = s.emit(Op::Slice(ranges), &[cells])?;
        }
        Ok(cells)
    }

    /// How many cells each window divides by.
    fn counts(&self, w: &Window, count_include_pad: bool) -> Vec<usize> {
        let axis = |i: usize| {
            let (before, behind) = w.pads[i];
            let (low, high) = match count_include_pad {
                true => (0, self.size[i] + before + behind),
                false => (before, before + self.size[i]),
            };
            let inside = move |o: usize| {
                let start = o * w.strides[i];
                (0..w.kernel[i]).filter(|j| (low..high).contains(&(start + j * w.dilations[i]))).count()
            };
            (0..self.out[i]).map(inside).collect::<Vec<_>>()
        };
        (0..self.out.len()).fold(vec![1], |all, i| {
            let counts = axis(i);
            all.iter().flat_map(|n| counts.iter().map(move |c| n * c)).collect()
        })
    }

    /// Adds the signal `parts[j]` of every window to the window's cell at offset `j`.
    fn put_back(&self, s: &mut Sweep<'_>, w: &Window, parts: &[ValueId]) -> Result<ValueId> {
        let tiles = w.kernel == w.strides && w.dilations.iter().all(|&d| d == 1);
        let full = if tiles { self.tile(s, w, parts)? } else { self.scatter(s, w, parts)? };
        let reached = s.shape(full)?;
        let mut crop = Vec::new();
        for (i, &(before, behind)) in self.pads.iter().enumerate().filter(|(_, pads)| pads.0.max(pads.1) > 0)
        {
            let end = size_of(&reached, i + 2)? - behind.max(0);
            crop.push(Range { axis: i + 2, start: before, end, step: 1 });
        }
        let mut result = if crop.is_empty() { full } else { s.emit(Op::Slice(crop), &[full])? };
        for (i, &(_, behind)) in self.pads.iter().enumerate() {
            result = s.fit(result, i + 2, 0, (-behind).max(0))?;
        }
        Ok(result)
    }

    /// Windows side by side: `[N,C,out…,kernel…]` with each kernel axis moved behind its own.
    fn tile(&self, s: &mut Sweep<'_>, w: &Window, parts: &[ValueId]) -> Result<ValueId> {
        let axes = self.out.len();
        let mut columns = Vec::new();
        for &part in parts {
            columns.push(s.emit(Op::Unsqueeze { axes: vec![axes + 2] }, &[part])?);
        }
        let joined = s.emit(Op::Concat { axis: axes + 2 }, &columns)?;
        let dims = |list: &[usize]| list.iter().map(|&d| Dim::Fixed(d)).collect::<Vec<_>>();
        let split = [self.shape.0[..2].to_vec(), dims(&self.out), dims(&w.kernel)].concat();
        let split = s.reshape(joined, Shape(split))?;
        let perm: Vec<usize> =
            [0, 1].into_iter().chain((0..axes).flat_map(|i| [i + 2, i + 2 + axes])).collect();
        let woven = s.transpose(split, &perm)?;
        let full: Vec<usize> = self.out.iter().zip(&w.kernel).map(|(o, k)| o * k).collect();
        s.reshape(woven, Shape([self.shape.0[..2].to_vec(), dims(&full)].concat()))
    }

    /// Overlapping windows: channels folded into the batch, one one-hot kernel per offset.
    fn scatter(&self, s: &mut Sweep<'_>, w: &Window, parts: &[ValueId]) -> Result<ValueId> {
        let same = parts.iter().all(|p| *p == parts[0]);
        let parts = if same { &parts[..1] } else { parts };
        let cells: usize = w.kernel.iter().product();
        let images = self.shape.0[0].times(self.shape.0[1]);
        let images =
            images.ok_or_else(|| Error::unfit("too many channels in a pool", "choose another --layer"))?;
        let dims = |channels: usize, space: &[usize]| {
            let space = space.iter().map(|&d| Dim::Fixed(d));
            Shape([images, Dim::Fixed(channels)].into_iter().chain(space).collect())
        };
        let mut stacked = Vec::new();
        for &part in parts {
            stacked.push(s.reshape(part, dims(1, &self.out))?);
        }
        let stacked = if let [one] = stacked[..] { one } else { s.emit(Op::Concat { axis: 1 }, &stacked)? };
        let kernel: Vec<f32> = match same {
            true => vec![1.0; cells],
            false => (0..cells * cells).map(|i| if i / cells == i % cells { 1.0 } else { 0.0 }).collect(),
        };
        let shape: Vec<usize> = [parts.len(), 1].into_iter().chain(w.kernel.iter().copied()).collect();
        let kernel = s.floats(stacked, &shape, &kernel)?;
        let axes = self.out.len();
        let conv = Conv {
            strides: w.strides.clone(),
            dilations: w.dilations.clone(),
            pads: vec![(0, 0); axes],
            groups: 1,
        };
        let op = Op::ConvTranspose(ConvTranspose { conv, output_padding: vec![0; axes] });
        let full = s.emit(op, &[stacked, kernel])?;
        let space = s.shape(full)?.0[2..].to_vec();
        s.reshape(full, Shape([self.shape.0[..2].to_vec(), space].concat()))
    }
}
