//! The first stage: files become images that can be run, in batches.

use std::fs;
use std::iter;
use std::sync::atomic::Ordering;

use rayon::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};
use whycam::Image;
use whycam::graph::Tensor;
use whycam::image::Photo;

use super::Session;
use super::write::title;
use crate::fail::Fail;
use crate::inputs::Input;
use crate::npy;
use crate::record::{self, Earlier, InputFacts, Wanted, hex};

/// Most bytes of photos and their files in a batch, which may be passed by a batch of one: pictures of some megapixels come
/// in smaller batches.
const MOST_BYTES: u64 = 64 << 20;

/// What is explained, beside the image itself.
pub struct Job {
    /// What the names of its files begin with.
    pub stem: String,
    /// Where it comes from.
    pub input: InputFacts,
    /// The maps of earlier runs, which stay in its record.
    pub kept: Vec<Value>,
}

/// An image on its way through the stages.
pub enum Step<T> {
    /// There is nothing to do: an earlier run left this record.
    Finished(Value),
    /// There is.
    New(T),
}

/// An image that is not prepared yet.
struct Found {
    stem: String,
    input: InputFacts,
    source: Source,
}

enum Source {
    /// A picture's file.
    File(Vec<u8>),
    /// A row of an array.
    Row(Image),
}

impl Found {
    /// How much memory it takes when its photo is decoded.
    fn bytes(&self) -> u64 {
        match &self.source {
            Source::File(bytes) => bytes.len() as u64 + 3 * Photo::pixels(bytes).unwrap_or(0),
            Source::Row(_) => 0,
        }
    }
}

impl Session<'_> {
    /// All images of all inputs in batches, read one batch at a time; the images of a batch are prepared in parallel.
    pub fn batches<'a>(
        &'a self,
        inputs: &'a [Input],
    ) -> impl Iterator<Item = Vec<Result<Step<(Job, Image)>, Fail>>> + Send + 'a {
        let mut found = inputs.iter().flat_map(|input| self.found(input)).peekable();
        iter::from_fn(move || {
            if self.interrupted.load(Ordering::Relaxed) {
                self.left.store(found.peek().is_some(), Ordering::Relaxed);
                return None;
            }
            let mut bytes = 0;
            let mut fits = |one: &Result<Found, Fail>| {
                let more = one.as_ref().map_or(0, Found::bytes);
                bytes += more;
                bytes <= MOST_BYTES || bytes == more
            };
            let batch: Vec<_> = iter::from_fn(|| found.next_if(&mut fits)).take(self.batch).collect();
            if batch.is_empty() {
                return None;
            }
            Some(batch.into_par_iter().map(|one| self.prepared(one?)).collect())
        })
    }

    /// The images of an input: one of a picture, the rows of an array one by one.
    fn found<'a>(&'a self, input: &'a Input) -> Box<dyn Iterator<Item = Result<Found, Fail>> + Send + 'a> {
        let found = fs::read(&input.path).map_err(|e| Fail::read(&input.path, &e)).and_then(|bytes| {
            let facts = InputFacts { path: input.path.display().to_string(), ..InputFacts::default() };
            let named_npy = input.path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npy"));
            if named_npy || npy::is_npy(&bytes) {
                let facts = InputFacts { sha256: hex(&Sha256::digest(&bytes)), ..facts };
                return self.rows(input, &npy::read(&bytes)?, facts);
            }
            let photo = Found { stem: input.stem.clone(), input: facts, source: Source::File(bytes) };
            Ok(Box::new(iter::once(Ok(photo))) as Box<_>)
        });
        found.unwrap_or_else(|fail| Box::new(iter::once(Err(fail.at(input.path.display())))))
    }

    fn rows<'a>(
        &'a self,
        input: &'a Input,
        array: &Tensor,
        facts: InputFacts,
    ) -> Result<Box<dyn Iterator<Item = Result<Found, Fail>> + Send + 'a>, Fail> {
        let values = array.to_f32s();
        let shape: Vec<usize> = [1].into_iter().chain(array.shape().iter().copied().skip(1)).collect();
        let size = shape.iter().product::<usize>().max(1);
        let count = values.len() / size;
        if count == 0 {
            return Err(Fail::input("the array has no rows", "its first axis is the number of images"));
        }
        // Either all rows fit the model or none.
        self.model.rows(&shape, &values[..size])?;
        self.console.expect(count - 1);
        let found = move |row: usize| {
            let stem = if count == 1 { input.stem.clone() } else { format!("{}-{row}", input.stem) };
            let image = self.model.rows(&shape, &values[row * size..(row + 1) * size])?.into_iter().next();
            let image = image.ok_or_else(|| Fail::input("the row is empty", "please report this"))?;
            Ok(Found {
                stem,
                input: InputFacts { row: Some(row), ..facts.clone() },
                source: Source::Row(image),
            })
        };
        Ok(Box::new((0..count).map(found)))
    }

    /// Decodes and prepares an image, unless it is finished. One that has files of something else in its way fails before any
    /// work is done.
    fn prepared(&self, found: Found) -> Result<Step<(Job, Image)>, Fail> {
        let Found { stem, mut input, source } = found;
        let title = title(&input);
        let prepared = || {
            if let Source::File(bytes) = &source {
                input.sha256 = hex(&Sha256::digest(bytes));
            }
            let wanted = self.args.resume.then(|| self.wanted(&stem));
            let record = self.place(&stem).record_path();
            let earlier = record::earlier(&record, &self.facts(&input), self.args.force, wanted.as_ref())?;
            let kept = match earlier {
                Earlier::Finished(record) => return Ok(Step::Finished(record)),
                Earlier::Kept(kept) => kept,
            };
            let image = match source {
                Source::Row(image) => image,
                Source::File(bytes) => {
                    let photo = Photo::decode(&bytes)?;
                    (input.width, input.height) = (Some(photo.width()), Some(photo.height()));
                    let image = self.model.prepare(photo)?;
                    if self.show.pictures { image } else { Image { photo: None, ..image } }
                }
            };
            Ok(Step::New((Job { stem, input, kept }, image)))
        };
        prepared().map_err(|fail: Fail| fail.at(title))
    }

    /// What an earlier run must have left of an image for there to be nothing more to do.
    fn wanted(&self, stem: &str) -> Wanted<'_> {
        let (place, show) = (self.place(stem), self.show);
        let pictures = [Some(place.sheet()), self.sanity.map(|_| place.curves())];
        let pictures = pictures.into_iter().flatten().filter(|_| show.pictures);
        let files = [("overlay", show.pictures), ("raw", show.raw)];
        Wanted {
            keys: self.explainer.keys(),
            options: &self.options,
            files: files.into_iter().filter(|(_, asked)| *asked).map(|(kind, _)| kind).collect(),
            others: pictures.map(|name| place.path(&name)).collect(),
            sanity: self.sanity.is_some(),
            out: &self.args.out,
        }
    }
}
