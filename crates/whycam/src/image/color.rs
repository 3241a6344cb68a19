//! Numbers → colours.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use colorgrad::{CatmullRomGradient, Color, Gradient, GradientBuilder, preset};
use serde::{Deserialize, Serialize};

use super::ImageError;

/// The colour of a cell of a 2-D map that is not finite (NaN or infinite): mid grey, which no colour map but
/// [`Colormap::Gray`] contains.
pub const NOT_A_NUMBER: [u8; 3] = [128, 128, 128];

/// The colour of a pixel of an image-shaped map that is not finite: magenta, because grey means "no signal"
/// there.
pub const NOT_A_PIXEL: [u8; 3] = [255, 0, 255];

/// The order of a model's colour channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red, as in Caffe and OpenCV.
    Bgr,
}

/// A colour map: a colour for each number from 0 to 1.
///
/// But for the jet, which is exact, the colours are `colorgrad`'s smooth fits. They differ from matplotlib's
/// tables of the same names by 1 to 7 of 255 on average.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Colormap {
    /// The piecewise linear jet of the Grad-CAM reference code: (0, 4t, 1) to t = ¼, (0, 1, 2 − 4t) to ½,
    /// (4t − 2, 1, 0) to ¾, (1, 4 − 4t, 0) to 1.
    #[default]
    Jet,
    /// Google's Turbo.
    Turbo,
    /// Matplotlib's viridis.
    Viridis,
    /// Matplotlib's magma.
    Magma,
    /// Matplotlib's inferno.
    Inferno,
    /// Matplotlib's plasma.
    Plasma,
    /// Cividis, by Nuñez, Anderton and Renslow.
    Cividis,
    /// Black to white.
    Gray,
    /// ColorBrewer's RdBu, for signed maps.
    RdBu,
    /// Moreland's cool-warm, blue through light grey to red, for signed maps.
    CoolWarm,
}

/// What there is to know of a colour map.
struct Entry {
    colormap: Colormap,
    name: &'static str,
    about: &'static str,
    diverging: bool,
    palette: Palette,
}

/// Every colour map, in the order of the enum, which is the order in which help lists them.
#[rustfmt::skip]
static LIST: [Entry; 10] = [
    plain(Colormap::Jet, "jet", "blue, cyan, green, yellow, red", || palette(jet)),
    plain(Colormap::Turbo, "turbo", "a smoother rainbow", || colours(preset::turbo())),
    plain(Colormap::Viridis, "viridis", "even steps: purple, green, yellow", || colours(preset::viridis())),
    plain(Colormap::Magma, "magma", "even steps: black, purple, cream", || colours(preset::magma())),
    plain(Colormap::Inferno, "inferno", "even steps: black, red, pale yellow", || colours(preset::inferno())),
    plain(Colormap::Plasma, "plasma", "even steps: blue, pink, yellow", || colours(preset::plasma())),
    plain(Colormap::Cividis, "cividis", "even steps for any colour vision: blue, grey, yellow", || colours(preset::cividis())),
    plain(Colormap::Gray, "gray", "black to white", || palette(|t| [t; 3])),
    signed(Colormap::RdBu, "rdbu", "signed: red below zero, white at zero, blue above", || colours(preset::rd_bu())),
    signed(Colormap::CoolWarm, "coolwarm", "signed: blue below zero, light grey at zero, red above", cool_warm),
];

type Palette = fn() -> Vec<[u8; 3]>;

const fn plain(colormap: Colormap, name: &'static str, about: &'static str, palette: Palette) -> Entry {
    Entry { colormap, name, about, palette, diverging: false }
}

const fn signed(colormap: Colormap, name: &'static str, about: &'static str, palette: Palette) -> Entry {
    Entry { colormap, name, about, palette, diverging: true }
}

/// A palette holds the colours of 0, 1/1020, … 1: 4 × 255 steps, among which is every 8-bit colour of the
/// jet.
const STEPS: u16 = 1020;

impl Colormap {
    /// Every colour map, in the order in which help lists them.
    pub fn all() -> impl ExactSizeIterator<Item = Colormap> {
        LIST.iter().map(|entry| entry.colormap)
    }

