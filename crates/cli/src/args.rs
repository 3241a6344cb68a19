//! The command line. Its lists come from the library: a method, colour map or preset that is added there is here too.

mod values;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use whycam::engine::{Device, ENGINES};
use whycam::image::{Align, Colormap};
use whycam::prep::Prep;
use whycam::{Fuse, METHODS, Method, Target};

pub use self::values::{Classes, Listed, Size};
use self::values::{
    Offered, aligns, colormaps, count, devices, fuses, methods, named_file, opacity, presets, size, targets,
};

const EXAMPLES: &str = "\
Examples:
  whycam explain photo.jpg
  whycam explain photos/ --model resnet50.onnx --target class:tabby,class:243 --method grad-cam,guided-grad-cam
  whycam compile resnet50.onnx --method grad-cam -o resnet50.explained.onnx
  whycam inspect resnet50.onnx
  whycam methods
";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  whycam explain photo.jpg
      Grad-CAM of the likeliest class, by the model inside whycam.
  whycam explain *.jpg --target top:3,class:tabby --method grad-cam,guided-backprop
      Four classes, two methods: eight maps a photo.
  whycam explain photo.jpg --model net.onnx --labels classes.txt --prep imagenet:resize=warp:224
      A model of your own, and how its photos are prepared.
  whycam explain photo.jpg --target top:5 --method grad-cam,guided-backprop
      A sheet of five classes, one row a method.
  whycam explain photo.jpg --layer all
      A sheet of the whole network, from the image to the score.
  whycam explain batch.npy --model net.onnx --layer layer3,layer4 --raw --json
      Prepared tensors, two layers, maps as arrays, results as lines of JSON.
";

const EXPLAIN_FILES: &str = "\
Files, for every image, in --out:
  STEM.sheet.png                    the photo and its maps side by side, with captions
  STEM.METHOD.LAYER.TARGET.png      one map over the photo
  STEM.METHOD.LAYER.TARGET.npy      the map as computed, float32, with --raw
  STEM.sanity.png                   how maps change as weights become noise, with --sanity
  STEM.json                         all numbers; later runs add their maps to it
In JSON `null` stands for a number that is NaN or infinite, and `files` are paths below --out.

Exit code:
  0    every image was explained
  1    an image failed, and the others were explained; or a file is broken
  2    the command line is wrong, or asks for what the model does not have
  130  it was interrupted; --resume continues
";

const COMPILE_EXAMPLES: &str = "\
Outputs that are added:
  map      as computed: N×K×h×w, or N×K×C×H×W for methods whose map is an image
  heatmap  N×K×H×W, the size of the model's image, every map from 0 to 1
  range    N×K×2, the least and the greatest value before a ReLU

Examples:
  whycam compile net.onnx -o net.explained.onnx
      Grad-CAM of the likeliest class.
  whycam compile net.onnx --target input:2 --method guided-backprop -o net.explained.onnx
      Two classes that every run is given as a further input, `target`: int64 N×2. One that the model has not is NaN.
";

/// Asks any ONNX vision model why it said that, and answers with a picture.
#[derive(Debug, Parser)]
#[command(name = "whycam", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Explain photos: which parts of them speak for a class.
    #[command(after_help = EXPLAIN_EXAMPLES, after_long_help = format!("{EXPLAIN_EXAMPLES}\n{EXPLAIN_FILES}"))]
    Explain(Box<Explain>),
    /// Write a model that gives, beside its own outputs, the map that explains them.
    #[command(after_help = COMPILE_EXAMPLES)]
    Compile(Box<Compile>),
    /// Show what is inside a model: inputs, outputs, layers, and what can be explained.
    Inspect(Inspect),
    /// List the methods.
    Methods(Methods),
    /// Print a script that completes whycam's commands and options in a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

const TARGETS_IN_SHORT: &str = "What to explain, a list: top:K, class:CLASS, log-prob:CLASS, output:NAME[I,J,…], \
                                segment:CLASS[@MASK], box:ANCHOR:CLASS, similar:FILE.npy";

