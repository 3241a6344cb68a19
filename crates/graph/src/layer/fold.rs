//! How a value is folded back to a map.

use super::places::Places;
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Build, ValueId};
use crate::op::{Op, Range};
use crate::shape::{Dim, Shape};
use crate::tensor::Tensor;

/// The layout ops that make a map `[N,C,h,w]` of a value: its axes are split and reordered to `[N,C,M]`, and of the `M`
/// elements those are taken that are cells, in order. Tokens of no cell are dropped on the way, windows un-rolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// The value's axes, those that hold images and cells together split in two.
    split: Shape,
    /// The axes of `split` in the order images, channels, cells.
    order: Vec<usize>,
    /// How many of them tell cells.
    cell_axes: usize,
    /// `[N,C,M]`.
    flat: Shape,
    /// For each cell which of the `M` elements it is.
    cells: Vec<usize>,
    /// `[N,C,h,w]`.
    map: Shape,
}

/// What the index along an axis tells.
#[derive(Clone, Copy, PartialEq)]
enum Tells {
    Image,
    Channel,
    Cell,
}

impl Fold {
    /// The fold of a value of this shape, whose image has this batch; none when a cell is missing or there twice.
    pub(super) fn of(shape: &Shape, places: &Places, batch: Dim) -> Option<Fold> {
        let places = &places.compact().filter(|_| places.covers())?;
        let (split, tells) = axes(shape, places, batch)?;
        let told = &tells;
        let of = |kind: Tells| (0..told.len()).filter(move |&i| told[i] == kind);
        let order: Vec<usize> = of(Tells::Image).chain(of(Tells::Channel)).chain(of(Tells::Cell)).collect();
        let size = |kind: Tells| of(kind).try_fold(1usize, |n, i| n.checked_mul(split.0[i].fixed()?));
        let (channels, elements) = (size(Tells::Channel)?, size(Tells::Cell)?);
        let [height, width] = places.grid;
        let [c, m, h, w] = [channels, elements, height, width].map(Dim::Fixed);
        let flat = Shape(vec![batch, c, m]);

        // The places, their elements in the same order.
        let images = batch.at(super::trace::IMAGES);
        let dims = split.at(super::trace::IMAGES);
        let ordered =
            places.moved(|l| l.reshape(&dims)?.transpose(&order)?.reshape(&[images, channels, elements]))?;
        if ordered.varying().contains(&1) {
            return None;
        }
        let mut cells = vec![None; height * width];
        for image in 0..images {
            for element in 0..elements {
                let Some(place) = ordered.at(&[image, 0, element]) else { continue };
                let first = image == 0 && cells[place.cell].is_none();
                if place.image != image || (!first && cells[place.cell] != Some(element)) {
                    return None;
                }
                cells[place.cell] = Some(element);
            }
        }
        let cells = cells.into_iter().collect::<Option<Vec<usize>>>()?;
        let cell_axes = of(Tells::Cell).count();
        Some(Fold { split, order, cell_axes, flat, cells, map: Shape(vec![batch, c, h, w]) })
    }

    /// The map's shape `[N,C,h,w]`.
    pub fn shape(&self) -> &Shape {
        &self.map
    }

    /// Folds a value, or what has its shape behind an axis of `copies`: `[copies?,N,C,h,w]`.
    ///
    /// # Errors
    /// When `x` does not have the shape.
    pub fn apply(&self, b: &mut Build, x: ValueId, copies: Option<usize>) -> Result<ValueId> {
        let lead = usize::from(copies.is_some());
        let shaped = |shape: &Shape| {
            Shape(copies.map(Dim::Fixed).into_iter().chain(shape.0.iter().copied()).collect())
        };
        if self.is_map() {
            return Ok(x);
        }
        let x = b.reshape(x, shaped(&self.split))?;
        let order: Vec<usize> = (0..lead).chain(self.order.iter().map(|o| o + lead)).collect();
        let x = b.transpose(x, &order)?;
        let x = b.reshape(x, shaped(&self.flat))?;
        let x = self.pick(b, x, 2 + lead)?;
        b.reshape(x, shaped(&self.map))
    }

