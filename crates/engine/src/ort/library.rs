//! Where ONNX Runtime's library is. A process has one; it is looked up when it is first asked for.
//!
//! Looked at are, in this order, `ORT_DYLIB_PATH` and nothing else when that is set; the folder of the running program;
//! the active virtual environments of Python. Never the working directory, where strangers' files lie.

use std::env::consts::OS;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ::ort::environment::{Environment, GlobalThreadPoolOptions};
use ::ort::logging::LogLevel;
use ::ort::{LoadDynamicError, init_from};
use whycam_graph::Error;

use super::NAME;
use crate::guarded;

/// Names the library.
const PATH: &str = "ORT_DYLIB_PATH";
/// Name the active virtual environments.
const ENVIRONMENTS: [&str; 2] = ["VIRTUAL_ENV", "CONDA_PREFIX"];
const HINT: &str = "`pip install onnxruntime` in a virtual environment and activate it, or set ORT_DYLIB_PATH to the \
                    path of libonnxruntime; or take --engine rten, which needs no library";

/// ONNX Runtime in this process.
#[derive(Clone, Debug)]
pub(super) struct Runtime {
    /// Its environment, with threads for all sessions.
    pub environment: Environment,
    /// How many these are.
    pub threads: usize,
    /// The library's file.
    pub path: PathBuf,
    /// The library's version.
    pub version: String,
}

/// The library in this process, and why there is none when there is none.
pub(super) enum Found {
    Runtime(Runtime),
    /// No library works; with `asked`, one was named by the user.
    Nothing {
        asked: bool,
        error: Error,
    },
}

static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

/// The library that this process has, or the first that can be loaded, then with so many threads.
pub(super) fn find(threads: usize) -> Found {
    let mut known = RUNTIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(runtime) = known.as_ref() {
        return Found::Runtime(runtime.clone());
    }
    let places = Places::of(|name| std::env::var_os(name), std::env::current_exe().ok());
    let mut tried = places.tried;
    for path in places.files {
        match load(&path, threads) {
            Ok(runtime) => return Found::Runtime(known.insert(runtime).clone()),
            Err(why) => tried.push(why),
        }
    }
    let what = format!("ONNX Runtime cannot be used:\n  {}", tried.join("\n  "));
    Found::Nothing { asked: places.asked, error: Error::Engine { engine: NAME, what, hint: HINT.into() } }
}

/// Candidates, and what was looked at in vain.
struct Places {
    asked: bool,
    files: Vec<PathBuf>,
    tried: Vec<String>,
}

impl Places {
    fn of(variable: impl Fn(&str) -> Option<OsString>, program: Option<PathBuf>) -> Places {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let mut places = Places { asked: false, files: Vec::new(), tried: Vec::new() };
        if let Some(path) = variable(PATH) {
            places.asked = true;
            // A relative path would depend on the working directory.
            if path.is_absolute() {
                places.files.push(path);
            } else {
                places.tried.push(format!("{PATH} is {}, which is no absolute path", path.display()));
            }
            return places;
        }
        places.tried.push(format!("{PATH} is not set"));
        if let Some(folder) = program.as_deref().and_then(Path::parent) {
            places.look(folder, OS);
        }
        for name in ENVIRONMENTS {
            match variable(name).filter(|root| root.is_absolute()) {
                Some(root) => site_packages(&root, OS)
                    .iter()
                    .for_each(|folder| places.look(&folder.join("onnxruntime/capi"), OS)),
                None => places.tried.push(format!("{name} is not set")),
            }
        }
        places
    }

    /// Takes the libraries in a folder, the newest name first.
    fn look(&mut self, folder: &Path, os: &str) {
        let mut found = named(folder, |name| is_library(name, os));
        match found.is_empty() {
            true => self.tried.push(format!("{} has none", folder.display())),
            false => self.files.append(&mut found),
        }
    }
}

/// The folders of a virtual environment in which packages are.
fn site_packages(root: &Path, os: &str) -> Vec<PathBuf> {
    if os == "windows" {
        return vec![root.join("Lib/site-packages")];
    }
    let versions = named(&root.join("lib"), |name| name.starts_with("python"));
    let folders: Vec<PathBuf> = versions.iter().map(|folder| folder.join("site-packages")).collect();
    if folders.is_empty() { vec![root.join("lib/python3/site-packages")] } else { folders }
}

/// What is in a folder under such names, sorted backwards.
fn named(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_wanted = |path: &PathBuf| path.file_name().and_then(OsStr::to_str).is_some_and(&wanted);
    let mut found: Vec<PathBuf> = entries.filter(is_wanted).collect();
    found.sort();
    found.reverse();
    found
}

/// Whether a file has the name of the library on that system.
fn is_library(name: &str, os: &str) -> bool {
    match os {
        "windows" => name.eq_ignore_ascii_case("onnxruntime.dll"),
        "macos" | "ios" => {
            name == "libonnxruntime.dylib"
                || (name.starts_with("libonnxruntime.") && name.ends_with(".dylib"))
        }
        _ => name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so."),
    }
}

