//! Preparations that have a name.

use super::{Filter, Order, Prep, Range, Resize};

/// A preparation with a name, as [`PRESETS`] lists it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preset {
    /// Its name on the command line, such as `imagenet`.
    pub name: &'static str,
    /// What it is for, in one line.
    pub about: &'static str,
    resize: Resize,
    filter: Filter,
    crop: Option<u32>,
    range: Range,
    mean: &'static [f32],
    std: &'static [f32],
    order: Order,
}

impl Preset {
    /// The preparation itself.
    pub fn prep(&self) -> Prep {
        Prep {
            resize: self.resize,
            filter: self.filter,
            crop: self.crop,
            range: self.range,
            mean: self.mean.to_vec(),
            std: self.std.to_vec(),
            order: self.order,
        }
    }
}

/// Every preset, in the order in which help lists them.
pub static PRESETS: [Preset; 5] = [
    Preset {
        name: "imagenet",
        about: "torchvision's ImageNet models: short side 256, crop 224, ImageNet mean and deviation",
        resize: Resize::Short(256),
        filter: Filter::Bilinear,
        crop: Some(224),
        range: Range::One,
        mean: &[0.485, 0.456, 0.406],
        std: &[0.229, 0.224, 0.225],
        order: Order::Rgb,
    },
    Preset {
        name: "efficientnet-lite",
        about: "EfficientNet-Lite: short side 256 bicubic, crop 224, (x − 127) / 128",
        resize: Resize::Short(256),
        filter: Filter::Bicubic,
        crop: Some(224),
        range: Range::TwoFiftyFive,
        mean: &[127.0],
        std: &[128.0],
        order: Order::Rgb,
    },
    Preset {
        name: "caffe",
        about: "Caffe's VGG: whole photo warped to the input, BGR from 0 to 255 minus the mean colour",
        resize: Resize::Warp(224),
        filter: Filter::Bilinear,
        crop: Some(224),
        range: Range::TwoFiftyFive,
        mean: &[103.939, 116.779, 123.68],
        std: &[1.0],
        order: Order::Bgr,
    },
    Preset {
        name: "tf",
        about: "TensorFlow's Inception and MobileNet: whole photo warped to the input, −1 to 1",
        resize: Resize::Warp(224),
        filter: Filter::Bilinear,
        crop: Some(224),
        range: Range::TwoFiftyFive,
        mean: &[127.5],
        std: &[127.5],
        order: Order::Rgb,
    },
    UNIT,
];

/// The plainest preset, which keys given alone change.
pub(super) const UNIT: Preset = Preset {
    name: "unit",
    about: "whole photo warped to the input, 0 to 1",
    resize: Resize::Warp(224),
    filter: Filter::Bilinear,
    crop: Some(224),
    range: Range::One,
    mean: &[0.0],
    std: &[1.0],
    order: Order::Rgb,
};
