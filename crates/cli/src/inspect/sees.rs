//! What a cell of a layer sees of the image.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;
use whycam::graph::layer::ReceptiveField;

/// A receptive field.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sees {
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
