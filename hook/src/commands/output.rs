//! What the commands print.

use std::fmt;
use std::io::Write as _;

use ocinet_shared::one_line::one_line;

use crate::error::{Class, Error};

/// Prints one line, which may quote a name that a user chose.
pub(super) fn print_line(line: impl fmt::Display) -> Result<(), Error> {
    print(&(one_line(&line.to_string()) + "\n"))
}

/// Prints to standard output; a reader that goes away is not an error of ours.
pub(super) fn print(text: &str) -> Result<(), Error> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::new(
            Class::Usage,
            "print to standard output",
            error,
            "make room where it is written to",
        )),
        _ => Ok(()),
    }
}
