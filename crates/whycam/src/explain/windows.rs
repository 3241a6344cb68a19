//! Patches of the image without running the whole network for each: only the windows that change are computed again.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use whycam_graph::derive::{Classes, derive};
use whycam_graph::window::{self, Maps, Span, Spans};
use whycam_graph::{DType, Engine, Graph, Tensor, pass};

use super::asking::Asking;
use super::derived::{Derived, Said};
use super::feed::{Loaded, padded};
use crate::error::{Error, Result};
use crate::method::perturbation::{Copies, Grid};
use crate::model::Model;
use crate::prep::Layout;

/// The most rows that run together above the cut, for each image that may.
const HEAD: usize = 16;

/// The programs that recompute windows, for one grid of patches.
pub(super) struct Windows {
    plan: window::Windows,
    whole: Loaded,
    part: Loaded,
    head: Derived,
    /// How many rows above the cut hold no more cells than one image.
    rows: usize,
    /// How many times faster this was than whole images when both were timed; NaN where it failed.
    faster: OnceLock<f64>,
}

impl Windows {
    /// The programs for patches of these rows and columns; `None` where nothing is saved.
    pub fn new(
        model: &Model,
        engine: &dyn Engine,
        classes: usize,
        patches: &Grid,
    ) -> Result<Option<Windows>> {
        let input = model.input();
        if input.layout != Layout::Nchw || input.batch.is_some_and(|batch| batch > 1) {
            return Ok(None);
        }
        let derived =
            derive(model.graph(), model.image(), model.scored()?, Classes { top: 0, given: classes }, &[])?;
        let graph = pass::lower(&derived.graph, engine.name())?;
        let Some(image) = graph.find(&model.graph().value(model.image()).name) else { return Ok(None) };
        let span = |&[first, end]: &[usize; 2]| Span { first: first as i64, end: end as i64 };
        let spans: Spans = [0, 1].map(|axis: usize| patches[axis].iter().map(span).collect());
        let Some(plan) = window::windows(&graph, image, &spans)? else { return Ok(None) };
        let Some(cut) = graph.find(&plan.cut) else { return Ok(None) };
        let head = pass::cut(&graph, cut, |_, value| Ok(value))?;
        let rows = match input.batch {
            Some(_) => 1,
            None => (largest(&graph) / largest(&head).max(1)).clamp(1, HEAD),
        };
        let head = Derived::of_scores(Loaded::new(engine, &head)?);
        let (whole, part) = (Loaded::new(engine, &plan.whole)?, Loaded::new(engine, &plan.part)?);
        Ok(Some(Windows { plan, whole, part, head, rows, faster: OnceLock::new() }))
    }

    /// How it compares with whole images, in words, once both were timed.
    pub fn how(&self) -> Option<String> {
        self.faster.get().map(|&faster| match faster {
            _ if faster > 1.0 => format!("windows, {faster:.1}x faster than whole images"),
            _ if faster.is_nan() => "whole images, as windows failed".to_owned(),
            _ => format!("whole images, {:.1}x faster than windows", 1.0 / faster),
        })
    }

    /// Whether windows were faster than whole images when both were timed.
    pub fn chosen(&self) -> Option<bool> {
        self.faster.get().map(|&faster| faster > 1.0)
    }

    /// Whether windows are faster than `whole`, which runs whole images: the middle row of patches is timed once.
    fn is_faster(
        &self,
        asking: &Asking<'_>,
        maps: &Maps,
        copies: &dyn Copies,
        whole: &mut dyn FnMut(&[usize]) -> Result<Vec<Said>>,
    ) -> Result<bool> {
        if let Some(&faster) = self.faster.get() {
            return Ok(faster > 1.0);
        }
        let [rows, columns] = [0, 1].map(|axis: usize| self.plan.patches[axis].len());
        let row: Vec<usize> = (rows / 2 * columns..(rows / 2 + 1) * columns).collect();
        let few =
            &row[(columns - columns.min(asking.feed.batch())) / 2..][..columns.min(asking.feed.batch())];
        let each = |duration: Duration, count: usize| duration.as_secs_f64() / count.max(1) as f64;
        let start = Instant::now();
        whole(few)?;
        let slow = each(start.elapsed(), few.len());
        let start = Instant::now();
        self.run(asking, maps, copies, &|at| row.contains(&at), &mut |_, _| ())?;
        let faster = slow / each(start.elapsed(), row.len()).max(f64::MIN_POSITIVE);
        Ok(*self.faster.get_or_init(|| faster) > 1.0)
    }

