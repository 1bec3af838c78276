//! Containers whose process or image does what it can against `ocinet poststart`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use ocinet_tests::lab::until;

use super::{MOUNTS, Running};

const BRIDGE: [(&str, &str); 1] = [("net.driver", "bridge")];
const SECRET: &str = "the host's\n";

/// Exit 0 at once, and neither the host's file nor the one that an engine made has changed.
#[track_caller]
fn changes_nothing(running: &Running, says: &str) {
    let before = running.written();
    let begun = Instant::now();
    let done = running.poststart(&running.state());
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!((done.code, done.stdout.as_str()), (0, ""));
    assert!(done.stderr.contains(says) && done.stderr.lines().count() == 1, "{says}: {}", done.stderr);
    assert_eq!(running.written(), before, "{says}");
    let secret = running.file.with_file_name("secret");
    assert_eq!(fs::read_to_string(secret).unwrap(), SECRET);
}

fn secret(root: &Path) {
    fs::write(root.parent().unwrap().join("secret"), SECRET).unwrap();
}

/// The process takes the mount away that its engine made, and puts something else in its place.
#[test]
#[ignore = "needs root"]
fn what_is_mounted_in_the_place_of_the_engines_file_is_not_written() {
    let link = "rm \"$1/etc/hosts\"; ln -s ../../secret \"$1/etc/hosts\"";
    let fifo = "rm \"$1/etc/hosts\"; mkfifo \"$1/etc/hosts\"";
    let folder = "rm \"$1/etc/hosts\"; mkdir \"$1/etc/hosts\"";
    let other = "mount --bind \"$1/../secret\" \"$1/etc/hosts\"";
    let proc = "mount -t proc none \"$1/etc\"";
    for (place, says) in [
        (link, "it is not an ordinary file"),
        (fifo, "it is not an ordinary file"),
        (folder, "it is not an ordinary file"),
        (other, "it is not the file that config.json says is mounted there"),
        (proc, "it is on another mount"),
    ] {
        // Only once createRuntime has been: a process that waits for a mark.
        let script = format!(
            "{MOUNTS}\nmkdir \"$2\"\nuntil [ -e \"$2.changed\" ]; do sleep 0.01; done\numount \"$1/etc/hosts\"\n{place}\nrmdir \"$2\""
        );
        let running = Running::with(secret, &script, "$1", None);
        running.create_and_write_anew(&BRIDGE);
        let mark = running.file.parent().unwrap().parent().unwrap().join("marks/ready");
        fs::write(mark.with_extension("changed"), "").unwrap();
        running.is_up();
        changes_nothing(&running, says);
    }
}

/// An image whose own files lie below the mount: they are not looked at.
#[test]
#[ignore = "needs root"]
fn an_images_own_files_are_not_looked_at() {
    let at = |root: &Path| root.join("etc/hosts");
    let link = |root: &Path| symlink("../../secret", at(root)).unwrap();
    let fifo = |root: &Path| mkfifo(&at(root), Mode::from_bits_truncate(0o600)).unwrap();
    let folder = |root: &Path| fs::create_dir(at(root)).unwrap();
    for prepare in [&link as &dyn Fn(&Path), &fifo, &folder] {
        let running = Running::with(
            |root| {
                secret(root);
                fs::remove_file(at(root)).unwrap();
                prepare(root);
            },
            "true",
            "$1",
            None,
        );
        running.is_up();
        // Without the mount, nothing is told: nobody asked for it.
        let created = running.rooted.create_with(&BRIDGE);
        assert_eq!((created.code, created.stderr.as_str()), (0, ""));
        let done = running.poststart(&running.state());
        assert_eq!((done.code, done.stderr.lines().count()), (0, 1), "{}", done.stderr);
        assert_eq!(fs::read_to_string(running.file.with_file_name("secret")).unwrap(), SECRET);
        assert_eq!(running.written().2, "");
    }
}

/// A process that has made another directory its root is not followed there.
#[test]
#[ignore = "needs root"]
fn a_process_with_another_root_is_not_followed() {
    let inner = |root: &Path| {
        secret(root);
        fs::create_dir_all(root.join("inner/bin")).unwrap();
        fs::create_dir_all(root.join("inner/etc")).unwrap();
        fs::copy("/bin/busybox", root.join("inner/bin/busybox")).unwrap();
        symlink("/etc/shadow", root.join("inner/etc/hosts")).unwrap();
    };
    let script = format!(
        "{MOUNTS}\nmkdir \"$2\"\nuntil [ -e \"$2.changed\" ]; do sleep 0.01; done\nexec chroot \"$1/inner\" /bin/busybox sleep 600"
    );
    let running = Running::with(inner, &script, "$1", None);
    running.create_and_write_anew(&BRIDGE);
    let mark = running.file.parent().unwrap().parent().unwrap().join("marks/ready");
    fs::write(mark.with_extension("changed"), "").unwrap();
    assert!(until(|| running.is_in(&running.rooted.root.join("inner"))));
    changes_nothing(&running, "the container's process has another root by now");
}

/// A process that is root in a user namespace of its own, and has the argument as its root. It executes nothing before its
/// user is known there, which would take its capabilities away.
const JOIN: &str = r#"
    syscall(272, 0x10000000) == 0 or die;
    until (do { open F, "/proc/self/gid_map"; <F> }) { select undef, undef, undef, 0.01 }
    syscall(106, 0);
    syscall(105, 0);
    chroot $ARGV[0] or die;
    exec "/bin/busybox", "sleep", "600";
"#;

/// In a user namespace the container's root is somebody else on the host.
#[test]
#[ignore = "needs root"]
fn in_a_user_namespace_the_file_is_written_with_the_containers_rights() {
    const USER: u32 = 100_000;
    let script = format!("{MOUNTS}\nmkdir \"$2\"\nexec perl -e '{JOIN}' \"$1\"");
    for (owner, mode) in [(USER, 0o600), (0, 0o600), (0, 0o644)] {
        let give = |root: &Path| {
            secret(root);
            chown(root.join("../hosts"), Some(USER), Some(USER)).unwrap();
        };
        let running = Running::with(give, &script, "$1", None);
        let pid = running.rooted.sandbox.pid();
        let map = |file: &str| fs::write(format!("/proc/{pid}/{file}"), format!("0 {USER} 65536"));
        assert!(until(|| map("uid_map").is_ok() && map("gid_map").is_ok()), "a user namespace");
        running.is_up();
        let told = running.create_and_write_anew(&BRIDGE);
        assert!(told.contains("web-1"), "{told}");
        chown(&running.file, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&running.file, fs::Permissions::from_mode(mode)).unwrap();
        if owner != USER {
            changes_nothing(&running, "Permission denied");
            continue;
        }
        let done = running.poststart(&running.state());
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        assert!(running.written().2.contains("10.90."), "{}", running.written().2);
    }
}
