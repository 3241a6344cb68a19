//! What is asked: which classes.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A class, or several, whose score is explained. Its text form is the command line's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The `K` classes with the highest scores: `top1`, `top:5`.
    Top(usize),
    /// One class by index, from 0: `class:281`.
    Index(usize),
    /// One class by its label, whatever the case: `class:tabby`.
    Name(String),
}

impl Target {
    /// The class with the highest score.
    pub const TOP1: Target = Target::Top(1);

    /// The class of that label.
    pub fn class(name: &str) -> Target {
        Target::Name(name.to_owned())
    }

    /// The index of the class among `classes`; `None` for [`Target::Top`].
    ///
    /// # Errors
    /// When there is no such class, or several are called so.
    pub(crate) fn index(&self, classes: usize, labels: &[String]) -> Result<Option<usize>> {
        match self {
            Target::Top(_) => Ok(None),
            Target::Index(index) if *index < classes => Ok(Some(*index)),
            Target::Index(index) => Err(Error::ask(
                format!("there is no class {index}"),
                format!("the model has the classes 0 to {}", classes.saturating_sub(1)),
            )),
            Target::Name(name) => by_name(name, labels).map(Some),
        }
    }
}

fn by_name(name: &str, labels: &[String]) -> Result<usize> {
    if labels.is_empty() {
        return Err(Error::ask(
            format!("the class {name:?} cannot be found, because the model has no labels"),
            "give --labels FILE, or the class by index as class:INDEX",
        ));
    }
    let wanted = name.trim().to_lowercase();
    let list = |found: &[(usize, &String)]| {
        let told: Vec<String> =
            found.iter().take(12).map(|(i, label)| format!("class:{i} ({label})")).collect();
        told.join(", ")
    };
    let labels: Vec<(usize, &String)> = labels.iter().enumerate().collect();
    let matching = |test: &dyn Fn(&str) -> bool| -> Vec<(usize, &String)> {
        labels.iter().copied().filter(|(_, label)| test(&label.to_lowercase())).collect()
    };
    match matching(&|label| label == wanted).as_slice() {
        [(index, _)] => Ok(*index),
        [] => {
            let near = matching(&|label| {
                label.contains(&wanted)
                    || wanted.split_whitespace().any(|word| word.len() > 2 && label.contains(word))
            });
            let hint = match near.as_slice() {
                [] => "labels are compared whole; see --labels, or give class:INDEX".into(),
                near => format!("did you mean {}?", list(near)),
            };
            Err(Error::ask(format!("no class is called {name:?}"), hint))
        }
        several => Err(Error::ask(
            format!("{} classes are called {name:?}", several.len()),
            format!("choose one of {}", list(several)),
        )),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Top(1) => f.write_str("top1"),
            Target::Top(k) => write!(f, "top:{k}"),
            Target::Index(index) => write!(f, "class:{index}"),
            Target::Name(name) => write!(f, "class:{name}"),
        }
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Target> {
        let no = |what: String| Error::ask(what, "a target is top1, top:K, class:INDEX or class:NAME");
        match text.split_once(':') {
            None if text == "top1" => Ok(Target::TOP1),
            Some(("top", k)) => match k.parse() {
                Ok(k) if k > 0 => Ok(Target::Top(k)),
                _ => Err(no(format!("{k:?} is not a number of classes"))),
            },
            Some(("class", name)) if !name.trim().is_empty() => {
                Ok(name.parse().map_or_else(|_| Target::Name(name.trim().to_owned()), Target::Index))
            }
            _ => Err(no(format!("{text:?} is not a target"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<String> {
        ["crane", "tabby", "tiger cat", "Crane"].map(String::from).to_vec()
    }

    #[test]
    fn text_round_trips() {
        for text in ["top1", "top:5", "class:281", "class:tiger cat"] {
            assert_eq!(text.parse::<Target>().expect(text).to_string(), text);
        }
        for text in ["", "top:0", "top:x", "class:", "tabby", "output:x"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_whole_and_without_case() {
        let index = |target: Target| target.index(4, &labels());
        assert_eq!(index(Target::class("TABBY")).expect("one class"), Some(1));
        assert_eq!(index(Target::Index(3)).expect("in range"), Some(3));
        let error = |target: Target| index(target).expect_err("no class").to_string();
        assert!(error(Target::class("crane")).contains("choose one of class:0 (crane), class:3 (Crane)"));
        assert!(error(Target::class("cat")).contains("did you mean class:2 (tiger cat)?"));
        assert!(error(Target::Index(4)).contains("the classes 0 to 3"));
        assert!(Target::class("x").index(4, &[]).expect_err("no labels").to_string().contains("--labels"));
    }
}
