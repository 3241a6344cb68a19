//! Reading photos of every form, and refusing everything else: `tests/pictures/make_pictures.py`.

use proptest::prelude::*;
use whycam::image::{ImageError, Photo};

macro_rules! picture {
    ($name:literal) => {
        include_bytes!(concat!("pictures/", $name)).as_slice()
    };
}

/// Every file that can be read.
const READABLE: [(&str, &[u8]); 12] = [
    ("baseline.jpg", picture!("baseline.jpg")),
    ("progressive.jpg", picture!("progressive.jpg")),
    ("cmyk.jpg", picture!("cmyk.jpg")),
    ("turned.jpg", picture!("turned.jpg")),
    ("turned.png", picture!("turned.png")),
    ("turned.webp", picture!("turned.webp")),
    ("lossy.webp", picture!("lossy.webp")),
    ("animated.webp", picture!("animated.webp")),
    ("alpha.png", picture!("alpha.png")),
    ("palette.png", picture!("palette.png")),
    ("grey.png", picture!("grey.png")),
    ("grey.jpg", picture!("grey.jpg")),
];

#[test]
fn every_form_shows_the_same_scene_upright() {
    for (name, bytes) in READABLE.iter().filter(|(name, _)| !name.starts_with("grey")) {
        let photo = Photo::decode(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let pixels = u64::from(photo.width()) * u64::from(photo.height());
        assert_eq!(Photo::pixels(bytes), Some(pixels), "{name}");
        assert_eq!((photo.width(), photo.height()), (32, 16), "{name}");
        let tolerance = if name.ends_with(".png") { 0 } else { 12 };
        for (x, y, expected) in
            [(4, 3, [200, 40, 40]), (27, 3, [40, 200, 40]), (4, 12, [40, 40, 200]), (27, 12, [200, 200, 40])]
        {
            let found = photo.rgb().get_pixel(x, y).0;
            let off = found.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max().unwrap();
            assert!(off <= tolerance, "{name} at ({x}, {y}): {found:?}, not {expected:?}");
        }
    }
}

#[test]
fn grey_is_repeated_and_deep_samples_are_rounded() {
    for bytes in [picture!("grey.png"), picture!("grey.jpg")] {
        let photo = Photo::decode(bytes).unwrap();
        assert!(photo.rgb().pixels().all(|pixel| pixel.0 == [pixel.0[0]; 3]));
        assert!(photo.rgb().get_pixel(0, 0).0[0] < 20 && photo.rgb().get_pixel(0, 15).0[0] > 235);
    }
    let deep = Photo::decode(picture!("deep.png")).unwrap();
    assert_eq!(deep.rgb().as_raw(), &[255, 128, 1, 0, 0, 18]);
}

#[test]
fn what_is_no_picture_is_refused_with_a_hint() {
    assert_eq!(Photo::decode(b""), Err(ImageError::NotAPicture));
    assert_eq!(Photo::decode(b"width,height\n3,4\n"), Err(ImageError::NotAPicture));
    assert_eq!(
        Photo::decode(b"GIF89a\x01\0\x01\0"),
        Err(ImageError::UnsupportedFormat { format: "Gif".into() })
    );
    assert_eq!(
        Photo::decode(picture!("bomb.png")),
        Err(ImageError::TooLarge { width: 30000, height: 30000 }),
    );
    assert_eq!(Photo::decode(picture!("wide.png")), Err(ImageError::TooLarge { width: 1 << 24, height: 1 }));
    for bytes in [picture!("empty.png"), b"\xFF\xD8\xFF\xD9", b"\x89PNG\r\n\x1a\n", b"RIFF\x04\0\0\0WEBP"] {
        let error = Photo::decode(bytes).unwrap_err().to_string();
        assert!(error.contains("\nhint: "), "{error}");
    }
}

#[test]
fn a_jpeg_of_65535_by_65535_is_refused_by_its_header() {
    let mut bytes = picture!("baseline.jpg").to_vec();
    let frame = bytes.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    bytes[frame + 5..frame + 9].fill(0xFF);
    assert_eq!(Photo::decode(&bytes), Err(ImageError::TooLarge { width: 65535, height: 65535 }));
}

#[test]
fn every_cut_jpeg_is_refused_and_no_cut_file_panics() {
    for (name, bytes) in READABLE {
        for length in 0..bytes.len() {
            let cut = Photo::decode(&bytes[..length]);
            assert!(
                cut.is_err() || !name.ends_with(".jpg"),
                "{name} cut to {length} of {} bytes",
                bytes.len()
            );
            // Of a PNG, checksum and end chunk may be missing; of a WebP, later frames and metadata.
            assert!(
                cut.is_err() || length + 200 > bytes.len(),
                "{name} cut to {length} of {} bytes",
                bytes.len()
            );
        }
    }
}

#[test]
fn an_embedded_thumbnails_end_does_not_hide_a_cut() {
    let bytes = picture!("baseline.jpg");
    let thumbnail = [&[0xFF, 0xE1], ((bytes.len() + 2) as u16).to_be_bytes().as_slice(), bytes].concat();
    let whole = [&bytes[..2], &thumbnail, &bytes[2..]].concat();
    assert!(Photo::decode(&whole).is_ok());
    assert_eq!(Photo::decode(&whole[..whole.len() - 40]), Err(ImageError::Truncated));
    let followed = [whole, b"motion photo \xFF\xDA".to_vec()].concat();
    assert!(Photo::decode(&followed).is_ok(), "what follows the picture does not matter");
}

proptest! {
    #[test]
    fn no_damage_panics(
        which in 0..READABLE.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = READABLE[which].1.to_vec();
        for (place, value) in damage {
            let at = place.index(bytes.len());
            bytes[at] = value;
        }
        let _ = Photo::decode(&bytes);
    }
}
