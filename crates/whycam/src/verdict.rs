//! What a map is worth at first sight.

use serde::{Deserialize, Serialize};

/// The state of a map, from the range of its values before the ReLU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A cell is NaN or infinite: the network overflows on this input.
    Nan,
    /// Every cell is 0 before the ReLU: no signal arrived.
    Blank,
    /// Every cell has the same value: nothing is located.
    Constant,
    /// No cell is positive before the ReLU: the class has no evidence in this layer, and the map is 0 behind it.
    AllNegative,
    /// None of these.
    Ok,
}

impl Verdict {
    /// Judges a map by the least and greatest value before the ReLU, and by what is left behind it
    /// (`rectified`: whether there is a ReLU).
    pub fn of(values: &[f32], [low, high]: [f32; 2], rectified: bool) -> Verdict {
        if !low.is_finite() || !high.is_finite() || values.iter().any(|v| !v.is_finite()) {
            Verdict::Nan
        } else if (low == 0.0 && high == 0.0) || (high > 0.0 && values.iter().all(|&v| v == 0.0)) {
            Verdict::Blank
        } else if low == high {
            Verdict::Constant
        } else if rectified && high <= 0.0 {
            Verdict::AllNegative
        } else {
            Verdict::Ok
        }
    }

    /// The code, as the JSON has it.
    pub fn code(self) -> &'static str {
        match self {
            Verdict::Nan => "nan",
            Verdict::Blank => "blank",
            Verdict::Constant => "constant",
            Verdict::AllNegative => "all-negative",
            Verdict::Ok => "ok",
        }
    }

    /// What to make of it; `None` when all is well.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Verdict::Nan => Some("the map holds NaN or infinity: the network overflows on this input"),
            Verdict::Blank => {
                Some("the map is zero everywhere, or no more than rounding: no signal arrives at this layer")
            }
            Verdict::Constant => Some("the map has one value everywhere: nothing is located"),
            Verdict::AllNegative => Some(
                "no cell is positive before the ReLU: nothing at this layer is what the method looks for; the option relu=off \
                 shows the signed map",
            ),
            Verdict::Ok => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state() {
        let of = Verdict::of;
        assert_eq!(of(&[0.0, 1.0], [-1.0, 1.0], true), Verdict::Ok);
        assert_eq!(of(&[0.0, 0.0], [-2.0, -1.0], true), Verdict::AllNegative);
        assert_eq!(of(&[-2.0, -1.0], [-2.0, -1.0], false), Verdict::Ok);
        assert_eq!(of(&[0.0, 0.0], [0.0, 0.0], true), Verdict::Blank);
        assert_eq!(of(&[0.0, 0.0], [-1.0, 1.0], true), Verdict::Blank);
        assert_eq!(of(&[3.0, 3.0], [3.0, 3.0], true), Verdict::Constant);
        assert_eq!(of(&[0.0, 0.0], [-3.0, -3.0], true), Verdict::Constant);
        assert_eq!(of(&[0.0, 1.0], [f32::NAN, f32::NAN], true), Verdict::Nan);
        assert_eq!(of(&[f32::INFINITY, 1.0], [0.0, 1.0], true), Verdict::Nan);
    }

    #[test]
    fn code_is_what_is_serialised() {
        for v in [Verdict::Nan, Verdict::Blank, Verdict::Constant, Verdict::AllNegative, Verdict::Ok] {
            assert_eq!(serde_json::to_value(v).expect("a string"), v.code());
            assert_eq!(v.advice().is_none(), v == Verdict::Ok);
        }
    }
}
