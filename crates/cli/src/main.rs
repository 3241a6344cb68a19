#![forbid(unsafe_code)]
//! `whycam`: asks an ONNX vision model why, and answers with a picture.

mod args;
mod compile;
mod completions;
mod console;
mod explain;
mod fail;
mod further;
mod inputs;
mod inspect;
mod layout;
mod methods;
mod npy;
mod out;
mod record;
mod targets;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Explain(args) => explain::run(&args),
        Command::Compile(args) => compile::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Methods(args) => methods::run(&args),
        Command::Completions { shell } => completions::run(shell),
    };
    done.unwrap_or_else(|fail| {
        console::complain(&format!("error: {fail}"));
        ExitCode::from(fail.code)
    })
}
