//! Arrays that mostly repeat themselves: something about every element of a value, of which most axes know nothing.

use std::sync::Arc;

use crate::op::Range;

/// More entries than this are not held; what is known of the value is then forgotten.
const MOST: usize = 1 << 24;

/// An array of shape `dims`, held once along the axes on which it does not depend.
#[derive(Clone, Debug)]
pub(super) struct Spread<T> {
    dims: Vec<usize>,
    /// `dims`, with 1 for every axis on which the array does not depend.
    held: Vec<usize>,
    data: Arc<[T]>,
}

impl<T: Copy + PartialEq> Spread<T> {
    /// `dims` times the same entry.
    pub fn all(dims: &[usize], entry: T) -> Spread<T> {
        Spread { dims: dims.to_vec(), held: vec![1; dims.len()], data: Arc::from([entry]) }
    }

    /// An array with an entry for every index of the axes that `depends` lists.
    pub fn new(
        dims: &[usize],
        depends: &[usize],
        entry: impl FnMut(&[usize]) -> Option<T>,
    ) -> Option<Spread<T>> {
        let held: Vec<usize> =
            dims.iter().enumerate().map(|(i, &d)| if depends.contains(&i) { d } else { 1 }).collect();
        let data = each(&held, entry)?;
        Some(Spread { dims: dims.to_vec(), held, data }.collapsed())
    }

    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The entries that are held.
    pub fn entries(&self) -> &[T] {
        &self.data
    }

    /// Whether both share their entries.
    pub fn is(&self, other: &Spread<T>) -> bool {
        Arc::ptr_eq(&self.data, &other.data) && self.held == other.held
    }

    /// Whether the array depends on the axis.
    pub fn varies(&self, axis: usize) -> bool {
        self.held[axis] > 1
    }

    /// The axes on which the array depends.
    pub fn varying(&self) -> Vec<usize> {
        (0..self.dims.len()).filter(|&axis| self.varies(axis)).collect()
    }

    /// The entry at an index.
    pub fn at(&self, index: &[usize]) -> T {
        let flat =
            index.iter().zip(&self.held).fold(0, |flat, (&i, &n)| flat * n + if n == 1 { 0 } else { i });
        self.data[flat]
    }

    /// The same entries, each changed.
    pub fn map<U: Copy + PartialEq>(&self, f: impl Fn(T) -> U) -> Spread<U> {
        let data = self.data.iter().map(|&e| f(e)).collect();
        Spread { dims: self.dims.clone(), held: self.held.clone(), data }
    }

    /// Both arrays, of the same shape, entry by entry.
    pub fn zip(&self, other: &Spread<T>, f: impl Fn(T, T) -> T) -> Option<Spread<T>> {
        let depends: Vec<usize> =
            (0..self.dims.len()).filter(|&a| self.varies(a) || other.varies(a)).collect();
        (self.dims == other.dims).then_some(())?;
        Spread::new(&self.dims, &depends, |i| Some(f(self.at(i), other.at(i))))
    }

    /// Broadcast to a larger shape by NumPy's rule.
    pub fn broadcast(&self, dims: &[usize]) -> Option<Spread<T>> {
        let extra = dims.len().checked_sub(self.dims.len())?;
        let mut held = vec![1; extra];
        held.extend(&self.held);
        let fits = held.iter().zip(dims).all(|(&h, &d)| h == 1 || h == d);
        fits.then(|| Spread { dims: dims.to_vec(), held, data: self.data.clone() })
    }

    /// The inverse of [`Spread::broadcast`]: entries that were one are joined by `f`.
    pub fn unbroadcast(&self, dims: &[usize], f: impl Fn(T, T) -> T) -> Option<Spread<T>> {
        let extra = self.dims.len().checked_sub(dims.len())?;
        let mut all = self.clone();
        for axis in 0..self.dims.len() {
            if axis < extra || dims[axis - extra] != self.dims[axis] {
                all = all.fold(axis, &f)?;
            }
        }
        let held = all.held[extra..].to_vec();
        Some(Spread { dims: dims.to_vec(), held, data: all.data })
    }

    /// The axis with size 1, its entries joined by `f`.
    pub fn fold(&self, axis: usize, f: impl Fn(T, T) -> T) -> Option<Spread<T>> {
        let mut dims = self.dims.clone();
        dims[axis] = 1;
        if !self.varies(axis) {
            return Some(Spread { dims, ..self.clone() });
        }
        let depends: Vec<usize> = self.varying().into_iter().filter(|&a| a != axis).collect();
        Spread::new(&dims, &depends, |i| {
            let mut index = i.to_vec();
            let at = |k: usize| {
                index[axis] = k;
                self.at(&index)
            };
            (0..self.dims[axis]).map(at).reduce(&f)
        })
    }

    /// The axis stretched to `size`; it must have size 1, or nothing may depend on it.
    pub fn stretched(&self, axis: usize, size: usize) -> Spread<T> {
        let mut stretched = self.clone();
        stretched.dims[axis] = size;
        stretched
    }

