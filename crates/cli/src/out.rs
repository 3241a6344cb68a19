//! The files of an image: its maps over the photo, the sheet of all of them, the arrays. Each is written whole or not at all.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};
use whycam::image::{Align, Colormap, OverlayStyle, Panel, RgbImage, Section, encode_png, sheet, thumbnail};
use whycam::sanity::{Sanity, Sensitivity};
use whycam::{Explanation, Image, Map};

use crate::fail::Fail;
use crate::layout::arranged;
use crate::npy;
use crate::record::{self, Files, key, key_of};

/// Where the files of an image go.
pub struct Place<'a> {
    /// `--out`.
    pub out: &'a Path,
    /// What their names begin with, below it.
    pub stem: &'a str,
}

/// How maps are shown, and whether they are kept as arrays.
#[derive(Clone, Copy)]
pub struct Show {
    /// Colours, where they are not left to the map.
    pub colormap: Option<Colormap>,
    /// How much of the photo they hide, where it is not left to the colours.
    pub opacity: Option<f32>,
    /// How maps are enlarged.
    pub align: Align,
    /// Whether pictures are written.
    pub pictures: bool,
    /// Whether arrays are written.
    pub raw: bool,
}

impl Place<'_> {
    /// The path of a file below `--out`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    /// The name of the file that has all numbers.
    pub fn record(&self) -> String {
        format!("{}.json", short_stem(self.stem))
    }

    /// Its path.
    pub fn record_path(&self) -> PathBuf {
        self.path(&self.record())
    }

    /// The name of the contact sheet.
    pub fn sheet(&self) -> String {
        format!("{}.sheet.png", short_stem(self.stem))
    }

    /// The name of the curves of the sanity check.
    pub fn curves(&self) -> String {
        format!("{}.sanity.png", short_stem(self.stem))
    }

    /// Writes the curves of the sanity check, one plot a map.
    ///
    /// # Errors
    /// When they cannot be drawn, or the file not written.
    pub fn write_curves(&self, answer: &Explanation, found: &[Sanity]) -> Result<(), Fail> {
        let panel = |(map, sanity): (&Map, &Sanity)| -> Result<Panel, Fail> {
            let other = sanity.random_class.as_ref().map(|o| format!("points: the map of {}", o.label));
            let caption = [Some(format!("{} {}", map.label, map.method)), Some(map.layer.clone()), other];
            let (verdict, _) = sanity.sentence.split_once(" (").unwrap_or((&sanity.sentence, ""));
            let doubtful = sanity.known_to_fail || sanity.verdict == Sensitivity::Insensitive;
            let verdict = match (sanity.verdict, sanity.known_to_fail) {
                (Sensitivity::Sensitive, true) => "passes here, but the method is known to fail",
                _ => verdict,
            };
            let mut caption: Vec<String> = caption.into_iter().flatten().collect();
            caption.extend((!doubtful).then(|| verdict.to_owned()));
            Ok(Panel {
                picture: thumbnail(&sanity.plot()?)?,
                caption,
                warning: doubtful.then(|| verdict.to_owned()),
            })
        };
        let panels: Vec<Panel> = answer.maps.iter().zip(found).map(panel).collect::<Result<_, _>>()?;
        save(
            &self.path(&self.curves()),
            &encode_png(&sheet(&[Section { title: String::new(), panels }], None)?)?,
        )
    }

    /// Writes the pictures and arrays of an image, whose name is `title`, and returns the files of every map. `kept` are
    /// the maps whose files must stay.
    ///
    /// # Errors
    /// When a picture cannot be made, or a file not written.
    pub fn write(
        &self,
        title: &str,
        image: &Image,
        answer: &Explanation,
        kept: &[Value],
        show: Show,
    ) -> Result<Vec<Files>, Fail> {
        let names = names(&short_stem(self.stem), &answer.maps, kept);
        let maps = answer.maps.par_iter().zip(names);
        let written: Result<Vec<(Option<RgbImage>, Files)>, Fail> =
            maps.map(|(map, name)| self.map(map, &name, image, show)).collect();
        let (pictures, files): (Vec<Option<RgbImage>>, Vec<Files>) = written?.into_iter().unzip();
        if show.pictures {
            let photo = image.photo.as_ref().map(|(photo, _)| -> Result<Panel, Fail> {
                let size = format!("{}×{}", photo.width(), photo.height());
                let picture = thumbnail(photo.rgb())?;
                Ok(Panel { picture, caption: vec![title.to_owned(), size], warning: None })
            });
            let maps = answer.maps.iter().zip(pictures).filter_map(|(map, picture)| Some((map, picture?)));
            let (sections, columns) = arranged(photo.transpose()?.as_ref(), maps.collect());
            save(&self.path(&self.sheet()), &encode_png(&sheet(&sections, columns)?)?)?;
        }
        Ok(files)
    }

    /// Writes the files of one map, and returns what the sheet shows of it.
    fn map(
        &self,
        map: &Map,
        name: &str,
        image: &Image,
        show: Show,
    ) -> Result<(Option<RgbImage>, Files), Fail> {
        let mut files = Files { overlay: None, raw: None };
        let mut shown = None;
        if show.pictures {
            let colormap = show.colormap.unwrap_or(map.style().colormap);
            let style = OverlayStyle::of(colormap, show.align);
            let style = OverlayStyle { opacity: show.opacity.unwrap_or(style.opacity), ..style };
            let picture = map.render(image, &style)?;
            let overlay = files.overlay.insert(format!("{name}.png"));
            save(&self.path(overlay), &encode_png(&picture)?)?;
            shown = Some(thumbnail(&picture)?);
        }
        if show.raw {
            let raw = files.raw.insert(format!("{name}.npy"));
            save(&self.path(raw), &npy::write(&map.shape, &map.values)?)?;
        }
        Ok((shown, files))
    }
}

