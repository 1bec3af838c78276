//! Which file systems hold ordinary files: those that are made to keep what is written to them, and for whom a write is
//! nothing else. It is a list of what is allowed, so that a kernel's next proc or cgroup is not.

use std::io;
use std::os::fd::AsFd;

use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, FUSE_SUPER_MAGIC, FsType, NFS_SUPER_MAGIC,
    OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs,
};

/// bcachefs has it in fs/bcachefs/bcachefs_format.h.
const BCACHEFS: FsType = FsType(0xca45_1a4e);
/// ZFS has it in module/os/linux/zfs/zfs_vfsops.c.
const ZFS: FsType = FsType(0x2fc1_2fc1);
/// linux/magic.h: `V9FS_MAGIC`.
const V9FS: FsType = FsType(0x0102_1997);
/// linux/magic.h: `RAMFS_MAGIC`.
const RAMFS: FsType = FsType(0x8584_58f6);
/// linux/magic.h: `SQUASHFS_MAGIC`.
const SQUASHFS: FsType = FsType(0x7371_7368);
/// linux/magic.h: `EROFS_SUPER_MAGIC_V1`.
const EROFS: FsType = FsType(0xe0f5_e1e2);

/// What a container's root is kept on.
const ORDINARY: [FsType; 14] = [
    // Disks; ext2 and ext3 have ext4's number.
    EXT4_SUPER_MAGIC,
    XFS_SUPER_MAGIC,
    BTRFS_SUPER_MAGIC,
    F2FS_SUPER_MAGIC,
    BCACHEFS,
    ZFS,
    // The layers of an image, one over the other.
    OVERLAYFS_SUPER_MAGIC,
    // The same for users who are not root (fuse-overlayfs), and a virtual machine's share of its host's (virtiofs).
    FUSE_SUPER_MAGIC,
    V9FS,
    // Roots in memory, and mounts of a container's own.
    TMPFS_MAGIC,
    RAMFS,
    // Roots by network, as of machines without a disk.
    NFS_SUPER_MAGIC,
    // Images that are read where they are: a write is refused by the kernel itself.
    SQUASHFS,
    EROFS,
];

/// # Errors
/// A file on one that is not in the list.
pub(super) fn check(file: &impl AsFd) -> io::Result<()> {
    let is = fstatfs(file)?.filesystem_type();
    if ORDINARY.contains(&is) {
        return Ok(());
    }
    Err(io::Error::other(format!("it is on a file system that is not known to hold ordinary files ({is:?})")))
}

/// # Errors
/// A file on anything but a tmpfs.
pub(super) fn check_tmpfs(file: &impl AsFd) -> io::Result<()> {
    if fstatfs(file)?.filesystem_type() == TMPFS_MAGIC {
        return Ok(());
    }
    Err(io::Error::other("it is not the tmpfs that config.json names which is mounted there"))
}
