//! Targets as one model understands them: indices of columns, for which aims are appended to its graph.

use std::borrow::Cow;

use whycam_graph::derive::{Aim, aim, length};
use whycam_graph::layer::{self, Grids};
use whycam_graph::{DType, Dim, Graph, Tensor, ValueId};

use super::{FromFile, Target};
use crate::error::{Error, Result};
use crate::model::Model;

/// A model with what is asked of it. Columns are its classes, and behind them what is asked beside.
pub(crate) struct Aimed<'m> {
    /// The model, whose graph and score have a column for everything that is asked.
    pub model: Cow<'m, Model>,
    /// So many classes with the highest scores are asked.
    pub top: usize,
    /// The columns that are asked beside, none twice.
    pub given: Vec<usize>,
    /// What all of them are called, those of the top first.
    pub names: Vec<String>,
    /// What the columns behind the classes are.
    pub beside: Vec<Beside>,
}

/// What a column is that is no class.
pub(crate) struct Beside {
    /// What is asked, in words.
    pub label: String,
    /// The class that it is about.
    pub class: Option<usize>,
    /// What its number is: `log-probability`, `element`, `region`, `box` or `cosine`.
    pub kind: &'static str,
    /// Whether the image says itself where the class is looked for, so that it may be nowhere.
    pub own_region: bool,
}

impl Beside {
    fn new(label: String, class: Option<usize>, kind: &'static str) -> Beside {
        Beside { label, class, kind, own_region: false }
    }
}