    /// Its name on the command line, such as `viridis`.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// Its colours in a few words.
    pub fn about(self) -> &'static str {
        self.entry().about
    }

    /// Whether it is for signed maps: zero has the colour in the middle. Use [`normalise_symmetric`] with it.
    pub fn is_diverging(self) -> bool {
        self.entry().diverging
    }

    /// How much of the photo it hides when nobody says otherwise: half, and three quarters of it where small values are pale and
    /// would only bleach the photo.
    pub fn opacity(self) -> f32 {
        if self.is_diverging() { 0.75 } else { 0.5 }
    }

    /// The 8-bit RGB colour of `t`, clamped to 0..=1 and rounded to 1/1020; [`NOT_A_NUMBER`] for NaN.
    pub fn at(self, t: f32) -> [u8; 3] {
        let step = (t.clamp(0.0, 1.0) * f32::from(STEPS)).round();
        let colour = if step.is_nan() { None } else { self.palette().get(step as usize) };
        colour.copied().unwrap_or(NOT_A_NUMBER)
    }

    /// The values of a map as numbers from 0 to 1 for [`Colormap::at`]: [`normalise_symmetric`] for a
    /// diverging colour map, [`normalise`] for any other.
    pub fn normalise(self, values: &[f32]) -> Vec<f32> {
        if self.is_diverging() { normalise_symmetric(values) } else { normalise(values) }
    }

    fn entry(self) -> &'static Entry {
        &LIST[self as usize]
    }

    fn palette(self) -> &'static [[u8; 3]] {
        static PALETTES: [OnceLock<Vec<[u8; 3]>>; LIST.len()] = [const { OnceLock::new() }; LIST.len()];
        PALETTES[self as usize].get_or_init(self.entry().palette)
    }
}

impl fmt::Display for Colormap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Colormap {
    type Err = ImageError;

    fn from_str(name: &str) -> Result<Colormap, ImageError> {
        Colormap::all().find(|colormap| colormap.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Colormap::all().map(Colormap::name).collect();
            ImageError::UnknownColormap { name: name.to_owned(), known: known.join(", ") }
        })
    }
}

/// Stretches values to 0..=1 for display: subtracts the minimum, then divides by the maximum if that is not
/// zero, so that a constant map becomes 0 everywhere. Values that are not finite take no part and become NaN.
///
/// This is the reference pipeline's rule. It hides the map's range and sign; the numbers of a map are never
/// made with it.
pub fn normalise(values: &[f32]) -> Vec<f32> {
    let (min, max) = finite_range(values);
    let scale = if max > min { 1.0 / (max - min) } else { 0.0 };
    values
        .iter()
        .map(|&value| if value.is_finite() { ((f64::from(value) - min) * scale) as f32 } else { f32::NAN })
        .collect()
}

/// Stretches values to 0..=1 for a diverging colour map: 0 becomes ½ and the largest magnitude 0 or 1, so
/// that colours tell signs. An all-zero map becomes ½ everywhere. Values that are not finite take no part and
/// become NaN.
pub fn normalise_symmetric(values: &[f32]) -> Vec<f32> {
    let (min, max) = finite_range(values);
    let largest = max.max(-min);
    let scale = if largest > 0.0 { 0.5 / largest } else { 0.0 };
    values
        .iter()
        .map(|&value| if value.is_finite() { (0.5 + f64::from(value) * scale) as f32 } else { f32::NAN })
        .collect()
}

/// Least and greatest finite value; `(∞, −∞)` if there is none. In f64, where no difference of two f32
/// overflows.
fn finite_range(values: &[f32]) -> (f64, f64) {
    let finite = values.iter().filter(|value| value.is_finite()).map(|&value| f64::from(value));
    finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| (min.min(value), max.max(value)))
}

/// 0..=1 → 0..=255.
pub(super) fn to_byte(t: f32) -> u8 {
    (t * 255.0).round() as u8
}

fn jet(t: f32) -> [f32; 3] {
    if t <= 0.25 {
        [0.0, 4.0 * t, 1.0]
    } else if t <= 0.5 {
        [0.0, 1.0, 2.0 - 4.0 * t]
    } else if t <= 0.75 {
        [4.0 * t - 2.0, 1.0, 0.0]
    } else {
        [1.0, 4.0 - 4.0 * t, 0.0]
    }
}

fn cool_warm() -> Vec<[u8; 3]> {
    let anchors = [[59, 76, 192], [141, 176, 254], [221, 221, 221], [244, 152, 122], [180, 4, 38]];
    let anchors = anchors.map(|[red, green, blue]| Color::from_rgba8(red, green, blue, 255));
    let gradient = GradientBuilder::new().colors(&anchors).build::<CatmullRomGradient>();
    gradient.map(colours).unwrap_or_default()
}

fn colours(gradient: impl Gradient) -> Vec<[u8; 3]> {
    palette(|t| {
        let colour = gradient.at(t);
        [colour.r, colour.g, colour.b].map(|part| part.clamp(0.0, 1.0))
    })
}

