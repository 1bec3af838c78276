//! Names of network interfaces.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name, without the terminating NUL (`IFNAMSIZ` of linux/if.h is 16).
pub const MAX_LENGTH: usize = 15;

/// Names that mean something else somewhere in the kernel: `all` and `default` are directories of
/// /proc/sys/net/ipv4/conf, `bonding_masters` is a file of /sys/class/net.
const RESERVED: [&str; 4] = ["lo", "all", "default", "bonding_masters"];

/// A name that the kernel accepts for an interface and that nothing else gives a meaning to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(String);

/// Why a text cannot name an interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IfNameError {
    /// No character at all.
    #[error("an interface name cannot be empty")]
    Empty,
    /// More than [`MAX_LENGTH`] bytes.
    #[error("\"{0}\" is longer than the 15 bytes that the kernel allows")]
    TooLong(String),
    /// A character that the kernel, nftables or a path would read as something else.
    #[error("\"{0}\" has a character other than letters, digits, \"-\", \"_\" and \".\"")]
    Character(String),
    /// A name with a meaning of its own.
    #[error("\"{0}\" is a reserved name")]
    Reserved(String),
}

impl IfName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IfName {
    type Err = IfNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(IfNameError::Empty);
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            return Err(IfNameError::Character(text.escape_debug().to_string()));
        }
        if text.len() > MAX_LENGTH {
            return Err(IfNameError::TooLong(text.to_owned()));
        }
        if text == "." || text == ".." || RESERVED.contains(&text) {
            return Err(IfNameError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for IfName {
    type Error = IfNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<IfName> for String {
    fn from(name: IfName) -> Self {
        name.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_the_kernel_or_nft_would_misread() {
        for bad in [
            "",
            ".",
            "..",
            "lo",
            "all",
            "default",
            "bonding_masters",
            "eth%d",
            "br*",
            "a b",
            "a/b",
            "a:b",
            "é",
            "abcdefghijklmnop",
            "a\nb",
            "a\0b",
        ] {
            assert!(bad.parse::<IfName>().is_err(), "{bad:?}");
        }
        for good in ["eth0", "abcdefghijklmno", "oc-web", "eth0.100", "wan_1"] {
            assert!(good.parse::<IfName>().is_ok(), "{good}");
        }
    }
}
