//! The JSON file of an image: all numbers, kept from run to run.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use whycam::sanity::Sanity;
use whycam::{Map, Prediction};

use crate::fail::Fail;

/// What all maps of a record have in common.
#[derive(Serialize)]
pub struct Facts<'a> {
    /// Version of this program.
    pub whycam: &'static str,
    /// The model.
    pub model: ModelFacts<'a>,
    /// What ran it last.
    pub engine: &'a EngineFacts<'a>,
    /// The image.
    pub input: &'a InputFacts,
    /// How the photo was prepared; absent for a prepared array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prep: Option<String>,
}

/// A model, and what was chosen of it.
#[derive(Serialize)]
pub struct ModelFacts<'a> {
    /// Its file, or `embedded`.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: &'a str,
    /// Height and width of its image.
    pub size: [usize; 2],
    /// The output that was chosen, or holds the class scores; absent for a model without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<&'a str>,
}

/// An engine.
#[derive(Serialize)]
pub struct EngineFacts<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: String,
    /// The file of its library; absent for one that is built in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// What computes.
    pub device: &'a str,
    /// Its threads.
    pub threads: usize,
}

/// An image.
#[derive(Clone, Default, Serialize)]
pub struct InputFacts {
    /// Its file.
    pub path: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Width of the photo in pixels; absent for an array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Height of the photo in pixels; absent for an array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Which row of an array it is, from 0; absent for a photo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<usize>,
}

/// A map, and what came of it.
#[derive(Serialize)]
pub struct Entry<'a> {
    /// The map.
    #[serde(flatten)]
    pub map: &'a Map,
    /// How long the engine ran that made it, together with all other maps of the run.
    pub milliseconds: f64,
    /// A digest of all options that it depends on, beside method, layer and target.
    pub options: &'a str,
    /// Its files.
    pub files: Files,
    /// How it fared in the sanity check; absent when it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sanity: Option<Sanity>,
}

/// The files of a map, below `--out`.
#[derive(Serialize)]
pub struct Files {
    /// The map over the photo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<String>,
    /// The map as computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

/// The whole file.
#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    facts: &'a Facts<'a>,
    top: &'a [Prediction],
    maps: Vec<Either<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Either<'a> {
    Kept(Value),
    New(Entry<'a>),
}

/// The facts that must be equal for maps to stand in one record, and what they are called.
const SAME: [(&str, &str); 6] = [
    ("/model/sha256", "another model"),
    ("/model/size", "another size of the model's image"),
    ("/model/output", "another output of the model"),
    ("/input/sha256", "another image"),
    ("/input/row", "another row of the array"),
    ("/prep", "another preparation"),
];

/// What an earlier run left of an image.
pub enum Earlier {
    /// All that is asked for: the record.
    Finished(Value),
    /// Maps that stay in the record.
    Kept(Vec<Value>),
}

/// What an earlier run must have left of an image for there to be nothing more to do.
pub struct Wanted<'a> {
    /// The maps.
    pub keys: Vec<[&'a str; 3]>,
    /// The digest of their options.
    pub options: &'a str,
    /// Which of the files of a map, by their names in the record.
    pub files: Vec<&'static str>,
    /// The other files.
    pub others: Vec<PathBuf>,
    /// Whether maps were checked.
    pub sanity: bool,
    /// Where files are.
    pub out: &'a Path,
}

impl Wanted<'_> {
    /// Whether a record has it all, and the files are there.
    fn is_in(&self, record: &Value) -> bool {
        let there = |path: &Path| fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() != 0);
        let file = |map: &Value, kind: &str| {
            map["files"][kind].as_str().is_some_and(|name| there(&self.out.join(name)))
        };
        let done = |map: &Value| {
            map["options"] == self.options
                && self.files.iter().all(|kind| file(map, kind))
                && (!self.sanity || map["sanity"].is_object())
        };
        let maps = record["maps"].as_array().map(Vec::as_slice).unwrap_or_default();
        let found = |key: &[&str; 3]| maps.iter().any(|map| key_of(map) == key.map(Some) && done(map));
        self.keys.iter().all(found) && self.others.iter().all(|path| there(path))
    }
}

/// What an earlier run left of an image. With `force` a record that is of no use is taken for none; with `wanted` a run is
/// continued, and so is a record that ends in its middle.
///
/// # Errors
/// When there is a file that is no record, or one of another model or image.
pub fn earlier(
    path: &Path,
    facts: &Facts<'_>,
    force: bool,
    wanted: Option<&Wanted<'_>>,
) -> Result<Earlier, Fail> {
    let nothing = || Ok(Earlier::Kept(Vec::new()));
    let refuse = |what: &str| {
        let hint = "--force starts the file anew; or give another --out";
        if force { nothing() } else { Err(Fail::input(format!("{} {what}", path.display()), hint)) }
    };
    let old: Value = match fs::read(path).map(|text| serde_json::from_slice(&text)) {
        Err(e) if e.kind() == ErrorKind::NotFound => return nothing(),
        Err(_) if force => return nothing(),
        Err(e) => return Err(Fail::read(path, &e)),
        Ok(Err(e)) if wanted.is_some() && e.is_eof() => return nothing(),
        Ok(Err(_)) => return refuse("is in the way: it is no JSON"),
        Ok(Ok(old)) => old,
    };
    let new = json(facts)?;
    if let Some((_, what)) = SAME.iter().find(|(fact, _)| old.pointer(fact) != new.pointer(fact)) {
        return refuse(&format!("is about {what}"));
    }
    if wanted.is_some_and(|wanted| wanted.is_in(&old)) {
        return Ok(Earlier::Finished(old));
    }
    match old.get("maps").and_then(Value::as_array) {
        _ if force => nothing(),
        Some(maps) => Ok(Earlier::Kept(maps.clone())),
        None => refuse("is in the way: it holds no maps"),
    }
}

/// The text of a record, for people (`pretty`) and in one line.
///
/// # Errors
/// Never in practice.
pub fn write(
    facts: &Facts<'_>,
    top: &[Prediction],
    kept: Vec<Value>,
    new: Vec<Entry<'_>>,
) -> Result<[String; 2], Fail> {
    let mut new: Vec<Option<Entry<'_>>> = new.into_iter().map(Some).collect();
    let mut replaced = |old: Value| {
        let same = new.iter_mut().find(|n| n.as_ref().is_some_and(|n| key_of(&old) == key(n.map).map(Some)));
        same.and_then(Option::take).map_or(Either::Kept(old), Either::New)
    };
    let mut maps: Vec<Either<'_>> = kept.into_iter().map(&mut replaced).collect();
    maps.extend(new.into_iter().flatten().map(Either::New));
    let record = Record { facts, top, maps };
    let pretty = serde_json::to_string_pretty(&record).map_err(|e| no_json(&e))?;
    let line = serde_json::to_string(&record).map_err(|e| no_json(&e))?;
    Ok([pretty, line])
}

/// What tells a map from the others of an image.
pub fn key(map: &Map) -> [&str; 3] {
    [&map.method, &map.layer, &map.target]
}

/// The same of a map in a file.
pub fn key_of(map: &Value) -> [Option<&str>; 3] {
    ["method", "layer", "target"].map(|name| map.get(name).and_then(Value::as_str))
}

fn json(value: &impl Serialize) -> Result<Value, Fail> {
    serde_json::to_value(value).map_err(|e| no_json(&e))
}

/// What cannot be said in JSON.
pub fn no_json(error: &serde_json::Error) -> Fail {
    Fail::input(format!("the result cannot be written as JSON: {error}"), "please report this")
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
