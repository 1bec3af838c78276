//! The notices of all crates that are linked into the programs.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What a crate's files with notices are called.
const NOTICES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// Every crate with its licence and where it is from, and behind them each notice once, with the crates that it is of.
pub fn text() -> Result<String, Box<dyn Error>> {
    let linked = linked()?;
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--locked", "--format-version=1"])?)?;
    let mut list = String::new();
    let mut notices: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let field = |name: &str| package[name].as_str().unwrap_or_default();
        let name = format!("{} {}", field("name"), field("version"));
        if package["source"].is_null() || !linked.contains(&name) {
            continue;
        }
        writeln!(list, "{name}: {} ({})", field("license"), field("repository"))?;
        let folder = Path::new(field("manifest_path")).parent().ok_or("a crate is nowhere")?;
        for notice in notices_in(folder)? {
            notices.entry(notice).or_default().insert(name.clone());
        }
    }
    let mut by_crate: Vec<(BTreeSet<String>, String)> =
        notices.into_iter().map(|(notice, crates)| (crates, notice)).collect();
    by_crate.sort();
    let mut text = format!("ocinet and ocinet-exporter are linked with these crates:\n\n{list}");
    for (crates, notice) in by_crate {
        let crates: Vec<String> = crates.into_iter().collect();
        write!(text, "\n{}\n{}:\n\n{}\n", "=".repeat(80), crates.join(", "), notice.trim_end())?;
    }
    Ok(text)
}

/// `NAME VERSION` of every crate in the programs.
fn linked() -> Result<BTreeSet<String>, Box<dyn Error>> {
    let tree = cargo(&[
        "tree",
        "--locked",
        "-p",
        "ocinet",
        "-p",
        "ocinet-exporter",
        "-e",
        "normal,no-proc-macro",
        "--prefix",
        "none",
    ])?;
    let names = tree.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some(format!("{} {}", words.next()?, words.next()?.strip_prefix('v')?))
    });
    Ok(names.collect())
}

fn notices_in(folder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut paths: Vec<_> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    paths.sort();
    let is_notice = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        path.is_file() && NOTICES.iter().any(|notice| name.starts_with(notice))
    };
    paths.into_iter().filter(|path| is_notice(path)).map(|path| Ok(fs::read_to_string(path)?)).collect()
}

#[expect(clippy::disallowed_methods, reason = "a tool of the build, which no hook runs")]
fn cargo(arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(program).args(arguments).current_dir(folder).output()?;
    if !output.status.success() {
        return Err(
            format!("cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)).into()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_named_with_its_notices_and_what_is_not_is_not() {
        let text = text().unwrap();
        for part in ["\nring 0.17", "\nhyper 1.", "\nclap 4.", "Permission is hereby granted"] {
            assert!(text.contains(part), "{part}");
        }
        for of_tests_or_the_build in ["proptest", "clap_mangen", "pulldown-cmark"] {
            assert!(!text.contains(&format!("\n{of_tests_or_the_build} ")), "{of_tests_or_the_build}");
        }
    }
}
