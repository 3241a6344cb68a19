//! Patches of the image without running the whole network for each: only the windows that change are computed again.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use whycam_engine::Lanes;
use whycam_graph::window::{self, Maps, Span, Spans};
use whycam_graph::{Build, DType, Engine, Graph, Program, Tensor, ValueId, pass};

use super::asking::Asking;
use super::derived::{Derived, Said};
use super::feed::Loaded;
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
    part: Lanes,
    /// What that takes.
    inputs: Vec<String>,
    head: Arc<Derived>,
    /// How many rows above the cut hold no more cells than one image.
    rows: usize,
    forced: bool,
    /// How many times faster this was than whole images when both were timed; NaN where it failed.
    faster: OnceLock<f64>,
}

/// A network loaded in halves, by the value between them; so weights above a cut are loaded once.
#[derive(Default)]
pub(super) struct Halves(Vec<(ValueId, Arc<Derived>)>);

impl Halves {
    /// The network cut at a value.
    fn at(&mut self, engine: &dyn Engine, graph: &Graph, cut: ValueId) -> Result<Arc<Derived>> {
        if let Some((_, halves)) = self.0.iter().find(|(at, _)| *at == cut) {
            return Ok(halves.clone());
        }
        let mut build = Build::extend(graph);
        let map = build.copy(cut)?;
        // While weights are loaded they take memory twice, and most of them are often above.
        let above = Loaded::for_many(engine, &pass::cut(graph, cut, |_, value| Ok(value))?)?;
        let below = Loaded::new(engine, &pass::prune(&build.finish(vec![map])))?;
        let halves = Arc::new(Derived::halves(below, &graph.value(cut).name, above));
        self.0.push((cut, halves.clone()));
        Ok(halves)
    }

    /// The first, where there is any.
    pub fn into_first(self) -> Option<Arc<Derived>> {
        self.0.into_iter().next().map(|(_, halves)| halves)
    }
}

impl Windows {
    /// The programs for patches of an image, from the lowered graph of its scores; `None` where nothing is saved.
    pub fn new(
        model: &Model,
        engine: &dyn Engine,
        graph: &Graph,
        patches: &Grid,
        halves: &mut Halves,
    ) -> Result<Option<Windows>> {
        let input = model.input();
        if input.layout != Layout::Nchw || input.batch.is_some_and(|batch| batch > 1) {
            return Ok(None);
        }
        let Some(image) = graph.find(&model.graph().value(model.image()).name) else { return Ok(None) };
        let span = |&[first, end]: &[usize; 2]| Span { first: first as i64, end: end as i64 };
        let spans: Spans = [0, 1].map(|axis: usize| patches.along[axis].iter().map(span).collect());
        let Some(plan) = window::windows(graph, image, &spans)? else { return Ok(None) };
        let Some(cut) = graph.find(&plan.cut) else { return Ok(None) };
        let rows = match input.batch {
            Some(_) => 1,
            None => {
                let head = pass::cut(graph, cut, |_, value| Ok(value))?;
                (largest(graph) / largest(&head).max(1)).clamp(1, HEAD)
            }
        };
        let head = halves.at(engine, graph, cut)?;
        let (whole, part) = (Loaded::new(engine, &plan.whole)?, Lanes::load(engine, &plan.part)?);
        let inputs = plan.part.inputs().iter().map(|&id| plan.part.value(id).name.clone()).collect();
        let forced = patches.forced;
        Ok(Some(Windows { plan, whole, part, inputs, head, rows, forced, faster: OnceLock::new() }))
    }

    /// How it compares with whole images, in words, once both were timed.
    pub fn how(&self) -> Option<String> {
        if self.forced {
            return Some("windows, as asked".to_owned());
        }
        self.faster.get().map(|&faster| match faster {
            _ if faster > 1.0 => format!("windows, {faster:.1}x faster than whole images"),
            _ if faster.is_nan() => "whole images, as windows failed".to_owned(),
            _ => format!("whole images, {:.1}x faster than windows", 1.0 / faster),
        })
    }

    /// Whether windows were faster than whole images when both were timed.
    pub fn chosen(&self) -> Option<bool> {
        if self.forced { Some(true) } else { self.faster.get().map(|&faster| faster > 1.0) }
    }

