//! Fusion: the maps of a method at several layers become one.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::image::{Align, Field, resample};
use crate::map::Raw;
use crate::verdict::Verdict;

/// How the maps of several layers become one.
///
/// Each is moved and scaled to `[0,1]`, its least cell 0 (a map of one value is 0), and enlarged bilinearly to the finest of
/// their grids; cells that lie on each other make one. So does pytorch-grad-cam with several target layers, by the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fuse {
    /// Their mean.
    Mean,
    /// The greatest.
    Max,
}

/// What a fused map is made of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fused {
    /// How.
    pub how: Fuse,
    /// Of which layers' maps.
    pub layers: Vec<Part>,
}

/// The map of one layer among those that are fused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// The layer.
    pub layer: String,
    /// The module that made it, where the model tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// `[h,w]`.
    pub shape: Vec<usize>,
    /// What its map is worth at first sight.
    pub verdict: Verdict,
}

impl Fuse {
    /// Every way.
    pub const ALL: [Fuse; 2] = [Fuse::Mean, Fuse::Max];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Fuse::Mean => "mean",
            Fuse::Max => "max",
        }
    }
}

impl fmt::Display for Fuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Fuse {
    type Err = Error;

    fn from_str(name: &str) -> Result<Fuse> {
        Fuse::ALL
            .into_iter()
            .find(|fuse| fuse.name() == name)
            .ok_or_else(|| Error::ask(format!("{name:?} is no way to fuse layers"), "there are mean and max"))
    }
}

/// The maps `[h,w]`, of which there is one or more, as one. Where one is not finite, neither is the range.
pub(super) fn fused(how: Fuse, maps: &[&Raw], align: Align) -> Result<Raw> {
    let sizes = || maps.iter().map(|map| size(map));
    let [height, width] = [0, 1].map(|axis: usize| sizes().map(|size| size[axis]).max().unwrap_or(0));
    let mut total = vec![0.0_f32; height * width];
    for map in maps {
        let [h, w] = size(map);
        let scaled = scaled(&map.values);
        let large = match [h, w] == [height, width] {
            true => scaled,
            false => resample(Field::new(&scaled, h, w)?, height, width, align)?,
        };
        for (total, value) in total.iter_mut().zip(large) {
            *total = match how {
                Fuse::Mean => *total + value / maps.len() as f32,
                Fuse::Max => total.max(value),
            };
        }
    }
    let fused = Raw::of(total, vec![height, width]);
    match maps.iter().all(|map| map.range.iter().all(|end| end.is_finite())) {
        true => Ok(fused),
        false => Ok(Raw { range: [f32::NAN; 2], ..fused }),
    }
}

fn size(map: &Raw) -> [usize; 2] {
    [map.shape.first().copied().unwrap_or(0), map.shape.get(1).copied().unwrap_or(0)]
}

/// Moved and scaled to `[0,1]`; 0 where all have one value.
fn scaled(values: &[f32]) -> Vec<f32> {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let width = values.iter().copied().fold(f32::NEG_INFINITY, f32::max) - least;
    values.iter().map(|value| if width > 0.0 { (value - least) / width } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(values: &[f32], [h, w]: [usize; 2]) -> Raw {
        Raw::of(values.to_vec(), vec![h, w])
    }

    #[test]
    fn each_map_counts_by_its_form_alone_on_the_finest_grid() {
        let fine = map(&[2.0, 4.0, 6.0, 2.0], [1, 4]);
        let coarse = map(&[0.0, 100.0], [1, 2]);
        let even = map(&[7.0; 4], [1, 4]);
        // [0, 1] with half pixels on four cells: 0, 1/4, 3/4, 1.
        let mean = fused(Fuse::Mean, &[&fine, &coarse], Align::HalfPixel).expect("fused");
        assert_eq!((mean.shape, mean.values), (vec![1, 4], vec![0.0, 0.375, 0.875, 0.5]));
        assert_eq!(mean.range, [0.0, 0.875]);
        let max = fused(Fuse::Max, &[&fine, &coarse], Align::HalfPixel).expect("fused");
        assert_eq!(max.values, [0.0, 0.5, 1.0, 1.0]);
        let three = fused(Fuse::Mean, &[&fine, &even], Align::HalfPixel).expect("fused");
        assert_eq!(three.values, [0.0, 0.25, 0.5, 0.0], "a map that locates nothing adds nothing");
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let broken = map(&[f32::NAN, 1.0], [1, 2]);
        for how in Fuse::ALL {
            let fused = fused(how, &[&map(&[0.0, 1.0], [1, 2]), &broken], Align::HalfPixel).expect("fused");
            assert_eq!(Verdict::of(&fused.values, fused.range, fused.rectified), Verdict::Nan);
            assert_eq!(how.name().parse::<Fuse>().expect("a way"), how);
        }
    }
}