/// `whycam explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Photos (JPEG, PNG, WebP), folders of them, or .npy arrays of prepared images, N×C×H×W.
    #[arg(value_name = "INPUT", required = true)]
    pub inputs: Vec<PathBuf>,

    /// The ONNX model [default: the one inside whycam, EfficientNet-Lite0 on ImageNet's 1000 classes].
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub choice: Choice,
    /// How photos are prepared: a preset, KEY=VALUE pairs joined by `:`, or a preset and pairs that change it.
    ///
    /// The keys are resize=short:N|warp:N|none, filter=bilinear|bicubic, crop=N, range=1|255, mean=X or X,Y,Z, std=X or
    /// X,Y,Z and order=rgb|bgr. By default what the model's metadata or the file beside it (NAME.whycam.toml) say, or
    /// imagenet.
    #[arg(long, value_name = "PREP", help_heading = "Model", value_parser = Offered::<Prep>::new(presets))]
    pub prep: Option<Prep>,
    /// Names of the classes, one a line.
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub labels: Option<PathBuf>,
    /// An array for a further input of the model.
    #[arg(long, value_name = "NAME=FILE.npy", help_heading = "Model", value_parser = named_file)]
    pub input: Vec<(String, PathBuf)>,
    /// What runs the model; auto is ort (ONNX Runtime) where its library is found, and rten elsewhere.
    ///
    /// Looked at are ORT_DYLIB_PATH and, when that is not set, the folder of this program and the active Python virtual
    /// environment with the package onnxruntime. Never the working directory.
    #[arg(long, value_name = "ENGINE", help_heading = "Model", default_value = ENGINES[0], value_parser = PossibleValuesParser::new(ENGINES))]
    pub engine: String,
    /// What computes; all but cpu need an ONNX Runtime built for it.
    #[arg(long, value_name = "DEVICE", help_heading = "Model", default_value_t = Device::Cpu, value_parser = devices())]
    pub device: Device,
    /// Threads [default: as many as the machine runs at once].
    #[arg(long, value_name = "N", help_heading = "Model", value_parser = count)]
    pub threads: Option<NonZeroUsize>,
    /// Most images that are run at once: different ones, or copies of one for methods that need many; more take more memory
    /// [default: 8, fewer for a model's image of more than 384×384].
    #[arg(long, value_name = "N", help_heading = "Model", value_parser = count)]
    pub batch: Option<NonZeroUsize>,

    // Targets are written with brackets, which rustdoc would take for links: help has them from the list.
    /// What to explain.
    #[arg(long, value_name = "TARGET", help_heading = "Question", default_value = "top1", help = TARGETS_IN_SHORT, long_help = targets())]
    pub target: Vec<Listed<Target>>,
    /// How to explain it, with options as in grad-cam:relu=off (see `whycam methods`).
    #[arg(long, value_name = "METHOD", help_heading = "Question", default_value = METHODS[0].name, value_delimiter = ',', value_parser = Offered::<Method>::new(methods))]
    pub method: Vec<Method>,
    /// Where to look: auto, all, layers by value, node or module (see `whycam inspect`), or patterns as layer4.*.
    ///
    /// `all` is a sweep from the image to the score: the values that all of the image passes, each behind its activation,
    /// such as the rectified convolutions of a VGG, or the stem and every block of a ResNet. In a pattern `*` stands for one
    /// part of a name or the rest of one: layer4.* are the blocks of layer4, layer* the stages, features.* all of features.
    #[arg(
        long,
        value_name = "LAYER",
        help_heading = "Question",
        default_value = "auto",
        value_delimiter = ','
    )]
    pub layer: Vec<String>,
    /// Make one map of the maps of several layers, each scaled to 0..1 and enlarged to the finest grid: their mean, or max.
    #[arg(long, value_name = "WAY", help_heading = "Question", value_parser = fuses())]
    pub fuse: Option<Fuse>,

    /// Check whether maps depend on the network's weights and on the class (Adebayo et al. 2018); takes some 18 times as long.
    ///
    /// Weights are replaced by noise from the scores down to the image, in up to 16 steps, and a class is drawn at random;
    /// likeness to the true map is told in the JSON, drawn in STEM.sanity.png, and summed up in a sentence.
    #[arg(long, help_heading = "Question")]
    pub sanity: bool,

    /// How maps are enlarged: as most libraries do, or with the corner cells on the corner pixels, as in the paper's pictures.
    #[arg(long, value_name = "WAY", help_heading = "Pictures", default_value = Align::HalfPixel.name(), value_parser = aligns())]
    pub align: Align,
    /// The colours of a map [default: jet; coolwarm for maps that are signed by nature].
    #[arg(long, value_name = "NAME", help_heading = "Pictures", value_parser = Offered::<Colormap>::new(colormaps))]
    pub colormap: Option<Colormap>,
    /// From 0, the photo alone, to 1, the colours alone [default: 0.5; 0.75 with colours for signed maps].
    #[arg(long, value_name = "0..1", help_heading = "Pictures", value_parser = opacity)]
    pub opacity: Option<f32>,

    /// Where files are written.
    #[arg(long, value_name = "DIR", help_heading = "Output", default_value = "whycam-out")]
    pub out: PathBuf,
    /// Also write each map as computed, not normalised and at the size of its layer, as .npy.
    #[arg(long, help_heading = "Output")]
    pub raw: bool,
    /// Write no pictures: the numbers alone, and the arrays with --raw.
    #[arg(long, help_heading = "Output")]
    pub no_pictures: bool,
    /// Continue a run that was interrupted: images whose files are there, of the same image, model and options, are not explained
    /// again.
    #[arg(long, help_heading = "Output")]
    pub resume: bool,
    /// Start result files anew, also those of another model or image.
    #[arg(long, help_heading = "Output")]
    pub force: bool,
    /// Print each result file's JSON on standard output, one a line.
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Print errors only.
    #[arg(long, help_heading = "Output")]
    pub quiet: bool,
}

