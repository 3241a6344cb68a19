//! `whycam inspect`: what is inside a model, and what of it can be explained.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use whycam::graph::derive::{Classes, derive};
use whycam::graph::layer::{self, Grids, ReceptiveField, ReceptiveFields};
use whycam::graph::op::Coordinates;
use whycam::graph::{Graph, Op, ValueId, diff, onnx};
use whycam::method::Ask;
use whycam::prep::Layout;
use whycam::{METHODS, Method, Model, ModelOptions, Origin};

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

/// A receptive field.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Sees {
    /// Pixels: height and width of the window, and how far one cell's is from the next's.
    Window {
        size: [usize; 2],
        stride: [f64; 2],
    },
    WholeImage,
    Unknown,
}

impl From<Option<ReceptiveField>> for Sees {
    fn from(field: Option<ReceptiveField>) -> Sees {
        match field {
            Some(ReceptiveField::Window { size, stride }) => Sees::Window { size, stride },
            Some(ReceptiveField::Whole) => Sees::WholeImage,
            None => Sees::Unknown,
        }
    }
}

impl Display for Sees {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Sees::Window { size: [h, w], stride: [down, across] } if down == across => {
                write!(f, "sees {h}×{w} every {down}")
            }
            Sees::Window { size: [h, w], stride: [down, across] } => {
                write!(f, "sees {h}×{w} every {down}×{across}")
            }
            Sees::WholeImage => f.write_str("sees the whole image"),
            Sees::Unknown => f.write_str("what it sees is unknown"),
        }
    }
}

#[derive(Serialize)]
struct Unknown {
    node: String,
    /// Whether it lies between the image and the score, so that it stops gradients; unknown when either is.
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
    let mut report = Report::new(
        &graph,
        args.choice.output.as_deref(),
        path_of(args.model.as_deref()),
        whycam::sha256(&bytes),
    );
    match &model {
        Ok(model) => report.add_model(model),
        Err(e) => report.problems.push(e.to_string()),
    }
    report.add_layers(&graph, args.choice.output.as_deref());
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
    fn new(graph: &Graph, output: Option<&str>, model: String, sha256: String) -> Report {
        let header = graph.header();
        let port = |&id: &ValueId| {
            let value = graph.value(id);
            Port {
                name: value.name.clone(),
                dtype: value.dtype.map(|d| d.to_string()),
                shape: value.shape.as_ref().map(ToString::to_string),
                told: told(value),
            }
        };
        let mut activations = Activations::default();
        let mut opaque = Vec::new();
        let path = layer::image_input(graph)
            .and_then(|image| Ok(layer::between(graph, image, layer::score(graph, output)?.value)));
        for (id, node) in graph.nodes() {
            if diff::is_relu(graph, node) {
                activations.relu += 1;
            } else if diff::is_smooth(graph, node) {
                activations.other += 1;
                *activations.others.entry(node.op.name().to_owned()).or_default() += 1;
            }
            if let Op::Opaque(known) = &node.op {
                let reason = known.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
                let on_path = path.as_ref().ok().map(|path| path.contains(&id));
                opaque.push(Unknown { node: format!("{}{reason}", node.place()), on_path });
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
    }

    /// The layers, and what each method says to the automatic one.
    fn add_layers(&mut self, graph: &Graph, output: Option<&str>) {
        let (Ok(image), Ok(score)) = (layer::image_input(graph), layer::score(graph, output)) else { return };
        let automatic = layer::automatic(graph, image, &score);
        let fields = ReceptiveFields::new(&Grids::new(graph, image));
        for found in layer::layers(graph, image, &score) {
            let value = graph.value(found.value);
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
        for info in METHODS {
            let method = Method::from(*info);
            let place = match info.space.reads_layer() {
                true => method.automatic_layer(graph, image, &score),
                false => Ok(image),
            };
            let tried = place.and_then(|layer| {
                let ask = Ask { image, layer, enlarge: Coordinates::HalfPixel };
                let formulas: Vec<_> = method.formula(&ask).into_iter().collect();
                derive(graph, image, &score, Classes { top: 1, given: 0 }, &formulas)
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
            }
        }
        if let Some(Picture { input, channels, height, width, layout }) = &self.image {
            line("image", &format!("{input}: {channels}×{height}×{width}, {layout}"));
        }
        if let Some(Scores { value, kind, classes, .. }) = &self.score {
            line("score", &format!("{value}: {classes} classes, {kind}"));
            line("labels", &if self.labels == 0 { "none".to_owned() } else { self.labels.to_string() });
            let prep = self.prep.as_deref().unwrap_or("unknown");
            line(
                "prep",
                &format!("{prep}{}", if self.prep_from == Some("guess") { " (a guess)" } else { "" }),
            );
        }
        let Activations { relu, other, others } = &self.activations;
        let kinds: Vec<String> = others.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) };
        line("activations", &format!("{relu} of the ReLU family, {other} others{kinds}"));
        for Unknown { node, on_path } in &self.opaque {
            let matters = match on_path {
                Some(true) => ", between the image and the score: it stops gradients",
                Some(false) => ", not between the image and the score: it does not matter",
                None => "",
            };
            line("not known", &format!("{node}{matters}"));
        }
        let (possible, refused): (Vec<&Possible>, Vec<&Possible>) =
            self.methods.iter().partition(|m| m.error.is_none());
        let names = |methods: &[&Possible]| methods.iter().map(|m| m.method).collect::<Vec<_>>().join(", ");
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
