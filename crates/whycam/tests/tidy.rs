//! The rules of the house, read off the sources.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every Rust source below `folder`, with its path from the root and its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    walk(&root.join(folder), &mut found);
    found.sort();
    assert!(!found.is_empty(), "{folder} has no sources");
    let name = |p: &PathBuf| p.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
    found.iter().map(|p| (name(p), fs::read_to_string(p).expect("UTF-8"))).collect()
}

/// The text without its unit tests and without comments.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn crate_sources() -> Vec<(String, String)> {
    ["cli", "engine", "graph", "interp", "whycam"]
        .iter()
        .flat_map(|c| sources(&format!("crates/{c}/src")))
        .collect()
}

#[track_caller]
fn none(what: &str, offenders: Vec<String>) {
    assert!(offenders.is_empty(), "{what}:\n  {}", offenders.join("\n  "));
}

/// Files of `folder` whose code contains one of `words`.
fn containing(folder: &str, words: &[&str]) -> Vec<String> {
    let found = |(name, text): (String, String)| {
        let code = code(&text);
        words.iter().find(|w| code.contains(**w)).map(|w| format!("{name}: {w}"))
    };
    sources(folder).into_iter().filter_map(found).collect()
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    let (mut silent, mut long) = (Vec::new(), Vec::new());
    for (name, text) in crate_sources() {
        let first = text.lines().find(|l| !l.starts_with("#![")).unwrap_or_default();
        if !first.starts_with("//!") {
            silent.push(name.clone());
        }
        let lines = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().lines().count();
        if lines > 600 {
            long.push(format!("{name}: {lines} lines"));
        }
    }
    none("files without a module doc on their first line", silent);
    none("files of more than 600 lines without tests", long);
}

#[test]
fn nothing_is_left_undone() {
    let words = ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"];
    none(
        "unfinished places",
        ["cli", "engine", "graph", "interp", "whycam"]
            .iter()
            .flat_map(|c| containing(&format!("crates/{c}/src"), &words))
            .collect(),
    );
}

#[test]
fn every_crate_forbids_unsafe_code() {
    for (name, text) in crate_sources() {
        if name.ends_with("src/lib.rs") || name.ends_with("src/main.rs") {
            assert!(text.starts_with("#![forbid(unsafe_code)]"), "{name}");
        }
    }
}

#[test]
fn rooms_do_not_look_into_each_other() {
    none(
        "the compiler's differentiation knows an engine",
        containing("crates/graph/src/diff", &["engine", "rten"]),
    );
    none("an engine knows differentiation", containing("crates/engine/src", &["diff::", "derive::"]));
    none(
        "pictures know the graph",
        containing("crates/whycam/src/image", &["whycam_graph", "whycam_engine"]),
    );
    let words = ["normalis", "colormap", "progress", "indicatif", "plot"];
    none("a method draws", containing("crates/whycam/src/method", &words));
}

#[test]
fn only_the_command_line_sees_clap() {
    for name in ["engine", "graph", "interp", "whycam"] {
        let manifest =
            fs::read_to_string(root().join(format!("crates/{name}/Cargo.toml"))).expect("readable");
        assert!(!manifest.contains("clap"), "{name}");
    }
}

#[test]
fn only_build_makes_nodes() {
    let literal = |(name, text): (String, String)| {
        let made = code(&text).lines().any(|l| {
            let l = l.trim_start();
            (l.contains(" Node {") || l.contains("(Node {"))
                && !l.contains("struct")
                && !l.contains("impl")
                && !l.contains("->")
        });
        (made && !name.starts_with("crates/graph/src/graph")).then_some(name)
    };
    none(
        "nodes made elsewhere than in Build",
        sources("crates/graph/src").into_iter().filter_map(literal).collect(),
    );
}

#[test]
fn operator_names_stay_in_the_onnx_room() {
    let names = fs::read_to_string(root().join("crates/graph/src/onnx/names.rs")).expect("readable");
    let quoted =
        |text: &str| -> Vec<String> { text.split('"').skip(1).step_by(2).map(str::to_owned).collect() };
    let names: Vec<String> =
        quoted(&names).into_iter().filter(|n| n.chars().next().is_some_and(char::is_uppercase)).collect();
    assert!(names.len() > 70, "{} names", names.len());
    let leaks = |(file, text): (String, String)| {
        let leaked = quoted(&code(&text)).into_iter().find(|q| names.contains(q));
        leaked.filter(|_| !file.contains("/onnx/")).map(|n| format!("{file}: {n:?}"))
    };
    let all = sources("crates/graph/src")
        .into_iter()
        .chain(sources("crates/engine/src"))
        .chain(sources("crates/whycam/src"));
    none("operator names outside onnx/", all.filter_map(leaks).collect());
}
