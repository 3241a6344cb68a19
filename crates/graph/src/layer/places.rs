//! Which cell of a grid each element of a value belongs to.

use super::spread::Spread;

/// The label of elements that belong to no cell: class tokens, padding.
const NOWHERE: i32 = -1;

/// The places of a value's elements: cells of a grid over the image.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Places {
    /// Height and width of the grid.
    pub grid: [usize; 2],
    /// For every element `image · h · w + cell`, cells row by row; or [`NOWHERE`].
    labels: Spread<i32>,
}

/// A cell of an image's grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub image: usize,
    pub cell: usize,
}

impl Places {
    /// The places of a map whose axes `[batch, height, width]` are given; none for a single cell.
    pub fn of_map(dims: &[usize], [batch, height, width]: [usize; 3]) -> Option<Places> {
        let grid = [dims[height], dims[width]];
        let cells = grid[0].checked_mul(grid[1]).filter(|&cells| cells > 1)?;
        i32::try_from(cells.checked_mul(dims[batch])?).ok()?;
        let label = |i: &[usize]| i[batch] * cells + i[height] * grid[1] + i[width];
        let labels = Spread::new(dims, &[batch, height, width], |i| i32::try_from(label(i)).ok())?;
        Some(Places { grid, labels })
    }

    pub fn dims(&self) -> &[usize] {
        self.labels.dims()
    }

