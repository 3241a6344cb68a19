//! The text of a [`Prep`]: reading, writing and the rules that values keep.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::{Filter, MAX_SIZE, Order, PRESETS, Prep, PrepError, Range, Resize};

const KEYS: &str = "resize, filter, crop, range, mean, std, order";
const RESIZE: &str = "short:N, warp:N or none, with N from 1 to 8192";
const FILTER: &str = "bilinear or bicubic";
const CROP: &str = "a number from 1 to 8192";
const RANGE: &str = "1 or 255";
const NUMBERS: &str = "1 or 3 finite numbers, joined by `,` on the command line";
const STD: &str = "1 or 3 finite numbers other than 0, joined by `,` on the command line";
const ORDER: &str = "rgb or bgr";

/// What was written of a preparation, on the command line, in TOML or in JSON: some of the keys, over a
/// preset.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Draft {
    preset: Option<String>,
    resize: Option<Resize>,
    filter: Option<Filter>,
    crop: Option<u32>,
    range: Option<Range>,
    mean: Option<Vec<f32>>,
    std: Option<Vec<f32>>,
    order: Option<Order>,
}

impl TryFrom<Draft> for Prep {
    type Error = PrepError;

    fn try_from(draft: Draft) -> Result<Prep, PrepError> {
        let base = draft.preset.as_deref().map_or_else(|| Ok(Prep::default()), Prep::preset)?;
        let prep = Prep {
            // A number for `resize` is meant for the preset's crop only if it is the preset's number.
            crop: if draft.resize.is_some() { draft.crop } else { draft.crop.or(base.crop) },
            resize: draft.resize.unwrap_or(base.resize),
            filter: draft.filter.unwrap_or(base.filter),
            range: draft.range.unwrap_or(base.range),
            mean: draft.mean.unwrap_or(base.mean),
            std: draft.std.unwrap_or(base.std),
            order: draft.order.unwrap_or(base.order),
        };
        prep.validate()?;
        Ok(prep)
    }
}

impl FromStr for Prep {
    type Err = PrepError;

    /// Reads `preset`, `key=value:key=value` or `preset:key=value:…`, with spaces around parts ignored. Keys
    /// given without a preset change `unit`; a `resize` given without `crop` is taken as it is, whatever the
    /// preset's crop.
    fn from_str(text: &str) -> Result<Prep, PrepError> {
        let mut parts = text.split(':').map(str::trim).peekable();
        let mut draft = Draft::default();
        if let Some(preset) = parts.next_if(|part| !part.contains('=')) {
            draft.preset = Some(preset.to_owned());
        }
        while let Some(part) = parts.next() {
            let Some((key, value)) = part.split_once('=') else {
                return Err(PrepError::UnknownKey { key: part.to_owned(), known: KEYS.to_owned() });
            };
            // `resize=short:256`: what has no `=` belongs to the value before it.
            let mut value = value.trim().to_owned();
            while let Some(more) = parts.next_if(|part| !part.contains('=')) {
                value = format!("{value}:{more}");
            }
            draft.set(key.trim(), &value)?;
        }
        Prep::try_from(draft)
    }
}

impl Draft {
    fn set(&mut self, key: &str, value: &str) -> Result<(), PrepError> {
        match key {
            "resize" => fill(&mut self.resize, "resize", value, RESIZE, resize_of),
            "filter" => fill(&mut self.filter, "filter", value, FILTER, filter_of),
            "crop" => fill(&mut self.crop, "crop", value, CROP, |text| text.parse().ok()),
            "range" => fill(&mut self.range, "range", value, RANGE, |text| range_of(text.parse().ok()?)),
            "mean" => fill(&mut self.mean, "mean", value, NUMBERS, numbers_of),
            "std" => fill(&mut self.std, "std", value, STD, numbers_of),
            "order" => fill(&mut self.order, "order", value, ORDER, order_of),
            _ => Err(PrepError::UnknownKey { key: key.to_owned(), known: KEYS.to_owned() }),
        }
    }
}

/// Reads a value into its empty place.
fn fill<T>(
    place: &mut Option<T>,
    key: &'static str,
    value: &str,
    allowed: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<(), PrepError> {
    if place.is_some() {
        return Err(PrepError::Repeated { key: key.to_owned() });
    }
    let bad = || PrepError::BadValue { key, value: value.to_owned(), allowed };
    *place = Some(read(value).ok_or_else(bad)?);
    Ok(())
}

fn resize_of(text: &str) -> Option<Resize> {
    match text.split_once(':') {
        Some(("short", number)) => Some(Resize::Short(number.trim().parse().ok()?)),
        Some(("warp", number)) => Some(Resize::Warp(number.trim().parse().ok()?)),
        None if text == "none" => Some(Resize::None),
        _ => None,
    }
}

fn filter_of(text: &str) -> Option<Filter> {
    [Filter::Bilinear, Filter::Bicubic].into_iter().find(|&filter| filter_name(filter) == text)
}

fn filter_name(filter: Filter) -> &'static str {
    match filter {
        Filter::Bilinear => "bilinear",
        Filter::Bicubic => "bicubic",
    }
}

