//! The README's tables are `METHODS` and `TARGETS`.

use whycam::{METHODS, TARGETS};

/// The rows of tables before the section on targets, and behind its heading.
fn rows() -> [Vec<&'static str>; 2] {
    let (before, behind) = include_str!("../../../README.md").split_once("### Targets").expect("a section");
    [before, behind].map(|part| part.lines().filter(|l| l.starts_with("| `")).collect())
}

#[test]
fn the_table_of_methods_is_the_list_of_methods() {
    let expected: Vec<String> = METHODS
        .iter()
        .map(|m| {
            let file = format!("{}.rs", m.name.replace("++", "_plus_plus").replace('-', "_"));
            let link = format!("[{file}](crates/whycam/src/method/{file})");
            format!("| `{}` | {} | {} | {} | {link} |", m.name, m.about, m.needs, m.paper)
        })
        .collect();
    assert_eq!(rows()[0], expected);
}

#[test]
fn the_table_of_targets_is_the_list_of_targets() {
    let expected: Vec<String> =
        TARGETS.iter().map(|kind| format!("| `{}` | {} |", kind.form, kind.about)).collect();
    assert_eq!(rows()[1], expected);
}
