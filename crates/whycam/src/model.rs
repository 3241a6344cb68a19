//! A model: its graph, how photos are prepared for it, and the names of its classes.

mod about;
mod held;
mod open;

use sha2::{Digest, Sha256};
use whycam_graph::engine::ModelBytes;
use whycam_graph::layer::{self, Score};
use whycam_graph::{DType, Dim, Graph, Op, Tensor, ValueId, onnx, pass};

pub use about::{About, labels};
#[cfg(feature = "embedded-model")]
pub use open::embedded_bytes;

use crate::error::{Error, Result};
use crate::image::{Photo, Placement};
use crate::prep::{Layout, Prep};

/// The operator that rounds values in the range of all of them.
const DYNAMIC: &str = "DynamicQuantizeLinear";

/// An ONNX vision model, ready to be explained.
#[derive(Clone, Debug)]
pub struct Model {
    graph: Graph,
    /// The graph as the file has it, where half floats are widened in the other.
    stored: Option<Graph>,
    image: ValueId,
    /// The output that was chosen.
    output: Option<ValueId>,
    score: Option<Score>,
    input: ImageInput,
    prep: Option<(Prep, Origin)>,
    labels: Vec<String>,
    sha256: String,
}

/// What the caller knows of a model; each field overrides what the model itself says.
#[derive(Clone, Debug, Default)]
pub struct ModelOptions {
    /// Height and width of the image, for models that leave them open or to change what they declare.
    pub size: Option<[usize; 2]>,
    /// The output that is explained.
    pub output: Option<String>,
    /// How photos are prepared.
    pub prep: Option<Prep>,
    /// Names of the classes, by index.
    pub labels: Option<Vec<String>>,
}

/// Where a preparation was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The caller gave it.
    Asked,
    /// The model's metadata, or the file beside it.
    Model,
    /// Nothing was known: the preset `imagenet` is a guess; of a model that takes bytes its resizing alone.
    Guess,
}

/// The image input of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageInput {
    /// Channels.
    pub channels: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// The order of its axes.
    pub layout: Layout,
    /// The number of images in a batch; `None` where any number goes.
    pub batch: Option<usize>,
}

/// One image as the model takes it, with the photo it was made of, if it was.
#[derive(Clone, Debug)]
pub struct Image {
    /// `[1,C,H,W]` or `[1,H,W,C]`.
    pub tensor: Tensor,
    /// The photo, and where the model's input lies on it.
    pub photo: Option<(Photo, Placement)>,
}

impl Model {
    /// Reads a model.
    ///
    /// # Errors
    /// When the bytes are no sound ONNX model, it has no image input, or that takes bytes, which the preparation changes.
    pub fn from_bytes(bytes: &ModelBytes, options: ModelOptions) -> Result<Model> {
        let about = About::default();
        Model::with_about(bytes, options, about)
    }

    /// Reads a model about which a file beside it tells more.
    ///
    /// # Errors
    /// As [`Model::from_bytes`], and when its metadata contradict themselves.
    pub fn with_about(bytes: &ModelBytes, options: ModelOptions, about: About) -> Result<Model> {
        let read = onnx::read(bytes, &onnx::ReadOptions { size: options.size })?;
        let (graph, stored) = match pass::widen(&read)? {
            Some(wide) => (wide, Some(read)),
            None => (read, None),
        };
        let image = layer::image_input(&graph)?;
        let output = options.output.as_deref().map(|name| layer::output(&graph, name)).transpose()?;
        let score = layer::score(&graph, options.output.as_deref()).ok();
        let input = ImageInput::of(&graph, image)?;
        let about = about.or(About::from_metadata(&graph.header().metadata)?);
        let of_bytes = graph.value(image).dtype == Some(DType::U8);
        let prep = match (options.prep, about.prep) {
            (Some(prep), _) => Some((prep, Origin::Asked)),
            (None, Some(prep)) => Some((prep, Origin::Model)),
            (None, None) if input.channels == 3 => {
                let prep = Prep::preset("imagenet")?;
                Some((if of_bytes { prep.of_bytes() } else { prep }, Origin::Guess))
            }
            (None, None) => None,
        };
        if let Some((prep, _)) = prep.as_ref().filter(|(prep, _)| of_bytes && !prep.keeps_bytes()) {
            return Err(Error::ask(
                format!("the model takes the bytes of photos, which the preparation {prep} changes"),
                "say how they are resized alone: --prep resize=short:256:crop=224:range=255",
            ));
        }
        let labels = options.labels.or(about.labels).unwrap_or_default();
        Ok(Model { graph, stored, image, output, score, input, prep, labels, sha256: sha256(bytes) })
    }

    /// The graph; in float32 where the file has float16 or bfloat16, with values of the same names.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The graph as it was read from the file.
    pub(crate) fn stored(&self) -> &Graph {
        self.stored.as_ref().unwrap_or(&self.graph)
    }

    /// The same model with other data in its constants.
    pub(crate) fn with_graph(&self, graph: Graph) -> Model {
        Model { graph, ..self.clone() }
    }

    /// The image input.
    pub fn image(&self) -> ValueId {
        self.image
    }

    /// The same model, asked something else.
    pub(crate) fn with_score(self, score: Score) -> Model {
        Model { score: Some(score), ..self }
    }

    /// The class scores; none for a model that has others outputs alone.
    pub fn score(&self) -> Option<&Score> {
        self.score.as_ref()
    }

