//! Container ids and network names: texts that become file names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest id: a file name may have 255 bytes, and `.json` comes behind it.
pub const MAX_LENGTH: usize = 200;

/// A container's id, or a network's name, that is safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

/// Why a text cannot be a container's id or a network's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No character at all.
    #[error("it is empty")]
    Empty,
    /// More than [`MAX_LENGTH`] bytes.
    #[error("it is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// A character that could lead a path elsewhere, or a leading dot.
    #[error(
        "\"{0}\" must begin with a letter or digit and hold only letters, digits, \"-\", \"_\", \".\" and \"+\""
    )]
    Character(String),
}

impl ContainerId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, cut to 12 characters where an engine made it up from 64 hexadecimal digits.
    #[must_use]
    pub fn short(&self) -> &str {
        let is_made_up = self.0.len() == 64 && self.0.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_made_up { self.0.get(..12).unwrap_or(&self.0) } else { &self.0 }
    }
}

impl FromStr for ContainerId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let first = text.bytes().next().ok_or(NameError::Empty)?;
        if text.len() > MAX_LENGTH {
            return Err(NameError::TooLong);
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+');
        if !first.is_ascii_alphanumeric() || !text.bytes().all(allowed) {
            return Err(NameError::Character(text.escape_debug().to_string()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ContainerId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_would_lead_a_path_elsewhere() {
        let long = "a".repeat(MAX_LENGTH + 1);
        for bad in ["", ".", "..", "../x", "a/b", ".hidden", "a b", "a\0", "-a", "é", long.as_str()] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad:?}");
        }
        for good in ["web", "0a1b", "a.b-c_d+e"] {
            assert!(good.parse::<ContainerId>().is_ok(), "{good}");
        }
    }
}
