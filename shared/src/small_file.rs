//! Files that others write, opened without a wait and read whole, with bounds.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::libc::O_NONBLOCK;

/// What is said of anything else.
pub(crate) const NOT_ORDINARY: &str = "it is not an ordinary file";

/// Opens an ordinary file. Nothing is waited for: to open a FIFO would wait for somebody who writes to it. `flags` are further ones
/// of open(2).
///
/// # Errors
/// Anything else, and those of open(2).
pub(crate) fn open_with(path: &Path, options: &mut OpenOptions, flags: i32) -> io::Result<(File, Metadata)> {
    let file = options.custom_flags(O_NONBLOCK | flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(io::Error::other(NOT_ORDINARY)) }
}

/// Reads an ordinary file.
///
/// # Errors
/// Anything else, a file of more than `limit` bytes, and those of open(2) and read(2).
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let (file, _) = open_with(path, OpenOptions::new().read(true), 0)?;
    let mut bytes = Vec::new();
    if file.take(limit + 1).read_to_end(&mut bytes)? as u64 > limit {
        return Err(io::Error::other(format!("it is larger than {} KiB", limit >> 10)));
    }
    Ok(bytes)
}
