//! The methods. [`METHODS`] is the one list: command line, help, tables and files are derived from it.

mod ablation_cam;
mod c_mwp;
mod cam;
mod counterfactual;
mod deconvnet;
mod eigen_cam;
pub(crate) mod ensemble;
mod fill;
mod full_grad;
mod grad_cam;
mod grad_cam_plus_plus;
mod gradient;
mod gradient_x_input;
mod guided_backprop;
mod guided_grad_cam;
mod hires_cam;
mod integrated_gradients;
mod layer_cam;
mod mwp;
mod occlusion;
mod option;
pub(crate) mod perturbation;
mod rise;
mod score_cam;
mod smoothgrad;
mod xgrad_cam;

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use whycam_graph::derive::Formula;
use whycam_graph::layer::{self, Score};
use whycam_graph::op::Coordinates;
use whycam_graph::{Graph, ValueId};

pub use ensemble::Ensemble;
use option::Chosen;
pub use option::{MethodOption, Takes};
pub use perturbation::Perturbation;

/// Every method, in the order in which they are listed.
pub const METHODS: &[&MethodInfo] = &[
    &grad_cam::METHOD,
    &guided_grad_cam::METHOD,
    &guided_backprop::METHOD,
    &gradient::METHOD,
    &deconvnet::METHOD,
    &cam::METHOD,
    &counterfactual::METHOD,
    &grad_cam_plus_plus::METHOD,
    &xgrad_cam::METHOD,
    &hires_cam::METHOD,
    &layer_cam::METHOD,
    &eigen_cam::METHOD,
    &gradient_x_input::METHOD,
    &full_grad::METHOD,
    &integrated_gradients::METHOD,
    &smoothgrad::METHOD,
    &occlusion::METHOD,
    &rise::METHOD,
    &score_cam::METHOD,
    &ablation_cam::METHOD,
    &mwp::METHOD,
    &c_mwp::METHOD,
];

/// A method of explanation, as data.
#[derive(Debug, Serialize)]
pub struct MethodInfo {
    /// Its name on the command line, spelled as the papers do.
    pub name: &'static str,
    /// One sentence: what the map shows.
    pub about: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// What it needs of the model.
    pub needs: &'static str,
    /// Where its map lies.
    pub space: Space,
    /// The options that follow its name, as in `grad-cam:relu=off`.
    pub options: &'static [MethodOption],
    /// How its map comes about.
    pub kind: Kind,
}

