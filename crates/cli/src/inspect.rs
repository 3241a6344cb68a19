//! `whycam inspect`: what is inside a model, and what of it can be explained.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use whycam::graph::derive::{Classes, derive};
use whycam::graph::layer::{self, Grids, ReceptiveFields};
use whycam::graph::op::Coordinates;
use whycam::graph::{Graph, Op, ValueId, diff, onnx};
use whycam::method::Ask;
use whycam::prep::Layout;
use whycam::{Fitting, METHODS, Method, Model, ModelOptions, Origin, Sees, Target};

use crate::args;
use crate::console::print;
use crate::fail::Fail;
use crate::further::told;

/// What there is to say about a model.
#[derive(Serialize)]
struct Report {
    model: String,
    sha256: String,
    producer: String,
    opset: i64,
    nodes: usize,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    image: Option<Picture>,
    score: Option<Scores>,
    prep: Option<String>,
    /// Where the preparation was found: `model` or `guess`.
    prep_from: Option<&'static str>,
    /// How many classes have names.
    labels: usize,
    activations: Activations,
    /// Nodes that are not modelled: they run, but nothing is known of their gradients.
    opaque: Vec<Unknown>,
    /// The target that layers and methods are told for.
    asked: Option<String>,
    layers: Vec<Row>,
    methods: Vec<Possible>,
    /// Why the model cannot be explained as it is.
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Port {
    name: String,
    dtype: Option<String>,
    shape: Option<String>,
    /// Of an output: what can be asked of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<Vec<String>>,
    #[serde(skip)]
    told: String,
}

#[derive(Serialize)]
struct Picture {
    input: String,
    channels: usize,
    height: usize,
    width: usize,
    layout: &'static str,
}

#[derive(Serialize)]
struct Scores {
    value: String,
    output: String,
    kind: &'static str,
    classes: usize,
}

#[derive(Default, Serialize)]
struct Activations {
    /// Those that ReLU rules act on.
    relu: usize,
    /// Those that send their plain gradient, whatever the rule.
    other: usize,
    /// How many of these there are of each operator.
    others: BTreeMap<String, usize>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    module: Option<String>,
    channels: usize,
    height: usize,
    width: usize,
    automatic: bool,
    /// What a cell can see of the image.
    receptive_field: Sees,
}

#[derive(Serialize)]
struct Unknown {
    node: String,
    /// Whether it lies between the image and what can be asked, so that it stops gradients; unknown when either is.
    on_path: Option<bool>,
}

#[derive(Serialize)]
struct Possible {
    method: &'static str,
    /// Why it cannot be asked of this model at the automatic layer.
    error: Option<String>,
}

/// Prints the report, or the graph.
///
/// # Errors
/// When the file is no sound model.
pub fn run(args: &args::Inspect) -> Result<ExitCode, Fail> {
    let named = |fail: Fail| fail.at(path_of(args.model.as_deref()));
    let (bytes, about) = match &args.model {
        None => (whycam::embedded_bytes(), None),
        Some(path) => {
            Fail::unless_readable(path)?;
            let (bytes, about) = Model::read(path).map_err(|e| named(e.into()))?;
            (bytes, Some(about))
        }
    };
    let options = onnx::ReadOptions { size: args.choice.size };
    let graph = onnx::read(&bytes, &options).map_err(|e| named(e.into()))?;
    if args.graph {
        print(graph.to_string().trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = ModelOptions {
        size: args.choice.size,
        output: args.choice.output.clone(),
        ..ModelOptions::default()
    };
    let model = match about {
        None => Model::embedded_with(options),
        Some(about) => Model::with_about(&bytes, options, about),
    };
    let mut report = Report::new(&graph, path_of(args.model.as_deref()), whycam::sha256(&bytes));
    match &model {
        Ok(model) => report.add_model(model),
        Err(e) => report.problems.push(e.to_string()),
    }
    print(&match args.json {
        true => serde_json::to_string_pretty(&report)
            .map_err(|e| Fail::input(format!("the report is no JSON: {e}"), "please report this"))?,
        false => report.told(),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn path_of(model: Option<&Path>) -> String {
    model.map_or("embedded".to_owned(), |path| path.display().to_string())
}

impl Report {
    /// What every graph has.
    fn new(graph: &Graph, model: String, sha256: String) -> Report {
        let header = graph.header();
        let port = |&id: &ValueId| {
            let value = graph.value(id);
            Port {
                name: value.name.clone(),
                dtype: value.dtype.map(|d| d.to_string()),
                shape: value.shape.as_ref().map(ToString::to_string),
                targets: None,
                told: told(value),
            }
        };
        let mut activations = Activations::default();
        let mut opaque = Vec::new();
        for (_, node) in graph.nodes() {
            if diff::is_relu(graph, node) {
                activations.relu += 1;
            } else if diff::is_smooth(graph, node) {
                activations.other += 1;
                *activations.others.entry(node.op.name().to_owned()).or_default() += 1;
            }
            if let Op::Opaque(known) = &node.op {
                let reason = known.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
                opaque.push(Unknown { node: format!("{}{reason}", node.place()), on_path: None });
            }
        }
        Report {
            model,
            sha256,
            producer: format!("{} {}", header.producer.0, header.producer.1).trim().to_owned(),
            opset: header.opset(),
            nodes: graph.nodes().len(),
            inputs: graph.inputs().iter().map(port).collect(),
            outputs: graph.outputs().iter().map(port).collect(),
            image: None,
            score: None,
            prep: None,
            prep_from: None,
            labels: 0,
            activations,
            opaque,
            asked: None,
            layers: Vec::new(),
            methods: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// What only a model has that can be explained.
    fn add_model(&mut self, model: &Model) {
        let name = |id| model.graph().value(id).name.clone();
        let input = model.input();
        self.image = Some(Picture {
            input: name(model.image()),
            channels: input.channels,
            height: input.height,
            width: input.width,
            layout: match input.layout {
                Layout::Nchw => "NCHW",
                Layout::Nhwc => "NHWC",
            },
        });
        self.score = model.score().map(|score| Scores {
            value: name(score.value),
            output: name(score.output),
            kind: score.kind.name(),
            classes: score.classes,
        });
        self.prep = model.prep().map(|(prep, _)| prep.to_string());
        self.prep_from =
            model.prep().map(|(_, origin)| if origin == Origin::Guess { "guess" } else { "model" });
        self.labels = model.labels().len();
        let fitting = model.targets();
        for (port, fits) in self.outputs.iter_mut().zip(&fitting) {
            port.targets = Some(fits.forms.clone());
        }
        self.add_paths(model);
        // Where there are no class scores, layers are those of the first thing that can be asked.
        let chosen = |fits: &&Fitting| model.output().is_none_or(|output| output == fits.output);
        let example = match model.score() {
            Some(_) => Some(Target::TOP1),
            None => fitting.iter().filter(chosen).find_map(|fits| fits.example.clone()),
        };
        let Some(example) = example else { return };
        match model.asked(&example) {
            Ok(asked) => self.add_layers(&asked, model.graph()),
            Err(e) => self.problems.push(format!("{example}: {e}")),
        }
        self.asked = Some(example.to_string());
    }

    /// Whether nodes that are not modelled lie between the image and the score, or an output where there is none.
    fn add_paths(&mut self, model: &Model) {
        let (graph, image) = (model.graph(), model.image());
        let ends = match (model.score(), model.output()) {
            (Some(score), _) => vec![score.value],
            (None, Some(output)) => vec![output],
            (None, None) => graph.outputs().to_vec(),
        };
        let nodes: HashSet<_> = ends.into_iter().flat_map(|end| layer::between(graph, image, end)).collect();
        let opaque = graph.nodes().filter(|(_, node)| matches!(node.op, Op::Opaque(_)));
        for (unknown, (id, _)) in self.opaque.iter_mut().zip(opaque) {
            unknown.on_path = Some(nodes.contains(&id));
        }
    }

    /// The layers, and what each method says to the automatic one.
    fn add_layers(&mut self, model: &Model, file: &Graph) {
        let (graph, image) = (model.graph(), model.image());
        let Some(score) = model.score() else { return };
        let automatic = layer::automatic(graph, image, score);
        let fields = ReceptiveFields::new(&Grids::new(graph, image));
        for found in layer::layers(graph, image, score) {
            let value = graph.value(found.value);
            // What is appended for a target is no layer of the file.
            if file.find(&value.name).is_none() {
                continue;
            }
            let [height, width] = found.grid;
            self.layers.push(Row {
                name: value.name.clone(),
                module: value.producer.and_then(|id| graph.node(id).module.clone()),
                channels: found.channels,
                height,
                width,
                automatic: automatic.as_ref() == Ok(&found.value),
                receptive_field: fields.of(found.value).into(),
            });
        }
        let top = usize::from(score.aims == 0);
        let asked = Classes { top, given: 1 - top };
        for info in METHODS {
            let method = Method::from(*info);
            let place = match info.space.reads_layer() {
                true => method.automatic_layer(graph, image, score),
                false => Ok(image),
            };
            let tried = place.and_then(|layer| {
                let ask = Ask { image, layer, enlarge: Coordinates::HalfPixel };
                let formulas: Vec<_> = method.formula(&ask).into_iter().collect();
                derive(graph, image, score, asked, &formulas)
            });
            self.methods.push(Possible { method: info.name, error: tried.err().map(|e| e.to_string()) });
        }
    }

    fn told(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let mut line = |name: &str, what: &str| {
            let _ = writeln!(text, "{name:<11}  {}", what.replace('\n', &format!("\n{:<13}", "")));
        };
        line("model", &self.model);
        line("sha256", &self.sha256);
        line("onnx", &format!("opset {}, {} nodes", self.opset, self.nodes));
        if !self.producer.is_empty() {
            line("producer", &self.producer);
        }
        for (name, ports) in [("input", &self.inputs), ("output", &self.outputs)] {
            for port in ports {
                line(name, &port.told);
                for target in port.targets.iter().flatten() {
                    line("  target", target);
                }
            }
        }
        if let Some(Picture { input, channels, height, width, layout }) = &self.image {
            line("image", &format!("{input}: {channels}×{height}×{width}, {layout}"));
        }
        if let Some(Scores { value, kind, classes, .. }) = &self.score {
            line("score", &format!("{value}: {classes} classes, {kind}"));
        }
        if self.image.is_some() {
            line("labels", &if self.labels == 0 { "none".to_owned() } else { self.labels.to_string() });
            let prep = self.prep.as_deref().unwrap_or("unknown");
            let guess = if self.prep_from == Some("guess") { " (a guess)" } else { "" };
            line("prep", &format!("{prep}{guess}"));
        }
        let Activations { relu, other, others } = &self.activations;
        let kinds: Vec<String> = others.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) };
        line("activations", &format!("{relu} of the ReLU family, {other} others{kinds}"));
        for Unknown { node, on_path } in &self.opaque {
            let matters = match on_path {
                Some(true) => ", between the image and what is asked: it stops gradients",
                Some(false) => ", not between the image and what is asked: it does not matter",
                None => "",
            };
            line("not known", &format!("{node}{matters}"));
        }
        let (possible, refused): (Vec<&Possible>, Vec<&Possible>) =
            self.methods.iter().partition(|m| m.error.is_none());
        let names = |methods: &[&Possible]| methods.iter().map(|m| m.method).collect::<Vec<_>>().join(", ");
        if let (None, Some(asked)) = (&self.score, &self.asked) {
            line("asked", &format!("{asked}, for which the methods and layers below are"));
        }
        if !possible.is_empty() {
            line("methods", &names(&possible));
        }
        for group in refused.chunk_by(|a, b| a.error == b.error) {
            line("refused", &format!("{}: {}", names(group), group[0].error.as_deref().unwrap_or_default()));
        }
        for problem in &self.problems {
            line("problem", problem);
        }
        for layer in &self.layers {
            let Row { name, module, channels, height, width, automatic, receptive_field } = layer;
            let module = module.as_ref().map_or(String::new(), |module| format!("  in {module}"));
            let automatic = if *automatic { "  (automatic)" } else { "" };
            line(
                "layer",
                &format!(
                    "{:<16}  {name}{module}, {receptive_field}{automatic}",
                    format!("{channels}×{height}×{width}")
                ),
            );
        }
        text.trim_end().to_owned()
    }
}