fn load(path: &Path, threads: usize) -> std::result::Result<Runtime, String> {
    let place = path.display();
    if !path.is_file() {
        return Err(format!("{place} is no file"));
    }
    let loaded = guarded(|| {
        let builder = init_from(path).map_err(|error| told(path, &error))?;
        let pool = GlobalThreadPoolOptions::default().with_intra_threads(threads);
        let pool = pool.map_err(|error| format!("{place}: {error}"))?;
        let builder = builder.with_name("whycam").with_telemetry(false).with_global_thread_pool(pool);
        let environment = builder.build().map_err(|error| format!("{place}: {error}"))?;
        // What goes wrong is returned; it need not be printed too.
        environment.set_log_level(LogLevel::Fatal);
        Ok(Runtime { environment, threads, path: path.to_owned(), version: version(path) })
    });
    loaded.map_err(|panic| format!("{place}: {panic}"))?
}

/// Why a library cannot be loaded.
fn told(path: &Path, error: &LoadDynamicError) -> String {
    let path = path.display();
    match error {
        LoadDynamicError::Dlopen { error, .. } => format!("{path} cannot be loaded: {error}"),
        LoadDynamicError::BadVersion { version_str, .. } => format!(
            "{path} is ONNX Runtime {version_str}, which is too old: at least 1.{}.0 is needed",
            ::ort::MINOR_VERSION
        ),
        LoadDynamicError::MissingApi { .. } | LoadDynamicError::InvalidVersionString => {
            format!("{path} is not ONNX Runtime")
        }
    }
}

/// The version, by the library's file name, links followed; or by its Python package; or the build's own identifier.
fn version(path: &Path) -> String {
    let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let package = || {
        let packages = file.ancestors().nth(3)?;
        let about = |name: &str| name.starts_with("onnxruntime") && name.ends_with(".dist-info");
        let found = named(packages, about).into_iter().next()?;
        numbers(&found.file_name()?.to_string_lossy())
    };
    numbers(&name).or_else(package).unwrap_or_else(|| ::ort::info().to_owned())
}

/// The first run of at least two numbers with dots between them.
fn numbers(text: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let runs = text.split(|c| !is_part(c)).map(|run| run.trim_matches('.'));
    runs.into_iter().find(|run| run.split('.').count() > 1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_off_names() {
        for (name, version) in [
            ("libonnxruntime.so.1.32.0", Some("1.32.0")),
            ("libonnxruntime.1.32.0.dylib", Some("1.32.0")),
            ("onnxruntime_gpu-1.31.2.dist-info", Some("1.31.2")),
            ("libonnxruntime.so", None),
            ("onnxruntime.dll", None),
        ] {
            assert_eq!(numbers(name).as_deref(), version, "{name}");
        }
    }

    #[test]
    fn names_of_the_library_on_every_system() {
        for (os, yes, no) in [
            ("linux", "libonnxruntime.so.1.32.0", "libonnxruntime_providers_shared.so"),
            ("macos", "libonnxruntime.1.32.0.dylib", "libonnxruntime.so"),
            ("windows", "onnxruntime.dll", "onnxruntime_providers_shared.dll"),
        ] {
            assert!(is_library(yes, os), "{os}: {yes}");
            assert!(!is_library(no, os), "{os}: {no}");
        }
    }

    #[test]
    fn the_library_is_found_in_a_virtual_environment() {
        let root = tempfile::tempdir().expect("a folder");
        let capi = site_packages(root.path(), OS)[0].join("onnxruntime/capi");
        fs::create_dir_all(&capi).expect("writable");
        let name = match OS {
            "windows" => "onnxruntime.dll",
            "macos" => "libonnxruntime.1.32.0.dylib",
            _ => "libonnxruntime.so.1.32.0",
        };
        fs::write(capi.join(name), b"").expect("writable");
        let variable = |name: &str| (name == "VIRTUAL_ENV").then(|| root.path().as_os_str().to_owned());
        let places = Places::of(variable, Some(root.path().join("bin/whycam")));
        assert_eq!(places.files, [capi.join(name)]);
        assert!(places.tried.iter().any(|t| t.contains("bin")), "{:?}", places.tried);
        assert!(!places.asked);
    }

    #[test]
    fn a_library_that_is_named_is_the_only_one_looked_at() {
        let variable = |path: &'static str| move |name: &str| (name == PATH).then(|| OsString::from(path));
        let absolute = if cfg!(windows) { "C:\\lib\\ort.dll" } else { "/lib/ort.so" };
        let places = Places::of(variable(absolute), Some("/bin/whycam".into()));
        assert!(places.asked && places.tried.is_empty());
        assert_eq!(places.files, [PathBuf::from(absolute)]);
        let places = Places::of(variable("ort.so"), None);
        assert!(places.asked && places.files.is_empty());
        assert!(places.tried[0].contains("no absolute path"), "{:?}", places.tried);
    }

    #[test]
    fn a_library_that_is_too_old_is_said_to_be() {
        let error = LoadDynamicError::BadVersion {
            version_str: "1.16.3".into(),
            path: "/lib/libonnxruntime.so".into(),
        };
        let told = told(Path::new("/lib/libonnxruntime.so"), &error);
        assert!(told.contains("1.16.3, which is too old: at least 1.18.0 is needed"), "{told}");
    }

    #[test]
    fn what_is_no_library_is_an_error() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), b"no library").expect("writable");
        let error = load(file.path(), 1).expect_err("it is no library");
        assert!(error.contains("cannot be loaded"), "{error}");
        let error = load(Path::new("/nowhere/libonnxruntime.so"), 1).expect_err("it is not there");
        assert!(error.contains("is no file"), "{error}");
    }
}
