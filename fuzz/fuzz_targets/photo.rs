//! Arbitrary bytes as a photo: decoded, and painted over.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unused_imports)]
#[path = "../../crates/whycam/src/image/mod.rs"]
mod image;

use self::image::{Field, OverlayStyle, Photo, Placement, overlay};

fuzz_target!(|bytes: &[u8]| {
    let Ok(photo) = Photo::decode(bytes) else { return };
    // Large pictures are sound, but slow to paint under a fuzzer.
    if photo.width().saturating_mul(photo.height()) > 1 << 18 {
        return;
    }
    let whole = Placement::whole(photo.width(), photo.height());
    let field = Field::new(&[0.0, 1.0, -1.0, f32::NAN], 2, 2).expect("four values");
    overlay(&photo, field, &whole, &OverlayStyle::default()).expect("a photo can be painted over");
});
