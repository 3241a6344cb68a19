//! Which targets fit the outputs of a model.

use whycam_graph::derive::length;
use whycam_graph::layer::Grids;
use whycam_graph::{DType, Dim, ValueId};

use super::resolve::{Detector, before_softmax, detector};
use super::{Aimed, Target};
use crate::error::Result;
use crate::model::Model;

/// What can be asked of one output.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitting {
    /// The output.
    pub output: ValueId,
    /// Targets with the ranges of what they take, as `class:0…999`; none for an output without gradients.
    pub forms: Vec<String>,
    /// The first of the targets, to try.
    pub example: Option<Target>,
}

impl Model {
    /// Which targets fit each output. Where several outputs are of one kind, `--output` chooses among them.
    pub fn targets(&self) -> Vec<Fitting> {
        let grids = Grids::new(self.graph(), self.image());
        self.graph().outputs().iter().map(|&output| self.fitting(&grids, output)).collect()
    }

    fn fitting(&self, grids: &Grids<'_>, output: ValueId) -> Fitting {
        let value = self.graph().value(output);
        let mut fitting = Fitting { output, forms: Vec::new(), example: None };
        if !value.dtype.is_none_or(DType::is_float) {
            return fitting;
        }
        let mut add = |form: String, example: Option<Target>| {
            fitting.forms.push(form);
            fitting.example = fitting.example.take().or(example);
        };
        if let Some(score) = self.score().filter(|score| score.output == output) {
            add(format!("class:{}", range(score.classes)), Some(Target::TOP1));
            add(format!("log-prob:{}", range(score.classes)), None);
        }
        if let Some(Detector { anchors, classes, .. }) = detector(self, output) {
            let example = Target::Box { anchor: 0, class: "0".into() };
            add(format!("box:{}:{}", range(anchors), range(classes)), Some(example));
        }
        let map = grids.layer(before_softmax(self.graph(), output)).filter(|map| map.channels > 1);
        if let Some(map) = map {
            let [h, w] = map.grid;
            let example = Target::Segment { class: "0".into(), mask: None };
            add(format!("segment:{} ({h}×{w} cells)", range(map.channels)), Some(example));
        }
        let batch = self.input().batch.map_or(whycam_graph::N, Dim::Fixed);
        if let (Some(shape), Some(length)) = (&value.shape, length(self.graph(), batch, output)) {
            let own = if shape.0.first() == Some(&batch) { &shape.0[1..] } else { &shape.0[..] };
            let sizes: Vec<usize> = own.iter().map(|dim| dim.at(1)).collect();
            if length > 0 {
                let ranges: Vec<String> = sizes.iter().map(|&n| range(n)).collect();
                let example = Target::Output { name: value.name.clone(), index: vec![0; sizes.len()] };
                add(format!("output:{}[{}]", value.name, ranges.join(",")), Some(example));
            }
            if length > 1 && sizes.iter().filter(|&&n| n > 1).count() == 1 {
                add(format!("similar:FILE.npy ({length} numbers)"), None);
            }
        }
        fitting
    }

    /// The model as it is asked that: its score is the target's.
    ///
    /// # Errors
    /// When the target does not fit.
    pub fn asked(&self, target: &Target) -> Result<Model> {
        Ok(Aimed::new(self, std::slice::from_ref(target))?.model.into_owned())
    }
}

/// Indices in words.
fn range(count: usize) -> String {
    if count > 1 { format!("0…{}", count - 1) } else { "0".to_owned() }
}