/// Which input size and output of a model are meant.
#[derive(Debug, Args)]
pub struct Choice {
    /// The output that is explained [default: the first that fits the target; of class scores the first that ends in a class axis].
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub output: Option<String>,
    /// Size of the model's image, for models that leave it open or to change it.
    #[arg(long, value_name = "HxW or N", help_heading = "Model", value_parser = size)]
    pub size: Option<Size>,
}

/// `whycam compile`.
#[derive(Debug, Args)]
pub struct Compile {
    /// The ONNX model.
    pub model: PathBuf,
    /// The file that is written.
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub choice: Choice,
    /// Names of the classes, one a line.
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub labels: Option<PathBuf>,
    /// Prepare photos inside the model: it takes `photo`, uint8 N×H×W×3, RGB, of the model's size.
    ///
    /// As the model says, or by a preset, KEY=VALUE pairs joined by `:`, or both, as for `explain`. Resizing stays outside.
    #[arg(long, value_name = "PREP", help_heading = "Model", num_args = 0..=1, value_parser = Offered::<Prep>::new(presets))]
    pub prep: Option<Option<Prep>>,
    /// The version of ONNX's operators [default: the model's own, or the next that has all that is needed].
    #[arg(long, value_name = "N", help_heading = "Model")]
    pub opset: Option<i64>,
    /// What to explain, as for `explain`; or input, input:K for classes that every run is given.
    #[arg(long, value_name = "TARGET", help_heading = "Question", default_value = "top1")]
    pub target: Vec<Listed<Classes>>,
    /// How to explain it, with options as in grad-cam:relu=off (see `whycam methods`).
    #[arg(long, value_name = "METHOD", help_heading = "Question", default_value = METHODS[0].name, value_parser = Offered::<Method>::new(methods))]
    pub method: Method,
    /// Where to look: auto, or a layer by value, node or module (see `whycam inspect`).
    #[arg(long, value_name = "LAYER", help_heading = "Question", default_value = "auto")]
    pub layer: String,
    /// How maps are enlarged.
    #[arg(long, value_name = "WAY", help_heading = "Question", default_value = Align::HalfPixel.name(), value_parser = aligns())]
    pub align: Align,
    /// Print errors only.
    #[arg(long)]
    pub quiet: bool,
}

/// `whycam inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// The ONNX model [default: the one inside whycam].
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub choice: Choice,
    /// Print the graph, one line a node.
    #[arg(long, conflicts_with = "json")]
    pub graph: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `whycam methods`.
#[derive(Debug, Args)]
pub struct Methods {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
