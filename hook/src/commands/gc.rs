//! `ocinet gc`: removes what no live container owns, and nothing else.

use ocinet_shared::state::StateDir;

use super::output::print_line;
use crate::diagnose::orphans;
use crate::error::{Class, Error};
use crate::host::boot;
use crate::log;

/// Prints a line for each thing that no container owns, and removes it unless this is a dry run. What cannot be removed
/// does not keep the rest.
pub(super) fn run(state: &StateDir, dry_run: bool) -> Result<(), Error> {
    let boot_id = boot::id()?;
    if !dry_run {
        state.check_all()?;
    }
    let (mut failed, mut said) = (Vec::new(), Vec::new());
    // One orphan may hide another: a network is without containers only once they are detached.
    for round in 0..ROUNDS {
        let found = orphans::find(state, &boot_id)?;
        for fault in found.faults {
            if !said.contains(&fault) {
                log::warn(&fault);
                said.push(fault);
            }
        }
        if round == 0 {
            found.living.iter().try_for_each(|line| print_line(format_args!("kept: {line}")))?;
        }
        let mut removed = false;
        for orphan in &found.orphans {
            if dry_run {
                print_line(orphan)?;
                continue;
            }
            match orphans::remove(state, orphan, &boot_id) {
                Ok(true) => {
                    removed = true;
                    print_line(format_args!("removed: {orphan}"))?;
                }
                Ok(false) => {}
                Err(error) if round == 0 => failed.push(error.without_hint()),
                Err(_) => {}
            }
        }
        if dry_run || !removed {
            break;
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let hint = "fix the cause and run `ocinet gc` again";
    Err(Error::new(Class::Partial, "remove everything that no container owns", failed.join("; and "), hint))
}

/// Containers, then their networks, then what those left.
const ROUNDS: usize = 4;
