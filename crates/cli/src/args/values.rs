//! What options are given: numbers, lists, and the names that help and completions offer.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use whycam::engine::Device;
use whycam::image::{Align, Colormap};
use whycam::prep::PRESETS;
use whycam::{Fuse, METHODS, TARGETS, Target};

/// Several of a kind, separated by commas that are not in brackets.
#[derive(Clone, Debug)]
pub struct Listed<T>(pub Vec<T>);

impl<T: FromStr<Err: ToString>> FromStr for Listed<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Listed<T>, String> {
        let all: Result<Vec<T>, T::Err> = whycam::split(text).map(str::parse).collect();
        all.map(Listed).map_err(|e| e.to_string())
    }
}

/// Which classes a compiled model explains.
#[derive(Clone, Debug)]
pub enum Classes {
    /// As for photos.
    Target(Target),
    /// So many, given at every run.
    Input(usize),
}

impl FromStr for Classes {
    type Err = String;

    fn from_str(text: &str) -> Result<Classes, String> {
        match text.split_once(':').unwrap_or((text, "1")) {
            ("input", k) => match k.parse() {
                Ok(k) if k > 0 => Ok(Classes::Input(k)),
                _ => Err(format!("{k:?} is not a number of classes\nhint: give input:K")),
            },
            _ => text.parse().map(Classes::Target).map_err(|e: whycam::Error| e.to_string()),
        }
    }
}

/// Height and width.
pub type Size = [usize; 2];

/// Most threads, images at once, and pixels along a side of the model's image.
const MOST: usize = 16_384;

pub(super) fn count(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse() {
        Ok(count) if count <= NonZeroUsize::MIN.saturating_add(MOST - 1) => Ok(count),
        _ => Err(format!("it is no such number\nhint: give a whole number from 1 to {MOST}")),
    }
}

pub(super) fn size(text: &str) -> Result<Size, String> {
    let hint = "a size is HEIGHTxWIDTH, or one number for both: 192x256, 224";
    let side = |text: &str| match text.parse() {
        Ok(side) if (1..=MOST).contains(&side) => Ok(side),
        _ => Err(format!("it is no size from 1 to {MOST}\nhint: {hint}")),
    };
    let (height, width) = text.split_once(['x', '×']).unwrap_or((text, text));
    Ok([side(height)?, side(width)?])
}

pub(super) fn opacity(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(opacity) if (0.0..=1.0).contains(&opacity) => Ok(opacity),
        _ => Err("it is no opacity\nhint: an opacity is a number from 0 to 1".to_owned()),
    }
}

pub(super) fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), file.into())),
        _ => Err("it names no file\nhint: an input is given as NAME=FILE.npy".to_owned()),
    }
}

/// A parser that offers words for help and completions.
#[derive(Clone)]
pub(super) struct Offered<T> {
    words: fn() -> Vec<PossibleValue>,
    parse: fn(&str) -> Result<T, String>,
}

impl<T: FromStr<Err: ToString>> Offered<T> {
    pub(super) fn new(words: fn() -> Vec<PossibleValue>) -> Offered<T> {
        Offered { words, parse: |text| text.parse().map_err(|e: T::Err| e.to_string()) }
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Offered<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<T, clap::Error> {
        TypedValueParser::parse_ref(&self.parse, command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.words)().into_iter()))
    }
}

/// Help on targets, from the library's list.
pub(super) fn targets() -> String {
    let lines = TARGETS.iter().map(|kind| format!("  {}\n      {}", kind.form, kind.about));
    let head = "What to explain: targets, separated by commas. CLASS is an index or a label; --output picks among outputs.";
    format!("{head}\n{}", lines.collect::<Vec<_>>().join("\n"))
}

pub(super) fn methods() -> Vec<PossibleValue> {
    METHODS.iter().map(|m| PossibleValue::new(m.name).help(m.about)).collect()
}

pub(super) fn presets() -> Vec<PossibleValue> {
    PRESETS.iter().map(|p| PossibleValue::new(p.name).help(p.about)).collect()
}

pub(super) fn colormaps() -> Vec<PossibleValue> {
    Colormap::all().map(|c| PossibleValue::new(c.name()).help(c.about())).collect()
}

pub(super) fn devices() -> impl TypedValueParser<Value = Device> {
    PossibleValuesParser::new(Device::ALL.map(Device::name)).try_map(|name: String| name.parse::<Device>())
}

pub(super) fn fuses() -> impl TypedValueParser<Value = Fuse> {
    PossibleValuesParser::new(Fuse::ALL.map(Fuse::name)).try_map(|name: String| name.parse::<Fuse>())
}

pub(super) fn aligns() -> impl TypedValueParser<Value = Align> {
    let known =
        |name: String| Align::ALL.into_iter().find(|a| a.name() == name).ok_or("there is no such way");
    PossibleValuesParser::new(Align::ALL.map(Align::name)).try_map(known)
}
