//! A state folder without room, without inodes, read-only, and files that may not grow.

use ocinet_tests::lab::{DUAL, Lab, Sandbox, Snapshot};

use crate::life::used;

const PUBLISHED: [(&str, &str); 3] =
    [("net.driver", "bridge"), ("net.subnet", DUAL), ("net.ports", "8080:80,127.0.0.1:8081:81")];

/// createRuntime in a mount namespace of its own, where `mount` was done to the state folder first; a container that
/// starts is ended and stopped there, too. What a failed start said.
#[track_caller]
fn start_where(lab: &Lab, mount: &str) -> Option<String> {
    let sandbox = Sandbox::new("web");
    let state = lab.dir().join("input");
    std::fs::write(&state, lab.state_of(&sandbox, &PUBLISHED)).unwrap();
    let mount = mount.replace("STATE", lab.state_dir().to_str().unwrap());
    let input = state.display();
    let pid = sandbox.pid();
    let script = format!("{mount}; \"$@\" < {input}; kill -KILL {pid}; \"$1\" poststop < {input}");
    let under = ["unshare", "-m", "sh", "-ec", script.as_str(), "sh"];
    let finished = lab.run_under(&under, &["createRuntime"], "");
    let reasons = finished.stderr.lines().filter(|line| line.starts_with("ocinet: cannot ")).count();
    match finished.code {
        0 => None,
        code => {
            assert!(code == 7 && reasons == 1, "{mount}: {code}: {}", finished.stderr);
            Some(finished.stderr)
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_state_folder_without_room_refuses_and_leaves_nothing() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    // From the first byte that does not fit to the last: what is filled is given up from file to file.
    for room in [0, 4, 8, 12, 16, 20] {
        let fill = format!(
            "mount -t tmpfs -o size=64k,mode=755 tmpfs STATE; head -c {} /dev/zero > STATE/full",
            (64 - room) * 1024
        );
        let said = start_where(&lab, &fill);
        assert!(said.iter().all(|said| said.contains("No space left")), "{room} KiB: {said:?}");
        assert!(room > 0 || said.is_some(), "nothing fits into no room");
        before.assert_is_back(&lab, &format!("a start with {room} KiB of room"));
    }
    assert_eq!(lab.create(&Sandbox::new("web"), &PUBLISHED).code, 0, "with room, it starts");
}

#[test]
#[ignore = "needs root"]
fn a_state_folder_without_inodes_refuses_and_leaves_nothing() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    for inodes in 2..16 {
        let mount = format!("mount -t tmpfs -o nr_inodes={inodes},mode=755 tmpfs STATE");
        let said = start_where(&lab, &mount);
        assert!(said.iter().all(|said| said.contains("No space left")), "{inodes}: {said:?}");
        assert!(inodes > 4 || said.is_some(), "{inodes} inodes are not enough");
        before.assert_is_back(&lab, &format!("a start with {inodes} inodes"));
    }
}

#[test]
#[ignore = "needs root"]
fn a_read_only_state_folder_refuses_and_leaves_nothing() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let mount = "mount --bind STATE STATE; mount -o remount,ro,bind STATE";
    let said = start_where(&lab, mount).expect("a refusal");
    assert!(said.contains("Read-only file system") && said.contains("hint: make room"), "{said}");
    before.assert_is_back(&lab, "a start on a read-only folder");
    assert_eq!(lab.create(&Sandbox::new("web"), &PUBLISHED).code, 0, "where it can be written, it starts");
}

#[test]
#[ignore = "needs root"]
fn files_that_may_not_grow_refuse_and_leave_nothing() {
    let lab = Lab::new();
    used(&lab);
    let before = Snapshot::of(&lab);
    let sandbox = Sandbox::new("web");
    let under = ["prlimit", "--fsize=0", "env", "--ignore-signal=XFSZ"];
    let finished = lab.run_under(&under, &["createRuntime"], &lab.state_of(&sandbox, &PUBLISHED));
    assert_eq!(finished.code, 7, "{}", finished.stderr);
    before.assert_is_back(&lab, "a start whose files may not grow");
}
