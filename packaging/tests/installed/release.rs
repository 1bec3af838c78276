//! What a release refuses, and what it makes of a commit that is ready.

use std::fs;
use std::path::Path;

use super::{make, run, said_by, temporary};

#[test]
#[ignore = "needs the built programs, git, debhelper and rpm"]
fn a_release_is_made_of_a_clean_commit_whose_changelog_has_its_version() {
    let temporary = temporary();
    let folder = temporary.path();
    make(folder, "stage", &[]);
    let clone = folder.join("clone").display().to_string();
    run("git", &["clone", "--quiet", ".", &clone]);
    let path = |name: &str| Path::new(&clone).join(name);
    let (script, changelog) = (path("packaging/release.sh").display().to_string(), path("CHANGELOG.md"));
    let (built, pages) = (folder.join("built"), folder.join("pages"));
    let packages =
        format!("RELEASE_PACKAGES=package-files BUILT={} PAGES={}", built.display(), pages.display());
    let release = || said_by("env", &[&packages, &script]);
    let commit = || {
        let author = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-C", &clone];
        run("git", &[author.as_slice(), &["commit", "--quiet", "--all", "--message", "Release"]].concat());
    };
    let text = fs::read_to_string(&changelog).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let ready = text.replacen("## Unreleased", &format!("## {version} (2026-12-01)"), 1);
    fs::write(&changelog, text.replacen("## Unreleased", "## 99.0.0", 1)).unwrap();
    let (ends_well, said) = release();
    assert!(!ends_well && said.contains("changes that are not committed"), "{said}");
    commit();
    let (ends_well, said) = release();
    assert!(!ends_well && said.contains("begins with \"99.0.0\""), "{said}");
    fs::write(&changelog, ready).unwrap();
    commit();
    let (ends_well, said) = release();
    assert!(ends_well && said.contains(&format!("git tag -s v{version}")), "{said}");
    let out = path(&format!("target/release-{version}"));
    let sums = fs::read_to_string(out.join("SHA256SUMS")).unwrap();
    assert_eq!(sums.lines().count(), 3, "{sums}");
    let checked = run("sh", &["-c", &format!("cd {} && sha256sum -c SHA256SUMS", out.display())]);
    assert_eq!(checked.matches(": OK").count(), 3, "{checked}");
    run("git", &["-C", &clone, "tag", &format!("v{version}")]);
    let (ends_well, said) = release();
    assert!(!ends_well && said.contains("is there already"), "{said}");
}
