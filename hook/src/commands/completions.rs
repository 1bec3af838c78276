//! `ocinet completions SHELL`.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::output::print;
use crate::cli::Options;
use crate::error::Error;

/// Prints a completion script.
pub(super) fn run(shell: Shell) -> Result<(), Error> {
    let mut script = Vec::new();
    generate(shell, &mut Options::command(), "ocinet", &mut script);
    print(&String::from_utf8_lossy(&script))
}
