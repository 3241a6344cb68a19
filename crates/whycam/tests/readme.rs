//! The README's table of methods is `METHODS`.

use whycam::METHODS;

#[test]
fn the_table_of_methods_is_the_list_of_methods() {
    let readme = include_str!("../../../README.md");
    let rows: Vec<&str> = readme.lines().filter(|l| l.starts_with("| `")).collect();
    let expected: Vec<String> = METHODS
        .iter()
        .map(|m| {
            let file = format!("{}.rs", m.name.replace("++", "_plus_plus").replace('-', "_"));
            let link = format!("[{file}](crates/whycam/src/method/{file})");
            format!("| `{}` | {} | {} | {} | {link} |", m.name, m.about, m.needs, m.paper)
        })
        .collect();
    assert_eq!(rows, expected);
}