fn order_of(text: &str) -> Option<Order> {
    [Order::Rgb, Order::Bgr].into_iter().find(|&order| order_name(order) == text)
}

fn order_name(order: Order) -> &'static str {
    match order {
        Order::Rgb => "rgb",
        Order::Bgr => "bgr",
    }
}

fn range_of(number: u32) -> Option<Range> {
    match number {
        1 => Some(Range::One),
        255 => Some(Range::TwoFiftyFive),
        _ => None,
    }
}

fn numbers_of(text: &str) -> Option<Vec<f32>> {
    text.split(',').map(|number| number.trim().parse().ok()).collect()
}

impl TryFrom<String> for Resize {
    type Error = PrepError;

    fn try_from(text: String) -> Result<Resize, PrepError> {
        resize_of(&text).ok_or(PrepError::BadValue { key: "resize", value: text, allowed: RESIZE })
    }
}

impl From<Resize> for String {
    fn from(resize: Resize) -> String {
        resize.to_string()
    }
}

impl TryFrom<u32> for Range {
    type Error = PrepError;

    fn try_from(number: u32) -> Result<Range, PrepError> {
        let bad = || PrepError::BadValue { key: "range", value: number.to_string(), allowed: RANGE };
        range_of(number).ok_or_else(bad)
    }
}

impl From<Range> for u32 {
    fn from(range: Range) -> u32 {
        match range {
            Range::One => 1,
            Range::TwoFiftyFive => 255,
        }
    }
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resize::Short(number) => write!(f, "short:{number}"),
            Resize::Warp(number) => write!(f, "warp:{number}"),
            Resize::None => f.write_str("none"),
        }
    }
}

impl fmt::Display for Prep {
    /// The name of the preset that this is, or every key; [`FromStr`] reads both back exactly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(preset) = PRESETS.iter().find(|preset| preset.prep() == *self) {
            return f.write_str(preset.name);
        }
        write!(f, "resize={}:filter={}", self.resize, filter_name(self.filter))?;
        if let Some(crop) = self.crop {
            write!(f, ":crop={crop}")?;
        }
        write!(f, ":range={}", u32::from(self.range))?;
        let joined = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
        write!(f, ":mean={}:std={}:order={}", joined(&self.mean), joined(&self.std), order_name(self.order))
    }
}

impl Prep {
    /// The rules of the module's table.
    pub(super) fn validate(&self) -> Result<(), PrepError> {
        let sizes = 1..=MAX_SIZE;
        let number = match self.resize {
            Resize::Short(number) | Resize::Warp(number) => Some(number),
            Resize::None => None,
        };
        check("resize", RESIZE, self.resize, number.is_none_or(|number| sizes.contains(&number)))?;
        check_numbers("mean", NUMBERS, &self.mean, f32::is_finite)?;
        check_numbers("std", STD, &self.std, |value| value.is_finite() && value != 0.0)?;
        let Some(crop) = self.crop else { return Ok(()) };
        check("crop", CROP, crop, sizes.contains(&crop))?;
        let hint =
            "crop is the input size for which the number of `resize` is meant, and at most that number";
        match number {
            Some(number) if crop <= number => Ok(()),
            _ => Err(PrepError::Contradiction {
                what: format!("crop={crop} does not go with resize={}", self.resize),
                hint,
            }),
        }
    }
}

fn check(
    key: &'static str,
    allowed: &'static str,
    value: impl fmt::Display,
    good: bool,
) -> Result<(), PrepError> {
    if good { Ok(()) } else { Err(PrepError::BadValue { key, value: value.to_string(), allowed }) }
}