    /// The output that was chosen by name.
    pub fn output(&self) -> Option<ValueId> {
        self.output
    }

    /// The class scores.
    ///
    /// # Errors
    /// When the model, or the output that was chosen, has none.
    pub fn scored(&self) -> Result<&Score> {
        if let Some(score) = &self.score {
            return Ok(score);
        }
        let name = self.output.map(|id| self.graph.value(id).name.as_str());
        let error = match layer::score(&self.graph, name) {
            Err(whycam_graph::Error::Unfit { what, hint }) => (what, hint),
            _ => ("the model has no class scores".to_owned(), layer::outputs(&self.graph)),
        };
        Err(Error::ask(error.0, format!("{}; ask for another --target than a class", error.1)))
    }

    /// Size and layout of the image input.
    pub fn input(&self) -> ImageInput {
        self.input
    }

    /// How photos are prepared, and who says so; `None` when nobody knows.
    pub fn prep(&self) -> Option<(&Prep, Origin)> {
        self.prep.as_ref().map(|(prep, origin)| (prep, *origin))
    }

    /// Names of the classes; empty when unknown.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The name of a class; its index when it has none.
    pub fn label(&self, class: usize) -> String {
        self.labels.get(class).cloned().unwrap_or_else(|| format!("class {class}"))
    }

    /// SHA-256 of the model's bytes, the files beside it included, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Whether weights or activations are stored as integers.
    pub fn is_quantised(&self) -> bool {
        let levels = |op: &Op| matches!(op, Op::DequantizeLinear { .. }) || op.name() == DYNAMIC;
        self.graph.nodes().any(|(_, n)| levels(&n.op))
    }

    /// Whether what the model makes of an image depends on the others in its batch: values are rounded in a range that is
    /// that of the whole batch. Such a model is run on one image at a time.
    pub(crate) fn mixes_images(&self) -> bool {
        self.graph.nodes().any(|(_, n)| n.op.name() == DYNAMIC)
    }

    /// Prepares a photo.
    ///
    /// # Errors
    /// When nobody knows how, or the photo does not fit.
    pub fn prepare(&self, photo: Photo) -> Result<Image> {
        let input = self.input;
        let (prep, _) = self.prep().ok_or_else(|| {
            Error::ask(
                format!("nothing says how to prepare a photo for {} channels", input.channels),
                "give --prep, or a .npy tensor that is prepared already",
            )
        })?;
        let prepared = prep.apply(&photo, input.height, input.width, input.channels, input.layout)?;
        let tensor = self.typed(&prepared.shape, &prepared.tensor)?;
        Ok(Image { tensor, photo: Some((photo, prepared.placement)) })
    }

    /// Splits a prepared tensor `[N,C,H,W]` (or in the model's layout) into images.
    ///
    /// # Errors
    /// When its shape is not the model's.
    pub fn rows(&self, shape: &[usize], values: &[f32]) -> Result<Vec<Image>> {
        let row = self.input.shape();
        let size: usize = row.iter().product();
        if shape.len() != 4 || shape[1..] != row[1..] || values.len() != shape.iter().product::<usize>() {
            return Err(Error::ask(
                format!("a tensor of shape {shape:?} does not fit the model, which takes {:?}", row),
                "the first axis is the number of images; the others must be the model's (see `whycam inspect`)",
            ));
        }
        let image = |values: &[f32]| Ok(Image { tensor: self.typed(&row, values)?, photo: None });
        values.chunks_exact(size).map(image).collect()
    }

    /// The numbers in the type that the model takes.
    fn typed(&self, shape: &[usize], values: &[f32]) -> Result<Tensor> {
        let dtype = self.graph.value(self.image).dtype.unwrap_or(DType::F32);
        Ok(match dtype {
            DType::U8 => {
                let bytes: Vec<u8> = values.iter().map(|v| v.round().clamp(0.0, 255.0) as u8).collect();
                Tensor::new(DType::U8, shape.to_vec(), bytes)?
            }
            dtype => Tensor::floats(dtype, shape, values)?,
        })
    }
}

impl ImageInput {
    fn of(graph: &Graph, image: ValueId) -> Result<ImageInput> {
        let shape = graph.shape(image)?;
        let &[batch, a, b, c] = shape.0.as_slice() else {
            return Err(Error::ask(format!("the image input has the shape {shape}"), "four axes are needed"));
        };
        let fixed = |d: Dim| {
            d.fixed()
                .ok_or_else(|| Error::ask(format!("the image input has the shape {shape}"), "give --size"))
        };
        let (a, b, c) = (fixed(a)?, fixed(b)?, fixed(c)?);
        let (layout, [channels, height, width]) = if layer::channels_last(graph, image) {
            (Layout::Nhwc, [c, a, b])
        } else {
            (Layout::Nchw, [a, b, c])
        };
        Ok(ImageInput { channels, height, width, layout, batch: batch.fixed() })
    }

    /// The shape of one image.
    pub fn shape(self) -> [usize; 4] {
        match self.layout {
            Layout::Nchw => [1, self.channels, self.height, self.width],
            Layout::Nhwc => [1, self.height, self.width, self.channels],
        }
    }
}

/// SHA-256 of a model's bytes, the files beside it included, in hexadecimal.
pub fn sha256(bytes: &ModelBytes) -> String {
    let mut hasher = Sha256::new();
    hasher.update(&bytes.proto);
    for (location, data) in &bytes.external {
        hasher.update(location.as_bytes());
        hasher.update(data);
    }
    hasher.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
