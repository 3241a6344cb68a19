//! Running programs on batches of images: what all runs for one image share.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use whycam_engine::{load, load_for};
use whycam_graph::derive::TARGET;
use whycam_graph::{DType, Dim, Engine, Graph, Program, Shape, Tensor, ValueId};

use crate::error::{Error, Result};
use crate::model::Model;

/// A program, and the inputs that it takes.
pub(super) struct Loaded {
    program: Box<dyn Program>,
    inputs: Vec<String>,
}

impl Loaded {
    pub fn new(engine: &dyn Engine, graph: &Graph) -> Result<Loaded> {
        Loaded::of(graph, load(engine, graph)?)
    }

    /// A program most of whose runs have many rows.
    pub fn for_many(engine: &dyn Engine, graph: &Graph) -> Result<Loaded> {
        Loaded::of(graph, load_for(engine, graph, true)?)
    }

    fn of(graph: &Graph, program: Box<dyn Program>) -> Result<Loaded> {
        let inputs = graph.inputs().iter().map(|&id| graph.value(id).name.clone()).collect();
        Ok(Loaded { program, inputs })
    }
}

/// The values of one output for some images, one after the other.
pub(super) struct Rows {
    values: Vec<f32>,
    /// The shape for one image.
    pub shape: Vec<usize>,
}

impl Rows {
    fn of(output: &Tensor, rows: usize) -> Result<Rows> {
        if rows > 1 && output.shape().first() != Some(&rows) {
            return Err(Error::ask(
                format!("the model makes {output:?} of {rows} images, which is no row for each"),
                "give --batch 1",
            ));
        }
        let shape = output.shape().get(1..).unwrap_or_default().to_vec();
        let values = output.to_f32s();
        let size = values.len() / rows.max(1);
        let shape = if shape.iter().product::<usize>() == size { shape } else { vec![size] };
        Ok(Rows { values, shape })
    }

    /// The values for one image.
    pub fn row(&self, index: usize) -> &[f32] {
        let size: usize = self.shape.iter().product();
        self.values.get(index * size..(index + 1) * size).unwrap_or_default()
    }
}

/// Runs programs of one model.
pub(super) struct Feed<'a> {
    model: &'a Model,
    further: &'a [(String, Tensor)],
    /// Most images in a run; models with a fixed batch take that.
    batch: usize,
    spent: Mutex<Duration>,
}