    /// What the network says to each copy, where that is faster than `whole`. `None` too where windows fail: whole images
    /// may do, or say why not.
    pub fn said(
        &self,
        asking: &Asking<'_>,
        copies: &dyn Copies,
        whole: &mut dyn FnMut(&[usize]) -> Result<Vec<Said>>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Option<Vec<Said>> {
        if self.chosen() == Some(false) {
            return None;
        }
        self.try_said(asking, copies, whole, progress).unwrap_or_else(|_| {
            // Settled for the images to come, unless it was before.
            let _ = self.faster.set(f64::NAN);
            None
        })
    }

    fn try_said(
        &self,
        asking: &Asking<'_>,
        copies: &dyn Copies,
        whole: &mut dyn FnMut(&[usize]) -> Result<Vec<Said>>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Option<Vec<Said>>> {
        let outputs = asking.feed.outputs(&self.whole, 1, &[asking.feed.images(asking.image)?], &[])?;
        let maps = self.plan.maps(&outputs)?;
        drop(outputs);
        if !self.is_faster(asking, &maps, copies, whole)? {
            return Ok(None);
        }
        let count = copies.count();
        let done = Cell::new(0_usize);
        let mut said: Vec<Option<Said>> = (0..count).map(|_| None).collect();
        self.run(asking, &maps, copies, &|_| true, &mut |at, answer| {
            said[at] = Some(answer);
            done.set(done.get() + 1);
            if done.get().is_multiple_of(asking.feed.batch()) || done.get() == count {
                progress(done.get(), count);
            }
        })?;
        said.into_iter().collect::<Option<Vec<Said>>>().map(Some).ok_or_else(unanswered)
    }

    /// Tells `answer` what the network says to the copies that are wanted.
    fn run(
        &self,
        asking: &Asking<'_>,
        maps: &Maps,
        copies: &dyn Copies,
        wanted: &dyn Fn(usize) -> bool,
        answer: &mut dyn FnMut(usize, Said),
    ) -> Result<()> {
        let &Asking { model, feed, image, classes, .. } = asking;
        let input = model.input();
        let shape = [input.channels, input.height, input.width];
        let most = feed.batch() * self.rows;
        let at_cut = self.plan.cut.as_str();
        let mut waiting: (Vec<usize>, Vec<f32>) = Default::default();
        let mut above = |waiting: &mut (Vec<usize>, Vec<f32>)| -> Result<()> {
            let (places, values) = std::mem::take(waiting);
            if places.is_empty() {
                return Ok(());
            }
            let map = self.plan.cut_shape(maps);
            let size: usize = map.iter().product();
            let rows = feed.rows(places.len());
            let dims: Vec<usize> = [rows].into_iter().chain(map).collect();
            let tensor = Tensor::floats(DType::F32, &dims, &padded(&values, size, rows))?;
            let said = self.head.run_on(feed, model, rows, &[(at_cut, tensor)], classes)?;
            places.into_iter().zip(said).for_each(|(at, said)| answer(at, said));
            Ok(())
        };
        for run in self.plan.runs(feed.batch()) {
            let run: Vec<usize> = run.into_iter().filter(|&at| wanted(at)).collect();
            if run.is_empty() {
                continue;
            }
            let mut failed = None;
            let inputs = self.plan.feed(&run, maps, shape, |at| {
                let mut copy = image.to_vec();
                if let Err(error) = copies.take_away(at, &mut copy) {
                    failed = Some(error);
                }
                Ok(copy)
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
            let inputs: Vec<(&str, Tensor)> =
                inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
            let outputs = feed.outputs(&self.part, run.len(), &inputs, &[])?;
            let windows = outputs.first().ok_or_else(unanswered)?;
            waiting.1.extend(self.plan.paste(&run, maps, windows)?);
            waiting.0.extend(run);
            if waiting.0.len() + feed.batch() > most {
                above(&mut waiting)?;
            }
        }
        above(&mut waiting)
    }
}

/// The number of cells of the largest value that a graph computes for one image.
fn largest(graph: &Graph) -> usize {
    let made = |node: &whycam_graph::Node| node.outputs.iter().flatten().copied().collect::<Vec<_>>();
    let values = graph.nodes().flat_map(|(_, node)| made(node)).chain(graph.inputs().iter().copied());
    let cells = |id| graph.shape(id).map_or(0, |shape| shape.at(1).iter().product());
    values.map(cells).max().unwrap_or(0)
}

fn unanswered() -> Error {
    Error::ask("the engine returned nothing for a patch", "please report this")
}
