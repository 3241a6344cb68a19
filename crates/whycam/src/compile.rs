//! Compiling: a model's file becomes another that also gives the map.

use std::collections::BTreeMap;

use whycam_graph::derive::{Classes, TARGET, derive};
use whycam_graph::diff::{LinearRule, Rules};
use whycam_graph::engine::ModelBytes;
use whycam_graph::onnx::{self, Graft};
use whycam_graph::op::{Coordinates, Op, Range, ReduceKind, Resize, ResizeMode, UnaryFn};
use whycam_graph::{Build, DType, Dim, Emit, Graph, Header, Node, Shape, Tensor, ValueId, layer, pass};

use crate::error::{Error, Result};
use crate::image::Align;
use crate::method::{Ask, Kind, Method};
use crate::model::{Model, sha256};
use crate::prep::{Layout, Prep};
use crate::target::{Aimed, Target};

/// The name of the input that takes photos.
const PHOTO: &str = "photo";

/// Which classes a compiled model explains.
#[derive(Clone, Debug, PartialEq)]
pub enum Explained {
    /// These, the top ones first.
    Targets(Vec<Target>),
    /// So many, given at every run as the input `target: int64[N,K]`. What is added for one that the model has not is NaN.
    Input(usize),
}

/// What is compiled into a model.
#[derive(Clone, Debug)]
pub struct Compile {
    /// The method.
    pub method: Method,
    /// The layer; the automatic one where no name is given.
    pub layer: Option<String>,
    /// The classes.
    pub classes: Explained,
    /// How a layer's map is enlarged to the image.
    pub align: Align,
    /// How photos are prepared, where the compiled model is to do that: its input is then `photo: uint8[N,H,W,3]`, RGB, of
    /// the size that the model takes. Resizing stays outside.
    pub prep: Option<Prep>,
    /// The version of ONNX's operators; the model's own where none is given.
    pub opset: Option<i64>,
}

/// A model that explains itself.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The file. Files of weights beside it are those of the model.
    pub bytes: ModelBytes,
    /// The layer that is read; `None` for methods that read none.
    pub layer: Option<String>,
    /// The version of ONNX's operators, before and now.
    pub opset: [i64; 2],
}

/// Adds to a model's file the outputs `map` (`[N,K,h,w]`, or `[N,K,…]` in the image's layout), `heatmap` (`[N,K,H,W]`, of the
/// image's size and from 0 to 1: a layer's map enlarged bilinearly, of an image's the greatest absolute value over channels;
/// a map of one value is 0, one that is not finite NaN), and `range` (`[N,K,2]`, least and greatest value before a ReLU).
/// `model` is what was read from `file`.
///
/// # Errors
/// When the method is not a derived graph alone, a class or layer does not exist, a node on the way cannot be
/// differentiated, or the file cannot take what is added.
pub fn compile(model: &Model, file: &ModelBytes, ask: &Compile) -> Result<Compiled> {
    let own_graph = model.stored();
    let targets = if let Explained::Targets(targets) = &ask.classes { targets.as_slice() } else { &[] };
    let aimed = Aimed::new(model, targets)?;
    let model = aimed.model.as_ref();
    let (graph, image, score) = (model.graph(), model.image(), model.scored()?);
    let Kind::Gradient(formula) = ask.method.info().kind else {
        return Err(refusal(&ask.method, why(ask.method.info().kind)));
    };
    if ask.method.is_smoothed() {
        return Err(refusal(&ask.method, "smooth=on runs several copies of the image"));
    }
    let own = graph.header().opset();
    if let Some(opset) = ask.opset.filter(|&opset| opset < own) {
        return Err(Error::ask(
            format!("the model uses version {own} of ONNX's operators, which is not lowered to {opset}"),
            "leave --opset out",
        ));
    }
    let read = match (&ask.layer, ask.method.info().space.reads_layer()) {
        (_, false) => image,
        (None, true) => ask.method.automatic_layer(graph, image, score)?,
        (Some(name), true) => layer::find(graph, name)?,
    };
    let enlarge = Coordinates::from(ask.align);
    let formula = formula(&Ask { image, layer: read, enlarge }, &ask.method);
    let fixed: Vec<i64> = aimed.given.iter().map(|&column| column as i64).collect();
    let classes = match ask.classes {
        Explained::Input(given) => Classes { top: 0, given },
        Explained::Targets(_) => Classes { top: aimed.top, given: fixed.len() },
    };
    let derived = derive(graph, image, score, classes, &[formula])?.ranged()?;
    let derived = with_heatmap(model, &derived, enlarge)?;
    let kept = |graph: &Graph, node: &Node| {
        node.outputs.iter().flatten().any(|&id| own_graph.find(&graph.value(id).name).is_some())
    };
    let derived = pass::rescale(&derived, &|node| kept(&derived, node))?;
    let derived = pass::unshare(&derived, &|node| kept(&derived, node))?;
    let before = match (&ask.prep, fixed.as_slice()) {
        (None, []) => None,
        (prep, fixed) => Some(before(model, prep.as_ref(), fixed)?),
    };
    let layer = (read != image).then(|| graph.value(read).name.clone());
    let mut metadata = metadata(file, ask, layer.as_deref());
    let rules: Vec<String> = formula.recipes().iter().map(|recipe| rules(recipe.rules)).collect();
    metadata.insert("whycam.rules".into(), rules.join(","));
    if let Some(prep) = &ask.prep {
        metadata.insert("whycam.prep".into(), prep.of_bytes().to_string());
    }
    let opset = ask.opset.unwrap_or(0);
    let graft =
        Graft { model: own_graph, before: before.as_ref(), derived: &derived, metadata: &metadata, opset };
    let bytes = onnx::graft(file, &graft)?;
    let now = onnx::read(&bytes, &onnx::ReadOptions::default()).map_or(own, |graph| graph.header().opset());
    Ok(Compiled { bytes, layer, opset: [own, now] })
}

