//! The files that are explained, and the names of their results.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::fail::Fail;
use crate::npy;

/// A picture or an array.
#[derive(Debug)]
pub struct Input {
    /// Where it is.
    pub path: PathBuf,
    /// What the names of its results begin with: a path below `--out`, with `/` between its parts.
    pub stem: String,
}

/// A file that was asked for.
struct Found {
    path: PathBuf,
    /// Its folder, links resolved.
    folder: PathBuf,
    /// Its path below the folder that was asked for; its name when it was asked for itself.
    below: PathBuf,
}

/// The inputs that are asked for: files, and the pictures and arrays in folders, but not those in `out`.
/// What cannot be found is returned beside them.
pub fn find(asked: &[PathBuf], out: &Path) -> (Vec<Input>, Vec<Fail>) {
    let mut search = Search { out: out.canonicalize().ok(), found: Vec::new(), failed: Vec::new() };
    for path in asked {
        search.look(path);
    }
    let Search { mut found, failed, .. } = search;
    let mut seen = HashSet::new();
    found.retain(|f| seen.insert((f.folder.clone(), f.path.file_name().map(ToOwned::to_owned))));
    let stems = stems(&found);
    let inputs = found.into_iter().zip(stems).map(|(f, stem)| Input { path: f.path, stem });
    (inputs.collect(), failed)
}

struct Search {
    out: Option<PathBuf>,
    found: Vec<Found>,
    failed: Vec<Fail>,
}

impl Search {
    fn look(&mut self, path: &Path) {
        match fs::metadata(path) {
            Err(e) => self.failed.push(Fail::read(path, &e)),
            Ok(about) if about.is_dir() => {
                let (found, failed) = (self.found.len(), self.failed.len());
                self.walk(path, path);
                if (self.found.len(), self.failed.len()) == (found, failed) {
                    let what = format!("{}: there are no pictures in this folder", path.display());
                    self.failed
                        .push(Fail::input(what, "JPEG, PNG and WebP files and .npy arrays are looked for"));
                }
            }
            Ok(about) if about.is_file() => self.take(path, Path::new("")),
            Ok(_) => {
                let what = format!("{} is neither a file nor a folder", path.display());
                self.failed.push(Fail::input(what, "save it as a file first"));
            }
        }
    }

    /// Takes what is wanted in a folder, in the order of names. Links to folders are not followed.
    fn walk(&mut self, folder: &Path, root: &Path) {
        if self.out.is_some() && folder.canonicalize().ok() == self.out {
            return;
        }
        let entries = match fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
            Ok(entries) => entries,
            Err(e) => return self.failed.push(Fail::read(folder, &e)),
        };
        let hidden = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b".");
        let mut entries: Vec<fs::DirEntry> = entries.into_iter().filter(|e| !hidden(e)).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.walk(&path, root);
            } else if path.is_file() && is_wanted(&path) {
                self.take(&path, root);
            }
        }
    }

    /// A file below the folder `root`; with an empty `root`, one that was asked for itself.
    fn take(&mut self, path: &Path, root: &Path) {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = || PathBuf::from(path.file_name().unwrap_or_default());
        let below = match path.strip_prefix(root) {
            Ok(below) if !root.as_os_str().is_empty() => below.to_owned(),
            _ => name(),
        };
        match parent.canonicalize() {
            Ok(folder) => self.found.push(Found { path: path.to_owned(), folder, below }),
            Err(e) => self.failed.push(Fail::read(parent, &e)),
        }
    }
}

/// Whether a file in a folder is a picture or an array, by its ending or its first bytes.
fn is_wanted(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    let known = ["jpg", "jpeg", "png", "webp", "npy"].iter().any(|known| ending == *known);
    let starts_like_one = || {
        let mut start = [0; 12];
        let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
        let webp = start.starts_with(b"RIFF") && start.ends_with(b"WEBP");
        read.is_ok()
            && (webp
                || start.starts_with(b"\xff\xd8\xff")
                || start.starts_with(b"\x89PNG")
                || npy::is_npy(&start))
    };
    known || starts_like_one()
}

