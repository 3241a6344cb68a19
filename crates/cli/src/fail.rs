//! Why a command ends early, or an input fails.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

/// What went wrong, what to do about it, and the exit code that it deserves.
#[derive(Debug)]
pub struct Fail {
    /// [`Fail::INPUT`] or [`Fail::USAGE`].
    pub code: u8,
    message: String,
}

impl Fail {
    /// Exit code when a file is broken or could not be written.
    pub const INPUT: u8 = 1;
    /// Exit code when the command line asks for what there is not.
    pub const USAGE: u8 = 2;

    /// Exit code after Ctrl-C, as shells give it.
    pub const INTERRUPTED: u8 = 130;

    /// A wrong command line.
    pub fn usage(what: impl fmt::Display, hint: impl fmt::Display) -> Fail {
        Fail { code: Fail::USAGE, message: format!("{what}\nhint: {hint}") }
    }

    /// A broken file.
    pub fn input(what: impl fmt::Display, hint: impl fmt::Display) -> Fail {
        Fail { code: Fail::INPUT, message: format!("{what}\nhint: {hint}") }
    }

    /// A file that cannot be read.
    pub fn read(path: &Path, error: &io::Error) -> Fail {
        Fail::input(format!("cannot read {}: {error}", path.display()), "check the path and its permissions")
    }

    /// A file that cannot be written.
    pub fn write(path: &Path, error: &io::Error) -> Fail {
        let what = format!("cannot write {}: {error}", path.display());
        Fail::input(what, "check the folder's permissions and free space, or give another --out")
    }

    /// Whether a file that the command line names can be read.
    ///
    /// # Errors
    /// When it cannot.
    pub fn unless_readable(path: &Path) -> Result<(), Fail> {
        File::open(path).map(drop).map_err(|e| Fail::read(path, &e).into_usage())
    }

    /// The same as a wrong command line: the file is named there.
    pub fn into_usage(self) -> Fail {
        Fail { code: Fail::USAGE, ..self }
    }

    /// The same, about a place that the message does not name.
    pub fn at(self, place: impl fmt::Display) -> Fail {
        Fail { message: format!("{place}: {}", self.message), ..self }
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<whycam::Error> for Fail {
    /// What a model has not, or cannot do, is the command line's fault; a broken file is not.
    fn from(error: whycam::Error) -> Fail {
        use whycam::graph::Error as Graph;
        let code = match &error {
            whycam::Error::Graph(
                Graph::Name { .. } | Graph::Unfit { .. } | Graph::NotDifferentiable { .. },
            )
            | whycam::Error::Method(_)
            | whycam::Error::Prep(_)
            | whycam::Error::Ask { .. } => Fail::USAGE,
            _ => Fail::INPUT,
        };
        Fail { code, message: error.to_string() }
    }
}

impl From<whycam::graph::Error> for Fail {
    fn from(error: whycam::graph::Error) -> Fail {
        whycam::Error::from(error).into()
    }
}

impl From<whycam::image::ImageError> for Fail {
    fn from(error: whycam::image::ImageError) -> Fail {
        whycam::Error::from(error).into()
    }
}
