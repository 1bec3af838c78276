//! Into a folder and out again: everything is where it is looked for, names the program where it is, and goes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{make, repository, run, said_by, temporary, tree};

/// A machine on which others have been before.
fn machine(folder: &Path) -> String {
    let root = folder.join("root");
    for (path, text) in [
        ("etc/default/other", "x"),
        ("usr/lib/systemd/system/other.service", "[Service]\nExecStart=/bin/true\n"),
    ] {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), text).unwrap();
    }
    // What systemd takes for granted.
    for target in fs::read_dir("/usr/lib/systemd/system").unwrap().map(|entry| entry.unwrap().path()) {
        if target.extension().is_some_and(|extension| extension == "target") {
            let name = target.file_name().unwrap();
            fs::copy(&target, root.join("usr/lib/systemd/system").join(name)).unwrap();
        }
    }
    root.display().to_string()
}

/// Every word of a file that names a program of ocinet's by its path.
fn programs_named_in(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| c.is_whitespace() || c == '"' || c == '=');
    words
        .filter(|word| word.ends_with("/ocinet") || word.ends_with("/ocinet-exporter"))
        .filter(|word| word.contains("bin/"))
        .collect()
}

#[test]
#[ignore = "needs the built programs and systemd"]
fn whatever_the_prefix_everything_is_where_it_is_looked_for_and_goes() {
    for (prefix, units, tmpfiles) in [
        ("/usr", "/usr/lib/systemd/system", "/usr/lib/tmpfiles.d"),
        ("/usr/local", "/usr/local/lib/systemd/system", "/etc/tmpfiles.d"),
        ("/opt/ocinet", "/etc/systemd/system", "/etc/tmpfiles.d"),
    ] {
        let temporary = temporary();
        let folder = temporary.path();
        let root = machine(folder);
        let before = tree(Path::new(&root));
        let variables = [format!("DESTDIR={root}"), format!("PREFIX={prefix}")];
        let variables = variables.each_ref().map(String::as_str);
        make(folder, "install-files", &variables);
        let installed = tree(Path::new(&root));
        for path in [
            format!("{prefix}/bin/ocinet"),
            format!("{prefix}/bin/ocinet-exporter"),
            format!("{prefix}/share/man/man1/ocinet-doctor.1"),
            format!("{prefix}/share/man/man5/ocinet.toml.5"),
            format!("{units}/ocinet-exporter.service"),
            format!("{tmpfiles}/ocinet.conf"),
            "/usr/share/containers/oci/hooks.d/ocinet-create.json".to_owned(),
            "/etc/default/ocinet-exporter".to_owned(),
        ] {
            assert!(installed.contains(&path), "{path} is not among {installed:#?}");
        }
        let naming = installed
            .iter()
            .filter(|path| path.ends_with(".json") && path.contains("hooks.d") || path.starts_with(units));
        let mut named = 0;
        for path in naming.filter(|path| path.contains("ocinet-")) {
            let text = fs::read_to_string(format!("{root}{path}")).unwrap();
            for program in programs_named_in(&text) {
                assert!(
                    program == format!("{prefix}/bin/ocinet")
                        || program == format!("{prefix}/bin/ocinet-exporter"),
                    "{path} names {program}"
                );
                named += 1;
            }
        }
        assert_eq!(named, 9, "three hooks, the exporter, one reload if missing, and two of each reload unit");
        verify_units(&root, units, &installed);
        // A second time nothing is different, and it all goes.
        make(folder, "install-files", &variables);
        assert_eq!(tree(Path::new(&root)), installed);
        make(folder, "uninstall", &variables);
        assert_eq!(tree(Path::new(&root)), before, "{prefix}");
    }
}

/// systemd logs each start and end of a service as `info`, and as that also what it says on standard error: what the timer
/// starts every ten seconds leaves out the first and not the second. What ends badly, systemd logs as `notice` and worse.
#[test]
fn the_timers_service_hides_systemds_own_lines() {
    let unit = |name: &str| fs::read_to_string(repository().join("packaging/systemd").join(name)).unwrap();
    let timer = unit("ocinet-reload.timer");
    let service = unit(timer.lines().find_map(|line| line.strip_prefix("Unit=")).unwrap());
    for setting in ["LogLevelMax=notice", "SyslogLevel=notice"] {
        assert!(service.lines().any(|line| line == setting), "{setting}");
    }
}

/// systemd reads the units as they are installed, and finds the programs that they name.
fn verify_units(root: &str, units: &str, installed: &BTreeSet<String>) {
    for unit in installed.iter().filter(|path| path.starts_with(units) && path.contains("ocinet-")) {
        let said = run("systemd-analyze", &["verify", "--man=no", &format!("--root={root}"), unit]);
        assert_eq!(said, "", "{unit}");
    }
    // It does see a program that is not there.
    let program = installed
        .iter()
        .find(|path| path.ends_with("/bin/ocinet"))
        .map(|path| format!("{root}{path}"))
        .unwrap();
    fs::rename(&program, format!("{program}.away")).unwrap();
    let unit = format!("{units}/ocinet-reload.service");
    let (_, said) = said_by("systemd-analyze", &["verify", "--man=no", &format!("--root={root}"), &unit]);
    assert!(said.contains("is not executable"), "{said}");
    fs::rename(format!("{program}.away"), &program).unwrap();
}

#[test]
#[ignore = "needs the built programs"]
fn what_an_administrator_changed_stays_and_what_a_version_no_longer_has_goes() {
    let temporary = temporary();
    let folder = temporary.path();
    let root = machine(folder);
    let variables = [format!("DESTDIR={root}"), "PREFIX=/usr/local".to_owned()];
    let variables = variables.each_ref().map(String::as_str);
    make(folder, "install-files", &variables);
    let options = format!("{root}/etc/default/ocinet-exporter");
    fs::write(&options, "OPTIONS=--log.level=debug\n").unwrap();
    let older = format!("{root}/usr/local/share/ocinet/older");
    fs::write(&older, "").unwrap();
    let list = format!("{root}/usr/local/share/ocinet/installed");
    let listed = fs::read_to_string(&list).unwrap();
    fs::write(&list, format!("{listed}file 0 /usr/local/share/ocinet/older\n")).unwrap();
    make(folder, "install-files", &variables);
    assert_eq!(fs::read_to_string(&options).unwrap(), "OPTIONS=--log.level=debug\n");
    assert!(!Path::new(&older).exists());
    make(folder, "uninstall", &variables);
    assert_eq!(fs::read_to_string(&options).unwrap(), "OPTIONS=--log.level=debug\n");
    assert!(!Path::new(&format!("{root}/usr/local")).exists());
}
