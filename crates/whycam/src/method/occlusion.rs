//! Occlusion sensitivity: how much the score changes when a patch of the image is covered.
//!
//! For every centre `p` on a grid of step `stride`, `Δ(p) = y(x with the m×m patch around p covered) − y(x)`
//! (Zeiler & Fergus 2014, arXiv 1311.2901, §4.2; signed and at every pixel as in the supplement of Selvaraju et al.
//! 2017, arXiv 1610.02391). The patch covers the rows `p − ⌊(m−1)/2⌋ … p + ⌊m/2⌋`; what of it lies outside the image
//! covers nothing. Between the centres, which begin at the first pixel, the map is interpolated bilinearly; beyond the
//! last it keeps that one's value. Cells below zero, blue, are evidence for the class.
//!
//! ```no_run
#![doc = include_str!("../../examples/occlusion.rs")]
//! ```

use super::perturbation::{Copies, FILLS, Grid, On, Perturbation, Scored};
use super::{Kind, Method, MethodInfo, MethodOption, Space, Takes};
use crate::error::Result;
use crate::map::Raw;

pub(super) const METHOD: MethodInfo = MethodInfo {
    name: "occlusion",
    about: "how the class score changes when a patch of the image is covered",
    paper: "Zeiler & Fergus 2014, arXiv 1311.2901",
    needs: "many forward passes",
    space: Space::Pixels,
    options: &[
        MethodOption {
            name: "size",
            takes: Takes::EachOf { default: &[35], least: 0, most: 16384 },
            about: "side of the patch in pixels of the model's image; several make a map each",
        },
        MethodOption {
            name: "stride",
            takes: Takes::Whole { default: 8, least: 1, most: 16384 },
            about: "pixels from one patch to the next",
        },
        MethodOption {
            name: "fill",
            takes: Takes::Word(FILLS),
            about: "what covers: 0 of the prepared image (the mean colour), grey, black, the image's own mean, or its blur",
        },
        MethodOption {
            name: "score",
            takes: Takes::Word(&["logit", "probability"]),
            about: "which score is compared",
        },
        MethodOption {
            name: "by",
            takes: Takes::Word(&["auto", "windows", "whole"]),
            about: "what runs: the windows that a patch changes, whole images, or what is faster for one row of patches",
        },
    ],
    kind: Kind::Perturbation(Perturbation {
        on: On::Image,
        legend: Some("blue: score falls if covered"),
        scored: |chosen| match chosen.word("score") {
            "probability" => Scored::Probability,
            _ => Scored::Logit,
        },
        patches: |chosen, image| {
            let patches = Patches::of(chosen, image);
            let grid = patches.grid();
            let along = |axis: usize| (0..grid[axis]).map(|at| patches.covered(axis, at)).collect();
            let by = chosen.word("by");
            (patches.size > 0 && by != "whole")
                .then(|| Grid { along: [along(0), along(1)], forced: by == "windows" })
        },
        copies: |chosen, scene| {
            let image = [scene.value.height, scene.value.width];
            Ok(Box::new(Patches { cover: scene.fill(chosen.word("fill"))?, ..Patches::of(chosen, image) }))
        },
    }),
};

/// The grid of patches, and the image that shows through them.
struct Patches {
    size: usize,
    stride: usize,
    image: [usize; 2],
    cover: Vec<f32>,
}

impl Patches {
    /// The grid on an image of that height and width, which nothing covers yet.
    fn of(chosen: &Method, image: [usize; 2]) -> Patches {
        let (size, stride) = (chosen.whole("size"), chosen.whole("stride").max(1));
        Patches { size, stride, image, cover: Vec::new() }
    }

    /// Rows and columns of the grid.
    fn grid(&self) -> [usize; 2] {
        self.image.map(|side| side.div_ceil(self.stride))
    }

    /// The rows (`axis` 0) or columns (1) that the patch at a position of the grid covers, from and up to.
    fn covered(&self, axis: usize, position: usize) -> [usize; 2] {
        let centre = position * self.stride;
        let (before, behind) = (self.size.saturating_sub(1) / 2, self.size / 2 + usize::from(self.size > 0));
        [centre.saturating_sub(before), (centre + behind).min(self.image[axis])]
    }
}

impl Copies for Patches {
    fn count(&self) -> usize {
        if self.size == 0 { 0 } else { self.grid().iter().product() }
    }

    fn take_away(&self, index: usize, value: &mut [f32]) -> Result<()> {
        let [height, width] = self.image;
        let columns = self.grid()[1];
        let ([top, bottom], [left, right]) =
            (self.covered(0, index / columns), self.covered(1, index % columns));
        for channel in 0..value.len() / (height * width) {
            for row in top..bottom {
                let start = (channel * height + row) * width;
                value[start + left..start + right].copy_from_slice(&self.cover[start + left..start + right]);
            }
        }
        Ok(())
    }

    fn map(&self, whole: f32, scores: &[f32]) -> Result<Raw> {
        let [height, width] = self.image;
        let [rows, columns] = self.grid();
        let change = |row: usize, column: usize| {
            scores.get(row * columns + column).map_or(0.0, |score| f64::from(score - whole))
        };
        // The positions of the grid around a pixel, and how near the second is.
        let around = |pixel: usize, count: usize| {
            let first = pixel / self.stride;
            let part = (pixel % self.stride) as f64 / self.stride as f64;
            (first, (first + 1).min(count - 1), part)
        };
        let mut values = Vec::with_capacity(height * width);
        for y in 0..height {
            let (above, below, down) = around(y, rows);
            for x in 0..width {
                let (left, right, along) = around(x, columns);
                let mix = |row| change(row, left) * (1.0 - along) + change(row, right) * along;
                values.push((mix(above) * (1.0 - down) + mix(below) * down) as f32);
            }
        }
        Ok(Raw::of(values, vec![height, width]))
    }
}