/// How the map of a method comes about.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// By a formula: all methods of this kind that are asked share one derived graph and one forward pass.
    Gradient(#[serde(skip)] fn(&Ask, &Method) -> Formula),
    /// By a formula, and a step outside of the derived graph that makes the map of what the formula gives.
    Finished(#[serde(skip)] fn(&Ask, &Method) -> Formula, #[serde(skip)] Finish),
    /// By the mean of a formula over changed copies of the image.
    Ensemble(#[serde(skip)] Ensemble),
    /// From the scores of copies of the image, or of a layer, that lack a part.
    Perturbation(#[serde(skip)] Perturbation),
}

/// A last step outside of the derived graph: values and their shape become a map and its shape.
pub type Finish = fn(&Method, &[f32], &[usize]) -> (Vec<f32>, Vec<usize>);

impl Kind {
    /// Whether a derived graph alone makes the map, so that it can be written as a model of its own.
    pub fn is_compilable(self) -> bool {
        match self {
            Kind::Gradient(_) => true,
            Kind::Finished(..) | Kind::Ensemble(_) | Kind::Perturbation(_) => false,
        }
    }
}

/// Where a map lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Space {
    /// `h×w`: one number for every cell of a layer.
    Layer,
    /// `H×W`: one number for every pixel; no layer is read.
    Pixels,
    /// `C×H×W`: one number for every channel of every pixel; no layer is read.
    Image,
    /// `C×H×W`, and a layer is read too.
    LayerAndImage,
}

impl Space {
    /// Whether a layer is read.
    pub fn reads_layer(self) -> bool {
        matches!(self, Space::Layer | Space::LayerAndImage)
    }
}

/// The options that every method has.
pub const COMMON: &[MethodOption] = &[MethodOption {
    name: "smooth",
    takes: Takes::Word(&["off", "on"]),
    about: "whether maps are averaged over the image and its mirror image, darker, as they are and brighter",
}];

/// Where a method is to look.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// The image.
    pub image: ValueId,
    /// The layer; the image itself for methods that read none.
    pub layer: ValueId,
    /// How a layer's map is enlarged to the image, where the method does that.
    pub enlarge: Coordinates,
}

/// A method with its options chosen. Its text form is the command line's.
#[derive(Clone, Debug)]
pub struct Method {
    info: &'static MethodInfo,
    chosen: Vec<Chosen>,
}

impl Method {
    /// What the list says of the method.
    pub fn info(&self) -> &'static MethodInfo {
        self.info
    }

    /// The options of the method, the common ones last.
    fn options(&self) -> impl Iterator<Item = &'static MethodOption> {
        self.info.options.iter().chain(COMMON)
    }

    /// Whether maps are averaged over a few copies of the image.
    pub fn is_smoothed(&self) -> bool {
        self.word("smooth") == "on"
    }

    /// The formula of the method at a place, of which an ensemble takes the mean; `None` for perturbations.
    pub fn formula(&self, ask: &Ask) -> Option<Formula> {
        match self.info.kind {
            Kind::Gradient(formula)
            | Kind::Finished(formula, _)
            | Kind::Ensemble(Ensemble { formula, .. }) => Some(formula(ask, self)),
            Kind::Perturbation(_) => None,
        }
    }

    /// The layer that is read when none is named: [`layer::automatic`], and for excitation backprop, which tells classes
    /// apart only below it, [`layer::automatic_below`].
    ///
    /// # Errors
    /// When there is none.
    pub fn automatic_layer(
        &self,
        graph: &Graph,
        image: ValueId,
        score: &Score,
    ) -> whycam_graph::error::Result<ValueId> {
        let anywhere = Ask { image, layer: image, enlarge: Coordinates::HalfPixel };
        match self.formula(&anywhere) {
            Some(formula) if formula.is_excitation() => layer::automatic_below(graph, image, score),
            _ => layer::automatic(graph, image, score),
        }
    }

    /// What becomes of the formula's values; `None` where they are the map.
    pub(crate) fn finish(&self) -> Option<Finish> {
        match self.info.kind {
            Kind::Finished(_, finish) => Some(finish),
            Kind::Gradient(_) | Kind::Ensemble(_) | Kind::Perturbation(_) => None,
        }
    }

    /// One method for each map that is asked: a list of numbers makes a map each.
    pub fn each(&self) -> Vec<Method> {
        let mut methods = vec![self.clone()];
        for (i, chosen) in self.chosen.iter().enumerate() {
            let Chosen::EachOf(numbers) = chosen else { continue };
            let with = |method: Method, number: u64| {
                let mut method = method;
                method.chosen[i] = Chosen::EachOf(vec![number]);
                method
            };
            methods = methods.iter().flat_map(|m| numbers.iter().map(|&n| with(m.clone(), n))).collect();
        }
        methods
    }

    /// The value of an option that takes words; `""` for one that the method does not have.
    fn word(&self, name: &str) -> &'static str {
        if let Some(Chosen::Word(word)) = self.chosen(name) { word } else { "" }
    }

    /// The value of an option that takes a whole number, or the first of several; 0 for one that the method does not
    /// have.
    fn whole(&self, name: &str) -> usize {
        let number = match self.chosen(name) {
            Some(Chosen::Whole(number)) => *number,
            Some(Chosen::EachOf(numbers)) => numbers.first().copied().unwrap_or_default(),
            _ => 0,
        };
        usize::try_from(number).unwrap_or(usize::MAX)
    }

    /// The value of an option that takes a number; 0 for one that the method does not have.
    fn number(&self, name: &str) -> f64 {
        if let Some(Chosen::Number(number)) = self.chosen(name) { *number } else { 0.0 }
    }

    fn chosen(&self, name: &str) -> Option<&Chosen> {
        let index = self.options().position(|o| o.name == name);
        index.and_then(|i| self.chosen.get(i))
    }
}

impl PartialEq for Method {
    fn eq(&self, other: &Method) -> bool {
        self.info.name == other.info.name && self.chosen == other.chosen
    }
}

impl From<&'static MethodInfo> for Method {
    /// The method with its defaults.
    fn from(info: &'static MethodInfo) -> Method {
        Method { info, chosen: info.options.iter().chain(COMMON).map(|o| o.takes.default()).collect() }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info.name)?;
        for (option, value) in self.options().zip(&self.chosen) {
            // Of several maps each says which it is.
            if option.takes.default() != *value || matches!(value, Chosen::EachOf(_)) {
                write!(f, ":{}={value}", option.name)?;
            }
        }
        Ok(())
    }
}

