//! `ocinet createRuntime`: attaches a container.

use std::io::stdin;
use std::path::PathBuf;
use std::time::Instant;

use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::state::{StateDir, StateError};

use super::hook_run::Work;
use crate::error::Error;
use crate::host::facts;
use crate::input::oci_state::Container;
use crate::input::{config, oci_state};
use crate::lifecycle::phases::Phases;
use crate::lifecycle::setup::Setup;
use crate::policy::rules;
use crate::state::last_error;

/// Wires the container whose state is on standard input. A failure is written down too: crun shows only an exit code.
pub(super) fn run(state: &StateDir, config: Option<&PathBuf>) -> Result<Work, Error> {
    let phases = Phases::since(Instant::now());
    let container = oci_state::read(stdin().lock()).and_then(|state| oci_state::parse_create(&state));
    let container = container
        .inspect_err(|error| crate::log::failure(format_args!("the start of a container failed: {error}")))?;
    let config = remember(state, &container, config::load(config))?;
    let driver_of = |network: &ContainerId| {
        state.check_known()?;
        facts::driver_of(state, network)
    };
    let request = rules::admit(&container.annotations, &config, &driver_of);
    let Some(request) = remember(state, &container, request)? else {
        crate::log::debug(format_args!("container {} has no net. annotation: nothing to do", container.id));
        return Ok(Work::None);
    };
    phases.end("read");
    let setup = Setup::new(state, &config, &request, container.clone(), &phases);
    remember(state, &container, setup.and_then(|setup| setup.run()))?;
    crate::log::debug(format_args!("the start of container {} took {phases}", container.id));
    Ok(Work::Done)
}

fn remember<T>(state: &StateDir, container: &Container, result: Result<T, Error>) -> Result<T, Error> {
    if let Err(error) = &result {
        crate::log::failure(format_args!("the start of container {} failed: {error}", container.id));
        // A folder that others can write to is left as it is.
        let is_left_alone = matches!(state.check(), Err(StateError::Unsafe { .. }));
        if !is_left_alone
            && let Err(error) =
                last_error::write(state, &container.id, (container.pid, &container.bundle), error)
        {
            crate::log::warn(error);
        }
    }
    result
}
