//! What is asked: methods at layers, and which maps the answer makes of them.

use sha2::{Digest, Sha256};
use whycam_graph::derive::Formula;
use whycam_graph::op::Coordinates;
use whycam_graph::{ValueId, layer};

use super::{Fuse, Layers};
use crate::error::{Error, Result};
use crate::image::Align;
use crate::map::Raw;
use crate::method::{Ensemble, Method, Perturbation, Space};
use crate::model::Model;
use crate::sees::Sees;
use crate::verdict::Verdict;

/// What stands for a layer where none is read.
pub(super) const INPUT: &str = "input";

/// A method at a layer.
pub(super) struct Asked {
    pub method: Method,
    pub name: String,
    pub layer: String,
    pub module: Option<String>,
    /// What a cell of the layer sees of the image, where a layer is read.
    pub sees: Option<Sees>,
    /// Whether some of the image goes around the layer.
    pub bypassed: bool,
    pub how: How,
}

impl Asked {
    /// Judges a map. Of a probability of 1 that is shared out, no more than rounding is nothing: where the two sides of a
    /// contrast cancel, `2⁻²³` bounds what is left in a cell.
    pub fn verdict(&self, raw: &Raw) -> Verdict {
        let Raw { values, range, rectified, .. } = raw;
        let shares = matches!(&self.how, How::Formula(_, formula) if formula.is_excitation());
        if shares && range.iter().all(|v| v.abs() <= f32::EPSILON) {
            return Verdict::Blank;
        }
        Verdict::of(values, *range, *rectified)
    }

    /// What the colours of a signed map mean; `None` for maps whose cells are not negative by nature.
    pub fn legend(&self) -> Option<&'static str> {
        match self.how {
            How::Formula(_, formula) | How::Ensemble(_, formula) => {
                formula.is_signed().then_some("blue: below zero")
            }
            How::Perturbation(perturbation, _) => perturbation.legend,
        }
    }
}

/// A map of the answer: that of a method at one layer, or at several, fused.
pub(super) struct Shown {
    /// Which of what is asked it is made of; all are of one method.
    pub of: Vec<usize>,
    /// The layer, or the layers in short.
    pub layer: String,
}

impl Shown {
    /// The maps of the answer, in order.
    ///
    /// # Errors
    /// When layers are to be fused, and there is but one, or maps are of the image.
    pub fn all(asked: &[Asked], fuse: Option<Fuse>) -> Result<Vec<Shown>> {
        let mut shown: Vec<Shown> = Vec::new();
        for (index, this) in asked.iter().enumerate() {
            match (fuse, shown.last_mut()) {
                (Some(_), Some(last)) if this.sees.is_some() && asked[last.of[0]].name == this.name => {
                    last.of.push(index);
                }
                _ => shown.push(Shown { of: vec![index], layer: this.layer.clone() }),
            }
        }
        let Some(fuse) = fuse else { return Ok(shown) };
        for Shown { of, layer } in &mut shown {
            let first = &asked[of[0]];
            if first.method.info().space == Space::LayerAndImage {
                return Err(Error::ask(
                    format!("{} has a map of the image at every layer, and those are not fused", first.name),
                    "fuse the maps of another method",
                ));
            }
            match of.len() {
                1 if first.sees.is_some() => {
                    return Err(Error::ask(
                        format!("{} reads one layer, {layer}, so there is nothing to fuse", first.name),
                        "ask for several layers: all, a list, or a pattern as layer4.*",
                    ));
                }
                1 => {}
                _ => *layer = in_short(fuse, of.iter().map(|&index| asked[index].layer.as_str())),
            }
        }
        Ok(shown)
    }
}

/// Two layers or more by their number, the first and the last; where some lie between, by a digest of them all too, so that
/// different lists have different names.
fn in_short<'a>(fuse: Fuse, layers: impl Iterator<Item = &'a str>) -> String {
    let layers: Vec<&str> = layers.collect();
    let [first, between @ .., last] = &layers[..] else { return layers.concat() };
    let digest = Sha256::digest(layers.join("\n"));
    let which = match between {
        [] => String::new(),
        _ => format!(" ({})", digest[..4].iter().map(|b| format!("{b:02x}")).collect::<String>()),
    };
    format!("{fuse} of {}, {first} to {last}{which}", layers.len())
}

/// How a map comes about.
pub(super) enum How {
    /// By a formula: the one of that index in the derived graph, or in a graph of its own where it is smoothed.
    Formula(Option<usize>, Formula),
    /// By the mean of a formula's maps over copies of the image.
    Ensemble(Ensemble, Formula),
    /// By perturbing the image or the layer.
    Perturbation(Perturbation, Option<ValueId>),
}

/// The layers that a method reads.
pub(super) fn layers(model: &Model, method: &Method, layers: &Layers) -> Result<Vec<ValueId>> {
    let (graph, image, score) = (model.graph(), model.image(), model.scored()?);
    Ok(match layers {
        Layers::Auto => vec![method.automatic_layer(graph, image, score)?],
        Layers::All => layer::sweep(graph, image, score),
        Layers::Named(names) => {
            let mut found = Vec::new();
            for name in names {
                let values = match name.as_str() {
                    "auto" => vec![method.automatic_layer(graph, image, score)?],
                    "all" => layer::sweep(graph, image, score),
                    name if name.contains('*') && graph.find(name).is_none() => {
                        layer::matching(graph, image, score, name)?
                    }
                    name => vec![layer::find(graph, name)?],
                };
                for value in values {
                    if !found.contains(&value) {
                        found.push(value);
                    }
                }
            }
            found
        }
    })
}

impl From<Align> for Coordinates {
    fn from(align: Align) -> Coordinates {
        match align {
            Align::HalfPixel => Coordinates::HalfPixel,
            Align::Corners => Coordinates::AlignCorners,
        }
    }
}
