//! The .deb and the .rpm, looked at with the distributions' own tools.

use std::fs;
use std::path::Path;

use super::{make, run, temporary};

/// What both packages have.
const FILES: [&str; 13] = [
    "/usr/bin/ocinet",
    "/usr/bin/ocinet-exporter",
    "/etc/default/ocinet-exporter",
    "/usr/lib/systemd/system/ocinet-exporter.service",
    "/usr/lib/systemd/system/ocinet-reload.timer",
    "/usr/lib/tmpfiles.d/ocinet.conf",
    "/usr/share/bash-completion/completions/ocinet",
    "/usr/share/containers/oci/hooks.d/ocinet-create.json",
    "/usr/share/containers/oci/hooks.d/ocinet-poststart.json",
    "/usr/share/containers/oci/hooks.d/ocinet-poststop.json",
    "/usr/share/doc/ocinet/examples/config.toml",
    "/usr/share/fish/vendor_completions.d/ocinet.fish",
    "/usr/share/ocinet/prometheus/ocinet.alerts.yml",
];

fn package(folder: &Path, ending: &str) -> String {
    let packages = fs::read_dir(folder.join("packages")).unwrap();
    let paths = packages.map(|entry| entry.unwrap().path().display().to_string());
    paths.into_iter().find(|path| path.ends_with(ending)).expect("a package")
}

#[test]
#[ignore = "needs the built programs, debhelper, lintian and rpm"]
fn packages_have_every_file_and_no_complaint() {
    let temporary = temporary();
    let folder = temporary.path();
    make(folder, "package-files", &[]);
    let deb = package(folder, ".deb");
    let listed = run("dpkg-deb", &["-c", &deb]);
    for file in FILES.into_iter().chain([
        "/usr/share/zsh/vendor-completions/_ocinet",
        "/usr/share/man/man7/ocinet-annotations.7.gz",
        "/usr/share/doc/ocinet/third-party-licenses.txt.gz",
    ]) {
        assert!(
            listed.lines().any(|line| line.ends_with(&format!(" .{file}")) && line.contains(" root/root ")),
            "{file}: {listed}"
        );
    }
    assert_eq!(run("dpkg-deb", &["-I", &deb, "conffiles"]), "/etc/default/ocinet-exporter\n");
    let control = run("dpkg-deb", &["-f", &deb]);
    assert!(
        control.contains("\nDepends: nftables\n") && control.contains("\nRecommends: podman | runc | crun\n"),
        "{control}"
    );
    // Programs that are not built for release have their symbols.
    let said = run(
        "lintian",
        &["--allow-root", "--fail-on=error", "--suppress-tags=unstripped-binary-or-object", &deb],
    );
    let warnings = said.lines().filter(|line| line.starts_with("W:"));
    assert_eq!(warnings.count(), 0, "{said}");
    let rpm = package(folder, ".rpm");
    let listed = run("rpm", &["-qpl", &rpm]);
    for file in FILES
        .into_iter()
        .chain(["/usr/share/zsh/site-functions/_ocinet", "/usr/share/licenses/ocinet/LICENSE"])
    {
        assert!(listed.lines().any(|line| line == file), "{file}: {listed}");
    }
    assert!(run("rpm", &["-K", &rpm]).contains("digests OK"));
    assert_eq!(run("rpm", &["-qpc", &rpm]), "/etc/default/ocinet-exporter\n");
    let root = folder.join("rpm-root").display().to_string();
    run("rpm", &["--root", &root, "--install", "--nodeps", "--noscripts", &rpm]);
    let (of_rpm, built) = (folder.join("rpm-root/usr/bin/ocinet"), folder.join("built/ocinet"));
    assert!(fs::read(of_rpm).unwrap() == fs::read(built).unwrap());
}

#[test]
#[ignore = "needs the built programs, debhelper and rpm"]
fn the_same_programs_give_the_same_packages() {
    let make_both = || {
        let temporary = temporary();
        let folder = temporary.path();
        make(folder, "package-files", &[]);
        [".deb", ".rpm"].map(|ending| fs::read(package(folder, ending)).unwrap())
    };
    let made = [make_both(), make_both()];
    assert!(made[0][0] == made[1][0], "the .deb");
    assert!(made[0][1] == made[1][1], "the .rpm");
}

#[test]
#[ignore = "needs man"]
fn man_pages_render_without_a_warning() {
    let temporary = temporary();
    let folder = temporary.path();
    run(env!("CARGO_BIN_EXE_pages"), &[&folder.join("pages").display().to_string()]);
    let footer = concat!("ocinet ", env!("CARGO_PKG_VERSION"));
    let mut pages = 0;
    for page in fs::read_dir(folder.join("pages/man")).unwrap().map(|entry| entry.unwrap().path()) {
        let page = page.display().to_string();
        let options =
            ["LC_ALL=C.UTF-8", "MANWIDTH=80", "man", "--warnings", "-E", "UTF-8", "-Tutf8", "-l", &page];
        let rendered = run("env", &options);
        assert!(
            !rendered.contains("warning:") && rendered.contains(footer) && rendered.lines().count() > 5,
            "{page}: {rendered}"
        );
        pages += 1;
    }
    assert!(pages > 12, "{pages}");
}
