//! What is asked: a class, or another number that the model makes of an image.

mod fitting;
mod resolve;

use std::fmt;
use std::str::FromStr;

use whycam_graph::Tensor;

use crate::error::{Error, Result};

pub use fitting::Fitting;
pub(crate) use resolve::{Aimed, Beside};

/// What is explained. Its text form is the command line's.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The `K` classes with the highest scores: `top1`, `top:5`.
    Top(usize),
    /// One class by index, from 0: `class:281`.
    Index(usize),
    /// One class by its label, whatever the case: `class:tabby`.
    Name(String),
    /// The logarithm of a class's probability: `log-prob:281`, `log-prob:tabby`.
    LogProb(String),
    /// One element of an output: `output:NAME[3,4,5]`, without the axis of images.
    Output {
        /// The output.
        name: String,
        /// The index.
        index: Vec<usize>,
    },
    /// A class of a segmentation map, summed over a region: `segment:dog`, the cells where no class scores higher, or
    /// `segment:dog@mask.png`, the cells where the mask is not 0.
    Segment {
        /// The class, by index or label.
        class: String,
        /// The mask, `[h,w]` of any size.
        mask: Option<FromFile>,
    },
    /// The score of a class in a box of a detector: `box:1023:dog`.
    Box {
        /// Which of the anchors.
        anchor: usize,
        /// The class, by index or label.
        class: String,
    },
    /// The cosine similarity of an embedding to a given one: `similar:other.npy`.
    Similar(FromFile),
}

/// An array that a target takes from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct FromFile {
    /// The file's name as it was written.
    pub file: String,
    /// What it holds; none until it is read ([`Target::read_files`]).
    pub array: Option<Tensor>,
}

/// A kind of target, for help and tables.
#[derive(Clone, Copy, Debug)]
pub struct TargetKind {
    /// How it is written.
    pub form: &'static str,
    /// What is explained.
    pub about: &'static str,
}

/// All kinds of targets.
pub const TARGETS: &[TargetKind] = &[
    TargetKind { form: "top1, top:K", about: "the K classes with the highest scores" },
    TargetKind {
        form: "class:INDEX, class:NAME",
        about: "the score of a class, before a softmax or sigmoid",
    },
    TargetKind { form: "log-prob:CLASS", about: "the logarithm of a class's probability" },
    TargetKind {
        form: "output:NAME[I,J,…]",
        about: "one element of an output of any shape; its axis of images is left out, or 0",
    },
    TargetKind {
        form: "segment:CLASS",
        about: "a class of a segmentation map (N×C×h×w or N×h×w×C), summed over the cells where no class is higher",
    },
    TargetKind {
        form: "segment:CLASS@FILE",
        about: "the same, summed where a PNG or .npy mask, resized to the map by nearest neighbour, is not 0",
    },
    TargetKind {
        form: "box:ANCHOR:CLASS",
        about: "the score of a class in one box of a raw detector output: N×anchors×classes beside an output of boxes, \
                N×anchors×(4+1+classes), or N×(4+classes)×anchors",
    },
    TargetKind {
        form: "similar:FILE.npy",
        about: "the cosine similarity of an embedding, an output of as many numbers as the file holds, to that in the file",
    },
];

impl Target {
    /// The class with the highest score.
    pub const TOP1: Target = Target::Top(1);

    /// The class of that label.
    pub fn class(name: &str) -> Target {
        Target::Name(name.to_owned())
    }

    /// Whether classes by their scores are asked.
    pub(crate) fn is_class(&self) -> bool {
        matches!(self, Target::Top(_) | Target::Index(_) | Target::Name(_))
    }

    /// Targets in a list, separated by commas; those in brackets belong to an index.
    ///
    /// # Errors
    /// When one is no target.
    pub fn list(text: &str) -> Result<Vec<Target>> {
        split(text).map(str::parse).collect()
    }