    /// What the network says to each copy, where that is faster than `whole`, which runs whole images. `None` too where
    /// windows fail: whole images may do, or say why not.
    ///
    /// # Errors
    /// When windows fail that are asked for.
    pub fn said(
        &self,
        asking: &Asking<'_>,
        copies: &dyn Copies,
        whole: &mut dyn FnMut(&[usize]) -> Result<Vec<Said>>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Option<Vec<Said>>> {
        if self.chosen() == Some(false) {
            return Ok(None);
        }
        match self.try_said(asking, copies, whole, progress) {
            Err(error) if self.forced => Err(error),
            Err(_) => {
                // Settled for the images to come, unless it was before.
                let _ = self.faster.set(f64::NAN);
                Ok(None)
            }
            said => said,
        }
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
        let count = copies.count();
        let mut said: Vec<Option<Said>> = (0..count).map(|_| None).collect();
        let mut first = Vec::new();
        if !self.forced && self.faster.get().is_none() {
            // One row of patches is timed, and as many whole images as a run has.
            let [rows, columns] = [0, 1].map(|axis: usize| self.plan.patches[axis].len());
            first.extend(rows / 2 * columns..(rows / 2 + 1) * columns);
            let few = columns.min(asking.feed.batch());
            let each = |start: Instant, count: usize| start.elapsed().as_secs_f64() / count.max(1) as f64;
            let start = Instant::now();
            whole(&first[(columns - few) / 2..][..few])?;
            let slow = each(start, few);
            let start = Instant::now();
            self.run(asking, &maps, copies, &|at| first.contains(&at), &mut |at, answer| {
                said[at] = Some(answer);
            })?;
            let faster = slow / each(start, columns).max(f64::MIN_POSITIVE);
            if *self.faster.get_or_init(|| faster) <= 1.0 {
                return Ok(None);
            }
        }
        let mut done = first.len();
        self.run(asking, &maps, copies, &|at| !first.contains(&at), &mut |at, answer| {
            said[at] = Some(answer);
            done += 1;
            if done.is_multiple_of(asking.feed.batch()) || done == count {
                progress(done, count);
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
        let &Asking { model, feed, classes, .. } = asking;
        let runs = self.plan.runs((feed.batch() / self.part.count()).max(1));
        let runs = runs.into_iter().map(|run| run.into_iter().filter(|&at| wanted(at)).collect());
        let mut runs: VecDeque<Vec<usize>> = runs.filter(|run: &Vec<usize>| !run.is_empty()).collect();
        // So many maps at the cut are kept until they are run above it.
        let most = feed.batch() * self.rows;
        let map = self.plan.cut_shape(maps);
        let size = map.iter().product::<usize>() * DType::F32.size();
        while !runs.is_empty() {
            let mut count = 0;
            let fits = |run: &&Vec<usize>| {
                count += run.len();
                count <= most.max(self.part.count())
            };
            let few = runs.iter().take_while(fits).count().max(1);
            let few: Vec<_> = runs.drain(..few).collect();
            let part =
                |program: &dyn Program, run: &Vec<usize>| self.part(asking, maps, copies, run, program);
            let cells = feed.timed(|| self.part.each(&few, part))?.concat();
            for (places, cells) in few.concat().chunks(most).zip(cells.chunks((most * size).max(1))) {
                let dims = [&[places.len()], &map[..]].concat();
                let tensor = Tensor::new(DType::F32, dims, cells.to_vec())?;
                let said =
                    self.head.run_on(feed, model, places.len(), &[(&self.plan.cut, tensor)], classes)?;
                places.iter().zip(said).for_each(|(&at, said)| answer(at, said));
            }
        }
        Ok(())
    }

    /// The maps at the cut for the patches of one run, as bytes.
    fn part(
        &self,
        asking: &Asking<'_>,
        maps: &Maps,
        copies: &dyn Copies,
        run: &[usize],
        program: &dyn Program,
    ) -> Result<Vec<u8>> {
        let &Asking { model, feed, image, .. } = asking;
        let input = model.input();
        let shape = [input.channels, input.height, input.width];
        let mut failed = None;
        let given = self.plan.feed(run, maps, shape, |at| {
            let mut copy = image.to_vec();
            if let Err(error) = copies.take_away(at, &mut copy) {
                failed = Some(error);
            }
            Tensor::f32(&shape, &copy)
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let given: Vec<_> = given.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        let outputs = program.run(&feed.inputs(&self.inputs, run.len(), &given, &[])?)?;
        let mut cells = Vec::new();
        self.plan.paste(run, maps, outputs.first().ok_or_else(unanswered)?, &mut cells)?;
        Ok(cells)
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
