//! What goes into the graph of windows, and what becomes of what comes out.

use bytes::Bytes;

use super::{Halo, Span, Spans, Windows};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};

/// The maps of one whole image.
#[derive(Clone, Debug)]
pub struct Maps(Vec<Map>);

/// Bytes of a cell.
const CELL: usize = 4;

/// A map, as the bytes of its float32 cells: they are moved, never looked at.
#[derive(Clone, Debug)]
struct Map {
    cells: Bytes,
    /// Channels, height, width.
    shape: [usize; 3],
}

impl Map {
    /// A map of these cells, if they are as many as the shape says.
    fn new(cells: Bytes, shape: [usize; 3]) -> Option<Map> {
        (cells.len() == shape.iter().product::<usize>() * CELL).then_some(Map { cells, shape })
    }

    /// Appends a box of cells, `[C,h,w]`; those outside of the map are padding.
    fn cut(&self, rows: Span, columns: Span, padding: f32, to: &mut Vec<u8>) {
        let [channels, height, width] = self.shape;
        let inside = |span: Span, cells: usize| {
            let clip = |at: i64| usize::try_from(at).unwrap_or(0).min(cells);
            clip(span.first)..clip(span.end)
        };
        let (high, wide) = (inside(rows, height), inside(columns, width));
        let padding = padding.to_le_bytes();
        let pad = |to: &mut Vec<u8>, count: usize| (0..count).for_each(|_| to.extend_from_slice(&padding));
        let (left, right) = match wide.is_empty() {
            true => (columns.len(), 0),
            false => {
                let left = usize::try_from(-columns.first).unwrap_or(0);
                (left, columns.len() - left - wide.len())
            }
        };
        to.reserve(channels * rows.len() * columns.len() * CELL);
        for channel in 0..channels {
            for row in rows.first..rows.end {
                pad(to, left);
                match usize::try_from(row).ok().filter(|row| high.contains(row)) {
                    Some(row) => {
                        let start = (channel * height + row) * width;
                        to.extend_from_slice(
                            &self.cells[(start + wide.start) * CELL..(start + wide.end) * CELL],
                        );
                    }
                    None => pad(to, wide.len()),
                }
                pad(to, right);
            }
        }
    }
}

impl Windows {
    /// The maps that [`Windows::whole`] returned for one image.
    ///
    /// # Errors
    /// When they are not those of one image.
    pub fn maps(&self, outputs: &[Tensor]) -> Result<Maps> {
        let map = |tensor: &Tensor| {
            let map = match *tensor.shape() {
                [1, channels, height, width] if tensor.dtype() == DType::F32 => {
                    Map::new(tensor.data().clone(), [channels, height, width])
                }
                _ => None,
            };
            map.ok_or_else(|| Error::tensor(format!("{tensor:?} is not the map of one image")))
        };
        Ok(Maps(outputs.iter().map(map).collect::<Result<_>>()?))
    }

    /// The inputs of [`Windows::part`] for the patches of one of [`Windows::runs`]; `covered` is the image `[C,H,W]` under a
    /// patch, in float32, `shape` its `[C,H,W]`.
    ///
    /// # Errors
    /// Those of `covered`, and when it is no such image.
    pub fn feed(
        &self,
        run: &[usize],
        maps: &Maps,
        shape: [usize; 3],
        mut covered: impl FnMut(usize) -> Result<Tensor>,
    ) -> Result<Vec<(String, Tensor)>> {
        let (mut patches, mut size) = (Vec::new(), [0; 2]);
        for &at in run {
            let image = Map::new(covered(at)?.data().clone(), shape)
                .ok_or_else(|| Error::tensor(format!("a covered image is not {shape:?}")))?;
            let [rows, columns] = self.at(&self.patches, at);
            size = [rows.len(), columns.len()];
            image.cut(rows, columns, 0.0, &mut patches);
        }
        let tensor = |channels: usize, size: [usize; 2], cells: Vec<u8>| {
            Tensor::new(DType::F32, vec![run.len(), channels, size[0], size[1]], cells)
        };
        let mut inputs = vec![(self.patch.clone(), tensor(shape[0], size, patches)?)];
        for halo in &self.halos {
            let map = maps.0.get(halo.source).ok_or_else(|| Error::tensor("a map is missing"))?;
            for (name, side) in halo.sides() {
                let (mut cells, mut size) = (Vec::new(), [0; 2]);
                for &at in run {
                    let [rows, columns] = side(self.at(&halo.inner, at), self.at(&halo.outer, at));
                    size = [rows.len(), columns.len()];
                    map.cut(rows, columns, halo.padding, &mut cells);
                }
                inputs.push((name.to_owned(), tensor(map.shape[0], size, cells)?));
            }
        }
        Ok(inputs)
    }

    /// Appends the whole maps at the cut to `to`, `[C,H,W]` in float32 for each patch of a run, with the windows that
    /// [`Windows::part`] computed.
    ///
    /// # Errors
    /// When these are no such windows.
    pub fn paste(&self, run: &[usize], maps: &Maps, windows: &Tensor, to: &mut Vec<u8>) -> Result<()> {
        let map = maps.0.last().ok_or_else(|| Error::tensor("the map at the cut is missing"))?;
        let [channels, height, width] = map.shape;
        let mut cells = windows.data().as_ref();
        to.reserve(map.cells.len() * run.len());
        for &at in run {
            let begin = to.len();
            to.extend_from_slice(&map.cells);
            let pasted = &mut to[begin..];
            let [rows, columns] = self.at(&self.changed, at);
            let wide = columns.len() * CELL;
            for channel in 0..channels {
                for row in rows.first..rows.end {
                    let start = ((channel * height + row as usize) * width + columns.first as usize) * CELL;
                    let (Some((row, rest)), Some(to)) =
                        (cells.split_at_checked(wide), pasted.get_mut(start..start + wide))
                    else {
                        return Err(Error::tensor(format!("{windows:?} are not the windows of the run")));
                    };
                    to.copy_from_slice(row);
                    cells = rest;
                }
            }
        }
        Ok(())
    }

    /// Channels, height and width of the map at the cut.
    pub fn cut_shape(&self, maps: &Maps) -> [usize; 3] {
        maps.0.last().map_or([0; 3], |map| map.shape)
    }

    /// The rows and columns of a patch.
    fn at(&self, spans: &Spans, patch: usize) -> [Span; 2] {
        let width = self.changed[1].len();
        [spans[0][patch / width], spans[1][patch % width]]
    }
}

/// Rows and columns of one side of a halo, from those of the window and those with the halo.
type Side = fn([Span; 2], [Span; 2]) -> [Span; 2];

impl Halo {
    /// The inputs that there are.
    fn sides(&self) -> impl Iterator<Item = (&str, Side)> {
        fn before(inner: Span, outer: Span) -> Span {
            Span { first: outer.first, end: inner.first }
        }
        fn behind(inner: Span, outer: Span) -> Span {
            Span { first: inner.end, end: outer.end }
        }
        let sides: [(&Option<String>, Side); 4] = [
            (&self.above, |inner, outer| [before(inner[0], outer[0]), outer[1]]),
            (&self.left, |inner, outer| [inner[0], before(inner[1], outer[1])]),
            (&self.right, |inner, outer| [inner[0], behind(inner[1], outer[1])]),
            (&self.below, |inner, outer| [behind(inner[0], outer[0]), outer[1]]),
        ];
        sides.into_iter().filter_map(|(name, side)| Some((name.as_deref()?, side)))
    }
}
