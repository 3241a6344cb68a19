//! What a model carries about itself: in its ONNX metadata (`whycam.prep`, `whycam.labels`), or in
//! a file beside it (`model.whycam.toml`).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::prep::Prep;

/// How photos are prepared for a model, and the names of its classes, as far as known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// How photos are prepared.
    pub prep: Option<Prep>,
    /// Names of the classes.
    pub labels: Option<Vec<String>>,
}

/// The file beside a model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    prep: Option<PrepForm>,
    labels: Option<LabelsForm>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PrepForm {
    Text(String),
    Table(Prep),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum LabelsForm {
    File(String),
    List(Vec<String>),
}

impl About {
    /// Reads the file beside a model: `prep` as text or as a table, `labels` as a list or as the
    /// name of a text file, which `read` is asked for.
    ///
    /// # Errors
    /// When the text is not such a file, or the labels cannot be read.
    pub fn from_toml(text: &str, read: impl FnOnce(&str) -> Result<String>) -> Result<About> {
        let file: File = toml::from_str(text).map_err(|e| {
            Error::ask(
                format!("the file beside the model is not understood: {e}"),
                "its keys are prep and labels",
            )
        })?;
        let prep = match file.prep {
            Some(PrepForm::Text(text)) => Some(text.parse()?),
            Some(PrepForm::Table(prep)) => Some(prep),
            None => None,
        };
        let labels = match file.labels {
            Some(LabelsForm::File(name)) => Some(labels(&read(&name)?)),
            Some(LabelsForm::List(list)) => Some(list),
            None => None,
        };
        Ok(About { prep, labels })
    }

    pub(super) fn from_metadata(metadata: &BTreeMap<String, String>) -> Result<About> {
        let prep = metadata.get("whycam.prep").map(|text| text.parse()).transpose()?;
        Ok(About { prep, labels: metadata.get("whycam.labels").map(|text| labels(text)) })
    }

    /// What this says, and `other` where it is silent.
    pub(super) fn or(self, other: About) -> About {
        About { prep: self.prep.or(other.prep), labels: self.labels.or(other.labels) }
    }
}

/// The labels in a text file: one a line, class 0 first.
pub fn labels(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prep_as_text_or_table_and_labels_as_list_or_file() {
        let none = |_: &str| unreachable!("no file is named");
        let text = About::from_toml("prep = \"imagenet\"\nlabels = [\"a\", \"b\"]", none).expect("sound");
        assert_eq!(text.labels, Some(vec!["a".into(), "b".into()]));
        let toml = toml::to_string(&text.prep.clone().expect("given")).expect("serialises");
        let table = About::from_toml(&format!("[prep]\n{toml}"), none).expect("sound");
        assert_eq!(table.prep, text.prep);
        let file = About::from_toml("labels = \"l.txt\"", |name| Ok(format!("{name}\n x "))).expect("sound");
        assert_eq!(file.labels, Some(vec!["l.txt".into(), "x".into()]));
        assert!(About::from_toml("prpe = 1", none).is_err());
    }
}