impl<'a> Feed<'a> {
    pub fn new(model: &'a Model, further: &'a [(String, Tensor)], batch: usize) -> Feed<'a> {
        let batch = model.input().batch.unwrap_or(batch).max(1);
        Feed { model, further, batch, spent: Mutex::default() }
    }

    /// How many images a run takes at most.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// How many different images a run takes at most: one where a further input has rows of its own, so that it would matter
    /// which row an image is.
    pub fn together(&self) -> usize {
        let graph = self.model.graph();
        let shared = |(name, tensor): &(String, Tensor)| {
            let shape = graph.find(name).and_then(|id| graph.value(id).shape.as_ref());
            let first = shape.and_then(|shape| shape.0.first());
            match first {
                Some(Dim::Batch(_)) => shape.is_some_and(|shape| shape.at(1) == tensor.shape()),
                first => first.and_then(|dim| dim.fixed()).is_none_or(|rows| rows == 1 || rows != self.batch),
            }
        };
        if self.further.iter().all(shared) { self.batch } else { 1 }
    }

    /// How many images a run of `count` has: as many, or the model's fixed batch.
    pub fn rows(&self, count: usize) -> usize {
        self.model.input().batch.unwrap_or(count).max(1)
    }

    /// How long programs ran.
    pub fn spent(&self) -> Duration {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Feed::images`]; one image that is a run by itself is not copied.
    pub fn tensors(&self, images: &[&Tensor]) -> Result<(&'a str, Tensor)> {
        let value = self.model.graph().value(self.model.image());
        match images {
            [one] if self.rows(1) == 1 && value.dtype == Some(one.dtype()) && one.dtype() == DType::F32 => {
                Ok((&value.name, one.reshape(self.model.input().shape().to_vec())?))
            }
            several => self.images(&several.iter().flat_map(|image| image.to_f32s()).collect::<Vec<f32>>()),
        }
    }

    /// Images in the model's layout as what the model takes, the last repeated until there are enough.
    pub fn images(&self, values: &[f32]) -> Result<(&'a str, Tensor)> {
        let image = self.model.image();
        let value = self.model.graph().value(image);
        let mut shape = self.model.input().shape();
        let size: usize = shape.iter().product();
        shape[0] = self.rows(values.len() / size.max(1));
        let values = padded(values, size, shape[0]);
        let tensor = match value.dtype.unwrap_or(DType::F32) {
            DType::U8 => {
                let bytes: Vec<u8> = values.iter().map(|v| v.round().clamp(0.0, 255.0) as u8).collect();
                Tensor::new(DType::U8, shape.to_vec(), bytes)?
            }
            dtype => Tensor::floats(dtype, &shape, &values)?,
        };
        Ok((&value.name, tensor))
    }

    /// Does what runs programs, and counts its time.
    pub fn timed<T>(&self, run: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let made = run();
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner) += start.elapsed();
        made
    }

    /// Runs a program on so many images and returns its outputs as they are. The classes, where the program takes any,
    /// are the same for all images, and so are the model's further inputs.
    pub fn outputs(
        &self,
        loaded: &Loaded,
        rows: usize,
        given: &[(&str, Tensor)],
        classes: &[usize],
    ) -> Result<Vec<Tensor>> {
        let inputs = self.inputs(&loaded.inputs, rows, given, classes)?;
        Ok(self.timed(|| loaded.program.run(&inputs))?)
    }

    /// Of what is given, of the classes and of the model's further inputs, those that a program takes.
    pub fn inputs<'n>(
        &'n self,
        taken: &[String],
        rows: usize,
        given: &[(&'n str, Tensor)],
        classes: &[usize],
    ) -> Result<Vec<(&'n str, Tensor)>> {
        let graph = self.model.graph();
        let mut inputs = given.to_vec();
        if !classes.is_empty() {
            let classes: Vec<i64> = classes.iter().map(|&c| c as i64).collect();
            inputs.push((TARGET, Tensor::i64(&[rows, classes.len()], &classes.repeat(rows))?));
        }
        for &id in graph.inputs().iter().filter(|&&id| id != self.model.image()) {
            inputs.push((graph.value(id).name.as_str(), self.further(id, rows)?));
        }
        inputs.retain(|(name, _)| taken.iter().any(|input| input == name));
        Ok(inputs)
    }

    /// As [`Feed::outputs`], image by image.
    pub fn run(
        &self,
        loaded: &Loaded,
        rows: usize,
        given: &[(&str, Tensor)],
        classes: &[usize],
    ) -> Result<Vec<Rows>> {
        let outputs = self.outputs(loaded, rows, given, classes)?;
        outputs.iter().map(|output| Rows::of(output, rows)).collect()
    }

    /// A further input, repeated for every image of a run where it has a batch.
    fn further(&self, id: ValueId, rows: usize) -> Result<Tensor> {
        let value = self.model.graph().value(id);
        let name = &value.name;
        let (_, tensor) = self.further.iter().find(|(n, _)| n == name).ok_or_else(|| {
            Error::ask(
                format!("the model has a further input {name:?}, which is not given"),
                format!("give --input {name}=FILE.npy"),
            )
        })?;
        let for_one = |shape: &&Shape| shape.at(1) == tensor.shape() && shape.at(rows) != tensor.shape();
        let Some(shape) = value.shape.as_ref().filter(for_one) else { return Ok(tensor.clone()) };
        if shape.0.iter().skip(1).any(|dim| matches!(dim, Dim::Batch(_))) {
            return Err(Error::ask(
                format!("the further input {name:?} cannot be repeated for several images at once"),
                "give --batch 1",
            ));
        }
        Ok(Tensor::new(tensor.dtype(), shape.at(rows), tensor.data().repeat(rows))?)
    }
}

/// Rows of `size` values, the last repeated until there are enough.
pub(super) fn padded(values: &[f32], size: usize, rows: usize) -> Vec<f32> {
    let mut all = values.to_vec();
    while !all.is_empty() && all.len() < rows * size {
        all.extend_from_within(all.len() - size..);
    }
    all
}
