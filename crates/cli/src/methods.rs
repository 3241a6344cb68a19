//! `whycam methods`: the list of methods.

use std::process::ExitCode;

use serde::Serialize;
use whycam::METHODS;
use whycam::method::{COMMON, Kind, MethodInfo, MethodOption, Space, Takes};

use crate::args;
use crate::console::print;
use crate::fail::Fail;

/// A method as the JSON has it.
#[derive(Serialize)]
struct Method {
    name: &'static str,
    about: &'static str,
    kind: Kind,
    compilable: bool,
    space: Space,
    options: Vec<Choice>,
    needs: &'static str,
    paper: &'static str,
}

#[derive(Serialize)]
struct Choice {
    #[serde(flatten)]
    option: &'static MethodOption,
    default: String,
}

/// Prints the list.
///
/// # Errors
/// When it cannot be printed.
pub fn run(args: &args::Methods) -> Result<ExitCode, Fail> {
    let methods: Vec<Method> = METHODS.iter().map(|info| Method::from(*info)).collect();
    let text = match args.json {
        true => serde_json::to_string_pretty(&methods)
            .map_err(|e| Fail::input(format!("the methods are no JSON: {e}"), "please report this"))?,
        false => {
            let every =
                COMMON.iter().map(|option| indented("every method", &[told("METHOD", &Choice::of(option))]));
            methods.iter().map(Method::told).chain(every).collect::<Vec<_>>().join("\n\n")
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

impl From<&'static MethodInfo> for Method {
    fn from(info: &'static MethodInfo) -> Method {
        let &MethodInfo { name, about, kind, space, options, needs, paper } = info;
        let options = options.iter().chain(COMMON).map(Choice::of).collect();
        Method { name, about, kind, compilable: kind.is_compilable(), space, options, needs, paper }
    }
}

impl Method {
    fn told(&self) -> String {
        let space = match self.space {
            Space::Layer => "one number for every cell of a layer",
            Space::Pixels => "one number for every pixel",
            Space::Image => "one number for every channel of every pixel",
            Space::LayerAndImage => "one number for every channel of every pixel, and reads a layer",
        };
        let mut lines = vec![self.about.to_owned(), format!("gives {space}; needs {}", self.needs)];
        let own = self.options.len() - COMMON.len();
        lines.extend(self.options.iter().take(own).map(|choice| told(self.name, choice)));
        lines.push(self.paper.to_owned());
        indented(self.name, &lines)
    }
}

/// Lines beside a name, below each other.
fn indented(name: &str, lines: &[String]) -> String {
    let width = METHODS.iter().map(|m| m.name.len()).max().unwrap_or(0);
    let line = |(i, line): (usize, &String)| format!("{:<width$}  {line}", if i == 0 { name } else { "" });
    lines.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

impl Choice {
    fn of(option: &'static MethodOption) -> Choice {
        Choice { option, default: option.default() }
    }
}

/// An option, what it takes and what it changes, in a line.
fn told(method: &str, Choice { option, default }: &Choice) -> String {
    let MethodOption { name, takes, about } = option;
    let takes = match takes {
        Takes::Word(words) => words.join("|"),
        takes => format!("<{takes}>"),
    };
    format!("{method}:{name}={takes}  {about} [default: {default}]")
}
