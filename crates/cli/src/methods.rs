//! `whycam methods`: the list of methods.

use std::process::ExitCode;

use serde::Serialize;
use whycam::METHODS;
use whycam::method::{Kind, MethodInfo, MethodOption, Space, Takes};

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
        false => methods.iter().map(Method::told).collect::<Vec<_>>().join("\n\n"),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

impl From<&'static MethodInfo> for Method {
    fn from(info: &'static MethodInfo) -> Method {
        let &MethodInfo { name, about, kind, space, options, needs, paper } = info;
        let choice = |option: &'static MethodOption| Choice { option, default: option.default() };
        let options = options.iter().map(choice).collect();
        Method { name, about, kind, compilable: kind.is_compilable(), space, options, needs, paper }
    }
}

impl Method {
    fn told(&self) -> String {
        let space = match self.space {
            Space::Layer => "one number for every cell of a layer",
            Space::Image => "one number for every channel of every pixel",
            Space::LayerAndImage => "one number for every channel of every pixel, and reads a layer",
        };
        let mut lines = vec![format!("{:<16}  {}", self.name, self.about)];
        let mut line = |text: String| lines.push(format!("{:<16}  {text}", ""));
        line(format!("gives {space}; needs {}", self.needs));
        for Choice { option, default } in &self.options {
            let MethodOption { name, takes, about } = option;
            let takes = match takes {
                Takes::Word(words) => words.join("|"),
                takes => format!("<{takes}>"),
            };
            line(format!("{}:{name}={takes}  {about} [default: {default}]", self.name));
        }
        line(self.paper.to_owned());
        lines.join("\n")
    }
}
