//! Errors that keep the exporter from running: one line for the user, and an exit code.

use std::fmt;

use ocinet_shared::one_line::one_line;

/// What failed, why, and what the user can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The verb and its object, as in `listen on :9477`.
    pub doing: String,
    /// The cause.
    pub cause: String,
    /// A hint for the user.
    pub hint: String,
    /// The exit code: 2 for what the user wrote, 5 for what the kernel refused, as ocinet's own.
    pub code: u8,
}

impl Error {
    /// A flag, or a file that a flag names.
    pub fn usage(doing: impl Into<String>, cause: impl fmt::Display, hint: impl Into<String>) -> Self {
        Self { doing: doing.into(), cause: cause.to_string(), hint: hint.into(), code: 2 }
    }

    /// Something that the kernel refused.
    pub fn kernel(doing: impl Into<String>, cause: impl fmt::Display, hint: impl Into<String>) -> Self {
        Self { doing: doing.into(), cause: cause.to_string(), hint: hint.into(), code: 5 }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { doing, cause, hint, .. } = self;
        f.write_str(&one_line(&format!("cannot {doing}: {cause}; hint: {hint}")))
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_whatever_it_quotes() {
        let error = Error::usage("read \"a\nb\"", "it is \x1b[31mred", "look at it");
        assert_eq!(error.to_string(), "cannot read \"a\\nb\": it is \\u{1b}[31mred; hint: look at it");
    }
}