/// Why the text is not a method. The message ends in a `hint:` line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}\nhint: {hint}")]
pub struct MethodError {
    what: String,
    hint: String,
}

impl FromStr for Method {
    type Err = MethodError;

    fn from_str(text: &str) -> Result<Method, MethodError> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let method = METHODS.iter().copied().find(|m| m.name == name).ok_or_else(|| MethodError {
            what: format!("there is no method {name:?}"),
            hint: format!("the methods are {}", names(METHODS.iter().map(|m| m.name))),
        })?;
        let mut chosen = Method::from(method);
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let found = chosen.options().enumerate().find(|(_, o)| o.name == key);
            let (index, MethodOption { takes, .. }) = found.ok_or_else(|| MethodError {
                what: format!("{name} has no option {key:?}"),
                hint: format!("its options are {}", names(chosen.options().map(|o| o.name))),
            })?;
            chosen.chosen[index] = takes.parse(value).ok_or_else(|| MethodError {
                what: format!("{name}:{key} cannot be {value:?}"),
                hint: format!("{key} takes {takes}"),
            })?;
        }
        Ok(chosen)
    }
}

fn names(names: impl Iterator<Item = &'static str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// Whether a map is rectified: an option of most methods that read a layer.
const RELU: MethodOption = MethodOption {
    name: "relu",
    takes: Takes::Word(&["on", "off"]),
    about: "whether negative cells are set to 0; `off` keeps the signed map",
};

/// The gradient at the layer, reduced.
fn at_layer(ask: &Ask, reduce: whycam_graph::derive::Reduce) -> Formula {
    let rules = whycam_graph::diff::Rules::default();
    Formula::Single(whycam_graph::derive::Recipe { read_at: ask.layer, rules, reduce })
}

/// What random numbers begin with; equal seeds give equal maps.
const SEED: MethodOption = MethodOption {
    name: "seed",
    takes: Takes::Whole { default: 0, least: 0, most: u32::MAX as u64 },
    about: "what random numbers begin with; equal seeds give equal maps",
};

/// Excitation backprop to the layer, summed over channels.
fn excitation(ask: &Ask, contrastive: bool, relu: bool) -> Formula {
    let linear = whycam_graph::diff::LinearRule::Excitation { contrastive };
    let rules = whycam_graph::diff::Rules { linear, ..Default::default() };
    let reduce = whycam_graph::derive::Reduce::excitation(relu);
    Formula::Single(whycam_graph::derive::Recipe { read_at: ask.layer, rules, reduce })
}

/// Backward from the class score to the image under one ReLU rule: what three methods share.
fn signal_at_image(ask: &Ask, relu: whycam_graph::diff::ReluRule) -> whycam_graph::derive::Recipe {
    whycam_graph::derive::Recipe {
        read_at: ask.image,
        rules: whycam_graph::diff::Rules { relu, ..Default::default() },
        reduce: whycam_graph::derive::Reduce::SIGNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in ["grad-cam", "grad-cam:relu=off", "guided-backprop"] {
            assert_eq!(text.parse::<Method>().expect(text).to_string(), text);
        }
        let default: Method = "grad-cam:relu=on".parse().expect("the default may be named");
        assert_eq!(default.to_string(), "grad-cam");
        let each: Method = "occlusion:size=10+35:stride=4:smooth=on".parse().expect("a method");
        let each: Vec<String> = each.each().iter().map(Method::to_string).collect();
        assert_eq!(each, ["occlusion:size=10:stride=4:smooth=on", "occlusion:size=35:stride=4:smooth=on"]);
    }

    #[test]
    fn errors_list_what_there_is() {
        let error = |text: &str| text.parse::<Method>().expect_err(text).to_string();
        assert!(error("gradcam").contains("grad-cam, guided-grad-cam, guided-backprop, gradient, deconvnet"));
        assert!(error("gradient:relu=off").contains("its options are smooth"));
        assert!(error("grad-cam:size=3").contains("its options are relu, pool, abs, backward, smooth"));
        assert!(error("grad-cam:relu=maybe").contains("relu takes on, off"));
        assert!(error("grad-cam:relu").contains("grad-cam:relu cannot be \"\""));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = METHODS.iter().map(|m| m.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METHODS.len());
    }
}
