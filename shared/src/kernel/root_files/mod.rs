//! Files inside a container's root, before its process runs; those that its engine made for it, also afterwards.
//!
//! The image decides what is there, and a running container may change it meanwhile on a volume that both have. So:
//!
//! - Nothing outside the root is reached, whatever links say (openat2(2), `RESOLVE_IN_ROOT`).
//! - No other mount is entered (`RESOLVE_NO_XDEV`), but for what the bundle says the runtime mounted for this purpose.
//! - A file is found once, as an `O_PATH` descriptor; it is checked, read and written by that descriptor alone.
//! - Only ordinary files of ordinary file systems are opened, and nothing waits (`O_NONBLOCK`).
//! - The host's own files are not written: a container may have the host's root, or its files by a mount.
//! - All of it is done by a thread with the rights of the container's root. Landlock restricts it to the file that it found,
//!   or to the folder where it makes one.
//!
//! `file.rs` is a file once it is found, `file_system.rs` says which file systems are ordinary, `file_thread.rs` is
//! the thread, `resolve.rs` opens a path.

mod file;
mod file_system;
mod file_thread;
mod resolve;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag, readlinkat};
use nix::sys::stat::{Mode, mkdirat};

use super::landlock;
use file::{Identity, RootFile};
use file_thread::Rights;
use resolve::resolve;

/// How many links to a file that is not there are followed; the kernel follows 40 to one that is.
const MAX_LINKS: usize = 8;
/// The files of the host's that are never a container's, whoever says so.
const HOST_FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];
/// A folder or a file that is only looked at.
const FOLDER: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);

/// What a container's bundle says is mounted where a file is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounted {
    /// Whether the folder that the file is in is a tmpfs of the container's own.
    pub folder_is_tmpfs: bool,
    /// The host's file that is mounted there, which the container's engine made for it.
    pub file: Option<PathBuf>,
}

/// A container's root.
#[derive(Debug)]
pub struct RootFiles {
    root: File,
    rights: Rights,
    /// Whether it is the host's own root, where nothing is the container's but what is mounted over it.
    is_hosts: bool,
    /// The host's own files, as far as they are there.
    hosts: [Option<Identity>; 2],
}

impl RootFiles {
    /// Opens the root of a container that has its mounts but does not run yet. `path` is where its bundle says that the
    /// root is: at createRuntime, runc and crun have mounted everything there in the container's own mount namespace,
    /// and make it the root only afterwards.
    ///
    /// # Errors
    /// A process or a root that is not there.
    pub fn open(pid: u32, path: &Path) -> io::Result<Self> {
        let rights = Rights::of_root_in(pid)?;
        let namespace = open_folder(Path::new(&format!("/proc/{pid}/root")))?;
        if Identity::from(&namespace.metadata()?) == Identity::of(path)? {
            return Self::new(namespace, rights);
        }
        // An absolute link on the way would lead out of the container's mount namespace: it is followed here.
        let canonical = fs::canonicalize(path)?;
        let below = canonical.strip_prefix("/").unwrap_or(&canonical);
        Self::new(resolve(&namespace, below, FOLDER, ResolveFlag::RESOLVE_IN_ROOT)?, rights)
    }

    /// Opens the root of a container that runs. Its process is not to be trusted any more: the root must be the directory that
    /// the bundle names, and the rights are read after it, because a process gets into ever lesser user namespaces.
    ///
    /// # Errors
    /// A process or a root that is not there, and a process that has another root by now.
    pub fn of_running(pid: u32, path: &Path) -> io::Result<Self> {
        let root = open_folder(Path::new(&format!("/proc/{pid}/root")))?;
        if Identity::from(&root.metadata()?) != Identity::of(path)? {
            return Err(io::Error::other("the container's process has another root by now"));
        }
        Self::new(root, Rights::of_root_in(pid)?)
    }

