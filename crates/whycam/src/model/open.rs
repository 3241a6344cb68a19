//! Models from the file system, and the one inside the library.

use std::path::{Path, PathBuf};

use whycam_graph::engine::ModelBytes;
use whycam_graph::onnx;

use super::{About, Image, Model, ModelOptions};
use crate::error::{Error, Result};
use crate::image::Photo;

impl Model {
    /// Opens an ONNX file, the files of weights beside it, and `<name>.whycam.toml` if it is there.
    ///
    /// # Errors
    /// When a file cannot be read, or as [`Model::with_about`].
    pub fn open(path: impl AsRef<Path>) -> Result<Model> {
        Model::open_with(path, ModelOptions::default())
    }

    /// As [`Model::open`], with options.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_with(path: impl AsRef<Path>, options: ModelOptions) -> Result<Model> {
        let (bytes, about) = Model::read(path)?;
        Model::with_about(&bytes, options, about)
    }

    /// The bytes of an ONNX file and of the files of weights beside it, and what `<name>.whycam.toml` tells.
    ///
    /// # Errors
    /// When a file cannot be read, or a file of weights is not in the model's folder.
    pub fn read(path: impl AsRef<Path>) -> Result<(ModelBytes, About)> {
        let path = path.as_ref();
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut bytes = ModelBytes { proto: onnx::align(read(path)?), ..ModelBytes::default() };
        for location in onnx::external_locations(&bytes.proto)? {
            bytes.external.insert(location.clone(), read(&inside(folder, &location)?)?.into());
        }
        let beside = path.with_extension("whycam.toml");
        let about = match beside.is_file() {
            true => About::from_toml(&read_text(&beside)?, |name| read_text(&folder.join(name)))?,
            false => About::default(),
        };
        Ok((bytes, about))
    }

    /// The model inside the library: EfficientNet-Lite0 on ImageNet's 1000 classes.
    ///
    /// # Errors
    /// Never in practice.
    #[cfg(feature = "embedded-model")]
    pub fn embedded() -> Result<Model> {
        Model::embedded_with(ModelOptions::default())
    }

    /// As [`Model::embedded`], with options.
    ///
    /// # Errors
    /// When the options do not fit the model.
    #[cfg(feature = "embedded-model")]
    pub fn embedded_with(options: ModelOptions) -> Result<Model> {
        let about = include_str!("../../models/efficientnet_lite0_int8w.whycam.toml");
        let about =
            About::from_toml(
                about,
                |_| Ok(include_str!("../../models/imagenet_1000_labels.txt").to_owned()),
            )?;
        Model::with_about(&embedded_bytes(), options, about)
    }

    /// Opens and prepares a photo.
    ///
    /// # Errors
    /// When the file cannot be read or is no picture, or as [`Model::prepare`].
    pub fn open_image(&self, path: impl AsRef<Path>) -> Result<Image> {
        self.prepare(Photo::decode(&read(path.as_ref())?)?)
    }
}

/// The bytes of the model inside the library.
#[cfg(feature = "embedded-model")]
pub fn embedded_bytes() -> ModelBytes {
    let proto: &'static [u8] = include_bytes!("../../models/efficientnet_lite0_int8w.onnx");
    ModelBytes { proto: proto.into(), ..ModelBytes::default() }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.into(), source })
}

fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })
}

/// The file of weights, whose name the model chose: it must lie in the model's folder, links included.
fn inside(folder: &Path, location: &str) -> Result<PathBuf> {
    let path = folder.join(location);
    let canonical = |p: &Path| p.canonicalize().map_err(|source| Error::Read { path: p.into(), source });
    let home = canonical(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?;
    let real = canonical(&path)?;
    match real.starts_with(&home) && real.is_file() {
        true => Ok(real),
        false => Err(Error::ask(
            format!("the model keeps weights in {location:?}, which is not a file in its folder"),
            "files of weights must lie beside the model; put them there",
        )),
    }
}
