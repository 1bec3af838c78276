use super::*;
use std::os::unix::fs::symlink;

/// A container's root in a folder that every user may enter.
struct Tree(PathBuf, #[expect(dead_code, reason = "it goes with its value")] tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let made = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
        let path = made.path().to_owned();
        fs::create_dir_all(path.join("root/etc")).unwrap();
        fs::write(path.join("outside"), "secret").unwrap();
        Self(path, made)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join("root").join(name)
    }

    /// Writes a file; what it held before.
    fn write(&self, path: &str, content: &str) -> io::Result<Option<String>> {
        let mut old = None;
        RootFiles::at(&self.0.join("root"))?.rewrite(path, &Mounted::default(), |text| {
            old = text.map(str::to_owned);
            Some(content.to_owned())
        })?;
        Ok(old)
    }

    #[track_caller]
    fn is_refused(&self, path: &str, says: &str) {
        let error = self.write(path, "x").unwrap_err().to_string();
        assert!(error.contains(says), "{path}: {error}");
    }

    fn link(&self, name: &str, to: &str) {
        symlink(to, self.path(name)).unwrap();
    }

    fn assert_outside_is_untouched(&self) {
        assert_eq!(fs::read_to_string(self.0.join("outside")).unwrap(), "secret");
        assert_eq!(fs::read_dir(&self.0).unwrap().count(), 2);
    }
}

#[test]
fn a_file_is_made_read_and_replaced() {
    let tree = Tree::new();
    assert_eq!(tree.write("etc/hosts", "a longer text\n").unwrap(), None);
    assert_eq!(tree.write("etc/hosts", "short\n").unwrap().unwrap(), "a longer text\n");
    assert_eq!(fs::read_to_string(tree.path("etc/hosts")).unwrap(), "short\n");
    tree.write("new/hosts", "made\n").unwrap();
    assert_eq!(fs::read_to_string(tree.path("new/hosts")).unwrap(), "made\n");
    assert_eq!(tree.write("new/deeper/hosts", "x").unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(fs::read_dir(tree.path("new")).unwrap().count(), 1);
}

#[test]
fn what_is_right_already_is_not_written() {
    let tree = Tree::new();
    let root = RootFiles::at(&tree.0.join("root")).unwrap();
    root.rewrite("etc/hosts", &Mounted::default(), |_| None).unwrap();
    assert!(!tree.path("etc/hosts").exists());
    fs::write(tree.path("etc/hosts"), "kept").unwrap();
    root.rewrite("etc/hosts", &Mounted::default(), |_| None).unwrap();
    assert_eq!(fs::read_to_string(tree.path("etc/hosts")).unwrap(), "kept");
}

#[test]
fn links_lead_nowhere_but_inside() {
    let tree = Tree::new();
    let outside = tree.0.join("outside");
    tree.link("etc/absolute", outside.to_str().unwrap());
    tree.link("etc/relative", "../../outside");
    tree.link("etc/proc", "/proc/self/root/etc/hostname");
    tree.link("etc/new", "/etc/made");
    tree.link("etc/chain", "new2");
    tree.link("etc/new2", "../etc/./made2");
    tree.link("all", "/");
    // "outside" of the root is the root itself: the file is made there.
    assert_eq!(tree.write("etc/relative", "x").unwrap(), None);
    assert_eq!(fs::read_to_string(tree.path("outside")).unwrap(), "x");
    assert!(tree.write("etc/absolute", "x").is_err());
    assert!(tree.write("etc/proc", "x").is_err());
    tree.write("etc/new", "x").unwrap();
    assert_eq!(fs::read_to_string(tree.path("etc/made")).unwrap(), "x");
    tree.write("etc/chain", "x").unwrap();
    assert_eq!(fs::read_to_string(tree.path("etc/made2")).unwrap(), "x");
    tree.write("all/all/etc/hosts", "x").unwrap();
    assert_eq!(fs::read_to_string(tree.path("etc/hosts")).unwrap(), "x");
    tree.assert_outside_is_untouched();
}

#[test]
fn what_is_no_ordinary_file_is_refused_at_once() {
    let tree = Tree::new();
    fs::create_dir(tree.path("etc/folder")).unwrap();
    nix::unistd::mkfifo(&tree.path("etc/fifo"), Mode::from_bits_truncate(0o600)).unwrap();
    drop(std::os::unix::net::UnixListener::bind(tree.path("etc/socket")).unwrap());
    for name in ["etc/folder", "etc/fifo", "etc/socket"] {
        tree.is_refused(name, "not an ordinary file");
    }
    tree.link("etc/loop", "/etc/loop");
    tree.is_refused("etc/loop", "symbolic links");
    for (name, to) in [("etc/up", "missing/.."), ("etc/slash", "missing/"), ("etc/dot", "/etc/missing/.")] {
        tree.link(name, to);
        assert!(tree.write(name, "x").is_err(), "{name}");
    }
    tree.assert_outside_is_untouched();
}

#[test]
fn a_file_with_other_names_is_refused() {
    let tree = Tree::new();
    fs::write(tree.path("etc/shadow"), "secret").unwrap();
    fs::hard_link(tree.path("etc/shadow"), tree.path("etc/hosts")).unwrap();
    tree.is_refused("etc/hosts", "hard links");
    assert_eq!(fs::read_to_string(tree.path("etc/shadow")).unwrap(), "secret");
}

/// /proc as a root stands for any file system that does something when it is written to.
#[test]
fn a_file_system_of_the_kernels_own_is_refused() {
    for root in ["/proc/self", "/sys"] {
        let root = RootFiles::at(Path::new(root)).unwrap();
        let refused = root.rewrite("comm", &Mounted::default(), |_| None).unwrap_err();
        assert!(refused.to_string().contains("not known to hold ordinary files"), "{refused}");
    }
}

#[test]
fn no_other_mount_is_entered() {
    let root = RootFiles::at(Path::new("/dev")).unwrap();
    for path in ["pts/ptmx", "pts/name"] {
        let refused = root.rewrite(path, &Mounted::default(), |_| panic!("{path} was read")).unwrap_err();
        assert!(refused.to_string().contains("on another mount"), "{path}: {refused}");
    }
}

/// By whatever name: it is told by what it is.
#[test]
fn the_hosts_own_root_is_refused() {
    for root in ["/", "/etc/..", "/proc/self/root"] {
        let root = RootFiles::at(Path::new(root)).unwrap();
        let refused = root.rewrite("etc/hosts", &Mounted::default(), |_| panic!("it was read")).unwrap_err();
        assert!(refused.to_string().contains("the host's own"), "{refused}");
    }
}

#[test]
fn a_path_has_a_folder_and_a_name() {
    for (path, folder, name) in
        [("a", ".", "a"), ("a/b", "a", "b"), ("/a", "/", "a"), ("a/b/", "a/b", ""), ("../a/..", "../a", "..")]
    {
        assert_eq!(split(path), (folder, name), "{path}");
    }
}

/// What this thread has of a set of capabilities, as proc(5) writes it.
fn capabilities_of_thread(set: &str) -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(set)).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

