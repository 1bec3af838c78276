//! Golden plans and golden errors: what `ocinet plan` prints for a set of annotations, without root and without a
//! change to the machine. `UPDATE_EXPECT=1 cargo test -p ocinet --test golden` writes the files anew.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use expect_test::expect_file;
use ocinet::Subject;
use tempfile::TempDir;

/// Networks that exist already, so that no plan depends on the routes of the machine that the test runs on.
const NETWORKS: [(&str, &str); 11] = [
    (
        "default",
        r#"{"name":"default","driver":"bridge","settings":{"bridge":"ocinet0"},"subnets":[{"range":"10.90.0.0/16","gateway":"10.90.0.1"}],"internal":false,"isolate":true,"mtu":null,"group":1862270977,"links":[{"name":"ocinet0","mac":"02:6e:00:00:00:01","kind":"bridge"}]}"#,
    ),
    (
        "dual",
        r#"{"name":"dual","driver":"bridge","settings":{"bridge":"oc-dual"},"subnets":[{"range":"10.91.0.0/24","gateway":"10.91.0.1"},{"range":"fd00:91::/64","gateway":"fd00:91::1"}],"internal":false,"isolate":true,"mtu":9000,"group":1862270978,"links":[{"name":"oc-dual","mac":"02:6e:00:00:00:02","kind":"bridge"}]}"#,
    ),
    (
        "closed",
        r#"{"name":"closed","driver":"bridge","settings":{"bridge":"oc-closed"},"subnets":[{"range":"10.91.1.0/24","gateway":"10.91.1.1"}],"internal":true,"isolate":true,"mtu":null,"group":1862270979,"links":[{"name":"oc-closed","mac":"02:6e:00:00:00:03","kind":"bridge"}]}"#,
    ),
    (
        "small",
        r#"{"name":"small","driver":"bridge","settings":{"bridge":"oc-small"},"subnets":[{"range":"10.91.2.0/30","gateway":"10.91.2.1"}],"internal":false,"isolate":false,"mtu":null,"group":1862270980,"links":[{"name":"oc-small","mac":"02:6e:00:00:00:04","kind":"bridge"}]}"#,
    ),
    (
        "veth",
        r#"{"name":"veth","driver":"veth","settings":{},"subnets":[{"range":"10.91.3.0/24","gateway":"10.91.3.1"},{"range":"fd00:94::/64","gateway":"fd00:94::1"}],"internal":false,"isolate":true,"mtu":null,"group":1862270981}"#,
    ),
    (
        "lan",
        r#"{"name":"lan","driver":"macvlan","settings":{"parent":"eth7","mode":"bridge","host-access":"true"},"subnets":[{"range":"198.18.7.0/24","gateway":"198.18.7.1"},{"range":"2001:db8:7::/64","gateway":null}],"reserved":["198.18.7.2","198.18.7.254"],"internal":false,"isolate":false,"mtu":null,"group":0,"links":[{"name":"oc-0123456789ab","mac":"02:6e:00:00:00:07","kind":"macvlan","parent":"eth7","addresses":["198.18.7.254"]}]}"#,
    ),
    (
        "overlay",
        r#"{"name":"overlay","driver":"vxlan","settings":{"bridge":"oc-overlay","vni":"7","port":"4789","local":"192.0.2.1","peers":"192.0.2.2,192.0.2.3"},"subnets":[{"range":"10.96.0.0/16","gateway":"10.96.0.1"}],"internal":false,"isolate":true,"mtu":1450,"group":1862270982,"links":[{"name":"oc-overlay","mac":"02:6e:00:00:00:08","kind":"bridge"},{"name":"oc-vni7","mac":"02:6e:00:00:00:09","kind":"vxlan","bridge":"oc-overlay","vni":7,"port":4789,"local":"192.0.2.1","parent":null,"group":null,"peers":["192.0.2.2","192.0.2.3"]}]}"#,
    ),
    (
        "floor2",
        r#"{"name":"floor2","driver":"ipvlan","settings":{"parent":"eth8","mode":"l2"},"subnets":[{"range":"198.18.8.0/24","gateway":"198.18.8.1"},{"range":"2001:db8:8::/64","gateway":"2001:db8:8::1"}],"reserved":["198.18.8.2"],"internal":false,"isolate":false,"mtu":null,"group":0}"#,
    ),
    (
        "alone",
        r#"{"name":"alone","driver":"macvlan","settings":{"parent":"eth6","mode":"passthru","host-access":"false"},"subnets":[{"range":"198.18.6.0/24","gateway":"198.18.6.1"},{"range":"2001:db8:6::/64","gateway":"fe80::1"}],"internal":false,"isolate":false,"mtu":null,"group":0}"#,
    ),
    (
        "floor3",
        r#"{"name":"floor3","driver":"ipvlan","settings":{"parent":"eth8","mode":"l3s"},"subnets":[{"range":"198.18.8.0/24","gateway":"198.18.8.1"},{"range":"2001:db8:8::/64","gateway":"2001:db8:8::1"}],"reserved":["198.18.8.2"],"internal":false,"isolate":false,"mtu":null,"group":0}"#,
    ),
    (
        "rally",
        r#"{"name":"rally","driver":"vxlan","settings":{"bridge":"oc-rally","vni":"8","port":"4789","group":"239.1.1.1","parent":"eth9"},"subnets":[{"range":"10.97.0.0/16","gateway":"10.97.0.1"}],"internal":false,"isolate":true,"mtu":1450,"group":1862270983,"links":[{"name":"oc-rally","mac":"02:6e:00:00:00:0a","kind":"bridge"},{"name":"oc-vni8","mac":"02:6e:00:00:00:0b","kind":"vxlan","bridge":"oc-rally","vni":8,"port":4789,"local":null,"parent":"eth9","group":"239.1.1.1","peers":[]}]}"#,
    ),
];
/// The one address of the network `small`, which somebody has.
const LEASE: (&str, &str) = ("leases/small/10.91.2.2", "db\n");