fn refusal(method: &Method, why: &str) -> Error {
    let hint = "`whycam methods --json` says which methods are compilable";
    Error::ask(format!("{} cannot be compiled: {why}", method.info().name), hint)
}

/// Why a kind of method is no graph.
fn why(kind: Kind) -> &'static str {
    match kind {
        Kind::Gradient(_) => "",
        Kind::Finished(..) => "its last step is not made of ONNX operators",
        Kind::Ensemble(_) => "it is a mean over many runs of the model",
        Kind::Perturbation(_) => "it compares many runs of the model",
    }
}

/// A graph that makes inputs of the model: the image, from photos that need no more than their size (`uint8[N,H,W,3]`, RGB),
/// and `target`, of classes that are always the same.
fn before(model: &Model, prep: Option<&Prep>, classes: &[i64]) -> Result<Graph> {
    let graph = model.graph();
    let image = graph.value(model.image());
    let shape = graph.shape(model.image())?.clone();
    let stored = model.stored().find(&image.name).and_then(|id| model.stored().value(id).dtype);
    let dtype = stored.unwrap_or(DType::F32);
    let mut b = Build::new(Header::default());
    avoid(&mut b, graph);
    let mut made = Vec::new();
    match prep {
        None => drop(b.input(&image.name, dtype, shape.clone())?),
        Some(prep) => {
            let input = model.input();
            let mut names = std::iter::once(PHOTO.to_owned()).chain((1..).map(|i| format!("{PHOTO}.{i}")));
            let name = names.find(|name| graph.find(name).is_none()).unwrap_or_default();
            let photos = Shape(
                [shape.0[0]].into_iter().chain([input.height, input.width, 3].map(Dim::Fixed)).collect(),
            );
            let photo = b.input(&name, DType::U8, photos)?;
            let values = prep.nodes(&mut b, photo, input.channels, input.layout)?;
            let values = b.cast(values, dtype)?;
            let values = b.copy(values)?;
            b.rename(values, &image.name)?;
            made.push(values);
        }
    }
    if !classes.is_empty() {
        let scores = graph.shape(model.scored()?.told)?;
        let batch = if scores.rank() == 1 { Dim::Fixed(1) } else { scores.0[0] };
        let row = b.constant(Tensor::i64(&[1, classes.len()], classes)?);
        let rows = b.expand(row, &Shape(vec![batch, Dim::Fixed(classes.len())]))?;
        let target = b.copy(rows)?;
        b.rename(target, TARGET)?;
        made.push(target);
    }
    Ok(b.finish(made))
}