fn check_numbers(
    key: &'static str,
    allowed: &'static str,
    values: &[f32],
    good: impl Fn(f32) -> bool,
) -> Result<(), PrepError> {
    let joined = values.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
    check(key, allowed, joined, matches!(values.len(), 1 | 3) && values.iter().all(|&value| good(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prep() -> impl Strategy<Value = Prep> {
        let number = 1..=MAX_SIZE;
        let resize = prop_oneof![
            number.clone().prop_map(Resize::Short),
            number.prop_map(Resize::Warp),
            Just(Resize::None)
        ];
        let crop = resize.prop_flat_map(|resize| match resize {
            Resize::None => (Just(resize), Just(None).boxed()),
            Resize::Short(number) | Resize::Warp(number) => {
                (Just(resize), prop::option::of(1..=number).boxed())
            }
        });
        let numbers = || {
            let number =
                any::<f32>().prop_filter("finite, not zero", |value| value.is_finite() && *value != 0.0);
            prop_oneof![prop::collection::vec(number.clone(), 1), prop::collection::vec(number, 3)]
        };
        let filter = prop_oneof![Just(Filter::Bilinear), Just(Filter::Bicubic)];
        let range = prop_oneof![Just(Range::One), Just(Range::TwoFiftyFive)];
        let order = prop_oneof![Just(Order::Rgb), Just(Order::Bgr)];
        (crop, filter, range, numbers(), numbers(), order).prop_map(
            |((resize, crop), filter, range, mean, std, order)| Prep {
                resize,
                filter,
                crop,
                range,
                mean,
                std,
                order,
            },
        )
    }

    proptest! {
        #[test]
        fn every_form_reads_back(prep in prep()) {
            prop_assert_eq!(&prep.to_string().parse::<Prep>().unwrap(), &prep);
            let json = serde_json::to_string(&prep).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Prep>(&json).unwrap(), &prep);
            let toml = toml::to_string(&prep).unwrap();
            prop_assert_eq!(&toml::from_str::<Prep>(&toml).unwrap(), &prep);
        }

        #[test]
        fn no_text_panics(text in "[a-z:=,.0-9 -]{0,40}") {
            let _ = text.parse::<Prep>();
        }
    }

    #[test]
    fn presets_read_back_by_name() {
        for preset in &PRESETS {
            assert_eq!(preset.prep().to_string(), preset.name);
            assert_eq!(preset.name.parse(), Ok(preset.prep()));
            assert_eq!(preset.prep().validate(), Ok(()));
        }
        assert_eq!(Prep::default(), Prep::preset("unit").unwrap());
    }

    #[test]
    fn keys_change_a_preset() {
        let found: Prep = " imagenet : filter=bicubic : mean = 0.5 ".parse().unwrap();
        let expected = Prep { filter: Filter::Bicubic, mean: vec![0.5], ..Prep::preset("imagenet").unwrap() };
        assert_eq!(found, expected);
        // The preset's crop is about the preset's number.
        let found: Prep = "imagenet:resize=warp:299".parse().unwrap();
        assert_eq!((found.resize, found.crop), (Resize::Warp(299), None));
        let found: Prep = "resize=short:342:crop=299:order=bgr".parse().unwrap();
        assert_eq!((found.resize, found.crop, found.order), (Resize::Short(342), Some(299), Order::Bgr));
        assert_eq!("imagenet:resize=none".parse::<Prep>().unwrap().crop, None);
    }

    #[test]
    fn files_have_the_same_keys() {
        let toml = "preset = 'imagenet'\nresize = 'short:232'\ncrop = 224\nrange = 255\nmean = [1.0, 2.0, 3.0]\norder = 'bgr'";
        let text = "imagenet:resize=short:232:crop=224:range=255:mean=1,2,3:order=bgr";
        assert_eq!(toml::from_str::<Prep>(toml).unwrap(), text.parse().unwrap());
        let json = serde_json::to_string(&Prep::preset("imagenet").unwrap()).unwrap();
        assert_eq!(
            json,
            r#"{"resize":"short:256","filter":"bilinear","crop":224,"range":1,"mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225],"order":"rgb"}"#
        );
        for (wrong, expected) in [
            ("means = [1.0]", "`mean`"),
            ("filter = 'nearest'", "`bicubic`"),
            ("resize = 'short'", "short:N"),
            ("range = 2", "1 or 255"),
            ("std = [0.0]", "other than 0"),
            ("preset = 'resnet'", "imagenet, "),
        ] {
            let error = toml::from_str::<Prep>(wrong).unwrap_err().to_string();
            assert!(error.contains(expected), "{wrong}: {error}");
        }
    }

    #[test]
    fn errors_list_what_is_allowed() {
        for (wrong, expected) in [
            (
                "",
                "there is no preparation preset ``\nhint: one of imagenet, efficientnet-lite, caffe, tf, unit;",
            ),
            ("resnet", "there is no preparation preset `resnet`\nhint: one of imagenet, "),
            ("unit:size=3", "no key `size`\nhint: the keys are resize, filter, crop,"),
            ("unit:imagenet", "no key `imagenet`"),
            ("crop=8:crop=9", "`crop` is given twice"),
            ("resize=short", "`resize` cannot be `short`\nhint: resize takes short:N, warp:N or none"),
            ("resize=short:0", "`resize` cannot be `short:0`"),
            ("resize=warp:8193", "`resize` cannot be `warp:8193`"),
            ("resize=short:256:224", "`resize` cannot be `short:256:224`"),
            ("filter=lanczos", "`filter` cannot be `lanczos`\nhint: filter takes bilinear or bicubic"),
            ("crop=-1", "`crop` cannot be `-1`"),
            ("range=2", "`range` cannot be `2`\nhint: range takes 1 or 255"),
            ("mean=1,2", "`mean` cannot be `1,2`"),
            ("mean=a", "`mean` cannot be `a`"),
            ("std=0", "`std` cannot be `0`"),
            ("std=1,nan,1", "`std` cannot be `1,NaN,1`"),
            ("order=gbr", "`order` cannot be `gbr`\nhint: order takes rgb or bgr"),
            ("imagenet:crop=300", "crop=300 does not go with resize=short:256\nhint: "),
            ("resize=none:crop=224", "crop=224 does not go with resize=none"),
        ] {
            let error = wrong.parse::<Prep>().unwrap_err().to_string();
            assert!(error.contains(expected), "{wrong}: {error}");
        }
    }
}
