//! Files inside a container's root, before its process runs. Whatever the image's symbolic links say, nothing outside
//! that root is read or written (openat2(2), `RESOLVE_IN_ROOT`).

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};

/// The largest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// A container's root.
#[derive(Debug)]
pub struct RootFiles {
    root: File,
}

impl RootFiles {
    /// Opens the root of a container that has its mounts but does not run yet. `path` is where its bundle says that the
    /// root is: at createRuntime, runc and crun have mounted everything there in the container's own mount namespace,
    /// and make it the root only afterwards.
    ///
    /// # Errors
    /// A process or a root that is not there.
    pub fn open(pid: u32, path: &Path) -> io::Result<Self> {
        let inside = format!("/proc/{pid}/root");
        let namespace = OpenOptions::new().read(true).custom_flags(path_only()).open(&inside)?;
        let (has, wanted) = (fs::metadata(&inside)?, fs::metadata(path)?);
        if (has.dev(), has.ino()) == (wanted.dev(), wanted.ino()) {
            return Ok(Self { root: namespace });
        }
        // An absolute link on the way would lead out of the container's mount namespace: it is followed here.
        let canonical = fs::canonicalize(path)?;
        let below = canonical.strip_prefix("/").unwrap_or(&canonical);
        let directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
        Ok(Self { root: open_in(namespace.as_fd(), below, directory)? })
    }

    /// The directory itself as the root.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn at(directory: &Path) -> io::Result<Self> {
        let root = OpenOptions::new().read(true).custom_flags(path_only()).open(directory)?;
        Ok(Self { root })
    }

    /// Reads a file; `None` where there is none.
    ///
    /// # Errors
    /// Anything that is no ordinary file of UTF-8 text of at most 1 MiB.
    pub fn read(&self, path: &str) -> io::Result<Option<String>> {
        let Some(found) = self.find(path)? else { return Ok(None) };
        let mut text = String::new();
        let read = File::open(again(&found))?.take(MAX_FILE + 1).read_to_string(&mut text)?;
        if read as u64 > MAX_FILE {
            return Err(io::Error::other("it is larger than 1 MiB"));
        }
        Ok(Some(text))
    }

    /// Writes a file in place, because it may be a mount of its own; one that is not there is made.
    ///
    /// # Errors
    /// Anything that is no ordinary file, and what open(2) and write(2) say.
    pub fn write(&self, path: &str, content: &str) -> io::Result<()> {
        let mut file = match self.find(path)? {
            Some(found) => OpenOptions::new().write(true).truncate(true).open(again(&found))?,
            None => {
                self.make_folder(path)?;
                let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
                let made = ordinary(open_in(self.root.as_fd(), Path::new(path), flags)?)?;
                // The container's users are not the administrator's, whose umask this would go by.
                made.set_permissions(Permissions::from_mode(0o644))?;
                made
            }
        };
        file.write_all(content.as_bytes())
    }

    /// An image of nothing but a program has no `etc`. mkdirat(2) follows no link in the last part of a path, which is the
    /// first here, and a link that is there stays what it is.
    fn make_folder(&self, path: &str) -> io::Result<()> {
        let Some((folder, _)) = path.split_once('/') else { return Ok(()) };
        match mkdirat(&self.root, folder, Mode::from_bits_truncate(0o755)) {
            Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
            Ok(()) => {
                let made = open_in(self.root.as_fd(), Path::new(folder), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
                fs::set_permissions(again(&made), Permissions::from_mode(0o755))
            }
        }
    }

    /// Looks at what is there without opening it: to open a FIFO waits for somebody, and to open a device may do more.
    fn find(&self, path: &str) -> io::Result<Option<File>> {
        match open_in(self.root.as_fd(), Path::new(path), OFlag::O_PATH) {
            Ok(found) => ordinary(found).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn path_only() -> i32 {
    (OFlag::O_PATH | OFlag::O_DIRECTORY).bits()
}

fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> io::Result<File> {
    let mut how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    if flags.contains(OFlag::O_CREAT) {
        how = how.mode(Mode::from_bits_truncate(0o644));
    }
    loop {
        match openat2(root, path, how) {
            Ok(descriptor) => return Ok(File::from(descriptor)),
            // A rename elsewhere in the tree makes the kernel unsure whether a ".." stayed inside.
            Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn ordinary(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not an ordinary file")) }
}

/// A path by which a file that was only looked at is opened: the same file, whatever its name means by now.
fn again(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ocinet-root-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("root/etc")).unwrap();
            fs::write(path.join("outside"), "secret").unwrap();
            Self(path)
        }

        fn root(&self) -> RootFiles {
            RootFiles::at(&self.0.join("root")).unwrap()
        }

        fn link(&self, name: &str, to: &str) {
            symlink(to, self.0.join("root").join(name)).unwrap();
        }

        fn assert_outside_is_untouched(&self) {
            assert_eq!(fs::read_to_string(self.0.join("outside")).unwrap(), "secret");
            assert_eq!(fs::read_dir(&self.0).unwrap().count(), 2);
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_is_made_read_and_replaced() {
        let tree = Tree::new("plain");
        let root = tree.root();
        assert_eq!(root.read("etc/hosts").unwrap(), None);
        root.write("etc/hosts", "a longer text\n").unwrap();
        root.write("etc/hosts", "short\n").unwrap();
        assert_eq!(root.read("etc/hosts").unwrap().unwrap(), "short\n");
        root.write("new/hosts", "made\n").unwrap();
        assert_eq!(root.read("new/hosts").unwrap().unwrap(), "made\n");
        assert_eq!(root.write("new/deeper/hosts", "x").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn links_lead_nowhere_but_inside() {
        let tree = Tree::new("links");
        let outside = tree.0.join("outside");
        tree.link("etc/absolute", outside.to_str().unwrap());
        tree.link("etc/relative", "../../outside");
        tree.link("etc/proc", "/proc/self/root/etc/hostname");
        tree.link("etc/new", "/etc/made");
        tree.link("all", "/");
        let root = tree.root();
        assert_eq!(root.read("etc/absolute").unwrap(), None);
        // "outside" of the root is the root itself: the file is made there.
        root.write("etc/relative", "x").unwrap();
        assert_eq!(fs::read_to_string(tree.0.join("root/outside")).unwrap(), "x");
        assert!(root.write("etc/absolute", "x").is_err());
        assert!(root.write("etc/proc", "x").is_err());
        root.write("etc/new", "x").unwrap();
        assert_eq!(fs::read_to_string(tree.0.join("root/etc/made")).unwrap(), "x");
        root.write("all/all/etc/hosts", "x").unwrap();
        assert_eq!(fs::read_to_string(tree.0.join("root/etc/hosts")).unwrap(), "x");
        tree.assert_outside_is_untouched();
    }

    #[test]
    fn what_is_no_ordinary_file_is_refused_at_once() {
        let tree = Tree::new("special");
        fs::create_dir(tree.0.join("root/etc/folder")).unwrap();
        nix::unistd::mkfifo(&tree.0.join("root/etc/fifo"), Mode::from_bits_truncate(0o600)).unwrap();
        let root = tree.root();
        for name in ["etc/folder", "etc/fifo"] {
            assert!(root.read(name).unwrap_err().to_string().contains("not an ordinary file"), "{name}");
            assert!(
                root.write(name, "x").unwrap_err().to_string().contains("not an ordinary file"),
                "{name}"
            );
        }
        tree.link("etc/loop", "/etc/loop");
        assert!(root.write("etc/loop", "x").is_err());
        tree.assert_outside_is_untouched();
    }
}
