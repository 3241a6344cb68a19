//! Resampling.

use whycam_graph::op::{Coordinates, NearestMode, Resize, ResizeMode};

use crate::array::Array;

/// The last two axes of `[N,C,H,W]` resampled, as ONNX's `Resize` does.
pub(crate) fn resize(r: &Resize, x: &Array) -> Array {
    let [height, width] = r.size;
    let axis = |axis: usize| Axis {
        from: x.shape[axis + 2] as f64,
        to: r.size[axis] as f64,
        scale: r.scales.map(|s| f64::from(s[axis])),
    };
    Array::from_fn(&[x.shape[0], x.shape[1], height, width], |at| {
        let (n, c) = (at[0], at[1]);
        let row = axis(0).source(r.coordinates, at[2] as f64);
        let column = axis(1).source(r.coordinates, at[3] as f64);
        let cell = |row: f64, column: f64| {
            let row = row.clamp(0.0, axis(0).from - 1.0) as usize;
            let column = column.clamp(0.0, axis(1).from - 1.0) as usize;
            x.at(&[n, c, row, column])
        };
        match r.mode {
            ResizeMode::Nearest(mode) => cell(nearest(mode, row), nearest(mode, column)),
            ResizeMode::Linear => {
                let (top, left) = (row.floor(), column.floor());
                let (down, right) = (row - top, column - left);
                (1.0 - down) * (1.0 - right) * cell(top, left)
                    + (1.0 - down) * right * cell(top, left + 1.0)
                    + down * (1.0 - right) * cell(top + 1.0, left)
                    + down * right * cell(top + 1.0, left + 1.0)
            }
        }
    })
}

struct Axis {
    from: f64,
    to: f64,
    scale: Option<f64>,
}

impl Axis {
    /// `p/s`; the scale is `to/from` where none is stated.
    fn unscaled(&self, p: f64) -> f64 {
        match self.scale {
            Some(scale) => p / scale,
            None => p * self.from / self.to,
        }
    }

    /// The source coordinate that output cell `i` looks at.
    fn source(&self, coordinates: Coordinates, i: f64) -> f64 {
        match coordinates {
            Coordinates::PytorchHalfPixel if self.to == 1.0 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => self.unscaled(i + 0.5) - 0.5,
            Coordinates::AlignCorners if self.to == 1.0 => 0.0,
            Coordinates::AlignCorners => i * (self.from - 1.0) / (self.to - 1.0),
            Coordinates::Asymmetric => self.unscaled(i),
        }
    }
}

fn nearest(mode: NearestMode, x: f64) -> f64 {
    match mode {
        NearestMode::RoundPreferFloor => (x - 0.5).ceil(),
        NearestMode::RoundPreferCeil => (x + 0.5).floor(),
        NearestMode::Floor => x.floor(),
        NearestMode::Ceil => x.ceil(),
    }
}
