//! What a cell of a layer sees of the image, as reports tell it.

use std::fmt;

use serde::Serialize;
use whycam_graph::layer::ReceptiveField;

/// A receptive field.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sees {
    /// Pixels: height and width of the window, and how far one cell's is from the next's.
    Window {
        /// Height and width.
        size: [usize; 2],
        /// Down and across.
        stride: [f64; 2],
    },
    /// All of the image: something before the layer mixes all cells.
    WholeImage,
    /// It cannot be told.
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

impl fmt::Display for Sees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
