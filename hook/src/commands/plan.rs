//! `ocinet plan`: what createRuntime would do, from a state or from a bundle, touching nothing.

use std::collections::BTreeSet;
use std::io::stdin;
use std::path::{Path, PathBuf};

use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::state::StateDir;

use super::output::{print, print_line};
use crate::error::{Class, Error};
use crate::host::boot;
use crate::host::facts;
use crate::input::config;
use crate::input::oci_bundle::{
    NETWORK_PATH_HINT, OciBundle, check_network_path, read_config, shares_host_network,
};
use crate::input::oci_state;
use crate::input::oci_state::{BundleConfig, Container};
use crate::lifecycle::planner::Planner;
use crate::lifecycle::setup;
use crate::policy::rules;
use crate::policy::rules::Rules;
use crate::state::pod_members;

/// Prints the plan. A free host port is shown as 0: which it is, only the start decides.
pub(super) fn run(state: &StateDir, config: Option<&PathBuf>, bundle: &str) -> Result<(), Error> {
    let container = if bundle == "-" {
        oci_state::parse_plan(&oci_state::read(stdin().lock())?)?
    } else {
        from_bundle(bundle)?
    };
    let config = config::load(config)?;
    let driver_of = |network: &ContainerId| facts::driver_of(state, network);
    let Some(request) = rules::admit(&container.annotations, &config, &driver_of)? else {
        return print("nothing to do: the container has no net. annotation\n");
    };
    if bundle != "-" && request.needs_own_namespace() {
        check_namespace(&container)?;
    }
    let boot_id = boot::id()?;
    let is_gone = |other: &ContainerId| Ok(pod_members::has_ended(state, other, &boot_id)?);
    let oci_bundle = OciBundle::read(Path::new(&container.bundle));
    let rules = Rules::of(&config, &container.annotations);
    // A state that is tried out need not have a bundle.
    if oci_bundle.is_ok()
        && let Some(warning) = rules.check_capabilities(&container.id, oci_bundle.as_ref())?
    {
        crate::log::warn(warning);
    }
    let planner = Planner {
        state,
        config: &config,
        rules: &rules,
        id: &container.id,
        bundle: oci_bundle.as_ref().ok(),
        is_gone: &is_gone,
        living: &BTreeSet::new(),
        asks_host: false,
        has_default_route: false,
    };
    let plan = planner.plan(&request)?.to_string();
    plan.lines().try_for_each(print_line)
}

/// A start finds out by the process, which is not there yet.
fn check_namespace(container: &Container) -> Result<(), Error> {
    let config = read_config(&Path::new(&container.bundle).join("config.json"));
    let Ok(config) = config else { return Ok(()) };
    if shares_host_network(&config).is_ok_and(|shares| shares) {
        return Err(setup::no_own_namespace(&container.id));
    }
    check_network_path(&config).map_err(|error| {
        Error::new(Class::Usage, format!("attach container {}", container.id), error, NETWORK_PATH_HINT)
    })
}

fn from_bundle(bundle: &str) -> Result<Container, Error> {
    let folder = Path::new(bundle);
    let path = folder.join("config.json");
    let bytes = read_config(&path).map_err(|error| {
        let doing = format!("read {}", path.display());
        Error::new(Class::Usage, doing, error, "name a folder that holds an OCI bundle")
    })?;
    let id = oci_state::id_of_bundle(folder)?;
    Ok(Container { id, pid: 0, bundle: bundle.to_owned(), annotations: BundleConfig::parse(&bytes)? })
}