/// Keeps the model's names for what it calls so, also where that is in no part of what is built.
fn avoid(b: &mut Build, model: &Graph) {
    model.values().for_each(|(_, value)| b.avoid(&value.name));
}

/// The derived graph with the outputs `map`, `heatmap` and `range` alone.
fn with_heatmap(model: &Model, derived: &Graph, enlarge: Coordinates) -> Result<Graph> {
    let &[_, _, map, range] = derived.outputs() else {
        return Err(Error::ask("no map was derived", "please report this"));
    };
    if [map, range].map(|id| derived.value(id).name.as_str()) != ["map", "range"] {
        return Err(Error::ask("the model has values called map or range already", "rename them"));
    }
    let mut b = Build::extend(derived);
    avoid(&mut b, model.graph());
    let heat = heat(&mut b, model, map, range, enlarge)?;
    let heatmap = b.copy(heat)?;
    b.rename(heatmap, "heatmap")?;
    Ok(b.finish(vec![map, heatmap, range]).with_outputs(&[map, heatmap, range]))
}

/// Maps `[N,K,h,w]` or of the image as `[N,K,H,W]` from 0 to 1.
fn heat(b: &mut Build, model: &Model, map: ValueId, range: ValueId, enlarge: Coordinates) -> Result<ValueId> {
    let input = model.input();
    let size = [input.height, input.width];
    let mut heat = map;
    if Emit::shape(b, map)?.rank() == 5 {
        let channels = if input.layout == Layout::Nhwc { 4 } else { 2 };
        let absolute = b.unary(UnaryFn::Abs, map)?;
        heat =
            b.emit(Op::Reduce { kind: ReduceKind::Max, axes: vec![channels], keep: false }, &[absolute])?;
    } else if Emit::shape(b, map)?.0[2..] != size.map(Dim::Fixed) {
        let resize = Resize { mode: ResizeMode::Linear, coordinates: enlarge, size, scales: None };
        heat = b.emit(Op::Resize(resize), &[map])?;
    }
    let [low, high] =
        [ReduceKind::Min, ReduceKind::Max].map(|kind| Op::Reduce { kind, axes: vec![2, 3], keep: true });
    let (low, high) = (b.emit(low, &[heat])?, b.emit(high, &[heat])?);
    let (moved, width) = (b.sub(heat, low)?, b.sub(high, low)?);
    let scaled = b.quotient(moved, width)?;
    // The range is NaN where a cell is not finite, which a ReLU or a maximum may have hidden.
    let least = b.emit(Op::Slice(vec![Range { axis: 2, start: 0, end: 1, step: 1 }]), &[range])?;
    let nothing = b.scale(least, 0.0)?;
    let nothing = b.emit(Op::Unsqueeze { axes: vec![3] }, &[nothing])?;
    Ok(b.add(scaled, nothing)?)
}

/// Rules in words: that of linear nodes where it is excitation, which asks no ReLU for its rule; else that of ReLUs.
fn rules(rules: Rules) -> String {
    match rules.linear {
        LinearRule::Gradient => format!("relu={:?}", rules.relu).to_lowercase(),
        LinearRule::Excitation { contrastive: false } => "linear=excitation".to_owned(),
        LinearRule::Excitation { contrastive: true } => "linear=contrastive-excitation".to_owned(),
    }
}

/// What the file says of how it came about.
fn metadata(file: &ModelBytes, ask: &Compile, layer: Option<&str>) -> BTreeMap<String, String> {
    let classes = match &ask.classes {
        Explained::Input(k) => format!("input:{k}"),
        Explained::Targets(targets) => targets.iter().map(Target::to_string).collect::<Vec<_>>().join(","),
    };
    let entries = [
        ("whycam.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("whycam.method", ask.method.to_string()),
        ("whycam.layer", layer.unwrap_or("input").to_owned()),
        ("whycam.target", classes),
        ("whycam.resize", ask.align.name().to_owned()),
        ("whycam.source.sha256", sha256(file)),
    ];
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
