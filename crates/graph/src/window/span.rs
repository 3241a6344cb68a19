//! Interval arithmetic: which cells of a result a range of cells reaches, and which cells it takes to compute them.

/// The cells `first..end` along one axis. Negative ones, and ones behind the last, lie in the padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first cell.
    pub first: i64,
    /// One behind the last.
    pub end: i64,
}

impl Span {
    /// The number of cells.
    pub fn len(self) -> usize {
        usize::try_from(self.end - self.first).unwrap_or(0)
    }

    /// Whether there is no cell.
    pub fn is_empty(self) -> bool {
        self.end <= self.first
    }

    /// The smallest span that holds both.
    #[must_use]
    pub fn union(self, other: Span) -> Span {
        Span { first: self.first.min(other.first), end: self.end.max(other.end) }
    }
}

/// How a convolution or pool steps along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Cells from the first to the last that a kernel sees, dilation included.
    pub size: i64,
    /// Cells from one kernel to the next.
    pub stride: i64,
    /// Padding before the first cell.
    pub before: i64,
}

impl Kernel {
    /// The cells of a result of `cells` cells that change with `span`, and never none: where no kernel sees the span, one
    /// that changes nothing. Where strides leave cells out, the first kernel begins before the span all the same.
    pub fn reached(self, span: Span, cells: usize) -> Span {
        let last = cells as i64 - 1;
        let sees = (span.first + self.before - self.size + 1 + self.stride - 1).div_euclid(self.stride);
        let begins = (span.first + self.before).div_euclid(self.stride);
        let first = sees.min(begins).clamp(0, last);
        let end = (span.end - 1 + self.before).div_euclid(self.stride).clamp(first, last) + 1;
        Span { first, end }
    }

    /// The cells that a kernel sees for the results `to`, with those of `span` behind them that none sees, which are fewer
    /// than a stride: all of `span` is in it, and it makes no further result.
    pub fn seen(self, to: Span, span: Span) -> Span {
        let first = to.first * self.stride - self.before;
        let end = (to.end - 1) * self.stride - self.before + self.size;
        Span { first, end: end.max(span.end) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the definition, kernel by kernel.
        #[test]
        fn spans_are_those_of_the_definition(
            size in 1i64..6, stride in 1i64..5, before in 0i64..4, behind in 0i64..4, cells in 1i64..30,
            at in 0i64..30, covers in 1i64..12,
        ) {
            prop_assume!(before < size && behind < size && cells + before + behind >= size);
            let span = Span { first: at.min(cells - 1), end: (at.min(cells - 1) + covers).min(cells) };
            let count = (cells + before + behind - size) / stride + 1;
            let kernel = Kernel { size, stride, before };
            let to = kernel.reached(span, count as usize);
            prop_assert!(0 <= to.first && to.first < to.end && to.end <= count);
            for result in 0..count {
                let first = result * stride - before;
                let changes = first < span.end && first + size > span.first;
                prop_assert!(!changes || (to.first <= result && result < to.end), "{result} changes");
            }
            let seen = kernel.seen(to, span);
            prop_assert!(seen.first <= span.first && seen.end >= span.end);
            prop_assert_eq!((seen.len() as i64 - size) / stride + 1, to.len() as i64);
        }
    }
}
