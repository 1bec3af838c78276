//! The units for systemd, read by systemd's own tools.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ocinet_tests::lab::{Lab, exporter_path, ocinet_path};

/// The shipped units in a folder of the lab, with the path of the program under test in them.
fn units(lab: &Lab) -> PathBuf {
    let folder = lab.dir().join("units");
    fs::create_dir_all(&folder).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    let exporter = exporter_path().canonicalize().expect("a built exporter");
    let hook = ocinet_path().canonicalize().expect("a built ocinet");
    for entry in fs::read_dir(&shipped).unwrap() {
        let entry = entry.unwrap();
        let text = fs::read_to_string(entry.path()).unwrap();
        let text = text.replace("/usr/bin/ocinet-exporter", &exporter.display().to_string());
        let text = text.replace("/usr/bin/ocinet ", &format!("{} ", hook.display()));
        fs::write(folder.join(entry.file_name()), text).unwrap();
    }
    folder
}

#[test]
#[ignore = "needs root"]
fn systemd_understands_every_line_of_the_units() {
    let lab = Lab::new();
    let folder = units(&lab);
    let verify = |name: &str| {
        let unit = folder.join(name).display().to_string();
        lab.host.run(&["systemd-analyze", "verify", "--man=no", &unit])
    };
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let verified = verify(&name);
        let ours = verified.stderr.lines().filter(|line| line.contains("ocinet-"));
        assert_eq!((verified.code, ours.count()), (0, 0), "{name}: {}", verified.stderr);
        count += 1;
    }
    assert_eq!(count, 6);
    // It does see what is wrong.
    let path = folder.join("ocinet-exporter.service");
    let wrong = fs::read_to_string(&path).unwrap().replace("NoNewPrivileges=", "NoNewPrivilege=");
    fs::write(&path, wrong).unwrap();
    let verified = verify("ocinet-exporter.service");
    assert!(verified.stderr.contains("NoNewPrivilege"), "{}", verified.stderr);
}

#[test]
#[ignore = "needs root"]
fn the_service_is_exposed_less_than_2_0() {
    let lab = Lab::new();
    let unit = units(&lab).join("ocinet-exporter.service").display().to_string();
    let analyze = |threshold: &str| {
        let threshold = format!("--threshold={threshold}");
        lab.host.run(&["systemd-analyze", "security", "--offline=true", "--no-pager", &threshold, &unit])
    };
    // In tenths: 19 is 1.9.
    let analyzed = analyze("19");
    assert_eq!(analyzed.code, 0, "{}{}", analyzed.stdout, analyzed.stderr);
    assert!(
        analyzed.stdout.contains("Overall exposure level for ocinet-exporter.service"),
        "{}",
        analyzed.stdout
    );
    assert_ne!(analyze("0").code, 0, "the threshold counts");
}

/// The system calls of systemd's groups, those of groups in them included.
fn group(lab: &Lab, names: &[&str]) -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    let mut groups: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    while let Some(name) = groups.pop() {
        if !name.starts_with('@') {
            calls.insert(name);
            continue;
        }
        let listed = lab.host.ok(&["systemd-analyze", "syscall-filter", "--no-pager", &name]);
        for word in listed.lines().filter(|line| line.starts_with(' ')).map(str::trim) {
            match word.split_once('@') {
                Some(("", _)) => groups.push(word.to_owned()),
                _ if word.starts_with('#') => {}
                _ => _ = calls.insert(word.to_owned()),
            }
        }
    }
    calls
}

#[test]
#[ignore = "needs root"]
fn it_lives_by_the_system_calls_that_the_service_allows() {
    let lab = Lab::new();
    let _container = super::with_container(&lab);
    let service = fs::read_to_string(units(&lab).join("ocinet-exporter.service")).unwrap();
    let filters: Vec<&str> =
        service.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")).collect();
    let [allowed, refused] = filters[..] else { panic!("{filters:?}") };
    let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
    let allowed = group(&lab, &words(allowed.to_owned().leak()));
    let refused = group(&lab, &words(refused.trim_start_matches('~').to_owned().leak()));
    assert!(allowed.contains("read") && refused.contains("reboot") && !allowed.contains("reboot"));
    let trace = lab.dir().join("trace");
    let path = trace.display().to_string();
    let mut exporter = lab.exporter_under(&["strace", "-D", "-f", "-o", &path], &[]);
    for path in ["/metrics", "/", "/healthz"] {
        assert_eq!(exporter.get_with(path, "Accept-Encoding: gzip\r\n").status, 200);
    }
    exporter.terminate();
    exporter.ended();
    let trace = fs::read_to_string(&trace).unwrap();
    let made: BTreeSet<&str> = trace
        .lines()
        .filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('))
        .map(|(name, _)| name.trim_start_matches("<... ").trim_end_matches(" resumed>"))
        .filter(|name| {
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        })
        .collect();
    for name in ["accept4", "bind", "landlock_restrict_self"] {
        assert!(made.contains(name), "{name}: {made:?}");
    }
    // It does without those that are refused: it asks for more descriptors, and starts by being executed.
    let spared = ["execve", "prlimit64"];
    let missing: Vec<&&str> = made
        .iter()
        .filter(|name| !spared.contains(name) && (!allowed.contains(**name) || refused.contains(**name)))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