    /// NumPy's `transpose`.
    pub fn transpose(&self, perm: &[usize]) -> Option<Spread<T>> {
        let dims: Vec<usize> = perm.iter().map(|&p| self.dims[p]).collect();
        let depends: Vec<usize> = (0..perm.len()).filter(|&i| self.varies(perm[i])).collect();
        let mut index = vec![0; perm.len()];
        Spread::new(&dims, &depends, |i| {
            for (&p, &at) in perm.iter().zip(i) {
                index[p] = at;
            }
            Some(self.at(&index))
        })
    }

    /// The same elements in another shape.
    pub fn reshape(&self, dims: &[usize]) -> Option<Spread<T>> {
        // Axes fall into groups of equal size; those on which nothing depends need not be held.
        let (mut from, mut to) = (0, 0);
        let (mut open, mut held) = (self.clone(), vec![1; dims.len()]);
        while from < self.dims.len() || to < dims.len() {
            let (first, start) = (from, to);
            let (mut a, mut b) = (1usize, 1usize);
            loop {
                if a == b && from > first && (to > start || a == 1) {
                    break;
                }
                if (a <= b && from < self.dims.len()) || to == dims.len() {
                    a = a.checked_mul(*self.dims.get(from)?)?;
                    from += 1;
                } else {
                    b = b.checked_mul(*dims.get(to)?)?;
                    to += 1;
                }
                if from == self.dims.len() && to == dims.len() {
                    break;
                }
            }
            if a != b {
                return None;
            }
            if (first..from).any(|axis| self.varies(axis)) {
                open = open.opened(first..from)?;
                held[start..to].copy_from_slice(&dims[start..to]);
            }
        }
        Some(Spread { dims: dims.to_vec(), held, data: open.data }.collapsed())
    }

    /// The entries at `indices` of an axis; `fill` where there is none.
    pub fn take(&self, axis: usize, indices: &[Option<usize>], fill: T) -> Option<Spread<T>> {
        let mut dims = self.dims.clone();
        dims[axis] = indices.len();
        if !self.varies(axis) && indices.iter().all(Option::is_some) {
            return Some(Spread { dims, ..self.clone() });
        }
        let mut depends = self.varying();
        depends.push(axis);
        let mut index = vec![0; dims.len()];
        Spread::new(&dims, &depends, |i| {
            let Some(at) = indices[i[axis]] else { return Some(fill) };
            index.copy_from_slice(i);
            index[axis] = at;
            (at < self.dims[axis]).then(|| self.at(&index))
        })
    }

    /// The inverse of [`Spread::take`]: entry `i` goes to `indices[i]` of an axis of `size`, joined by `f` where
    /// several meet; the others are `fill`.
    pub fn put(
        &self,
        axis: usize,
        size: usize,
        indices: &[Option<usize>],
        fill: T,
        f: impl Fn(T, T) -> T,
    ) -> Option<Spread<T>> {
        let mut sources = vec![Vec::new(); size];
        for (from, to) in indices.iter().enumerate() {
            if let Some(to) = *to {
                sources.get_mut(to)?.push(from);
            }
        }
        let mut dims = self.dims.clone();
        dims[axis] = size;
        let mut depends = self.varying();
        depends.push(axis);
        let mut index = vec![0; dims.len()];
        Spread::new(&dims, &depends, |i| {
            index.copy_from_slice(i);
            let at = |&from: &usize| {
                index[axis] = from;
                self.at(&index)
            };
            Some(sources[i[axis]].iter().map(at).reduce(&f).unwrap_or(fill))
        })
    }

    /// Arrays joined along an axis.
    pub fn concat(parts: &[Spread<T>], axis: usize) -> Option<Spread<T>> {
        let mut dims = parts.first()?.dims.clone();
        let places: Vec<(usize, usize)> = parts
            .iter()
            .enumerate()
            .flat_map(|(p, part)| (0..part.dims[axis]).map(move |i| (p, i)))
            .collect();
        dims[axis] = places.len();
        let mut depends: Vec<usize> = parts.iter().flat_map(Spread::varying).collect();
        let same =
            parts.iter().all(|p| !p.varies(axis) && p.held == parts[0].held && p.data == parts[0].data);
        if !same {
            depends.push(axis);
        }
        let mut index = vec![0; dims.len()];
        Spread::new(&dims, &depends, |i| {
            let (part, at) = places[i[axis]];
            index.copy_from_slice(i);
            index[axis] = at;
            Some(parts[part].at(&index))
        })
    }

    /// One slice of an axis, which stays with size 1.
    pub fn slice(&self, axis: usize, at: usize) -> Option<Spread<T>> {
        self.take(axis, &[Some(at)], self.data[0])
    }

    /// The array with every index of these axes held.
    fn opened(&self, axes: std::ops::Range<usize>) -> Option<Spread<T>> {
        let held: Vec<usize> = self
            .dims
            .iter()
            .zip(&self.held)
            .enumerate()
            .map(|(i, (&d, &h))| if axes.contains(&i) { d } else { h })
            .collect();
        if held == self.held {
            return Some(self.clone());
        }
        let data = each(&held, |i| Some(self.at(i)))?;
        Some(Spread { dims: self.dims.clone(), held, data })
    }