/// A probability as people read it.
pub fn percent(probability: f32) -> String {
    match probability {
        p if p > 0.0 && p < 0.0005 => "<0.1%".to_owned(),
        p => format!("{:.1}%", p * 100.0),
    }
}

/// Writes a file beside its place and moves it there, so that nobody sees half of it.
///
/// # Errors
/// When that fails; a file that was there before is as it was.
pub fn save(path: &Path, bytes: &[u8]) -> Result<(), Fail> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || {
        fs::create_dir_all(folder)?;
        let mut file = fresh(folder)?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|e| e.error)
    };
    write().map(drop).map_err(|e| Fail::write(path, &e))
}

/// Makes the folder that files are written to, and a file in it, for a moment: who cannot write there learns it before any
/// work, and a run that writes nothing leaves nothing.
///
/// # Errors
/// When that fails.
pub fn ready(folder: &Path) -> Result<(), Fail> {
    let missing = |at: &&Path| !at.as_os_str().is_empty() && !at.exists();
    let missing: Vec<&Path> = folder.ancestors().take_while(missing).collect();
    let tried = fs::create_dir_all(folder).and_then(|()| fresh(folder)).map(drop);
    for made in missing {
        // What another process has put there meanwhile stays.
        let _ = fs::remove_dir(made);
    }
    tried.map_err(|e| Fail::write(folder, &e))
}

/// A temporary file with the permissions of an ordinary new one.
fn fresh(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// A name for the files of every map. Names are not equal, on file systems to which case is nothing, and are not those of
/// other maps that stay.
fn names(stem: &str, maps: &[Map], kept: &[Value]) -> Vec<String> {
    let mut taken: HashMap<String, [String; 3]> = HashMap::new();
    for map in kept {
        let file = |kind: &str, ending| map["files"][kind].as_str()?.strip_suffix(ending);
        let name = file("overlay", ".png").or_else(|| file("raw", ".npy"));
        if let (Some(name), [Some(method), Some(layer), Some(target)]) = (name, key_of(map)) {
            taken.insert(name.to_lowercase(), [method, layer, target].map(str::to_owned));
        }
    }
    let name = |map: &Map| {
        let own = key(map).map(str::to_owned);
        let [method, layer, target] = key(map);
        let plain = format!("{stem}.{}.{}.{}", safe(method, 40), safe(layer, 60), safe(target, 40));
        let is_free =
            |name: &String, taken: &HashMap<_, _>| taken.get(&name.to_lowercase()).is_none_or(|k| *k == own);
        let name =
            if is_free(&plain, &taken) { plain } else { format!("{plain}-{}", digest(&own.join("\n"))) };
        taken.insert(name.to_lowercase(), own);
        name
    };
    maps.iter().map(name).collect()
}

/// The text as a part of a file name: what is not a letter, a digit or one of `-_=.+` becomes `-`, and so does a dot at the
/// beginning; at its ends nothing is put in the place of such.
fn safe(text: &str, longest: usize) -> String {
    let part = |(i, c): (usize, char)| match c {
        '.' if i == 0 => '-',
        c if c.is_alphanumeric() || matches!(c, '-' | '_' | '=' | '.' | '+') => c,
        _ => '-',
    };
    let name: String = text.chars().enumerate().map(part).collect();
    match name.trim_matches('-') {
        "" => "-".to_owned(),
        name => short(name, text, longest),
    }
}

/// The stem with its last part cut to a length that leaves room for the rest of a name.
fn short_stem(stem: &str) -> String {
    match stem.rsplit_once('/') {
        Some((folder, name)) => format!("{folder}/{}", short(name, name, 90)),
        None => short(stem, stem, 90),
    }
}

/// At most `longest` bytes of the part; when it is cut, it ends in a digest of what it stands for.
fn short(part: &str, whole: &str, longest: usize) -> String {
    if part.len() <= longest {
        return part.to_owned();
    }
    let end = part.floor_char_boundary(longest - 7);
    format!("{}-{}", &part[..end], digest(whole))
}

/// Six hexadecimal digits that tell texts apart.
fn digest(text: &str) -> String {
    record::hex(&Sha256::digest(text)[..3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_names_are_safe() {
        assert_eq!(safe("class:tiger cat", 40), "class-tiger-cat");
        assert_eq!(safe("/layer4/layer4.2/relu_1\\Relu", 40), "layer4-layer4.2-relu_1-Relu");
        assert_eq!(safe("mean(layer3, layer4)", 40), "mean-layer3--layer4");
        assert_eq!((safe("..", 40), safe("/", 40)), (".".to_owned(), "-".to_owned()));
        assert_eq!(safe("grad-cam:relu=off", 40), "grad-cam-relu=off");
        assert_eq!(safe("a\0\n\u{7f}café", 40), "a---café");
        let long = safe(&"é".repeat(100), 40);
        assert!(long.len() <= 40 && long.starts_with("éé") && long != safe(&"é".repeat(101), 40), "{long}");
        assert_eq!(short_stem("a/b"), "a/b");
        assert_eq!(short_stem(&format!("a/{}", "b".repeat(200))).len(), 92);
    }
}
