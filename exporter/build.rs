//! Tells the program which compiler built it.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    #[expect(
        clippy::disallowed_methods,
        reason = "the compiler is asked while building, not by a program of ocinet"
    )]
    let said =
        Command::new(compiler).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    // `rustc 1.91.0 (f8297e351 2025-10-28)`
    let said = String::from_utf8_lossy(&said);
    let version = said.split_whitespace().nth(1).unwrap_or("unknown");
    println!("cargo:rustc-env=OCINET_RUSTC_VERSION={version}");
}