    /// The same array, held once along every axis on which it turns out not to depend.
    fn collapsed(mut self) -> Spread<T> {
        for axis in 0..self.held.len() {
            let size = self.held[axis];
            let behind: usize = self.held[axis + 1..].iter().product();
            if size == 1 || behind == 0 {
                continue;
            }
            let same = |block: &[T]| block.chunks(behind).all(|row| *row == block[..behind]);
            if self.data.chunks(size * behind).all(same) {
                self.data = self.data.chunks(size * behind).flat_map(|b| &b[..behind]).copied().collect();
                self.held[axis] = 1;
            }
        }
        self
    }
}

impl<T: PartialEq> PartialEq for Spread<T> {
    fn eq(&self, other: &Spread<T>) -> bool {
        self.dims == other.dims
            && self.held == other.held
            && (Arc::ptr_eq(&self.data, &other.data) || self.data == other.data)
    }
}

/// An entry for every index of `held`, row by row; `None` when there are too many, or none at one of them.
fn each<T>(held: &[usize], mut entry: impl FnMut(&[usize]) -> Option<T>) -> Option<Arc<[T]>> {
    let total = held.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MOST)?;
    let mut index = vec![0; held.len()];
    let mut data = Vec::with_capacity(total);
    for _ in 0..total {
        data.push(entry(&index)?);
        for axis in (0..held.len()).rev() {
            index[axis] += 1;
            if index[axis] < held[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Some(data.into())
}

/// The indices that a range of an axis of `size` takes.
pub(super) fn taken(range: &Range, size: usize) -> Option<Vec<Option<usize>>> {
    let size = i64::try_from(size).ok()?;
    let mut indices = Vec::new();
    let mut at = range.start;
    while (range.step > 0 && at < range.end.min(size)) || (range.step < 0 && at > range.end.max(-1)) {
        indices.push(Some(usize::try_from(at).ok()?));
        at = at.checked_add(range.step)?;
    }
    Some(indices)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row numbers of a 4 by 3 array.
    fn rows() -> Spread<usize> {
        Spread::new(&[4, 3], &[0, 1], |i| Some(i[0])).expect("small")
    }

    #[test]
    fn axes_without_say_are_held_once() {
        assert_eq!(rows().entries(), [0, 1, 2, 3]);
        assert_eq!(rows().varying(), [0]);
        assert_eq!(rows().at(&[2, 1]), 2);
    }

    /// Whatever is done to the array is what would be done to all its elements.
    #[test]
    fn layouts_move_entries_as_they_move_elements() {
        let shaped = rows().reshape(&[2, 2, 3]).expect("12 elements");
        assert_eq!((shaped.varying(), shaped.at(&[1, 0, 2])), (vec![0, 1], 2));
        let mixed = rows().reshape(&[2, 6]).expect("12 elements");
        assert_eq!(mixed.entries(), [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
        assert_eq!(mixed.reshape(&[4, 3]), Some(rows()));
        assert_eq!(rows().reshape(&[1, 4, 1, 3, 1]).expect("12 elements").varying(), [1]);
        assert_eq!(rows().reshape(&[5, 2]), None);
        let turned = rows().transpose(&[1, 0]).expect("two axes");
        assert_eq!((turned.dims(), turned.at(&[2, 3])), (&[3, 4][..], 3));
        let taken = rows().take(0, &[Some(3), None, Some(0)], 9).expect("inside");
        assert_eq!(taken.entries(), [3, 9, 0]);
        assert_eq!(rows().take(1, &[Some(0); 5], 9).expect("inside").dims(), [4, 5]);
        let back = taken.put(0, 4, &[Some(3), Some(1), Some(1)], 7, usize::max).expect("inside");
        assert_eq!(back.entries(), [7, 9, 7, 3]);
        let joined = Spread::concat(&[rows(), rows().slice(0, 2).expect("inside")], 0).expect("small");
        assert_eq!(joined.entries(), [0, 1, 2, 3, 2]);
        let folded = rows().broadcast(&[2, 4, 3]).and_then(|r| r.unbroadcast(&[1, 3], usize::max));
        assert_eq!(folded.expect("fits"), Spread::all(&[1, 3], 3));
        let sum = rows().zip(&Spread::all(&[4, 3], 10), |a, b| a + b).expect("equal shapes");
        assert_eq!(sum.entries(), [10, 11, 12, 13]);
    }

    #[test]
    fn ranges_take_what_slices_take() {
        let take = |start, end, step| {
            let range = Range { axis: 0, start, end, step };
            taken(&range, 5).expect("inside").into_iter().flatten().collect::<Vec<_>>()
        };
        assert_eq!(take(1, 4, 1), [1, 2, 3]);
        assert_eq!(take(0, 99, 2), [0, 2, 4]);
        assert_eq!(take(4, -1, -2), [4, 2, 0]);
    }

    #[test]
    fn what_is_too_large_is_not_held() {
        assert_eq!(Spread::new(&[MOST, 2], &[0, 1], |i| Some(i[0])), None);
    }
}
