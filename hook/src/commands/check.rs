//! `ocinet check [ID]`: what differs between the records and the kernel.

use ocinet_shared::state::StateDir;

use super::output::{print, print_line};
use crate::diagnose::check;
use crate::diagnose::check::Scope;
use crate::diagnose::orphans;
use crate::diagnose::seen_again::seen_again;
use crate::error::{Class, Error};
use crate::host::boot;
use crate::input::oci_state;

/// Prints a line for each difference and, for the whole host, for each thing that no container owns. Returns the exit code: 1
/// where there is any.
pub(super) fn run(state: &StateDir, id: Option<&str>) -> Result<u8, Error> {
    let boot_id = boot::id()?;
    let scope = match id {
        None => Scope::Host,
        Some(id) => {
            let id = oci_state::parse_id(id)?;
            if state.read_record(&id)?.is_none() {
                let doing = format!("check container {id}");
                return Err(Error::new(
                    Class::Usage,
                    doing,
                    "it has no record",
                    "see `ocinet list` for those that have",
                ));
            }
            Scope::Container(id)
        }
    };
    let look = || -> Result<Vec<String>, Error> {
        let differences = check::differences(state, &scope, &boot_id)?;
        let mut lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
        if scope == Scope::Host {
            let found = orphans::find(state, &boot_id)?;
            let orphans = found.orphans.iter().map(|orphan| format!("{orphan}: `ocinet gc` fixes it"));
            lines.extend(found.living.into_iter().chain(orphans));
        }
        Ok(lines)
    };
    let lines = seen_again(look)?;
    if lines.is_empty() {
        print("everything is as recorded\n")?;
        return Ok(0);
    }
    lines.iter().try_for_each(print_line)?;
    Ok(1)
}