/// A state folder with these networks.
fn state_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (network, content) in NETWORKS {
        write(&folder.path().join(format!("networks/{network}.json")), content);
    }
    write(&folder.path().join(LEASE.0), LEASE.1);
    folder
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a test runs the program that it tests")]
fn run(state: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ocinet"))
        .env_clear()
        .arg("--state-dir")
        .arg(state)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads no input may be gone before it is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn state_json(annotations: &str) -> String {
    let pairs: BTreeMap<&str, &str> = annotations.lines().filter_map(|line| line.split_once('=')).collect();
    serde_json::json!({
        "ociVersion": "1.0.2", "id": "web", "status": "creating", "pid": 1, "bundle": "/b", "annotations": pairs,
    })
    .to_string()
}

/// The name of a link is new each time: `oc-` and twelve characters.
fn without_link_names(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("oc-") {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        let tail: &str = found.get(3..15).unwrap_or_default();
        let is_link =
            tail.len() == 12 && tail.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b));
        if is_link {
            out.push_str("oc-LINK");
            rest = &found[15..];
        } else {
            out.push_str("oc-");
            rest = &found[3..];
        }
    }
    out + rest
}

/// A golden file is a row of cases: `## name`, the annotations, `--`, and what the program said.
fn check(name: &str, answer: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let golden = fs::read_to_string(&path).unwrap();
    let mut actual = String::new();
    let mut cases = 0;
    for case in golden.split("## ").skip(1) {
        let (question, _) = case.split_once("\n--\n").unwrap_or_else(|| panic!("no -- in case {case}"));
        let (title, annotations) = question.split_once('\n').unwrap_or((question, ""));
        actual.push_str(&format!("## {title}\n{annotations}\n--\n{}\n", answer(annotations)));
        cases += 1;
    }
    assert!(cases > 0);
    expect_file![path].assert_eq(&actual);
}

/// What `ocinet plan` prints for annotations that it accepts.
fn check_plans(name: &str) {
    let folder = state_folder();
    check(name, |annotations| {
        let (code, out, err) = run(folder.path(), &["plan", "-"], &state_json(annotations));
        assert_eq!((code, err.as_str()), (0, ""), "{annotations}");
        without_link_names(&out)
    });
}

#[test]
fn plans() {
    check_plans("plans.txt");
}

#[test]
fn drivers() {
    check_plans("drivers.txt");
}

#[test]
fn options() {
    check_plans("options.txt");
}

