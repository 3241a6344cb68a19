//! The methods. [`METHODS`] is the one list: command line, help, tables and files are derived from it.

mod cam;
mod counterfactual;
mod deconvnet;
mod eigen_cam;
mod full_grad;
mod grad_cam;
mod grad_cam_plus_plus;
mod gradient;
mod gradient_x_input;
mod guided_backprop;
mod guided_grad_cam;
mod hires_cam;
mod layer_cam;
mod option;
mod xgrad_cam;

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use whycam_graph::ValueId;
use whycam_graph::derive::Formula;
use whycam_graph::op::Coordinates;

use option::Chosen;
pub use option::{MethodOption, Takes};

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
}

/// A last step outside of the derived graph: values and their shape become a map and its shape.
pub type Finish = fn(&Method, &[f32], &[usize]) -> (Vec<f32>, Vec<usize>);

impl Kind {
    /// Whether a derived graph alone makes the map, so that it can be written as a model of its own.
    pub fn is_compilable(self) -> bool {
        match self {
            Kind::Gradient(_) => true,
            Kind::Finished(..) => false,
        }
    }
}

/// Where a map lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Space {
    /// `h×w`: one number for every cell of a layer.
    Layer,
    /// `C×H×W`: one number for every channel of every pixel; no layer is read.
    Image,
    /// `C×H×W`, and a layer is read too.
    LayerAndImage,
}

impl Space {
    /// Whether a layer is read.
    pub fn reads_layer(self) -> bool {
        self != Space::Image
    }
}

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

    /// The formula of the method at a place, for methods that have one.
    pub fn formula(&self, ask: &Ask) -> Option<Formula> {
        match self.info.kind {
            Kind::Gradient(formula) | Kind::Finished(formula, _) => Some(formula(ask, self)),
        }
    }

    /// What becomes of the formula's values; `None` where they are the map.
    pub(crate) fn finish(&self) -> Option<Finish> {
        match self.info.kind {
            Kind::Finished(_, finish) => Some(finish),
            Kind::Gradient(_) => None,
        }
    }

    /// The value of an option that takes words; `""` for one that the method does not have.
    fn word(&self, name: &str) -> &'static str {
        if let Some(Chosen::Word(word)) = self.chosen(name) { word } else { "" }
    }

    fn chosen(&self, name: &str) -> Option<&Chosen> {
        let index = self.info.options.iter().position(|o| o.name == name);
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
        Method { info, chosen: info.options.iter().map(|o| o.takes.default()).collect() }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info.name)?;
        for (option, value) in self.info.options.iter().zip(&self.chosen) {
            if option.takes.default() != *value {
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
            let Some(index) = method.options.iter().position(|o| o.name == key) else {
                let hint = match method.options {
                    [] => format!("{name} takes no options"),
                    options => format!("its options are {}", names(options.iter().map(|o| o.name))),
                };
                return Err(MethodError { what: format!("{name} has no option {key:?}"), hint });
            };
            let takes = method.options[index].takes;
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
    }

    #[test]
    fn errors_list_what_there_is() {
        let error = |text: &str| text.parse::<Method>().expect_err(text).to_string();
        assert!(error("gradcam").contains("grad-cam, guided-grad-cam, guided-backprop, gradient, deconvnet"));
        assert!(error("gradient:relu=off").contains("gradient takes no options"));
        assert!(error("grad-cam:size=3").contains("its options are relu, pool, abs, backward"));
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