    fn cells(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    fn place(&self, label: i32) -> Option<Place> {
        let label = usize::try_from(label).ok()?;
        Some(Place { image: label / self.cells(), cell: label % self.cells() })
    }

    /// The place of the element at an index.
    pub fn at(&self, index: &[usize]) -> Option<Place> {
        self.place(self.labels.at(index))
    }

    /// The axes that tell places apart.
    pub fn varying(&self) -> Vec<usize> {
        self.labels.varying()
    }

    /// Whether any element has a place.
    pub fn is_somewhere(&self) -> bool {
        self.labels.entries().iter().any(|&l| l != NOWHERE)
    }

    /// For every element whether it has a place.
    pub fn somewhere(&self) -> Spread<bool> {
        self.labels.map(|l| l != NOWHERE)
    }

    /// The places after elements have moved; none when no placed element is left.
    pub fn moved(&self, f: impl FnOnce(&Spread<i32>) -> Option<Spread<i32>>) -> Option<Places> {
        let moved = Places { grid: self.grid, labels: f(&self.labels)? };
        moved.is_somewhere().then_some(moved)
    }

    /// The elements at `indices` of an axis; new elements, `None`, have no place.
    pub fn take(&self, axis: usize, indices: &[Option<usize>]) -> Option<Places> {
        self.moved(|labels| labels.take(axis, indices, NOWHERE))
    }

    /// Values joined along an axis, those without places of the given shapes.
    pub fn concat(parts: &[Option<Places>], shapes: &[Vec<usize>], axis: usize) -> Option<Places> {
        let grid = parts.iter().flatten().next()?.grid;
        let mut labels = Vec::new();
        for (part, dims) in parts.iter().zip(shapes) {
            labels.push(match part {
                Some(part) if part.grid != grid => return None,
                Some(part) => part.labels.clone(),
                None => Spread::all(dims, NOWHERE),
            });
        }
        Spread::concat(&labels, axis).map(|labels| Places { grid, labels })
    }

    /// The places on the grid of those cells only that occur, when these are some rows by some columns.
    pub fn compact(&self) -> Option<Places> {
        let cells = self.cells();
        let mut met = vec![false; cells];
        for place in self.labels.entries().iter().filter_map(|&l| self.place(l)) {
            met[place.cell] = true;
        }
        let width = self.grid[1];
        let ranks = |is_met: &dyn Fn(usize) -> bool, size: usize| {
            let mut count = 0;
            let mut rank = |i| {
                let met = is_met(i);
                count += usize::from(met);
                met.then(|| count - 1)
            };
            let ranks: Vec<Option<usize>> = (0..size).map(&mut rank).collect();
            (ranks, count)
        };
        let (rows, height) = ranks(&|r| met[r * width..][..width].contains(&true), self.grid[0]);
        let (columns, across) = ranks(&|c| (0..self.grid[0]).any(|r| met[r * width + c]), width);
        if met.iter().filter(|m| **m).count() != height * across {
            return None;
        }
        if [height, across] == self.grid {
            return Some(self.clone());
        }
        let label = |place: Place| {
            let cell = rows[place.cell / width]? * across + columns[place.cell % width]?;
            i32::try_from(place.image * height * across + cell).ok()
        };
        let labels = self.labels.map(|l| self.place(l).and_then(label).unwrap_or(NOWHERE));
        Some(Places { grid: [height, across], labels })
    }

    /// Whether the cells that occur stand in every row and column at the same distance, up to the grid's borders.
    pub fn covers(&self) -> bool {
        let mut met = vec![false; self.cells()];
        self.labels.entries().iter().filter_map(|&l| self.place(l)).for_each(|p| met[p.cell] = true);
        let even = |line: Vec<usize>, size: usize| {
            let step = line.get(1).map_or(size, |second| second - line[0]);
            line.windows(2).all(|w| w[1] - w[0] == step)
                && line.first().is_some_and(|&first| first < step)
                && line.last().is_some_and(|&last| last + step >= size)
        };
        let [height, width] = self.grid;
        let rows = (0..height).filter(|r| met[r * width..][..width].contains(&true)).collect();
        let columns = (0..width).filter(|c| (0..height).any(|r| met[r * width + c])).collect();
        even(rows, height) && even(columns, width)
    }

    /// The places of what is computed from all elements along an axis, which stays with size 1: those that every slice
    /// of it has, on a coarser grid where slices are interleaved.
    pub fn mixed(&self, axis: usize) -> Option<Places> {
        if !self.labels.varies(axis) {
            return self.moved(|labels| labels.fold(axis, |a, _| a));
        }
        let slice = |at| Places { grid: self.grid, labels: self.labels.slice(axis, at)? }.compact();
        let first = slice(0)?;
        if first.cells() <= 1 {
            return None;
        }
        (1..self.dims()[axis]).all(|at| slice(at).as_ref() == Some(&first)).then_some(first)
    }

    /// The places of what is computed element by element from two operands, both broadcast to `dims`.
    pub fn combined(a: Option<&Places>, b: Option<&Places>, dims: &[usize]) -> Option<Places> {
        let wide = |p: &Places| p.moved(|labels| labels.broadcast(dims));
        let (a, b) = match (a, b) {
            (Some(a), Some(b)) => (a, b),
            (one, other) => return wide(one.or(other)?),
        };
        if a.grid == b.grid && a.labels.is(&b.labels) && a.dims() == dims {
            return Some(a.clone());
        }
        let (wide_a, wide_b) = (wide(a)?, wide(b)?);
        if wide_a == wide_b {
            return Some(wide_a);
        }
        // What does not tell all of the other's cells apart is a gate or a mean: the places are the other's.
        let [by_a, by_b] = [wide_a.varying(), wide_b.varying()];
        let tells = |all: &[usize], axes: &[usize]| axes.iter().all(|axis| all.contains(axis));
        match (tells(&by_a, &by_b), tells(&by_b, &by_a)) {
            (true, false) => Some(wide_a),
            (false, true) => Some(wide_b),
            _ => {
                let a = wide_a.compact()?;
                (Some(&a) == wide_b.compact().as_ref()).then_some(a)
            }
        }
    }

    /// Whether the axes `[batch, height, width]` go through images, rows and columns in order.
    pub fn in_order(&self, [batch, height, width]: [usize; 3]) -> bool {
        if self.varying().iter().any(|axis| ![batch, height, width].contains(axis)) {
            return false;
        }
        let dims = self.dims();
        let (mut rows, mut columns) = (vec![None; dims[height]], vec![None; dims[width]]);
        let mut index = vec![0; dims.len()];
        for n in 0..dims[batch] {
            for (i, row) in rows.iter_mut().enumerate() {
                for (j, column) in columns.iter_mut().enumerate() {
                    (index[batch], index[height], index[width]) = (n, i, j);
                    let Some(place) = self.at(&index) else { continue };
                    let [r, c] = [place.cell / self.grid[1], place.cell % self.grid[1]];
                    if place.image != n || *row.get_or_insert(r) != r || *column.get_or_insert(c) != c {
                        return false;
                    }
                }
            }
        }
        [rows, columns].iter().all(|line| line.iter().flatten().is_sorted_by(|a, b| a < b))
    }
}
