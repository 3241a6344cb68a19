//! The files that targets name: masks and embeddings.

use std::fs;
use std::path::Path;

use whycam::Target;
use whycam::graph::Tensor;
use whycam::image::Photo;

use crate::fail::Fail;
use crate::npy;

/// The targets with their files read.
///
/// # Errors
/// When a file cannot be read, or is neither a picture nor a `.npy` array.
pub fn read<'t>(targets: impl Iterator<Item = &'t Target>) -> Result<Vec<Target>, Fail> {
    targets.map(|target| target.clone().read_files(|file| array(Path::new(file)))).collect()
}

/// An array, or the brightest of the colours of every pixel.
fn array(path: &Path) -> Result<Tensor, Fail> {
    let bytes = fs::read(path).map_err(|e| Fail::read(path, &e).into_usage())?;
    let read = || -> Result<Tensor, Fail> {
        if npy::is_npy(&bytes) {
            return npy::read(&bytes);
        }
        let photo = Photo::decode(&bytes)?;
        let brightest = |pixel: &[u8]| f32::from(pixel.iter().copied().max().unwrap_or(0));
        let values: Vec<f32> = photo.rgb().as_raw().chunks_exact(3).map(brightest).collect();
        Ok(Tensor::f32(&[photo.height() as usize, photo.width() as usize], &values)?)
    };
    read().map_err(|fail| fail.at(path.display()))
}
