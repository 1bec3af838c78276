//! What the journal has to say.

use std::os::unix::net::UnixDatagram;

use ocinet_tests::lab::{Lab, Sandbox};

/// crun shows only that a hook failed.
#[test]
#[ignore = "needs root"]
fn a_hook_that_fails_says_why_in_the_journal() {
    let lab = Lab::new();
    let _web = lab.attach("web", &[("net.ports", "8080:80")]);
    let folder = lab.dir().join("journal");
    std::fs::create_dir(&folder).unwrap();
    let journal = UnixDatagram::bind(folder.join("socket")).unwrap();
    journal.set_nonblocking(true).unwrap();
    let with_journal = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind $0 /run/systemd/journal \
                        && exec \"$@\"";
    let under = ["unshare", "--mount", "sh", "-c", with_journal, folder.to_str().unwrap()];
    let said = || {
        let (mut message, mut all) = ([0; 4096], String::new());
        while let Ok(length) = journal.recv(&mut message) {
            all.push_str(&String::from_utf8_lossy(&message[..length]));
        }
        all
    };
    let other = Sandbox::new("other");
    let refused =
        lab.run_under(&under, &["createRuntime"], &lab.state_of(&other, &[("net.ports", "8080:80")]));
    assert_eq!(refused.code, 4, "{refused:?}");
    let line = refused.stderr.trim().strip_prefix("ocinet: ").unwrap();
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    let journal = said();
    assert!(journal.contains(&format!("the start of container other failed: {line}")), "{journal}");
    // The field's name, its length of eight bytes, and LOG_ERR of syslog(3).
    assert!(journal.contains("PRIORITY\n\u{1}\0\0\0\0\0\0\u{0}3\n"), "{journal}");
    std::fs::remove_file(lab.state_dir().join("containers/web.json")).unwrap();
    std::os::unix::fs::symlink("nowhere", lab.state_dir().join("containers/web.json")).unwrap();
    let refused = lab.run_under(&under, &["poststop"], r#"{"id":"web"}"#);
    assert_ne!(refused.code, 0);
    let journal = said();
    assert!(journal.contains("the stop of container web failed: "), "{journal}");
    for (hook, says) in [
        ("createRuntime", "the start of a container failed: "),
        ("poststop", "the stop of a container failed: "),
    ] {
        assert_ne!(lab.run_under(&under, &[hook], "{").code, 0);
        let journal = said();
        assert!(journal.contains(says), "{journal}");
    }
    let started = lab.run_under(&under, &["createRuntime"], &lab.state_of(&other, &[]));
    assert_eq!((started.code, said().as_str()), (0, ""), "what succeeds says nothing in the journal");
}
