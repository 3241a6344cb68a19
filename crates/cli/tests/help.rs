//! What the program says about itself.

mod common;

use common::{folder, stdout, whycam};
use snapbox::{file, str};

#[test]
fn help_of_every_command() {
    let at = folder();
    whycam(at.path(), &["--help"]).success().stdout_eq(file!["snapshots/help.txt"]);
    whycam(at.path(), &["explain", "--help"]).success().stdout_eq(file!["snapshots/explain.txt"]);
    whycam(at.path(), &["explain", "-h"]).success().stdout_eq(file!["snapshots/explain_short.txt"]);
    whycam(at.path(), &["compile", "--help"]).success().stdout_eq(file!["snapshots/compile.txt"]);
    whycam(at.path(), &["inspect", "--help"]).success().stdout_eq(file!["snapshots/inspect.txt"]);
}

#[test]
fn the_version_is_the_crates() {
    let at = folder();
    assert_eq!(
        stdout(&whycam(at.path(), &["--version"]).success()),
        format!("whycam {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn without_a_command_the_code_is_2() {
    whycam(folder().path(), &[]).code(2);
    whycam(folder().path(), &["explain"]).code(2).stderr_eq(str![[r#"
error: the following required arguments were not provided:
  <INPUT>...

Usage: whycam explain <INPUT>...

For more information, try '--help'.

"#]]);
}

#[test]
fn the_list_of_methods() {
    let at = folder();
    whycam(at.path(), &["methods"]).success().stdout_eq(file!["snapshots/methods.txt"]);
    let list: serde_json::Value =
        serde_json::from_str(&stdout(&whycam(at.path(), &["methods", "--json"]).success())).expect("JSON");
    let names: Vec<&str> =
        list.as_array().expect("a list").iter().filter_map(|m| m["name"].as_str()).collect();
    assert_eq!(names, whycam::METHODS.iter().map(|m| m.name).collect::<Vec<_>>());
    assert_eq!(list[0]["options"][0]["name"], "relu");
    assert_eq!(list[0]["options"][0]["values"], serde_json::json!(["on", "off"]));
    assert_eq!(list[0]["options"][0]["default"], "on");
    for key in ["about", "space", "needs", "paper"] {
        assert!(list[1][key].is_string(), "{key}");
    }
}

#[test]
fn completions_know_methods_and_options() {
    let at = folder();
    for shell in ["bash", "fish", "zsh", "powershell", "elvish"] {
        let script = stdout(&whycam(at.path(), &["completions", shell]).success());
        assert!(script.contains("opacity"), "{shell}");
        // The scripts of the other two do not complete values.
        if ["bash", "fish", "zsh"].contains(&shell) {
            assert!(script.contains("guided-grad-cam") && script.contains("coolwarm"), "{shell}");
        }
    }
}