/// Different stems for different files: the name without its ending; where that is not enough, behind the folders in
/// which the files differ, or with the ending, or numbered.
fn stems(found: &[Found]) -> Vec<String> {
    let mut stems: Vec<String> = found.iter().map(|f| written(&without_ending(&f.below))).collect();
    for group in equals(&stems) {
        let common = common_folder(group.iter().map(|&i| found[i].folder.as_path()));
        for &i in &group {
            let folders = found[i].folder.strip_prefix(&common).unwrap_or(Path::new(""));
            let name = without_ending(Path::new(found[i].path.file_name().unwrap_or_default()));
            if group.iter().any(|&other| found[other].folder != found[i].folder) {
                stems[i] = written(&folders.join(name));
            }
        }
    }
    for group in equals(&stems) {
        for i in group {
            let ending = found[i].path.extension().unwrap_or_default().to_string_lossy();
            stems[i] = written(Path::new(&format!("{}.{ending}", stems[i])));
        }
    }
    for group in equals(&stems) {
        for (number, i) in group.into_iter().enumerate().skip(1) {
            stems[i] = format!("{}-{}", stems[i], number + 1);
        }
    }
    stems
}

/// A path without the ending of its name, but where that would leave no name.
fn without_ending(path: &Path) -> PathBuf {
    match path.file_stem() {
        Some(stem) if stem != "." && stem != ".." => path.with_file_name(stem),
        _ => path.to_owned(),
    }
}

/// The indices of stems that are equal, on file systems to which case is nothing.
fn equals(stems: &[String]) -> Vec<Vec<usize>> {
    let mut groups: HashMap<String, Vec<usize>> = HashMap::new();
    for (i, stem) in stems.iter().enumerate() {
        groups.entry(stem.to_lowercase()).or_default().push(i);
    }
    groups.into_values().filter(|group| group.len() > 1).collect()
}

/// The deepest folder that all lie in.
fn common_folder<'a>(mut folders: impl Iterator<Item = &'a Path>) -> PathBuf {
    let first = folders.next().unwrap_or(Path::new("")).to_owned();
    folders.fold(first, |common, folder| {
        common.components().zip(folder.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
    })
}

/// A relative path as text, without what could leave the folder it is joined to.
fn written(path: &Path) -> String {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().replace(char::is_control, "-")),
        _ => None,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(paths: &[(&str, &str)]) -> Vec<String> {
        let found = paths.iter().map(|(path, below)| {
            let path = Path::new(path);
            Found { path: path.into(), folder: path.parent().expect("a folder").into(), below: below.into() }
        });
        stems(&found.collect::<Vec<_>>())
    }

    #[test]
    fn stems_differ() {
        assert_eq!(named(&[("/p/x.jpg", "x.jpg"), ("/p/y.jpg", "y.jpg")]), ["x", "y"]);
        assert_eq!(named(&[("/p/a/x.jpg", "x.jpg"), ("/p/b/x.jpg", "x.jpg")]), ["a/x", "b/x"]);
        assert_eq!(
            named(&[("/p/x.jpg", "x.jpg"), ("/p/a/x.png", "x.png"), ("/p/y.jpg", "y.jpg")]),
            ["x", "a/x", "y"]
        );
        assert_eq!(named(&[("/p/x.jpg", "x.jpg"), ("/p/X.png", "X.png")]), ["x.jpg", "X.png"]);
        assert_eq!(
            named(&[("/p/a/x.jpg", "x.jpg"), ("/p/a/x.png", "x.png"), ("/p/b/x.jpg", "x.jpg")]),
            ["a/x.jpg", "a/x.png", "b/x"]
        );
        assert_eq!(named(&[("/p/a/x.jpg", "a/x.jpg"), ("/p/b/x.jpg", "b/x.jpg")]), ["a/x", "b/x"]);
        assert_eq!(named(&[("/p/.x", ".x"), ("/p/..jpg", "..jpg")]), [".x", "..jpg"]);
    }

    #[test]
    fn stems_stay_below_out() {
        assert_eq!(written(Path::new("/../a/./b/../c\n.jpg")), "a/b/c-.jpg");
    }
}