    /// The directory itself as the root, with the rights that this process has.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn at(directory: &Path) -> io::Result<Self> {
        Self::new(open_folder(directory)?, Rights::default())
    }

    fn new(root: File, rights: Rights) -> io::Result<Self> {
        let is_hosts = Identity::from(&root.metadata()?) == Identity::of(Path::new("/"))?;
        let hosts = HOST_FILES.map(|path| Identity::of(Path::new(path)).ok());
        Ok(Self { root, rights, is_hosts, hosts })
    }

    /// Gives a file the text that `new` makes of its old one; one that is not there is made. `None` leaves all as it is.
    ///
    /// # Errors
    /// A file of the host's, anything but an ordinary file of the container's own, of UTF-8 text of at most 1 MiB, and what open(2) and
    /// write(2) say.
    pub fn rewrite(
        &self,
        path: &str,
        mounted: &Mounted,
        new: impl FnOnce(Option<&str>) -> Option<String> + Send,
    ) -> io::Result<()> {
        // With the hook's own rights: the engine's folders are not the container's.
        let mounted_file = mounted.file.as_deref().map(open_host_file).transpose()?;
        let is_hosts = self.is_hosts && !mounted.folder_is_tmpfs;
        if is_hosts && mounted_file.is_none() {
            return Err(hosts_own_root());
        }
        self.rights.in_thread(|| {
            file_system::check(&self.root)?;
            let entered;
            let (base, path) = match path.split_once('/') {
                Some((folder, name)) if mounted.folder_is_tmpfs => {
                    entered = self.enter(folder)?;
                    (&entered, name)
                }
                _ => (&self.root, path),
            };
            match find(base, path, mounted_file)? {
                Some(file) if self.hosts.contains(&Some(file.identity()?)) => {
                    Err(io::Error::other("it is the host's own"))
                }
                None if is_hosts => Err(hosts_own_root()),
                Some(file) => file.rewrite(|text| new(Some(text))),
                None => new(None).map_or(Ok(()), |text| create(base, path, &text)),
            }
        })
    }

    /// A folder of the root that a tmpfs of the container's own is mounted on.
    fn enter(&self, folder: &str) -> io::Result<File> {
        let flags = FOLDER | OFlag::O_NOFOLLOW;
        let entered = resolve(&self.root, Path::new(folder), flags, ResolveFlag::RESOLVE_BENEATH)?;
        file_system::check_tmpfs(&entered)?;
        let hosts = Identity::of(&Path::new("/").join(folder)).ok();
        if hosts == Some(Identity::from(&entered.metadata()?)) {
            return Err(hosts_own_root());
        }
        Ok(entered)
    }
}

fn hosts_own_root() -> io::Error {
    io::Error::other("the container's root is the host's own")
}

/// Looks at what is there without opening it: to open a FIFO waits for somebody, and to open a device may do more.
fn find(base: &File, path: &str, mounted: Option<File>) -> io::Result<Option<RootFile>> {
    let found = match &mounted {
        // The last part alone may lead to another mount, and it is no link then.
        Some(_) => {
            let (folder, name) = split(path);
            let folder = inside(base, Path::new(folder), FOLDER)?;
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
            resolve(&folder, Path::new(name), flags, ResolveFlag::RESOLVE_BENEATH)
        }
        None => inside(base, Path::new(path), OFlag::O_PATH),
    };
    match found {
        Ok(found) => RootFile::new(found, mounted).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file of the host, by a path that no link is on: of those, the container may have made some since.
fn open_host_file(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    resolve(&nix::fcntl::AT_FDCWD, path, flags, ResolveFlag::RESOLVE_NO_SYMLINKS)
}

/// Makes a file that is not there, where the links that lead to it say. It is never one that somebody else made
/// meanwhile.
fn create(base: &File, path: &str, content: &str) -> io::Result<()> {
    make_folder(base, path)?;
    let mut path = PathBuf::from(path);
    for _ in 0..MAX_LINKS {
        let text = path.to_str().ok_or_else(|| io::Error::other("a link to it is not UTF-8 text"))?;
        let (folder, name) = split(text);
        let folder = inside(base, Path::new(folder), FOLDER)?;
        match readlinkat(&folder, name) {
            // An absolute link begins at the root again: joining takes it instead of what was before it.
            Ok(target) => path = Path::new(split(text).0).join(target),
            Err(Errno::ENOENT) => {
                landlock::restrict_to_new_files_in(&folder)?;
                return RootFile::create(&folder, name)?.write(content);
            }
            // A path that ends in a folder, or a file that another process made just now.
            Err(_) => return Err(io::Error::other("it is not an ordinary file")),
        }
    }
    Err(Errno::ELOOP.into())
}

/// An image of nothing but a program has no `etc`. mkdirat(2) follows no link in the last part of a path, which is the
/// first here, and a link that is there stays what it is.
fn make_folder(base: &File, path: &str) -> io::Result<()> {
    let Some((folder, _)) = path.split_once('/') else { return Ok(()) };
    match mkdirat(base, folder, Mode::from_bits_truncate(0o755)) {
        Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
        Ok(()) => {
            let made = inside(base, Path::new(folder), FOLDER | OFlag::O_NOFOLLOW)?;
            // The container's users are not the administrator's, whose umask this would go by.
            fs::set_permissions(file::again(&made), Permissions::from_mode(0o755))
        }
    }
}

/// The folder and the last part of a path.
fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(parts) => parts,
        None => (".", path),
    }
}

fn open_folder(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(FOLDER.bits()).open(path)
}

/// Opens what is below a folder and on the same mount.
fn inside(base: &File, path: &Path, flags: OFlag) -> io::Result<File> {
    let how = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_XDEV;
    resolve(base, path, flags, how).map_err(|error| match error.raw_os_error() {
        Some(code) if code == Errno::EXDEV as i32 => {
            io::Error::other("it is on another mount than the container's root")
        }
        _ => error,
    })
}
