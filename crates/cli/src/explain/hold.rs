//! Models whose sizes depend on the image, asked about one image.

use std::fs;

use whycam::graph::{Engine, Tensor};
use whycam::image::Photo;
use whycam::{Image, Model};

use crate::args::Explain;
use crate::fail::Fail;
use crate::inputs;
use crate::npy;

/// The model for the one image that is asked about; `None` where its sizes do not depend on it.
///
/// # Errors
/// When there are several images, or the engine cannot run the model.
pub fn held(
    args: &Explain,
    model: &Model,
    engine: &dyn Engine,
    further: &[(String, Tensor)],
) -> Result<Option<Model>, Fail> {
    if whycam::graph::onnx::unsettled(model.graph()).is_empty() {
        return Ok(None);
    }
    let (inputs, _) = inputs::find(&args.inputs, &args.out);
    let [input] = inputs.as_slice() else {
        return Err(Fail::usage(
            format!("sizes inside the model depend on the image, and there are {} images", inputs.len()),
            "explain one image at a time",
        ));
    };
    let at = |fail: Fail| fail.at(input.path.display());
    let bytes = fs::read(&input.path).map_err(|e| Fail::read(&input.path, &e))?;
    let image = if npy::is_npy(&bytes) { row(model, &bytes) } else { photo(model, &bytes) };
    Ok(model.held(engine, &image.map_err(at)?, further)?)
}

fn photo(model: &Model, bytes: &[u8]) -> Result<Image, Fail> {
    Ok(model.prepare(Photo::decode(bytes)?)?)
}

fn row(model: &Model, bytes: &[u8]) -> Result<Image, Fail> {
    let array = npy::read(bytes)?;
    match <[Image; 1]>::try_from(model.rows(array.shape(), &array.to_f32s())?) {
        Ok([image]) => Ok(image),
        Err(rows) => Err(Fail::usage(
            format!("sizes inside the model depend on the image, and there are {} rows", rows.len()),
            "explain one image at a time",
        )),
    }
}
