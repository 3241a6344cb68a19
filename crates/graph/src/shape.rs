//! Shapes with the one symbol `N`, and the integer arithmetic that models do on them.

use std::fmt;

use crate::op::BinaryFn;

/// One dimension: a number, or a multiple of the batch size `N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A number.
    Fixed(usize),
    /// `c · N`; the factor is at least 1.
    Batch(usize),
}

/// The symbol `N` itself.
pub const N: Dim = Dim::Batch(1);

impl Dim {
    /// The number, when it is one.
    pub fn fixed(self) -> Option<usize> {
        match self {
            Dim::Fixed(n) => Some(n),
            Dim::Batch(_) => None,
        }
    }

    /// The number when `N` is `batch`.
    pub fn at(self, batch: usize) -> usize {
        match self {
            Dim::Fixed(n) => n,
            Dim::Batch(c) => c.saturating_mul(batch),
        }
    }

    /// The product, where it is a dimension: `N²` is not.
    pub fn times(self, other: Dim) -> Option<Dim> {
        Some(match (self, other) {
            (Dim::Fixed(a), Dim::Fixed(b)) => Dim::Fixed(a.checked_mul(b)?),
            (Dim::Batch(c), Dim::Fixed(a)) | (Dim::Fixed(a), Dim::Batch(c)) if a > 0 => {
                Dim::Batch(c.checked_mul(a)?)
            }
            _ => return None,
        })
    }

    /// How often a number of cells fits in, where that is without a rest.
    pub fn over(self, cells: usize) -> Option<Dim> {
        let (Dim::Fixed(n) | Dim::Batch(n)) = self;
        let times = (cells > 0 && n % cells == 0).then(|| n / cells)?;
        Some(if self.fixed().is_some() { Dim::Fixed(times) } else { Dim::Batch(times) })
    }

    /// The size of this dimension broadcast with another, where they fit.
    pub fn broadcast(self, other: Dim) -> Option<Dim> {
        match (self, other) {
            (a, b) if a == b => Some(a),
            (Dim::Fixed(1), d) | (d, Dim::Fixed(1)) => Some(d),
            _ => None,
        }
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Dim {
        Dim::Fixed(n)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(n) => write!(f, "{n}"),
            Dim::Batch(1) => write!(f, "N"),
            Dim::Batch(c) => write!(f, "{c}N"),
        }
    }
}

/// The dimensions of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape(pub Vec<Dim>);

impl Shape {
    /// A shape of numbers.
    pub fn fixed(dims: &[usize]) -> Shape {
        Shape(dims.iter().map(|&d| Dim::Fixed(d)).collect())
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The numbers, when `N` does not occur.
    pub fn to_fixed(&self) -> Option<Vec<usize>> {
        self.0.iter().map(|d| d.fixed()).collect()
    }

    /// The numbers when `N` is `batch`.
    pub fn at(&self, batch: usize) -> Vec<usize> {
        self.0.iter().map(|d| d.at(batch)).collect()
    }

    /// The number of elements, where it is a [`Dim`].
    pub fn elements(&self) -> Option<Dim> {
        self.0.iter().try_fold(Dim::Fixed(1), |n, &d| n.times(d))
    }

    /// Both shapes broadcast by NumPy's rule, where they fit.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let dim = |s: &Shape, i: usize| match (i + s.rank()).checked_sub(rank) {
            Some(j) => s.0[j],
            None => Dim::Fixed(1),
        };
        (0..rank).map(|i| dim(self, i).broadcast(dim(other, i))).collect::<Option<_>>().map(Shape)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{d}")?;
        }
        f.write_str("]")
    }
}

impl<const R: usize> From<[usize; R]> for Shape {
    fn from(dims: [usize; R]) -> Shape {
        Shape::fixed(&dims)
    }
}

/// At most this many integers are tracked in a value; longer ones are data, not shapes.
pub const MAX_INTS: usize = 1024;

/// An integer known while building: a number, or a multiple of `N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Int {
    /// A number.
    Lit(i64),
    /// `c · N`, `c ≠ 0`.
    Batch(i64),
}

impl Int {
    /// The number, when it is one.
    pub fn lit(self) -> Option<i64> {
        match self {
            Int::Lit(i) => Some(i),
            Int::Batch(_) => None,
        }
    }

    /// The value of an arithmetic op, where it is again a number or a multiple of `N`.
    pub fn apply(f: BinaryFn, a: Int, b: Int) -> Option<Int> {
        use Int::{Batch, Lit};
        Some(match (f, a, b) {
            (BinaryFn::Add, Lit(a), Lit(b)) => Lit(a.checked_add(b)?),
            (BinaryFn::Sub, Lit(a), Lit(b)) => Lit(a.checked_sub(b)?),
            (BinaryFn::Mul, Lit(a), Lit(b)) => Lit(a.checked_mul(b)?),
            (BinaryFn::Div, Lit(a), Lit(b)) => Lit(a.checked_div(b)?),
            (BinaryFn::Max, Lit(a), Lit(b)) => Lit(a.max(b)),
            (BinaryFn::Min, Lit(a), Lit(b)) => Lit(a.min(b)),
            // The result has the divisor's sign.
            (BinaryFn::Mod, Lit(a), Lit(b)) => {
                let rest = a.checked_rem(b)?;
                Lit(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
            }
            (BinaryFn::Mul, Batch(c), Lit(a)) | (BinaryFn::Mul, Lit(a), Batch(c)) if a != 0 => {
                Batch(c.checked_mul(a)?)
            }
            (BinaryFn::Div, Batch(c), Lit(a)) if a != 0 && c % a == 0 => Batch(c / a),
            (BinaryFn::Div, Batch(c), Batch(d)) if c % d == 0 => Lit(c / d),
            (BinaryFn::Add | BinaryFn::Sub, Batch(c), Lit(0)) => Batch(c),
            (BinaryFn::Add, Lit(0), Batch(c)) => Batch(c),
            _ => return None,
        })
    }
}

impl From<Dim> for Int {
    fn from(d: Dim) -> Int {
        match d {
            Dim::Fixed(n) => Int::Lit(i64::try_from(n).unwrap_or(i64::MAX)),
            Dim::Batch(c) => Int::Batch(i64::try_from(c).unwrap_or(i64::MAX)),
        }
    }
}

impl TryFrom<Int> for Dim {
    type Error = ();
    fn try_from(i: Int) -> Result<Dim, ()> {
        match i {
            Int::Lit(n) => usize::try_from(n).map(Dim::Fixed).map_err(drop),
            Int::Batch(c) => match usize::try_from(c) {
                Ok(c) if c > 0 => Ok(Dim::Batch(c)),
                _ => Err(()),
            },
        }
    }
}