/// What containers are told that have a bundle: its name, and the host's name servers.
#[test]
fn names() {
    let folder = state_folder();
    let bundle = folder.path().join("bundle");
    write(&bundle.join("config.json"), r#"{"root":{"path":"rootfs"},"hostname":"web-1"}"#);
    let (config, host) = (folder.path().join("config.toml"), folder.path().join("resolv.conf"));
    write(&config, &format!("resolv-conf = \"{}\"\n", host.display()));
    let servers = ["127.0.0.53", "192.0.2.53", "2001:db8::53"].map(|server| format!("nameserver {server}\n"));
    write(&host, &(servers.concat() + "search corp.example\n"));
    check("names.txt", |annotations| {
        let state = state_json(annotations).replace("\"/b\"", &format!("\"{}\"", bundle.display()));
        let (code, out, err) =
            run(folder.path(), &["--config", config.to_str().unwrap(), "plan", "-"], &state);
        assert_eq!((code, err.as_str()), (0, ""), "{annotations}");
        out.lines().filter(|line| line.starts_with("write etc/")).map(|line| format!("{line}\n")).collect()
    });
}

#[test]
fn errors() {
    let folder = state_folder();
    check("errors.txt", |annotations| {
        let (code, out, err) = run(folder.path(), &["plan", "-"], &state_json(annotations));
        assert_eq!((out.as_str(), err.matches('\n').count()), ("", 1), "{annotations}");
        assert_ne!(code, 0, "{annotations}");
        format!("exit {code}\n{}", without_link_names(&err))
    });
}

/// A case is a configuration, `==`, and the annotations that meet it.
fn check_policies(name: &str, answer: impl Fn(i32, &str, &str) -> String) {
    let folder = state_folder();
    let file = folder.path().join("config.toml");
    check(name, |case| {
        let (config, annotations) = case.split_once("\n==\n").expect("a configuration and annotations");
        write(&file, config);
        let (code, out, err) =
            run(folder.path(), &["--config", file.to_str().unwrap(), "plan", "-"], &state_json(annotations));
        answer(code, &out, &err.replace(file.to_str().unwrap(), "/etc/ocinet/config.toml"))
    });
}

/// What a policy refuses: by exit code 9 and with the line that does, or by 2 where it cannot be read itself.
#[test]
fn refused_by_policy() {
    check_policies("policy_refuses.txt", |code, out, err| {
        assert_eq!((out, err.matches('\n').count()), ("", 1), "{err}");
        assert!(
            code == 2 || (code == 9 && (err.contains("(line ") || err.contains("the default)"))),
            "{err}"
        );
        format!("exit {code}\n{err}")
    });
}

/// The same configurations allow what is beside it.
#[test]
fn allowed_by_policy() {
    check_policies("policy_allows.txt", |code, out, err| {
        assert_eq!((code, err), (0, ""));
        assert!(out.lines().count() > 1, "{out}");
        "allowed".to_owned()
    });
}

/// The examples of docs/policy.md do what it says they do: `- starts:` and `- refused:`, each with its annotations.
#[test]
fn the_examples_of_policies_are_true() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md")).unwrap();
    let folder = state_folder();
    let file = folder.path().join("config.toml");
    let mut cases = 0;
    for example in page.split("```toml\n").skip(1) {
        let (config, below) = example.split_once("```\n").unwrap();
        write(&file, config);
        for line in below.lines() {
            let Some((expected, annotations)) =
                line.strip_prefix("- ").and_then(|line| line.split_once(": `"))
            else {
                continue;
            };
            let annotations = annotations.trim_end_matches('`').replace("` `", "\n");
            let config = ["--config", file.to_str().unwrap(), "plan", "-"];
            let (code, _, err) = run(folder.path(), &config, &state_json(&annotations));
            let expected = match expected {
                "starts" => 0,
                "refused" => 9,
                other => panic!("{other}"),
            };
            assert_eq!(code, expected, "{annotations}: {err}");
            cases += 1;
        }
    }
    assert!(cases >= 10, "{cases}");
}