    /// The target with the files that it names read.
    ///
    /// # Errors
    /// As `read`.
    pub fn read_files<E>(
        self,
        read: impl Fn(&str) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<Target, E> {
        let filled = |from: FromFile| -> std::result::Result<FromFile, E> {
            Ok(FromFile { array: Some(read(&from.file)?), file: from.file })
        };
        Ok(match self {
            Target::Segment { class, mask } => Target::Segment { class, mask: mask.map(filled).transpose()? },
            Target::Similar(from) => Target::Similar(filled(from)?),
            other => other,
        })
    }
}

/// The elements of a list, separated by commas that are not in brackets.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |c| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

impl FromFile {
    fn named(file: &str) -> FromFile {
        FromFile { file: file.to_owned(), array: None }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Top(1) => f.write_str("top1"),
            Target::Top(k) => write!(f, "top:{k}"),
            Target::Index(index) => write!(f, "class:{index}"),
            Target::Name(name) => write!(f, "class:{name}"),
            Target::LogProb(class) => write!(f, "log-prob:{class}"),
            Target::Output { name, index } => {
                let index: Vec<String> = index.iter().map(usize::to_string).collect();
                write!(f, "output:{name}[{}]", index.join(","))
            }
            Target::Segment { class, mask: None } => write!(f, "segment:{class}"),
            Target::Segment { class, mask: Some(mask) } => write!(f, "segment:{class}@{}", mask.file),
            Target::Box { anchor, class } => write!(f, "box:{anchor}:{class}"),
            Target::Similar(to) => write!(f, "similar:{}", to.file),
        }
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Target> {
        let no = |what: String| {
            let forms: Vec<&str> = TARGETS.iter().map(|kind| kind.form).collect();
            Error::ask(what, format!("a target is one of {}", forms.join(", ")))
        };
        let class = |name: &str| match name.trim() {
            "" => Err(no(format!("{text:?} names no class"))),
            name => Ok(name.to_owned()),
        };
        match text.split_once(':') {
            None if text == "top1" => Ok(Target::TOP1),
            Some(("top", k)) => match k.parse() {
                Ok(k) if k > 0 => Ok(Target::Top(k)),
                _ => Err(no(format!("{k:?} is not a number of classes"))),
            },
            Some(("class", name)) => {
                let name = class(name)?;
                Ok(name.parse().map_or(Target::Name(name), Target::Index))
            }
            Some(("log-prob", name)) => Ok(Target::LogProb(class(name)?)),
            Some(("output", element)) => {
                let index = element.strip_suffix(']').and_then(|e| e.rsplit_once('['));
                let index = index.filter(|(name, _)| !name.is_empty()).and_then(|(name, index)| {
                    let index: Option<Vec<usize>> = index.split(',').map(|i| i.trim().parse().ok()).collect();
                    Some(Target::Output { name: name.to_owned(), index: index? })
                });
                index.ok_or_else(|| no(format!("{element:?} is no element of an output, as in scores[281]")))
            }
            Some(("segment", name)) => Ok(match name.split_once('@') {
                Some((_, "")) => return Err(no(format!("{text:?} names no file"))),
                Some((name, file)) => {
                    Target::Segment { class: class(name)?, mask: Some(FromFile::named(file)) }
                }
                None => Target::Segment { class: class(name)?, mask: None },
            }),
            Some(("box", which)) => match which.split_once(':').map(|(k, name)| (k.trim().parse(), name)) {
                Some((Ok(anchor), name)) => Ok(Target::Box { anchor, class: class(name)? }),
                _ => Err(no(format!("{which:?} is no box and class, as in 17:dog"))),
            },
            Some(("similar", file)) if !file.is_empty() => Ok(Target::Similar(FromFile::named(file))),
            _ => Err(no(format!("{text:?} is not a target"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in [
            "top1",
            "top:5",
            "class:281",
            "class:tiger cat",
            "log-prob:3",
            "output:a[b][0,1]",
            "segment:dog",
            "segment:3@masks/a.png",
            "box:17:traffic light",
            "similar:a.npy",
        ] {
            assert_eq!(text.parse::<Target>().expect(text).to_string(), text);
        }
        let wrong = [
            "",
            "top:0",
            "top:x",
            "class:",
            "tabby",
            "output:x",
            "output:[1]",
            "output:x[]",
            "output:x[-1]",
            "segment:",
            "segment:@a.png",
            "segment:1@",
            "box:1",
            "box:x:1",
            "box:1:",
            "similar:",
            "log-prob:",
        ];
        for text in wrong {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn lists_are_split_outside_of_brackets() {
        let list = Target::list("top:2,output:x[0,1,2],class:a").expect("three");
        let told: Vec<String> = list.iter().map(Target::to_string).collect();
        assert_eq!(told, ["top:2", "output:x[0,1,2]", "class:a"]);
    }
}
