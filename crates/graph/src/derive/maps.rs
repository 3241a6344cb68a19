//! What becomes of the signals that return: the maps, and the range of their values.

use std::collections::HashSet;

use super::reduce::{Read, reduce};
use super::{Contribution, Formula, Recipe, full_gradient};
use crate::diff::{self, Seed};
use crate::emit::Emit;
use crate::error::{Error, Result};
use crate::graph::{Build, ValueId};
use crate::layer::{channels_last, grid_of};
use crate::op::{Coordinates, Op, ReduceKind, Resize, ResizeMode, UnaryFn};
use crate::shape::Dim;

/// The maps of one formula in the making.
pub(super) struct Maps {
    pub image: ValueId,
    pub seed: Seed,
    pub acted: HashSet<crate::graph::NodeId>,
    pub passed: HashSet<crate::graph::NodeId>,
}

impl Maps {
    /// The map, and the values whose range is told.
    pub fn formula(&mut self, b: &mut Build, formula: &Formula) -> Result<(ValueId, ValueId)> {
        match *formula {
            Formula::Single(recipe) => self.recipe(b, recipe),
            Formula::Product { image, layer, enlarge } => {
                let (signal, _) = self.recipe(b, image)?;
                let (map, raw) = self.recipe(b, layer)?;
                let channels = ImageAxes::of(b, image.read_at)?.channels + 1;
                let large = self.enlarged(b, image.read_at, map, enlarge)?;
                let over_channels = b.emit(Op::Unsqueeze { axes: vec![channels] }, &[large])?;
                Ok((b.mul(signal, over_channels)?, raw))
            }
            Formula::FullGradient { image, enlarge } => {
                let map = self.full_gradient(b, image, enlarge)?;
                Ok((map, map))
            }
        }
    }

    /// Maps `[N,K,h,w]` enlarged bilinearly to the image, `[N,K,H,W]`.
    fn enlarged(&self, b: &mut Build, image: ValueId, map: ValueId, enlarge: Coordinates) -> Result<ValueId> {
        let ImageAxes { size, .. } = ImageAxes::of(b, image)?;
        if b.shape(map)?.0[2..] == size.map(Dim::Fixed) {
            return Ok(map);
        }
        let resize = Resize { mode: ResizeMode::Linear, coordinates: enlarge, size, scales: None };
        b.emit(Op::Resize(resize), &[map])
    }

    /// The contributions of the image and of every bias on a grid, each as a map of the image, added up.
    fn full_gradient(&self, b: &mut Build, image: ValueId, enlarge: Coordinates) -> Result<ValueId> {
        let parts = full_gradient(b, self.seed, image)?;
        let mut total = None;
        for Contribution { at, value } in parts {
            let channels = match at == image {
                true => ImageAxes::of(b, image)?.channels,
                false if grid_of(b.graph(), at).is_some() => 1,
                false => continue,
            };
            let cells = self.per_image(b, value)?;
            let cells = b.unary(UnaryFn::Abs, cells)?;
            let scaled = scaled(b, cells)?;
            let map = b.sum(scaled, &[channels + 1], false)?;
            let map = self.enlarged(b, image, map, enlarge)?;
            total = Some(match total {
                Some(before) => b.add(before, map)?,
                None => map,
            });
        }
        total.ok_or_else(|| Error::unfit("no gradient reaches the image", "see `whycam inspect`"))
    }

    fn recipe(&mut self, b: &mut Build, recipe: Recipe) -> Result<(ValueId, ValueId)> {
        let signal = match recipe.reduce.needs_signal() {
            true => Some(self.signal(b, recipe)?),
            false => None,
        };
        let (image, scores) = (self.image, self.seed.target);
        let classes = self.seed.copies.unwrap_or(1);
        reduce(b, recipe.reduce, &Read { value: recipe.read_at, signal, classes, image, scores })
    }

    /// The signal that arrives where the recipe reads, `[N,K,…]`.
    fn signal(&mut self, b: &mut Build, recipe: Recipe) -> Result<ValueId> {
        let swept = diff::backward(b, self.seed, &[recipe.read_at], recipe.rules)?;
        self.acted.extend(swept.ruled);
        self.passed.extend(swept.unruled);
        self.per_image(b, swept.signals[0])
    }

    /// `[K,N,…]` or `[N,…]` as `[N,K,…]`.
    fn per_image(&self, b: &mut Build, signal: ValueId) -> Result<ValueId> {
        let rank = b.shape(signal)?.rank();
        match self.seed.copies {
            None => b.emit(Op::Unsqueeze { axes: vec![1] }, &[signal]),
            Some(_) => {
                let perm: Vec<usize> = [1, 0].into_iter().chain(2..rank).collect();
                b.transpose(signal, &perm)
            }
        }
    }
}

/// Each of the maps `[N,K,…]` moved and scaled to `[0,1]`; 0 where it has one value everywhere.
fn scaled(b: &mut Build, maps: ValueId) -> Result<ValueId> {
    let axes: Vec<usize> = (2..b.shape(maps)?.rank()).collect();
    let low = b.emit(Op::Reduce { kind: ReduceKind::Min, axes: axes.clone(), keep: true }, &[maps])?;
    let high = b.emit(Op::Reduce { kind: ReduceKind::Max, axes, keep: true }, &[maps])?;
    let moved = b.sub(maps, low)?;
    let width = b.sub(high, low)?;
    b.quotient(moved, width)
}

/// Where an image has its channels, and its height and width.
struct ImageAxes {
    channels: usize,
    size: [usize; 2],
}

impl ImageAxes {
    fn of(b: &Build, image: ValueId) -> Result<ImageAxes> {
        let shape = b.shape(image)?;
        let (height, width, channels) = match shape.0[..] {
            [_, h, w, _] if channels_last(&shape) => (h, w, 3),
            [_, _, h, w] => (h, w, 1),
            _ => return Err(Error::unfit("the image has no height and width", "see `whycam inspect`")),
        };
        let (Some(h), Some(w)) = (height.fixed(), width.fixed()) else {
            return Err(Error::unfit("the size of the image is not known", "give --size"));
        };
        Ok(ImageAxes { channels, size: [h, w] })
    }
}

/// Minimum and maximum of each map, `[N,K,2]`; NaN when a cell is NaN or infinite.
pub(super) fn range(b: &mut Build, maps: ValueId) -> Result<ValueId> {
    let axes: Vec<usize> = (2..b.shape(maps)?.rank()).collect();
    let mut ends = Vec::new();
    for kind in [ReduceKind::Min, ReduceKind::Max] {
        let end = b.emit(Op::Reduce { kind, axes: axes.clone(), keep: false }, &[maps])?;
        ends.push(b.emit(Op::Unsqueeze { axes: vec![2] }, &[end])?);
    }
    let range = b.emit(Op::Concat { axis: 2 }, &ends)?;
    // Engines differ in whether a minimum sees NaN; 0 · Σ is 0, or NaN where a cell is not finite.
    let total = b.sum(maps, &axes, false)?;
    let nothing = b.scale(total, 0.0)?;
    let nothing = b.emit(Op::Unsqueeze { axes: vec![2] }, &[nothing])?;
    b.add(range, nothing)
}
