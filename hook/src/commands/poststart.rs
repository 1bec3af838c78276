//! `ocinet poststart`: tells a container its names once more, where its engine wrote its files anew after createRuntime.
//!
//! podman 5 does so between the runtime's `create` and `start` (libpod, `completeNetworkSetup`), in place, so that the
//! container sees what is written.

use std::io::stdin;
use std::path::Path;
use std::time::Duration;

use ocinet_shared::kernel::program;
use ocinet_shared::model::record::{Phase, Record};
use ocinet_shared::state::StateDir;

use super::hook_run::Work;
use crate::error::{Class, Error};
use crate::host::boot;
use crate::input::oci_bundle::OciBundle;
use crate::input::oci_state;
use crate::lifecycle::apply::names;
use crate::lifecycle::identity;

/// How long a created container is waited for that nobody starts. An engine writes within moments after `create`.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks at the files of the container whose state is on standard input. One without a record, or whose record is
/// another's, is left alone.
pub(super) fn run(state: &StateDir) -> Result<Work, Error> {
    let started = oci_state::parse_start(&oci_state::read(stdin().lock())?)?;
    let Some(record) = state.read_record(&started.id)? else { return Ok(Work::None) };
    if record.phase != Phase::Ready || record.told.is_nothing() {
        return Ok(Work::None);
    }
    if !identity::is_running(&record, &started, &boot::id()?) {
        return Ok(Work::None);
    }
    let bundle = OciBundle::read(Path::new(&record.bundle))?;
    if !names::are_mounted(&record, &bundle) || !(started.is_running || waited_for_program(&record)?) {
        return Ok(Work::None);
    }
    Ok(if names::tell_again(&record, &bundle)? { Work::Done } else { Work::None })
}

/// runc calls this hook at the end of `create` (opencontainers/runc#4347, until #5186): the engine writes only afterwards, and
/// no hook comes later. A child then waits until the container's program runs, and goes on; the runtime does not wait for
/// it. False in the hook itself, and where the container had ended before the wait. True in the child once the program runs, the
/// container ends or the time is over; `names::tell_again` then looks whether the container lives.
fn waited_for_program(record: &Record) -> Result<bool, Error> {
    match program::wait_in_child_for_next(record.pid, PATIENCE) {
        Err(_) if record.is_dead(&record.boot_id) => Ok(false),
        waited => waited.map_err(|error| {
            let doing = format!("wait for the program of container {}", record.id);
            Error::new(
                Class::Kernel,
                doing,
                error,
                "see that the host can open /dev/null and start a process",
            )
        }),
    }
}
