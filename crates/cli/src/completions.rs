//! `whycam completions`: scripts for shells.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::console::print;
use crate::fail::Fail;

/// Prints the script.
///
/// # Errors
/// When it cannot be printed.
pub fn run(shell: Shell) -> Result<ExitCode, Fail> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "whycam", &mut script);
    print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
