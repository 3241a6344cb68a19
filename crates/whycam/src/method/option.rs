//! The options of methods: what each takes, as data, and the values that were chosen.

use std::fmt;

use serde::Serialize;

/// An option of a method.
#[derive(Debug, Serialize)]
pub struct MethodOption {
    /// Its key.
    pub name: &'static str,
    /// What it takes, and its default.
    #[serde(flatten)]
    pub takes: Takes,
    /// What it changes.
    pub about: &'static str,
}

/// What an option takes.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takes {
    /// One of some words; the first is the default.
    #[serde(rename = "values")]
    Word(&'static [&'static str]),
    /// A whole number.
    Whole {
        /// What it is when it is not given.
        #[serde(skip)]
        default: u64,
        /// The least that may be given.
        least: u64,
        /// The most that may be given.
        most: u64,
    },
    /// A number.
    Number {
        /// What it is when it is not given.
        #[serde(skip)]
        default: f64,
        /// The least that may be given.
        least: f64,
        /// The most that may be given.
        most: f64,
    },
    /// Whole numbers joined by `+`, each of which makes a map of its own.
    EachOf {
        /// What they are when none is given.
        #[serde(skip)]
        default: &'static [u64],
        /// The least that may be given.
        least: u64,
        /// The most that may be given.
        most: u64,
    },
}

/// What was chosen for an option.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Chosen {
    Word(&'static str),
    Whole(u64),
    Number(f64),
    EachOf(Vec<u64>),
}

impl MethodOption {
    /// The default, as it would be given.
    pub fn default(&self) -> String {
        self.takes.default().to_string()
    }
}

impl Takes {
    pub(super) fn default(&self) -> Chosen {
        match *self {
            Takes::Word(words) => Chosen::Word(words.first().copied().unwrap_or_default()),
            Takes::Whole { default, .. } => Chosen::Whole(default),
            Takes::Number { default, .. } => Chosen::Number(default),
            Takes::EachOf { default, .. } => Chosen::EachOf(default.to_vec()),
        }
    }

    /// The text as a value of the option.
    pub(super) fn parse(&self, text: &str) -> Option<Chosen> {
        let whole = |text: &str, least: u64, most: u64| {
            text.parse().ok().filter(|number| (least..=most).contains(number))
        };
        match *self {
            Takes::Word(words) => words.iter().find(|word| **word == text).map(|word| Chosen::Word(word)),
            Takes::Whole { least, most, .. } => whole(text, least, most).map(Chosen::Whole),
            Takes::Number { least, most, .. } => {
                text.parse().ok().filter(|number| (least..=most).contains(number)).map(Chosen::Number)
            }
            Takes::EachOf { least, most, .. } => text
                .split('+')
                .map(|text| whole(text, least, most))
                .collect::<Option<_>>()
                .map(Chosen::EachOf),
        }
    }
}

/// What may be given, in words: `on, off`, `a whole number from 1 to 64`.
impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Takes::Word(words) => f.write_str(&words.join(", ")),
            Takes::Whole { least, most, .. } => write!(f, "a whole number from {least} to {most}"),
            Takes::Number { least, most, .. } => write!(f, "a number from {least} to {most}"),
            Takes::EachOf { least, most, .. } => {
                write!(f, "whole numbers from {least} to {most}, joined by +")
            }
        }
    }
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Chosen::Word(word) => f.write_str(word),
            Chosen::Whole(number) => write!(f, "{number}"),
            Chosen::Number(number) => write!(f, "{number}"),
            Chosen::EachOf(numbers) => {
                f.write_str(&numbers.iter().map(u64::to_string).collect::<Vec<_>>().join("+"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Takes = Takes::EachOf { default: &[35], least: 1, most: 100 };
    const WIDTH: Takes = Takes::Number { default: 0.15, least: 0.0, most: 1.0 };
    const COUNT: Takes = Takes::Whole { default: 16, least: 1, most: 64 };
    const FILL: Takes = Takes::Word(&["mean", "black"]);

    #[test]
    fn values_round_trip() {
        for (takes, text) in
            [(SIZES, "10"), (SIZES, "10+15+25"), (WIDTH, "0.2"), (COUNT, "64"), (FILL, "black")]
        {
            assert_eq!(takes.parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn defaults_are_values() {
        for takes in [SIZES, WIDTH, COUNT, FILL] {
            assert_eq!(takes.parse(&takes.default().to_string()), Some(takes.default()));
        }
    }

    #[test]
    fn what_is_out_of_range_is_no_value() {
        for (takes, text) in [
            (SIZES, "0"),
            (SIZES, "10+"),
            (SIZES, "+"),
            (SIZES, ""),
            (SIZES, "10,15"),
            (SIZES, "101"),
            (WIDTH, "1.01"),
            (WIDTH, "NaN"),
            (WIDTH, "-0.1"),
            (WIDTH, "inf"),
            (WIDTH, ""),
            (COUNT, "0"),
            (COUNT, "65"),
            (COUNT, "1.5"),
            (COUNT, "-1"),
            (FILL, ""),
            (FILL, "Black"),
        ] {
            assert_eq!(takes.parse(text), None, "{text}");
        }
    }

    #[test]
    fn ranges_are_told_in_words() {
        assert_eq!(SIZES.to_string(), "whole numbers from 1 to 100, joined by +");
        assert_eq!(WIDTH.to_string(), "a number from 0 to 1");
        assert_eq!(FILL.to_string(), "mean, black");
    }
}
