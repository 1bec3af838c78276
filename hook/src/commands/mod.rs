//! The commands, one file each.

mod check;
mod completions;
mod create_runtime;
mod doctor;
mod gc;
mod hook_run;
mod inspect;
mod list;
mod output;
mod plan;
mod poststart;
mod poststop;
mod register;
mod reload;

use std::io::Write as _;

use ocinet_shared::kernel::{privileges, process};
use ocinet_shared::one_line::of_clap_error;
use ocinet_shared::state::StateDir;

use self::hook_run::{run_and_count, without_failing};
use self::output::print;
use crate::cli::{Command, Options};
use crate::error::{Class, Error};
use crate::input::config;

/// Does what the command line asks for and returns the exit code.
///
/// # Errors
/// Why it could not be done.
pub fn run(options: &Options) -> Result<u8, Error> {
    // What of the state folder is for everybody to read, and what is not, each file says itself.
    process::fix_umask();
    privileges::drop_unneeded()?;
    let state = StateDir::new(options.state_dir());
    check_is_there(options)?;
    check_configuration(options)?;
    match &options.command {
        Command::CreateRuntime => {
            run_and_count(&state, "createRuntime", || create_runtime::run(&state, options.config.as_ref()))?;
        }
        Command::Poststart => without_failing(run_and_count(&state, "poststart", || poststart::run(&state))),
        Command::Poststop => run_and_count(&state, "poststop", || poststop::run(&state))?,
        Command::Plan { bundle, .. } => plan::run(&state, options.config.as_ref(), bundle)?,
        Command::List { json } => list::run(&state, *json)?,
        Command::Inspect { id, json } => with_root_hint(inspect::run(&state, id, *json))?,
        Command::Doctor { id } => {
            return with_root_hint(doctor::run(&state, options.config.as_ref(), id.as_deref()));
        }
        Command::Check { id } => return with_root_hint(check::run(&state, id.as_deref())),
        Command::Gc { dry_run } => with_root_hint(gc::run(&state, *dry_run))?,
        Command::Reload { if_missing } => with_root_hint(reload::run(&state, *if_missing))?,
        Command::Register(register) => register::run(&state, options, register)?,
        Command::Completions { shell } => completions::run(*shell)?,
    }
    Ok(0)
}

/// Checks that the state folder is there where an answer would be untrue without it. A named folder that is not there was
/// named by mistake. Where the default one is not there, there are no containers; but gc would take all that it finds for
/// nobody's.
fn check_is_there(options: &Options) -> Result<(), Error> {
    let reads = match options.command {
        Command::List { .. }
        | Command::Inspect { .. }
        | Command::Doctor { .. }
        | Command::Check { .. }
        | Command::Reload { .. } => options.state_dir.is_some(),
        Command::Gc { .. } => true,
        Command::CreateRuntime
        | Command::Poststart
        | Command::Poststop
        | Command::Plan { .. }
        | Command::Register(_)
        | Command::Completions { .. } => false,
    };
    let path = options.state_dir();
    if !reads || path.is_dir() {
        return Ok(());
    }
    let cause = format!("there is no folder {}", path.display());
    let hint = "name the folder that the hooks use with --state-dir or OCINET_STATE_DIR; the first container makes it";
    Err(Error::new(Class::State, "read the state folder", cause, hint))
}

/// A configuration that is named has to be there, also for commands that do not use it. The other commands read it
/// themselves, but for poststart and poststop, which do their work without one, and `completions`.
fn check_configuration(options: &Options) -> Result<(), Error> {
    let is_unread = match options.command {
        Command::List { .. }
        | Command::Inspect { .. }
        | Command::Check { .. }
        | Command::Reload { .. }
        | Command::Gc { .. } => true,
        Command::CreateRuntime
        | Command::Poststart
        | Command::Poststop
        | Command::Plan { .. }
        | Command::Doctor { .. }
        | Command::Register(_)
        | Command::Completions { .. } => false,
    };
    match &options.config {
        // What is wrong in it is not these commands' business.
        Some(named) if is_unread && !named.exists() => config::load(Some(named)).map(drop),
        _ => Ok(()),
    }
}

/// Root alone may run these commands. The usual hints are about the runtime or the kernel: another user needs another one.
fn with_root_hint<T>(result: Result<T, Error>) -> Result<T, Error> {
    let is_root = nix::unistd::geteuid().is_root();
    result.map_err(|error| if is_root { error } else { error.hinting_at_root() })
}

/// Prints what clap says of a command line it cannot use, in one line for an error, and returns the exit code.
#[must_use]
pub fn explain(error: &clap::Error) -> u8 {
    use clap::error::ErrorKind;
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match print(&error.to_string()) {
            Ok(()) => 0,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "ocinet: {error}");
                error.exit_code()
            }
        };
    }
    let names_none = matches!(
        error.kind(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
    );
    let cause = if names_none { "no command is named".to_owned() } else { of_clap_error(&error.to_string()) };
    let line = format!("ocinet: cannot read the command line: {cause}; hint: see `ocinet --help`\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    2
}
