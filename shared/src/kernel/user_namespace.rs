//! User namespaces (user_namespaces(7)): who somebody is outside of one.

use std::os::unix::fs::MetadataExt as _;
use std::{fs, io};

/// The map of this process's own users, as seen from outside.
pub const OWN_USERS: &str = "/proc/self/uid_map";
/// Who is nobody: the kernel's own number for a user or group that a namespace does not know (/proc/sys/kernel/overflowuid).
const NOBODY: u32 = 65534;

/// The user and the group who are root in a process's user namespace, as this process's own namespace knows them. `None` where the
/// two are in the same one. Where nobody is root there, it is nobody.
///
/// # Errors
/// A process that is gone.
pub fn root_of_process(pid: u32) -> io::Result<Option<(u32, u32)>> {
    let namespace = |process: &str| {
        let found = fs::metadata(format!("/proc/{process}/ns/user"))?;
        Ok::<_, io::Error>((found.dev(), found.ino()))
    };
    if namespace(&pid.to_string())? == namespace("self")? {
        return Ok(None);
    }
    let root = |map: &str| Ok::<_, io::Error>(root_in(&format!("/proc/{pid}/{map}"))?.unwrap_or(NOBODY));
    Ok(Some((root("uid_map")?, root("gid_map")?)))
}

/// Who root is by a map of users or groups, `/proc/PID/uid_map` or `gid_map`; nothing where it is root as well, or where
/// nobody is.
///
/// # Errors
/// A process that is gone.
pub fn root_of(map: &str) -> io::Result<Option<u32>> {
    Ok(root_in(map)?.filter(|root| *root != 0))
}

fn root_in(map: &str) -> io::Result<Option<u32>> {
    Ok(fs::read_to_string(map)?.lines().find_map(parse))
}

/// A line is a range: its first id inside, its first id outside, its length.
fn parse(line: &str) -> Option<u32> {
    let mut numbers = line.split_whitespace();
    let (inside, outside) = (numbers.next()?, numbers.next()?.parse().ok()?);
    (inside == "0").then_some(outside)
}

/// Whom every user seems to be that a user namespace does not know (user_namespaces(7), proc_sys_kernel(5)).
#[must_use]
pub fn overflow_uid() -> u32 {
    const USUAL: u32 = 65534;
    let read = fs::read_to_string("/proc/sys/kernel/overflowuid");
    read.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(USUAL)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    #[test]
    fn root_is_who_a_map_says() {
        for (line, root) in [
            ("         0          0 4294967295", Some(0)),
            ("0 1000 1", Some(1000)),
            ("0 100000 65536", Some(100_000)),
            ("1 100000 65536", None),
            ("0", None),
            ("", None),
        ] {
            assert_eq!(parse(line), root, "{line}");
        }
    }

    struct Process(Child);

    impl Process {
        /// One in a user namespace of its own with these maps.
        fn with(users: &str, groups: &str) -> Self {
            #[expect(clippy::disallowed_methods, reason = "a process in another namespace is needed")]
            let process = Self(Command::new("unshare").args(["--user", "sleep", "60"]).spawn().unwrap());
            let own = fs::read_link("/proc/self/ns/user").unwrap();
            while fs::read_link(format!("/proc/{}/ns/user", process.0.id())).unwrap() == own {
                sleep(Duration::from_millis(1));
            }
            for (map, text) in [("uid_map", users), ("gid_map", groups)] {
                fs::write(format!("/proc/{}/{map}", process.0.id()), text).unwrap();
            }
            process
        }
    }

    impl Drop for Process {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    #[ignore = "needs root"]
    fn a_process_of_another_namespace_has_another_root() {
        assert_eq!(root_of_process(std::process::id()).unwrap(), None);
        for (users, groups, root) in [
            ("0 100000 1000", "0 200000 1000", (100_000, 200_000)),
            ("0 0 1", "0 0 1", (0, 0)),
            ("1 100000 1000", "0 100000 1000", (NOBODY, 100_000)),
            ("0 100000 1000", "5 200005 1000", (100_000, NOBODY)),
        ] {
            let process = Process::with(users, groups);
            assert_eq!(root_of_process(process.0.id()).unwrap(), Some(root), "{users}, {groups}");
        }
    }
}