#[test]
#[ignore = "needs root"]
fn whoever_opens_a_containers_files_has_its_rights_and_no_others() {
    // CAP_DAC_OVERRIDE and CAP_FOWNER, by their numbers in linux/capability.h.
    let over_files = 1 << 1 | 1 << 3;
    let before = capabilities_of_thread("CapEff:");
    let sets = |rights: Rights| {
        let read = || Ok(["CapEff:", "CapPrm:", "CapInh:"].map(capabilities_of_thread));
        rights.in_thread(read).unwrap()
    };
    assert_eq!(sets(Rights::default()), [over_files, over_files, 0]);
    assert_eq!(sets(Rights::of(100_000, 100_000)), [0, 0, 0]);
    assert_eq!(capabilities_of_thread("CapEff:"), before, "this thread keeps its own");
}

#[test]
#[ignore = "needs root"]
fn a_user_namespaces_root_opens_what_it_may_and_has_no_group_of_the_hooks() {
    let tree = Tree::new();
    let files = |name: &str, mode: u32, group: u32| {
        fs::write(tree.path(name), name).unwrap();
        std::os::unix::fs::chown(tree.path(name), Some(0), Some(group)).unwrap();
        fs::set_permissions(tree.path(name), Permissions::from_mode(mode)).unwrap();
        let path = tree.path(name);
        Rights::of(100_000, 100_001).in_thread(move || fs::read_to_string(path))
    };
    assert_eq!(files("all", 0o604, 0).unwrap(), "all");
    assert_eq!(files("its-group", 0o640, 100_001).unwrap(), "its-group");
    for (name, group) in [("root", 0), ("other-group", 100_000)] {
        let refused = files(name, 0o640, group).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{name}");
    }
}

#[test]
fn once_a_file_is_found_no_other_is_opened() {
    let tree = Tree::new();
    fs::write(tree.path("etc/other"), "other").unwrap();
    fs::write(tree.path("etc/hosts"), "old").unwrap();
    let root = RootFiles::at(&tree.0.join("root")).unwrap();
    let mut is_tried = false;
    let tried = |old: Option<&str>| {
        is_tried = old == Some("old");
        for path in [tree.path("etc/other"), tree.0.join("outside"), "/proc/sys/kernel/core_pattern".into()] {
            let refused = OpenOptions::new().write(true).open(&path).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{}", path.display());
        }
        Some("new".to_owned())
    };
    root.rewrite("etc/hosts", &Mounted::default(), tried).unwrap();
    assert!(is_tried);
    assert_eq!(fs::read_to_string(tree.path("etc/hosts")).unwrap(), "new");
}

#[test]
fn once_a_file_is_made_nothing_is_made_elsewhere() {
    let tree = Tree::new();
    let base = open_folder(&tree.0.join("root")).unwrap();
    let made = || {
        create(&base, "etc/hosts", "made")?;
        for path in [tree.path("new"), tree.path("../new")] {
            let refused = fs::write(&path, "").unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{}", path.display());
        }
        Ok(())
    };
    Rights::default().in_thread(made).unwrap();
    assert_eq!(fs::read_to_string(tree.path("etc/hosts")).unwrap(), "made");
}
