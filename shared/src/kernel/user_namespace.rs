//! User namespaces (user_namespaces(7)): who somebody is outside of one.

use std::{fs, io};

/// The map of this process's own users, as seen from outside.
pub const OWN_USERS: &str = "/proc/self/uid_map";

/// Who root is by a map of users or groups, `/proc/PID/uid_map` or `gid_map`; nothing where it is root as well, or where
/// nobody is.
///
/// # Errors
/// A process that is gone.
pub fn root_of(map: &str) -> io::Result<Option<u32>> {
    Ok(fs::read_to_string(map)?.lines().find_map(parse))
}

/// A line is a range: its first id inside, its first id outside, its length.
fn parse(line: &str) -> Option<u32> {
    let mut numbers = line.split_whitespace();
    let (inside, outside) = (numbers.next()?, numbers.next()?.parse().ok()?);
    (inside == "0" && outside != 0).then_some(outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_somebody_else_where_a_map_says_so() {
        for (line, root) in [
            ("         0          0 4294967295", None),
            ("0 1000 1", Some(1000)),
            ("0 100000 65536", Some(100_000)),
            ("1 100000 65536", None),
            ("0", None),
            ("", None),
        ] {
            assert_eq!(parse(line), root, "{line}");
        }
    }
}
