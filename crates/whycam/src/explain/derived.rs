//! Derived graphs: the maps of all formulas from one forward pass.

use whycam_graph::derive::{Classes, Formula, Ruled, derive};
use whycam_graph::{Engine, Tensor};

use super::feed::{Feed, Loaded, Rows};
use crate::error::{Error, Result};
use crate::map::{Raw, channels_first, range};
use crate::model::Model;

/// A derived graph, loaded.
pub(super) struct Derived {
    /// Where the graph is loaded in halves: the one that runs first, and the name of the map that it hands on.
    below: Option<(Loaded, String)>,
    program: Loaded,
    /// For every formula, which outputs are its map and what its range is told of, and whether a ReLU lies between them.
    maps: Vec<([usize; 2], bool)>,
    /// For every formula, how its ReLU rule fared.
    pub ruled: Vec<Ruled>,
}

/// What a derived graph says to one image.
pub(super) struct Said {
    /// The scores of all classes, and what is asked beside them.
    pub scores: Vec<f32>,
    /// The classes that are explained.
    pub classes: Vec<usize>,
    /// For every formula, the map of every class explained.
    pub maps: Vec<Vec<Raw>>,
}

impl Derived {
    pub fn new(
        model: &Model,
        engine: &dyn Engine,
        classes: Classes,
        formulas: &[Formula],
    ) -> Result<Derived> {
        let derived = derive(model.graph(), model.image(), model.scored()?, classes, formulas)?;
        Ok(Derived {
            below: None,
            program: Loaded::new(engine, &derived.graph)?,
            maps: derived.maps.into_iter().zip(formulas.iter().map(Formula::is_rectified)).collect(),
            ruled: derived.ruled,
        })
    }

    /// Another graph with the outputs of a derived graph without formulas.
    pub fn of_scores(program: Loaded) -> Derived {
        Derived { below: None, program, maps: Vec::new(), ruled: Vec::new() }
    }

    /// As [`Derived::of_scores`], in halves: `below` makes of images the map of that name, which `above` takes.
    pub fn halves(below: Loaded, map: &str, above: Loaded) -> Derived {
        Derived { below: Some((below, map.to_owned())), ..Derived::of_scores(above) }
    }

    /// What the graph says to each of some images.
    pub fn run(&self, feed: &Feed<'_>, model: &Model, images: &[f32], given: &[usize]) -> Result<Vec<Said>> {
        let size: usize = model.input().shape().iter().product();
        self.run_as(feed, model, feed.images(images)?, images.len() / size.max(1), given)
    }

    /// As [`Derived::run`], of images as the model takes them.
    pub fn run_as(
        &self,
        feed: &Feed<'_>,
        model: &Model,
        input: (&str, Tensor),
        count: usize,
        given: &[usize],
    ) -> Result<Vec<Said>> {
        let Some((below, map)) = &self.below else {
            return self.run_on(feed, model, count, &[input], given);
        };
        match feed.outputs(below, feed.rows(count), &[input], &[])?.as_slice() {
            [handed] => self.run_on(feed, model, count, &[(map, handed.clone())], given),
            _ => Err(Error::ask("the engine returned no map", "please report this")),
        }
    }

    /// What the graph says to `count` rows of other inputs; one in halves, to those of the map between them.
    pub fn run_on(
        &self,
        feed: &Feed<'_>,
        model: &Model,
        count: usize,
        inputs: &[(&str, Tensor)],
        given: &[usize],
    ) -> Result<Vec<Said>> {
        let outputs = feed.run(&self.program, feed.rows(count), inputs, given)?;
        if outputs.len() < self.maps.iter().flat_map(|(places, _)| places).fold(2, |n, &at| n.max(at + 1)) {
            return Err(Error::ask("the engine returned too few results", "please report this"));
        }
        Ok((0..count).map(|row| self.said(model, row, &outputs)).collect())
    }

    fn said(&self, model: &Model, row: usize, outputs: &[Rows]) -> Said {
        let classes: Vec<usize> = outputs[1].row(row).iter().map(|&class| class as usize).collect();
        let k = classes.len().max(1);
        let of_formula = |&([map, raw], rectified): &([usize; 2], bool)| {
            let (values, raw) = (outputs[map].row(row), outputs[raw].row(row));
            let shape = outputs[map].shape.get(1..).unwrap_or_default();
            let of_class = |(values, raw): (&[f32], &[f32])| {
                let (values, shape) = channels_first(values.to_vec(), shape, model.input().layout);
                Raw { values, shape, range: range(raw), rectified }
            };
            let of_classes = values.chunks_exact((values.len() / k).max(1));
            of_classes.zip(raw.chunks_exact((raw.len() / k).max(1))).map(of_class).collect()
        };
        let maps = self.maps.iter().map(of_formula).collect();
        Said { scores: outputs[0].row(row).to_vec(), classes, maps }
    }
}