fn palette(colour: impl Fn(f32) -> [f32; 3]) -> Vec<[u8; 3]> {
    (0..=STEPS).map(|step| colour(f32::from(step) / f32::from(STEPS)).map(to_byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_the_order_of_the_enum_and_names_round_trip() {
        for (index, colormap) in Colormap::all().enumerate() {
            assert_eq!(colormap as usize, index);
            assert_eq!(colormap.name().parse(), Ok(colormap));
            assert_eq!(colormap.palette().len(), usize::from(STEPS) + 1);
            assert!(!colormap.about().is_empty());
        }
        let error = "rainbow".parse::<Colormap>().unwrap_err().to_string();
        assert!(error.contains("`rainbow`") && error.contains("hint: one of jet, turbo"), "{error}");
    }

    #[test]
    fn jet_is_the_formula_of_the_reference_code() {
        for (t, colour) in [
            (0.0, [0, 0, 255]),
            (0.125, [0, 128, 255]),
            (0.25, [0, 255, 255]),
            (0.5, [0, 255, 0]),
            (0.75, [255, 255, 0]),
            (1.0, [255, 0, 0]),
        ] {
            assert_eq!(Colormap::Jet.at(t), colour, "at {t}");
        }
        for i in 0..=10_000u16 {
            let t = f32::from(i) / 10_000.0;
            let exact = jet(t).map(|part| part * 255.0);
            let found = Colormap::Jet.at(t).map(f32::from);
            assert!(
                exact.iter().zip(found).all(|(a, b)| (a - b).abs() <= 0.501),
                "at {t}: {exact:?} {found:?}"
            );
        }
    }

    /// Against `mpl.colormaps[name](t, bytes=True)` of matplotlib 3.11.
    #[test]
    fn named_maps_are_near_matplotlibs() {
        for (colormap, t, expected, tolerance) in [
            (Colormap::Turbo, 0.5, [164, 252, 59], 22),
            (Colormap::Viridis, 0.0, [68, 1, 84], 1),
            (Colormap::Viridis, 0.5, [32, 144, 140], 13),
            (Colormap::Viridis, 1.0, [253, 231, 36], 1),
            (Colormap::Magma, 0.5, [182, 54, 121], 1),
            (Colormap::Inferno, 0.5, [187, 55, 84], 1),
            (Colormap::Plasma, 0.5, [203, 71, 119], 1),
            (Colormap::Cividis, 0.5, [124, 123, 120], 3),
            (Colormap::Gray, 0.5, [128, 128, 128], 0),
            (Colormap::RdBu, 0.0, [103, 0, 31], 0),
            (Colormap::RdBu, 0.5, [246, 246, 246], 8),
            (Colormap::RdBu, 1.0, [5, 48, 97], 0),
            (Colormap::CoolWarm, 0.0, [58, 76, 192], 1),
            (Colormap::CoolWarm, 0.5, [221, 220, 219], 2),
            (Colormap::CoolWarm, 1.0, [179, 3, 38], 1),
        ] {
            let found = colormap.at(t);
            let off = found.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max().unwrap_or(0);
            assert!(off <= tolerance, "{colormap} at {t}: {found:?}, not {expected:?}");
        }
    }

    #[test]
    fn no_number_is_grey_and_nothing_outside_panics() {
        for colormap in Colormap::all() {
            assert_eq!(colormap.at(f32::NAN), NOT_A_NUMBER);
            assert_eq!(colormap.at(f32::INFINITY), colormap.at(1.0));
            assert_eq!(colormap.at(-3.0), colormap.at(0.0));
        }
    }

    #[test]
    fn normalising() {
        assert_eq!(normalise(&[-1.0, 0.0, 3.0]), [0.0, 0.25, 1.0]);
        assert_eq!(normalise(&[0.0; 4]), [0.0; 4]);
        assert_eq!(normalise(&[7.0; 4]), [0.0; 4]);
        assert_eq!(normalise(&[f32::MIN, 0.0, f32::MAX]), [0.0, 0.5, 1.0]);
        assert_eq!(normalise_symmetric(&[-1.0, 0.0, 4.0]), [0.375, 0.5, 1.0]);
        assert_eq!(normalise_symmetric(&[0.0; 2]), [0.5; 2]);
        assert!(normalise(&[]).is_empty());
    }

    /// Spec §10, check 5: of a rectified map that is 0 somewhere, 15 % of the stretched map is 15 % of its greatest value.
    #[test]
    fn a_threshold_is_one_of_the_greatest_value() {
        let map: Vec<f32> = (0..400).map(|i| ((i * 37 % 101) as f32 - 40.0).max(0.0) * 0.37).collect();
        let greatest = map.iter().copied().fold(0.0, f32::max);
        let kept: Vec<bool> = normalise(&map).iter().map(|t| *t >= 0.15).collect();
        assert_eq!(kept, map.iter().map(|v| *v >= 0.15 * greatest).collect::<Vec<_>>());
        assert!(kept.contains(&true) && map.iter().zip(&kept).any(|(v, kept)| *v > 0.0 && !kept));
    }

    #[test]
    fn values_that_are_not_finite_take_no_part() {
        for stretch in [normalise, normalise_symmetric] {
            let found = stretch(&[0.0, f32::NAN, 2.0, f32::INFINITY, f32::NEG_INFINITY]);
            assert!(found.iter().map(|t| t.is_nan()).eq([false, true, false, true, true]));
            assert_eq!(found[2], 1.0);
            assert!(stretch(&[f32::NAN; 3]).iter().all(|t| t.is_nan()));
        }
    }
}