    /// The value `x` with each of its channels times a factor, which for every image are `[N,C]`. Tokens of no cell are
    /// scaled too.
    ///
    /// # Errors
    /// When `x` does not have the shape.
    pub fn scale(&self, b: &mut Build, x: ValueId, factors: ValueId) -> Result<ValueId> {
        let shape = b.graph().shape(x)?.clone();
        let channels = self.order.len() - self.cell_axes;
        let in_order: Vec<Dim> = (self.order.iter().enumerate())
            .map(|(i, &axis)| if i < channels { self.split.0[axis] } else { Dim::Fixed(1) })
            .collect();
        let factors = b.reshape(factors, Shape(in_order))?;
        let back: Vec<usize> =
            (0..self.order.len()).filter_map(|axis| self.order.iter().position(|&o| o == axis)).collect();
        let factors = b.transpose(factors, &back)?;
        let split = b.reshape(x, self.split.clone())?;
        let scaled = b.mul(split, factors)?;
        b.reshape(scaled, shape)
    }

    /// Whether the value is a map as it is.
    fn is_map(&self) -> bool {
        self.split == self.map && self.order.is_sorted() && self.cells.iter().copied().eq(0..self.cells.len())
    }

    /// The cells out of all elements along an axis.
    fn pick(&self, b: &mut Build, x: ValueId, axis: usize) -> Result<ValueId> {
        let (first, count) = (self.cells.first().copied().unwrap_or(0), self.cells.len());
        if !self.cells.iter().copied().eq(first..first + count) {
            let indices: Vec<i64> = self.cells.iter().map(|&i| i as i64).collect();
            let indices = b.constant(Tensor::i64(&[count], &indices)?);
            return b.emit(Op::Gather { axis }, &[x, indices]);
        }
        if self.flat.0[2] == Dim::Fixed(count) {
            return Ok(x);
        }
        let range = Range { axis, start: first as i64, end: (first + count) as i64, step: 1 };
        b.emit(Op::Slice(vec![range]), &[x])
    }
}

/// The axes of a value, split where one tells images and cells, and what each tells.
fn axes(shape: &Shape, places: &Places, batch: Dim) -> Option<(Shape, Vec<Tells>)> {
    let (images, dims) = (batch.at(super::trace::IMAGES), places.dims());
    let mut axes: Vec<(Dim, Tells)> = Vec::new();
    for (axis, &dim) in shape.0.iter().enumerate() {
        let met = axes.iter().any(|a| a.1 == Tells::Image);
        let each = dims[axis] / images.max(1);
        let rest = Dim::Fixed(each);
        match () {
            () if images == 1 && dims[axis] == 1 && !met => axes.push((batch, Tells::Image)),
            () if !places.varying().contains(&axis) => axes.push((dim, Tells::Channel)),
            () if met || each * images != dims[axis] => axes.push((dim, Tells::Cell)),
            () if image_of(places, axis, |i| i / each) => {
                axes.push((batch, Tells::Image));
                axes.extend((each > 1).then_some((rest, Tells::Cell)));
            }
            () if image_of(places, axis, |i| i % images) => {
                axes.extend([(rest, Tells::Cell), (batch, Tells::Image)]);
            }
            () => axes.push((dim, Tells::Cell)),
        }
    }
    if !axes.iter().any(|a| a.1 == Tells::Image) {
        // A single image may have no axis; it gets one.
        (images == 1).then(|| axes.insert(0, (batch, Tells::Image)))?;
    }
    let (split, tells) = axes.into_iter().unzip();
    Some((Shape(split), tells))
}

/// Whether the image of every placed element is that function of its index along an axis.
fn image_of(places: &Places, axis: usize, image: impl Fn(usize) -> usize) -> bool {
    let mut index = vec![0; places.dims().len()];
    let axes = places.varying();
    loop {
        if places.at(&index).is_some_and(|place| place.image != image(index[axis])) {
            return false;
        }
        let Some(&next) = axes.iter().rev().find(|&&a| index[a] + 1 < places.dims()[a]) else { return true };
        axes.iter().filter(|&&a| a > next).for_each(|&a| index[a] = 0);
        index[next] += 1;
    }
}