#[test]
fn bad_input_is_one_line_and_changes_nothing() {
    let folder = state_folder();
    let before = tree(folder.path());
    let huge = format!(r#"{{"id":"a","pid":1,"annotations":{{"net.ports":"{}"}}}}"#, "1".repeat(1 << 20));
    for (input, says) in [
        ("", "EOF while parsing"),
        ("not JSON", "expected ident"),
        ("{}", "it is empty"),
        (r#"{"id":"../x","pid":1}"#, "must begin with a letter or digit"),
        (r#"{"id":"a","pid":0}"#, "no pid above 0"),
        (r#"{"id":"a","pid":1,"annotations":{"net.mtu":5}}"#, "expected a string"),
        (r#"{"id":"a","pid":1,"annotations":{"net.mtu":"1","net.mtu":"2"}}"#, "is there twice"),
        (huge.as_str(), "larger than 1 MiB"),
    ] {
        let (code, out, err) = run(folder.path(), &["createRuntime"], input);
        assert_eq!((code, out.as_str(), err.matches('\n').count()), (2, "", 1), "{err}");
        assert!(
            err.starts_with("ocinet: cannot ") && err.contains("; hint: ") && err.contains(says),
            "{err}"
        );
    }
    assert_eq!(tree(folder.path()), before);
}

#[test]
fn without_annotations_there_is_nothing_to_do() {
    let folder = state_folder();
    let before = tree(folder.path());
    let input = r#"{"id":"a","pid":1,"annotations":{"org.example":"x"}}"#;
    assert_eq!(run(folder.path(), &["createRuntime"], input), (0, String::new(), String::new()));
    assert_eq!(run(folder.path(), &["prestart"], input), (0, String::new(), String::new()));
    assert_eq!(run(folder.path(), &["poststop"], input), (0, String::new(), String::new()));
    assert_eq!(tree(folder.path()), before);
}

#[test]
fn the_command_line_is_explained_in_one_line() {
    let folder = state_folder();
    for arguments in [
        &["bogus"][..],
        &[],
        &["inspect"],
        &["list", "--jsn"],
        &["register", "--bundle", "b", "--annotation", "net.mtu"],
        &["inspect", "nobody"],
        &["--config", "/nowhere", "plan"],
    ] {
        let (code, _, err) = run(folder.path(), arguments, "{\"id\":\"a\"}");
        assert_eq!((code, err.matches('\n').count()), (2, 1), "{arguments:?}: {err}");
        assert!(err.starts_with("ocinet: cannot ") && err.contains("; hint: "), "{err}");
        assert!(!err.contains("For more information"), "clap's own hint: {err}");
        assert_eq!(arguments.is_empty(), err.contains(": no command is named; hint: see"), "{err}");
    }
    let (code, out, _) = run(folder.path(), &["completions", "bash"], "");
    assert!(code == 0 && out.contains("createRuntime") && out.contains("poststop"), "{out}");
    let (code, out, _) = run(folder.path(), &["--help"], "");
    assert!(code == 0 && out.contains("createRuntime"), "{out}");
}

/// Every key of the program is in the reference, and the reference has no other.
#[test]
fn the_annotation_reference_is_complete() {
    let reference =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/annotations.md")).unwrap();
    for key in ocinet::KEYS {
        let name = format!("`net.{}`", key.name);
        assert!(reference.contains(&name), "docs/annotations.md lacks {name}");
    }
    for word in reference.split('`').filter_map(|word| word.strip_prefix("net.")) {
        let key = word.split('=').next().unwrap_or(word);
        let is_key = key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') && !key.is_empty();
        assert!(
            !is_key || ocinet::KEYS.iter().any(|known| known.name == key),
            "docs/annotations.md has net.{key}"
        );
    }
}

/// Every key has a plan that shows what it does, and an error that shows what it refuses.
#[test]
fn every_key_has_a_plan_and_an_error() {
    let read = |name: &str| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).unwrap()
    };
    let has = |text: &str, key: &str| {
        text.lines()
            .filter_map(|line| line.strip_prefix("net.")?.split_once('='))
            .any(|(name, _)| name.rsplit('.').next() == Some(key))
    };
    let plans = ["plans.txt", "drivers.txt", "options.txt"].map(read).concat();
    let errors = read("errors.txt");
    for key in ocinet::KEYS {
        assert!(key.subject == Subject::Later || has(&plans, key.name), "no plan has net.{}", key.name);
        assert!(has(&errors, key.name), "no error is about net.{}", key.name);
    }
}

/// All files but the one that counts runs, failed ones too.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if !["stats.json", "lock"].contains(&entry.file_name().to_str().unwrap()) {
                found.insert(entry.path(), fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    found
}
