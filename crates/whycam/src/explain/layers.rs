//! Layers as perturbations see them: their maps, and the part of the network above them.

use whycam_graph::derive::{Classes, derive};
use whycam_graph::layer::{Fold, Grids};
use whycam_graph::{Build, DType, Engine, Graph, Shape, Tensor, ValueId, pass};

use super::asking::Asking;
use super::derived::{Derived, Said};
use super::feed::{Loaded, padded};
use crate::error::{Error, Result};
use crate::method::perturbation::Planes;
use crate::model::Model;

/// The input of factors for channels.
const FACTORS: &str = "factors";

/// A layer that can be read.
pub(super) struct ReadLayer {
    pub value: ValueId,
    channels: usize,
    grid: [usize; 2],
    /// Computes the layer as it is, and as a map `[N,C,h,w]`.
    program: Loaded,
    /// The scores, from the layer and a factor for each of its channels.
    above: Option<Derived>,
}

/// A layer of one image.
pub(super) struct Activation {
    /// As the network has it, for a run.
    raw: Tensor,
    map: Vec<f32>,
    grid: [usize; 2],
}

impl Activation {
    /// The map `[C,h,w]`.
    pub fn planes(&self) -> Planes<'_> {
        Planes { values: &self.map, height: self.grid[0], width: self.grid[1] }
    }
}

impl ReadLayer {
    /// Makes a layer ready; with `above` also the network above it.
    pub fn new(
        model: &Model,
        engine: &dyn Engine,
        value: ValueId,
        above: Option<Classes>,
    ) -> Result<ReadLayer> {
        let graph = model.graph();
        let layer = Grids::new(graph, model.image()).layer(value).filter(|_| value != model.image());
        let layer = layer.ok_or_else(|| {
            Error::ask(
                format!(
                    "{:?} is not a layer with a grid of cells, so it has no map",
                    graph.value(value).name
                ),
                "choose a --layer that `whycam inspect` lists",
            )
        })?;
        let mut b = Build::extend(graph);
        let map = layer.fold.apply(&mut b, value, None)?;
        let map = b.copy(map)?;
        let program = Loaded::new(engine, &pass::prune(&b.finish(vec![value, map])))?;
        let above =
            above.map(|classes| self::above(model, engine, value, &layer.fold, classes)).transpose()?;
        Ok(ReadLayer { value, channels: layer.channels, grid: layer.grid, program, above })
    }

    /// The layer of an image. It is kept for as many images as a run takes, all the same.
    pub fn activation(&self, asking: &Asking<'_>) -> Result<Activation> {
        let feed = asking.feed;
        let rows = if self.above.is_some() { feed.batch() } else { feed.rows(1) };
        let size: usize = asking.model.input().shape().iter().product();
        let input = feed.images(&padded(asking.image, size, rows))?;
        let mut outputs = feed.outputs(&self.program, rows, &[input], &[])?.into_iter();
        let (Some(raw), Some(map)) = (outputs.next(), outputs.next()) else {
            return Err(Error::ask("the engine returned no layer", "please report this"));
        };
        let mut map = map.to_f32s();
        map.truncate(self.channels * self.grid.iter().product::<usize>());
        Ok(Activation { raw, map, grid: self.grid })
    }

    /// A factor of 1 for every channel.
    pub fn factors(&self) -> Vec<f32> {
        vec![1.0; self.channels]
    }

    /// The scores of copies of the layer, whose channels have these factors, rows of `[C]`.
    pub fn scores(&self, asking: &Asking<'_>, layer: &Activation, factors: &[f32]) -> Result<Vec<Said>> {
        let Some(above) = &self.above else { return Ok(Vec::new()) };
        let &Asking { model, feed, image, classes, .. } = asking;
        let (rows, count) = (feed.batch(), factors.len() / self.channels.max(1));
        let value = model.graph().value(self.value);
        let factors = Tensor::floats(
            value.dtype.unwrap_or(DType::F32),
            &[rows, self.channels],
            &padded(factors, self.channels, rows),
        )?;
        let size: usize = model.input().shape().iter().product();
        let inputs = [
            (value.name.as_str(), layer.raw.clone()),
            (FACTORS, factors),
            feed.images(&padded(image, size, rows))?,
        ];
        let mut said = above.run_on(feed, model, rows, &inputs, classes)?;
        said.truncate(count);
        Ok(said)
    }
}

/// The scores as a function of a layer and of factors for its channels.
fn above(
    model: &Model,
    engine: &dyn Engine,
    value: ValueId,
    fold: &Fold,
    classes: Classes,
) -> Result<Derived> {
    let graph: Graph = derive(model.graph(), model.image(), model.scored()?, classes, &[])?.graph;
    let name = &model.graph().value(value).name;
    let at = graph.find(name).ok_or_else(|| {
        Error::ask(format!("the score does not depend on {name:?}"), "choose another --layer")
    })?;
    let dims = &fold.shape().0;
    let cut = pass::cut(&graph, at, |b, layer| {
        let dtype = b.graph().value(layer).dtype.unwrap_or(DType::F32);
        let factors = b.input(FACTORS, dtype, Shape(vec![dims[0], dims[1]]))?;
        fold.scale(b, layer, factors)
    })?;
    Ok(Derived::of_scores(Loaded::new(engine, &cut)?))
}
