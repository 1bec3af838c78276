//! `pages FOLDER`: makes what packages of ocinet hold besides the programs: man pages, completions and the notices of
//! third parties. All of it is made from the command lines, from the pages in docs/ and from Cargo.lock.

mod licenses;
mod man;
mod markdown;
mod references;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap_complete::Shell;

/// A file to be written: its place below the folder, and its text.
type Page = (PathBuf, String);

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprint("usage: pages FOLDER");
        return ExitCode::from(2);
    };
    match run(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint(&format!("pages: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    let licenses = (PathBuf::from("third-party-licenses.txt"), licenses::text()?);
    let pages = man::pages()?.into_iter().chain(references::pages()?).chain(completions()).chain([licenses]);
    for (name, text) in pages {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, text)?;
    }
    Ok(())
}

/// The completion scripts of both programs for the shells that packages serve, named as each shell wants it.
fn completions() -> Vec<Page> {
    let mut scripts = Vec::new();
    for mut command in man::programs() {
        let name = command.get_name().to_owned();
        for (shell, folder, file) in [
            (Shell::Bash, "bash", name.clone()),
            (Shell::Zsh, "zsh", format!("_{name}")),
            (Shell::Fish, "fish", format!("{name}.fish")),
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, &name, &mut script);
            let path = Path::new("completions").join(folder).join(file);
            scripts.push((path, String::from_utf8_lossy(&script).into_owned()));
        }
    }
    scripts
}

#[expect(clippy::print_stderr, reason = "what a tool of the build says")]
fn eprint(line: &str) {
    eprintln!("{line}");
}
