//! What the user sees: results on standard output, everything else on standard error.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use whycam::Progress;

use crate::fail::Fail;

/// Prints, as `--quiet` and `--json` allow.
pub struct Console {
    quiet: bool,
    json: bool,
    /// Whether there is a terminal to see progress.
    watched: bool,
    bars: MultiProgress,
    images: ProgressBar,
    copies: ProgressBar,
}

impl Console {
    /// A console without a progress bar.
    pub fn new(quiet: bool, json: bool) -> Console {
        Console {
            quiet,
            json,
            watched: !quiet && io::stderr().is_terminal(),
            bars: MultiProgress::new(),
            images: ProgressBar::hidden(),
            copies: ProgressBar::hidden(),
        }
    }

    /// Shows a progress bar over so many images, if there are several and a terminal to see it.
    pub fn start(&mut self, images: usize) {
        if images > 1 && self.watched {
            self.images = self.bars.add(bar("{bar:32} {pos}/{len}, {per_sec}, {eta} left"));
            self.images.set_length(images as u64);
        }
        if self.watched {
            self.copies = self.bars.add(bar("{bar:32} {pos}/{len}, {per_sec}, {eta} left  {msg}"));
        }
    }

    /// How far a method is that runs an image many times.
    pub fn progress(&self, progress: Progress<'_>) {
        if progress.done < progress.of {
            if self.copies.position() > progress.done as u64 || self.copies.is_finished() {
                self.copies.reset();
            }
            let how = progress.how.map(|how| format!(": {how}")).unwrap_or_default();
            self.copies.set_message(format!("{}{how}", visible(progress.method)));
            self.copies.set_length(progress.of as u64);
            self.copies.set_position(progress.done as u64);
        } else {
            self.copies.finish_and_clear();
        }
    }

    /// There are so many images more than was said.
    pub fn expect(&self, more: usize) {
        self.images.inc_length(more as u64);
    }

    /// One image is done.
    pub fn step(&self) {
        self.images.inc(1);
    }

    /// A progress bar over the steps of one image, where a terminal is there to see it.
    pub fn steps(&self, title: &str) -> ProgressBar {
        if self.quiet || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{msg} {bar:32} {pos}/{len}, {eta} left");
        let bar = ProgressBar::new(0).with_message(visible(title));
        bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    /// All images are done.
    pub fn end(&self) {
        self.images.finish_and_clear();
        self.copies.finish_and_clear();
    }

    /// Something that was asked for.
    ///
    /// # Errors
    /// As [`print()`].
    pub fn result(&self, text: &str) -> Result<(), Fail> {
        if self.quiet || self.json { Ok(()) } else { self.bars.suspend(|| print(&visible(text))) }
    }

    /// A line of JSON, with `--json`.
    ///
    /// # Errors
    /// As [`print()`].
    pub fn json(&self, text: &str) -> Result<(), Fail> {
        if self.json { self.bars.suspend(|| print(text)) } else { Ok(()) }
    }

    /// Something worth knowing.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.bars.suspend(|| complain(text));
        }
    }

    /// Something that went wrong.
    pub fn error(&self, fail: &Fail) {
        self.bars.suspend(|| complain(&format!("error: {fail}")));
    }
}

/// A progress bar of this form.
fn bar(form: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
    let per_sec = |state: &ProgressState, out: &mut dyn fmt::Write| {
        let _ = write!(out, "{:.1} a second", state.per_sec());
    };
    ProgressBar::no_length().with_style(style.with_key("per_sec", per_sec))
}

/// Prints a line on standard output; nobody reading it any more is no error.
///
/// # Errors
/// When it cannot be written for another reason.
pub fn print(text: &str) -> Result<(), Fail> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Fail::input(format!("cannot write to standard output: {e}"), "check where it leads"))
        }
        _ => Ok(()),
    }
}

/// Prints a line on standard error, where there is nobody to tell when that fails.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{}", visible(text));
}

/// Names and labels come from files of strangers: control characters must not reach the terminal.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}
