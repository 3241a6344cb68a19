//! Augmentation smoothing: the mean of a method's maps over the image and its mirror image, each a little darker, as it
//! is, and a little brighter.
//!
//! The copies are `f·x` and `f·mirror(x)` for `f` in 0.9, 1 and 1.1, `x` the prepared image; maps of mirror images are
//! mirrored back. These are the six copies that pytorch-grad-cam's `aug_smooth` takes, but maps are averaged as they are,
//! not scaled to 0…1 one by one.

use super::asking::Asking;
use super::ensemble::Mean;
use crate::error::Result;
use crate::map::Raw;

const FACTORS: [f32; 3] = [0.9, 1.0, 1.1];

/// The mean of the maps that `maps` makes of every copy of the image.
pub(super) fn smoothed(
    asking: &Asking<'_>,
    mut maps: impl FnMut(&Asking<'_>) -> Result<Vec<Raw>>,
) -> Result<Vec<Raw>> {
    let mut means = Vec::new();
    for mirrored in [false, true] {
        for factor in FACTORS {
            let mut copy = asking.planar();
            copy.iter_mut().for_each(|value| *value *= factor);
            if mirrored {
                mirror(&mut copy, asking.model.input().width);
            }
            let image = asking.laid_out(copy);
            for (k, mut map) in maps(&Asking { image: &image, ..*asking })?.into_iter().enumerate() {
                if mirrored {
                    mirror(&mut map.values, map.shape.last().copied().unwrap_or(1));
                }
                Mean::add(&mut means, k, map);
            }
        }
    }
    Ok(means.into_iter().map(Mean::finish).collect())
}

/// Reverses every row.
fn mirror(values: &mut [f32], width: usize) {
    values.chunks_exact_mut(width.max(1)).for_each(<[f32]>::reverse);
}
