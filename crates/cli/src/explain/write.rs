//! The last stage: answers become files and words, in the order of the inputs.

use std::path::Path;
use std::sync::atomic::Ordering;

use rayon::prelude::*;
use whycam::sanity::Sanity;
use whycam::{Explanation, Image, Map, Note};

use super::Session;
use super::read::{Job, Step};
use crate::fail::Fail;
use crate::out::{self, percent};
use crate::record::{self, Entry, InputFacts};

/// An image, explained.
pub struct Answered {
    /// What was explained.
    pub job: Job,
    /// The image.
    pub image: Image,
    /// The answer.
    pub answer: Explanation,
    /// The sanity check of every map, if it was asked for.
    pub sanity: Option<Vec<Sanity>>,
}

/// How many images fared how.
#[derive(Default)]
pub struct Count {
    /// Explained now.
    pub explained: usize,
    /// Explained by an earlier run.
    pub finished: usize,
    /// Not explained.
    pub failed: usize,
}

impl Count {
    /// In words, of so many seconds.
    pub fn told(&self, seconds: f64) -> String {
        let others = [(self.finished, "finished before"), (self.failed, "failed")];
        let others = others.into_iter().filter(|(count, _)| *count != 0);
        let others: String = others.map(|(count, how)| format!(", {count} {how}")).collect();
        let rate = self.explained as f64 / seconds.max(1e-9);
        format!("{} explained{others} in {seconds:.1} s, {rate:.1} images a second", self.explained)
    }
}

/// What is said of an image that was explained.
struct Told {
    /// The line of JSON.
    line: String,
    /// The same for people.
    text: String,
    /// What is odd.
    warnings: Vec<String>,
}

impl Session<'_> {
    /// Writes the files of a batch in parallel, tells of its images in order, and counts them.
    pub fn write(&self, batch: Vec<Result<Step<Answered>, Fail>>, count: &mut Count) {
        let written = batch.into_par_iter().map(|step| match step? {
            Step::Finished(record) => Ok(Step::Finished(record)),
            Step::New(answered) => self.files(answered).map(Step::New),
        });
        for step in written.collect::<Vec<Result<_, Fail>>>() {
            let counter = match &step {
                Ok(Step::Finished(_)) => &mut count.finished,
                _ => &mut count.explained,
            };
            match step.and_then(|step| self.tell(&step)) {
                Ok(()) => *counter += 1,
                Err(fail) => {
                    self.console.error(&fail);
                    count.failed += 1;
                }
            }
            self.console.step();
        }
    }

    /// Writes the files of an image, the record last: where it is, they are.
    fn files(&self, answered: Answered) -> Result<Told, Fail> {
        let Answered { job: Job { stem, input, kept }, image, answer, sanity } = answered;
        let (place, title) = (self.place(&stem), title(&input));
        let at = |fail: Fail| fail.at(&title);
        let name = Path::new(&title).file_name().unwrap_or_default().to_string_lossy();
        let files = place.write(&name, &image, &answer, &kept, self.show).map_err(at)?;
        if let Some(found) = sanity.as_ref().filter(|_| self.show.pictures) {
            place.write_curves(&answer, found).map_err(at)?;
        }
        let milliseconds = (answer.time.as_secs_f64() * 1e6).round() / 1e3;
        let written: Vec<String> =
            files.iter().flat_map(|f| [f.overlay.clone(), f.raw.clone()]).flatten().collect();
        let judged: Vec<String> = sanity.iter().flatten().map(judged).collect();
        let pictures = |name: String| self.show.pictures.then_some(name);
        let curves = sanity.as_ref().and_then(|_| pictures(place.curves()));
        let mut sanity = sanity.unwrap_or_default().into_iter();
        let entries = answer.maps.iter().zip(files);
        let options = self.options.as_str();
        let entry = |(map, files)| Entry { map, milliseconds, options, files, sanity: sanity.next() };
        let entries = entries.map(entry);
        let [pretty, line] =
            record::write(&self.facts(&input), &answer.top, kept, entries.collect()).map_err(at)?;
        out::save(&place.record_path(), format!("{pretty}\n").as_bytes()).map_err(at)?;

        let names = pictures(place.sheet()).into_iter().chain(written).chain(curves).chain([place.record()]);
        let names = names.map(|name| place.path(&name).display().to_string());
        let text = text(&title, &answer, &judged, names);
        Ok(Told { line, text, warnings: self.warnings(&title, &answer) })
    }

    fn tell(&self, step: &Step<Told>) -> Result<(), Fail> {
        let told = match step {
            Step::New(told) => told,
            Step::Finished(record) => {
                self.console.json(&record.to_string())?;
                let path = record["input"]["path"].as_str().unwrap_or_default();
                let row = record["input"]["row"].as_u64().map(|row| row as usize);
                return self.console.result(&format!("{} is finished", titled(path, row)));
            }
        };
        self.console.json(&told.line)?;
        self.console.result(&told.text)?;
        for warning in &told.warnings {
            self.console.note(&format!("warning: {warning}"));
        }
        Ok(())
    }

    /// What is odd about the maps; once, what a method's notes mean, which are the same for every image.
    fn warnings(&self, title: &str, answer: &Explanation) -> Vec<String> {
        let which = |map: &Map| format!("{} of {} at {}", map.method, map.target, map.layer);
        let advice = |map: &Map| Some(format!("{title}: {}: {}", which(map), map.verdict.advice()?));
        let mut warnings: Vec<String> = answer.maps.iter().filter_map(advice).collect();
        if !self.noted.swap(true, Ordering::Relaxed) {
            let noted = |map| move |note: &Note| Some(format!("{}: {}", which(map), note.advice()?));
            warnings.extend(answer.maps.iter().flat_map(|map| map.notes.iter().filter_map(noted(map))));
        }
        warnings
    }
}

/// The name of an image for people.
pub fn title(input: &InputFacts) -> String {
    titled(&input.path, input.row)
}

/// A file, and the row in it.
fn titled(path: &str, row: Option<usize>) -> String {
    format!("{path}{}", row.map_or(String::new(), |row| format!(", row {row}")))
}

/// How a map fared in the sanity check.
fn judged(sanity: &Sanity) -> String {
    format!("  sanity  {} of {} at {} {}", sanity.method, sanity.target, sanity.layer, sanity.sentence)
}

/// The classes with the highest scores, how maps fared, and the files.
fn text(title: &str, answer: &Explanation, judged: &[String], files: impl Iterator<Item = String>) -> String {
    let top =
        answer.top.iter().map(|p| format!("  {:>6}  {:>4}  {}", percent(p.probability), p.class, p.label));
    let files = files.map(|file| format!("  → {file}"));
    let lines = [title.to_owned()].into_iter().chain(top).chain(judged.iter().cloned()).chain(files);
    lines.collect::<Vec<_>>().join("\n")
}
