//! Dense row-major arrays of `f64`.

/// A dense, row-major array. Integers and truth values (0 and 1) are held as `f64` too.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The size of each axis.
    pub shape: Vec<usize>,
    /// The elements, the last axis fastest.
    pub data: Vec<f64>,
}

impl Array {
    /// An array over `data`.
    ///
    /// # Panics
    /// When `data` does not fill `shape`.
    pub fn new(shape: &[usize], data: Vec<f64>) -> Array {
        let wanted: usize = shape.iter().product();
        assert_eq!(wanted, data.len(), "{shape:?} takes {wanted} elements");
        Array { shape: shape.to_vec(), data }
    }

    /// Zeros.
    pub fn zeros(shape: &[usize]) -> Array {
        Array { shape: shape.to_vec(), data: vec![0.0; shape.iter().product()] }
    }

    /// One element without axes.
    pub fn scalar(value: f64) -> Array {
        Array { shape: Vec::new(), data: vec![value] }
    }

    /// The array whose element at `index` is `f(index)`.
    pub fn from_fn(shape: &[usize], mut f: impl FnMut(&[usize]) -> f64) -> Array {
        let mut data = Vec::with_capacity(shape.iter().product());
        each(shape, |index| data.push(f(index)));
        Array { shape: shape.to_vec(), data }
    }

    /// Even pseudo-random numbers in `[-1, 1)`, the same for the same seed.
    pub fn random(shape: &[usize], seed: u64) -> Array {
        let mut state = seed;
        Array::from_fn(shape, |_| (splitmix(&mut state) >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
    }

    /// Even pseudo-random integers in `lo..=hi`, the same for the same seed: for ties.
    ///
    /// # Panics
    /// When `hi < lo`.
    pub fn random_integers(shape: &[usize], seed: u64, lo: i64, hi: i64) -> Array {
        assert!(lo <= hi, "{lo}..={hi} is empty");
        let mut state = seed;
        let count = lo.abs_diff(hi) + 1;
        Array::from_fn(shape, |_| lo as f64 + (splitmix(&mut state) % count) as f64)
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The element at `index`.
    ///
    /// # Panics
    /// When there is none.
    pub fn at(&self, index: &[usize]) -> f64 {
        self.data[self.offset(index)]
    }

    /// The element at `index`, to be changed.
    ///
    /// # Panics
    /// When there is none.
    pub fn at_mut(&mut self, index: &[usize]) -> &mut f64 {
        let offset = self.offset(index);
        &mut self.data[offset]
    }

    /// The element that stands at `index` once the array is broadcast: missing axes are ignored,
    /// axes of size 1 repeat.
    ///
    /// # Panics
    /// When the array does not broadcast so.
    pub fn broadcast_at(&self, index: &[usize]) -> f64 {
        let index = &index[index.len() - self.rank()..];
        let offset = self.shape.iter().zip(index).fold(0, |offset, (&size, &i)| {
            assert!(size == 1 || i < size, "{index:?} is outside {:?}", self.shape);
            offset * size + if size == 1 { 0 } else { i }
        });
        self.data[offset]
    }

    /// The array with `f` of each element.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Array {
        Array { shape: self.shape.clone(), data: self.data.iter().map(|&x| f(x)).collect() }
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// When their number differs.
    pub fn reshape(&self, shape: &[usize]) -> Result<Array, String> {
        match shape.iter().product::<usize>() == self.data.len() {
            true => Ok(Array::new(shape, self.data.clone())),
            false => Err(format!("{:?} does not have the elements of {shape:?}", self.shape)),
        }
    }

    /// The inner product: the sum of the products of corresponding elements.
    ///
    /// # Panics
    /// When the shapes differ.
    pub fn dot(&self, other: &Array) -> f64 {
        assert_eq!(self.shape, other.shape, "shapes differ");
        self.data.iter().zip(&other.data).map(|(a, b)| a * b).sum()
    }

    fn offset(&self, index: &[usize]) -> usize {
        assert_eq!(index.len(), self.rank(), "{index:?} does not index {:?}", self.shape);
        self.shape.iter().zip(index).fold(0, |offset, (&size, &i)| {
            assert!(i < size, "{index:?} is outside {:?}", self.shape);
            offset * size + i
        })
    }
}

/// Calls `f` with every index of `shape`, the last axis fastest.
pub(crate) fn each(shape: &[usize], mut f: impl FnMut(&[usize])) {
    let mut index = vec![0; shape.len()];
    for _ in 0..shape.iter().product() {
        f(&index);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

/// NumPy's broadcast of two shapes.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let size = |s: &[usize], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    (0..rank)
        .map(|i| match (size(a, i), size(b, i)) {
            (m, n) if m == n => Ok(m),
            (1, n) => Ok(n),
            (m, 1) => Ok(m),
            _ => Err(format!("{a:?} and {b:?} do not broadcast")),
        })
        .collect()
}

/// The element-wise function of two arrays, broadcast.
pub(crate) fn zip(a: &Array, b: &Array, f: impl Fn(f64, f64) -> f64) -> Result<Array, String> {
    let shape = broadcast(&a.shape, &b.shape)?;
    Ok(Array::from_fn(&shape, |i| f(a.broadcast_at(i), b.broadcast_at(i))))
}

/// SplitMix64 (Steele, Lea and Flood 2014).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
