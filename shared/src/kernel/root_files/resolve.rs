//! Opens a path as openat2(2) does, without links of /proc.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

/// Opens a path below a folder. `resolve` says where links may lead.
///
/// # Errors
/// Those of openat2(2).
pub(super) fn resolve(base: &impl AsFd, path: &Path, flags: OFlag, resolve: ResolveFlag) -> io::Result<File> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(if flags.contains(OFlag::O_CREAT) { Mode::from_bits_truncate(0o644) } else { Mode::empty() })
        .resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    loop {
        match openat2(base, path, how) {
            Ok(descriptor) => return Ok(File::from(descriptor)),
            // A rename elsewhere in the tree makes the kernel unsure whether a ".." stayed inside.
            Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
