//! What becomes of the signals that return: the maps, and the range of their values.

use std::collections::HashSet;

use super::reduce::{Read, reduce};
use super::{Contribution, Formula, Recipe, full_gradient};
use crate::diff::{self, Seed};
use crate::emit::Emit;
use crate::error::{Error, Result};
use crate::graph::{Build, ValueId};
use crate::layer::{Fold, Grids, channels_last};
use crate::op::{Coordinates, Op, ReduceKind, Resize, ResizeMode, UnaryFn};
use crate::shape::{Dim, Shape};

/// The maps of one formula in the making.
pub(super) struct Maps<'a> {
    pub grids: &'a Grids<'a>,
    pub image: ValueId,
    pub seed: Seed,
    pub acted: HashSet<ValueId>,
    pub passed: HashSet<ValueId>,
}

impl Maps<'_> {
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
            let (channels, value) = match self.grids.layer(at) {
                _ if at == image => (ImageAxes::of(b, image)?.channels, value),
                Some(layer) => (1, layer.fold.apply(b, value, self.seed.copies)?),
                None => continue,
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
        let value = recipe.read_at;
        let fold = if recipe.reduce.needs_grid() { Some(self.fold(b, value)?) } else { None };
        let signal = match recipe.reduce.needs_signal() {
            true => Some(self.signal(b, recipe, fold.as_ref())?),
            false => None,
        };
        let mut activation = fold.map_or(Ok(value), |fold| fold.apply(b, value, None))?;
        if let Some(signal) = signal {
            // The bytes of an image have a signal of fractions.
            activation = b.cast(activation, Emit::dtype(b, signal))?;
        }
        let classes = self.seed.copies.unwrap_or(1);
        reduce(b, recipe.reduce, &Read { value, activation, signal, classes, scores: self.seed.target })
    }

    /// How the value becomes a map `[N,C,h,w]`.
    fn fold(&self, b: &Build, value: ValueId) -> Result<Fold> {
        let layer = self.grids.layer(value).filter(|_| value != self.image);
        layer.map(|layer| layer.fold).ok_or_else(|| {
            let name = &b.graph().value(value).name;
            Error::unfit(
                format!("{name:?} is not a layer with a grid of cells, so it has no map"),
                "choose a --layer that `whycam inspect` lists",
            )
        })
    }

    /// The signal that arrives where the recipe reads, `[N,K,…]`, folded as the value is.
    fn signal(&mut self, b: &mut Build, recipe: Recipe, fold: Option<&Fold>) -> Result<ValueId> {
        let swept = diff::backward(b, self.seed, &[recipe.read_at], recipe.rules)?;
        self.acted.extend(swept.ruled);
        self.passed.extend(swept.unruled);
        let signal = swept.signals[0];
        let signal = fold.map_or(Ok(signal), |fold| fold.apply(b, signal, self.seed.copies))?;
        self.per_image(b, signal)
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
            [_, h, w, _] if channels_last(b.graph(), image) => (h, w, 3),
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
    let rows = rows(b, maps)?;
    let mut ends = Vec::new();
    for kind in [ReduceKind::Min, ReduceKind::Max] {
        ends.push(b.emit(Op::Reduce { kind, axes: vec![2], keep: true }, &[rows])?);
    }
    let range = b.emit(Op::Concat { axis: 2 }, &ends)?;
    // Engines differ in whether a minimum sees NaN; 0 · Σ is 0, or NaN where a cell is not finite.
    let total = b.sum(rows, &[2], true)?;
    let nothing = b.scale(total, 0.0)?;
    b.add(range, nothing)
}

/// Maps `[N,K,…]` as `[N,K,cells]`, as which most of them are made.
fn rows(b: &mut Build, maps: ValueId) -> Result<ValueId> {
    let shape = b.shape(maps)?;
    let cells = Shape(shape.0[2..].to_vec()).elements();
    let to = Shape(vec![shape.0[0], shape.0[1], cells.unwrap_or(Dim::Fixed(1))]);
    let made = b.graph().value(maps).producer.map(|id| b.graph().node(id));
    match made.filter(|node| matches!(node.op, Op::Reshape { .. })).and_then(|node| node.inputs[0]) {
        Some(rows) if b.shape(rows)? == to => Ok(rows),
        _ => b.reshape(maps, to),
    }
}
