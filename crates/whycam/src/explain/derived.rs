//! Derived graphs: the maps of all formulas from one forward pass.

use whycam_graph::derive::{Classes, Formula, Ruled, derive};
use whycam_graph::{Engine, Tensor};

use super::feed::{Feed, Loaded, Rows};
use crate::error::{Error, Result};
use crate::map::{Raw, channels_first};
use crate::model::Model;

/// A derived graph, loaded.
pub(super) struct Derived {
    /// Where the graph is loaded in halves: the one that runs first, and the name of the map that it hands on.
    below: Option<(Loaded, String)>,
    program: Loaded,
    rectified: Vec<bool>,
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
            rectified: formulas.iter().map(Formula::is_rectified).collect(),
            ruled: derived.ruled,
        })
    }

    /// Another graph with the outputs of a derived graph without formulas.
    pub fn of_scores(program: Loaded) -> Derived {
        Derived { below: None, program, rectified: Vec::new(), ruled: Vec::new() }
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
        let [scores, classes, maps @ ..] = outputs.as_slice() else {
            return Err(Error::ask("the engine returned no scores", "please report this"));
        };
        Ok((0..count).map(|row| self.said(model, row, scores, classes, maps)).collect())
    }

    fn said(&self, model: &Model, row: usize, scores: &Rows, classes: &Rows, maps: &[Rows]) -> Said {
        let classes: Vec<usize> = classes.row(row).iter().map(|&class| class as usize).collect();
        let of_formula = |(pair, &rectified): (&[Rows], &bool)| {
            let (values, ranges) = (pair[0].row(row), pair[1].row(row));
            let size = values.len() / classes.len().max(1);
            let shape = pair[0].shape.get(1..).unwrap_or_default();
            let of_class = |(values, range): (&[f32], &[f32])| {
                let (values, shape) = channels_first(values.to_vec(), shape, model.input().layout);
                Raw { values, shape, range: [range[0], range[1]], rectified }
            };
            values.chunks_exact(size.max(1)).zip(ranges.chunks_exact(2)).map(of_class).collect()
        };
        let maps = maps.chunks_exact(2).zip(&self.rectified).map(of_formula).collect();
        Said { scores: scores.row(row).to_vec(), classes, maps }
    }
}
