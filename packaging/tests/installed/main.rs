//! `make install`, `make uninstall` and `make packages`, with the programs of target/bin or of `OCINET_BIN` and
//! `OCINET_EXPORTER_BIN`. They install into a folder of their own, and need what `make test-deps` installs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod install;
mod packages;
mod release;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A folder that ends with the test.
fn temporary() -> TempDir {
    // The programs that look at what is installed may give up their rights.
    let open = Permissions::from_mode(0o755);
    tempfile::Builder::new().prefix("ocinet-packaging-").permissions(open).tempdir().unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Runs a program; whether it ended well, and what it said.
#[expect(clippy::disallowed_methods, reason = "a test of what other programs make of the files")]
fn said_by(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).current_dir(repository()).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

/// Runs a program that has to end well, and returns what it says.
fn run(program: &str, arguments: &[&str]) -> String {
    let (ends_well, said) = said_by(program, arguments);
    assert!(ends_well, "{program} {arguments:?}: {said}");
    said
}

/// `make TARGET` without building anything, with what is between the program and the files in a folder of the test's.
fn make(folder: &Path, target: &str, variables: &[&str]) -> String {
    let built = folder.join("built");
    if !built.exists() {
        fs::create_dir_all(&built).unwrap();
        for (name, variable) in [("ocinet", "OCINET_BIN"), ("ocinet-exporter", "OCINET_EXPORTER_BIN")] {
            let of_build = repository().join("target/bin").join(name);
            let program = std::env::var_os(variable).map_or(of_build, PathBuf::from);
            fs::copy(program, built.join(name)).expect("a built program");
        }
        run(env!("CARGO_BIN_EXE_pages"), &[&folder.join("pages").display().to_string()]);
    }
    let of_test = [("BUILT", "built"), ("PAGES", "pages"), ("STAGE", "stage"), ("PACKAGES_DIR", "packages")];
    let of_test = of_test.map(|(name, path)| format!("{name}={}", folder.join(path).display()));
    let mut arguments = vec!["--no-print-directory", target];
    arguments.extend(of_test.iter().map(String::as_str));
    arguments.extend(variables);
    run("make", &arguments)
}

/// Every file and folder below a folder, by its path from there.
fn tree(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            found.insert(format!("/{}", path.strip_prefix(folder).unwrap().display()));
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}
