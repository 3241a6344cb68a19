//! Arbitrary bytes as a photo: decoded, prepared, and painted over.
#![no_main]

use libfuzzer_sys::fuzz_target;
#[allow(dead_code)]
#[path = "../../crates/whycam/src/image/mod.rs"]
mod image;
#[allow(dead_code)]
#[path = "../../crates/whycam/src/prep.rs"]
mod prep;

use self::image::{Field, OverlayStyle, Photo, overlay};
use prep::{Layout, Prep};

fuzz_target!(|bytes: &[u8]| {
    let Ok(photo) = Photo::decode(bytes) else { return };
    // Large pictures are sound, but slow to paint under a fuzzer.
    if photo.width().saturating_mul(photo.height()) > 1 << 20 {
        return;
    }
    let Ok(prepared) = Prep::default().apply(&photo, 32, 32, 3, Layout::Nchw) else { return };
    let field = Field::new(&[0.0, 1.0, -1.0, f32::NAN], 2, 2).expect("four values");
    overlay(&photo, field, &prepared.placement, &OverlayStyle::default()).expect("a photo can be painted over");
});
