//! Things worth knowing about a map that are the same for every image.

use serde::{Serialize, Serializer};
use whycam_graph::derive::Ruled;

use crate::explain::Fused;
use crate::verdict::Verdict;

/// Something worth knowing about a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The model holds quantised values.
    Quantised,
    /// Of every copy of the image only the windows that a patch changes were computed.
    RunByWindows,
    /// Every copy of the image was run whole, where windows would have done.
    RunByWholeImages,
    /// No activation on the way is one that the method's ReLU rule applies to.
    RuleHadNoEffect,
    /// Some activations on the way are none that the method's ReLU rule applies to.
    RulePartlyApplied(Share),
    /// Some of the image reaches the score around the layer ([`layer::bypassed`](whycam_graph::layer::bypassed)).
    LayerIsBypassed,
    /// At some of the layers that are fused the map is not [`Ok`](crate::Verdict::Ok).
    SomeLayersAreEmpty(Share),
}

/// So many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// So many.
    pub count: usize,
    /// Of so many.
    pub of: usize,
}

impl From<Ruled> for Share {
    /// The activations that a ReLU rule acted on, of all between the score and what is read.
    fn from(Ruled { acted, passed }: Ruled) -> Share {
        Share { count: acted, of: acted + passed }
    }
}

impl Note {
    /// What follows from how a ReLU rule fared.
    pub(crate) fn of_rule(share: Share) -> Option<Note> {
        match share {
            Share { count: 0, .. } => Some(Note::RuleHadNoEffect),
            Share { count, of } => (count < of).then_some(Note::RulePartlyApplied(share)),
        }
    }

    /// What follows from the maps that are fused.
    pub(crate) fn of_fused(fused: &Fused) -> Option<Note> {
        let count = fused.layers.iter().filter(|part| part.verdict != Verdict::Ok).count();
        (count > 0).then_some(Note::SomeLayersAreEmpty(Share { count, of: fused.layers.len() }))
    }

    /// The code, as the JSON has it.
    pub fn code(self) -> &'static str {
        match self {
            Note::Quantised => "quantised",
            Note::RunByWindows => "run-by-windows",
            Note::RunByWholeImages => "run-by-whole-images",
            Note::RuleHadNoEffect => "rule-had-no-effect",
            Note::RulePartlyApplied(_) => "rule-partly-applied",
            Note::LayerIsBypassed => "layer-is-bypassed",
            Note::SomeLayersAreEmpty(_) => "some-layers-are-empty",
        }
    }

    /// What it means to somebody who looks at the map; `None` when it changes nothing for them.
    pub fn advice(self) -> Option<String> {
        match self {
            Note::Quantised | Note::RunByWindows | Note::RunByWholeImages => None,
            Note::RuleHadNoEffect => {
                Some("no ReLU for the method to act on: this is the plain gradient".to_owned())
            }
            Note::RulePartlyApplied(Share { count, of }) => Some(format!(
                "the ReLU rule acted at {count} of {of} activations: the others send their plain gradient"
            )),
            Note::LayerIsBypassed => Some(
                "some of the image reaches the score around the layer: the map shows what passes it"
                    .to_owned(),
            ),
            Note::SomeLayersAreEmpty(Share { count, of }) => {
                Some(format!("no map at {count} of {of} layers: the JSON says which"))
            }
        }
    }
}

impl Serialize for Note {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}
