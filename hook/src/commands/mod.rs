//! The commands, one file each.

mod completions;
mod create_runtime;
mod inspect;
mod list;
mod plan;
mod poststop;

use std::io::Write as _;

use ocinet_shared::record_dir::StateDir;

use crate::cli::{Command, Options};
use crate::error::{Error, report};

/// Does what the command line asks for and returns the exit code.
///
/// # Errors
/// Why it could not be done.
pub fn run(options: &Options) -> Result<u8, Error> {
    let state = StateDir::new(&options.state_dir);
    match &options.command {
        Command::CreateRuntime => create_runtime::run(&state, options.config.as_ref())?,
        Command::Poststop => poststop::run(&state)?,
        Command::Plan { bundle, .. } => plan::run(&state, options.config.as_ref(), bundle)?,
        Command::List { json } => list::run(&state, *json)?,
        Command::Inspect { id, json } => inspect::run(&state, id, *json)?,
        Command::Completions { shell } => completions::run(*shell)?,
    }
    Ok(0)
}

/// Prints to standard output; a reader that goes away is not an error of ours.
fn print(text: &str) -> Result<(), Error> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Usage(report("print to standard output", error, "make room where it is written to")))
        }
        _ => Ok(()),
    }
}