impl<'m> Aimed<'m> {
    /// # Errors
    /// When a target does not fit the model.
    pub fn new(model: &'m Model, targets: &[Target]) -> Result<Aimed<'m>> {
        let of = |t: &Target| if let Target::Top(k) = t { *k } else { 0 };
        let top = targets.iter().map(of).max().unwrap_or(0);
        let mut names: Vec<String> = match top {
            1 => vec![Target::TOP1.to_string()],
            top => (1..=top).map(|rank| format!("top{rank}")).collect(),
        };
        let (mut given, mut aims, mut beside) = (Vec::new(), Vec::new(), Vec::new());
        let asks_classes = targets.iter().any(Target::is_class);
        if asks_classes {
            model.scored()?;
        }
        let classes = model.score().map_or(0, |score| score.classes);
        for target in targets {
            let column = match target {
                Target::Top(_) => continue,
                Target::Index(index) => within(*index, classes)?,
                Target::Name(name) => by_name(name, model.labels())?,
                target => {
                    let (aim, about) = resolved(model, target)?;
                    if aims.contains(&aim) {
                        continue;
                    }
                    aims.push(aim);
                    beside.push(about);
                    classes + aims.len() - 1
                }
            };
            if !given.contains(&column) {
                given.push(column);
                names.push(target.to_string());
            }
        }
        let model = if aims.is_empty() {
            Cow::Borrowed(model)
        } else {
            let (graph, score) = aim(model.graph(), model.image(), model.score(), &aims, asks_classes)?;
            Cow::Owned(model.with_graph(graph).with_score(score))
        };
        Ok(Aimed { model, top, given, names, beside })
    }
}

/// The class of that index, when there is one.
fn within(index: usize, classes: usize) -> Result<usize> {
    if index < classes {
        return Ok(index);
    }
    Err(Error::ask(
        format!("there is no class {index}"),
        format!("the model has the classes 0 to {}", classes.saturating_sub(1)),
    ))
}

/// A class by index or label, among so many.
fn class(text: &str, classes: usize, labels: &[String]) -> Result<usize> {
    let index = text.parse().map_or_else(|_| by_name(text, labels), Ok)?;
    within(index, classes)
}

/// What is appended to the graph for a target that is no class, and what it is.
fn resolved(model: &Model, target: &Target) -> Result<(Aim, Beside)> {
    let (graph, labels) = (model.graph(), model.labels());
    let label = |class: usize| model.label(class);
    Ok(match target {
        Target::LogProb(name) => {
            let class = class(name, model.scored()?.classes, labels)?;
            (Aim::LogProbability { class }, Beside::new(label(class), Some(class), "log-probability"))
        }
        Target::Output { name, index } => {
            let output = layer::output(graph, name)?;
            let about = Beside::new(target.to_string(), None, "element");
            (Aim::Element { output, index: index.clone() }, about)
        }
        Target::Segment { class: name, mask } => {
            let grids = Grids::new(graph, model.image());
            let is_map = |output| grids.layer(output).is_some_and(|layer| layer.channels > 1);
            let output = chosen(model, is_map, "a map of classes, N×C×h×w")?;
            let output = before_softmax(graph, output);
            let layer = grids.layer(output);
            let (channels, grid) = layer.map_or((0, [0, 0]), |layer| (layer.channels, layer.grid));
            let class = class(name, channels, labels)?;
            let mask = mask.as_ref().map(|mask| cells(mask, grid)).transpose()?;
            let about =
                Beside { own_region: mask.is_none(), ..Beside::new(label(class), Some(class), "region") };
            (Aim::Region { output, class, mask }, about)
        }
        Target::Box { anchor, class: name } => {
            let output = chosen(model, |output| detector(model, output).is_some(), DETECTORS)?;
            let Some(Detector { anchors, transposed, first, classes }) = detector(model, output) else {
                return Err(Error::ask(format!("no output is {DETECTORS}"), layer::outputs(graph)));
            };
            if *anchor >= anchors {
                let hint = format!("the model has the boxes 0 to {}", anchors.saturating_sub(1));
                return Err(Error::ask(format!("there is no box {anchor}"), hint));
            }
            let class = class(name, classes, labels)?;
            let column = first + class;
            let index = if transposed { vec![column, *anchor] } else { vec![*anchor, column] };
            let label = format!("{} in box {anchor}", label(class));
            (Aim::Element { output, index }, Beside::new(label, Some(class), "box"))
        }
        Target::Similar(from) => {
            let to = array(from)?.to_f32s();
            let batch = batch(model)?;
            let is_as_long = |output| length(graph, batch, output) == Some(to.len());
            let output = chosen(model, is_as_long, &format!("an embedding of {} numbers", to.len()))?;
            (Aim::Similarity { output, to }, Beside::new(target.to_string(), None, "cosine"))
        }
        Target::Top(_) | Target::Index(_) | Target::Name(_) => {
            return Err(Error::ask("a class is no aim", "please report this"));
        }
    })
}

/// The output that is named, or the first that fits.
fn chosen(model: &Model, fits: impl Fn(ValueId) -> bool, what: &str) -> Result<ValueId> {
    let graph = model.graph();
    let float = |id: ValueId| graph.value(id).dtype.is_none_or(DType::is_float);
    let fits = |id: ValueId| float(id) && fits(id);
    if let Some(output) = model.output() {
        if fits(output) {
            return Ok(output);
        }
        let name = &graph.value(output).name;
        return Err(Error::ask(format!("the output {name:?} is not {what}"), layer::outputs(graph)));
    }
    graph
        .outputs()
        .iter()
        .copied()
        .find(|&id| fits(id))
        .ok_or_else(|| Error::ask(format!("no output is {what}"), layer::outputs(graph)))
}

/// The first dimension of the model's image.
fn batch(model: &Model) -> Result<Dim> {
    Ok(model.graph().shape(model.image())?.0.first().copied().unwrap_or(Dim::Fixed(1)))
}

/// A value, or what goes into a softmax that makes it.
pub(super) fn before_softmax(graph: &Graph, output: ValueId) -> ValueId {
    let node = graph.value(output).producer.map(|id| graph.node(id));
    let is = |op: &whycam_graph::Op| {
        matches!(op, whycam_graph::Op::Softmax { .. } | whycam_graph::Op::LogSoftmax { .. })
    };
    node.filter(|node| is(&node.op)).and_then(|node| node.input(0).ok()).unwrap_or(output)
}

const DETECTORS: &str =
    "the raw output of a detector: N×anchors×classes, N×anchors×(5+classes) or N×(4+classes)×anchors";

/// Where a detector's output holds the scores of classes.
pub(super) struct Detector {
    pub anchors: usize,
    /// Whether anchors are the last axis.
    transposed: bool,
    /// The column of class 0.
    first: usize,
    pub classes: usize,
}

/// There are more boxes than numbers of each. Of its numbers the first may be 4 that tell where it is, and 1 that tells
/// whether there is anything. The labels decide, if they fit; else: all are classes where another output has 4 numbers of
/// each box; 4 are none where boxes are the last axis, as in YOLOv8; and 5 elsewhere, as in YOLOv5.
pub(super) fn detector(model: &Model, output: ValueId) -> Option<Detector> {
    let graph = model.graph();
    let shape = |id: ValueId| -> Option<[usize; 2]> {
        match *graph.value(id).shape.as_ref()?.0.as_slice() {
            [_, Dim::Fixed(a), Dim::Fixed(b)] => Some([a, b]),
            _ => None,
        }
    };
    let [a, b] = shape(output)?;
    let transposed = a < b;
    let (anchors, numbers) = if transposed { (b, a) } else { (a, b) };
    let boxes = [[anchors, 4], [4, anchors]];
    let apart =
        graph.outputs().iter().any(|&o| o != output && shape(o).is_some_and(|shape| boxes.contains(&shape)));
    let by_labels = [0, 4, 5].into_iter().find(|first| first + model.labels().len() == numbers);
    let by_labels = by_labels.filter(|_| !model.labels().is_empty());
    let first = by_labels.unwrap_or(match (apart, transposed) {
        (true, _) => 0,
        (false, true) => 4,
        (false, false) => 5,
    });
    let classes = numbers.checked_sub(first).filter(|&classes| classes > 0)?;
    (numbers != 4).then_some(Detector { anchors, transposed, first, classes })
}

/// The array of a file.
fn array(from: &FromFile) -> Result<&Tensor> {
    from.array
        .as_ref()
        .ok_or_else(|| Error::ask(format!("{:?} was not read", from.file), "give it to Target::read_files"))
}

/// Which cells of a grid lie in a mask, by nearest neighbour: the middle of each cell.
fn cells(mask: &FromFile, [height, width]: [usize; 2]) -> Result<Vec<bool>> {
    let array = array(mask)?;
    let &[h, w] = array.shape() else {
        let what = format!("the mask {:?} has the shape {:?}", mask.file, array.shape());
        return Err(Error::ask(what, "a mask has two axes, height and width"));
    };
    let values = array.to_f32s();
    let at =
        |i: usize, of: usize, from: usize| ((2 * i + 1) * from / (2 * of.max(1))).min(from.saturating_sub(1));
    let cell = |i: usize| {
        let (row, column) = (at(i / width, height, h), at(i % width, width, w));
        values.get(row * w + column).is_some_and(|&v| v != 0.0)
    };
    let cells: Vec<bool> = (0..height * width).map(cell).collect();
    if !cells.contains(&true) {
        return Err(Error::ask(
            format!("no cell of the {height}×{width} map lies in the mask {:?}", mask.file),
            "the mask is 0 everywhere, or smaller than a cell",
        ));
    }
    Ok(cells)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<String> {
        ["crane", "tabby", "tiger cat", "Crane"].map(String::from).to_vec()
    }

    #[test]
    fn names_are_whole_and_without_case() {
        let index = |name: &str| class(name, 4, &labels());
        assert_eq!(index("TABBY").expect("one class"), 1);
        assert_eq!(index("3").expect("in range"), 3);
        let error = |name: &str| index(name).expect_err("no class").to_string();
        assert!(error("crane").contains("choose one of class:0 (crane), class:3 (Crane)"));
        assert!(error("cat").contains("did you mean class:2 (tiger cat)?"));
        assert!(error("4").contains("the classes 0 to 3"));
        assert!(class("x", 4, &[]).expect_err("no labels").to_string().contains("--labels"));
    }

    #[test]
    fn masks_are_resized_by_nearest_neighbour() {
        let mask = |shape: [usize; 2], values: &[f32]| FromFile {
            file: "mask.npy".into(),
            array: Some(Tensor::f32(&shape, values).expect("fits")),
        };
        let same = mask([2, 2], &[0.0, 1.0, 2.0, 0.0]);
        assert_eq!(cells(&same, [2, 2]).expect("a mask"), [false, true, true, false]);
        assert_eq!(
            cells(&same, [2, 4]).expect("a mask"),
            [false, false, true, true, true, true, false, false]
        );
        // The middle of a cell decides.
        let fine = mask([1, 6], &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
        assert_eq!(cells(&fine, [1, 2]).expect("a mask"), [true, false]);
        assert!(cells(&mask([1, 2], &[0.0; 2]), [1, 2]).expect_err("empty").to_string().contains("mask.npy"));
    }
}
