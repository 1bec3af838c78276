//! `ocinet plan`: what createRuntime would do, from a state or from a bundle, touching nothing.

use std::fs;
use std::io::stdin;
use std::path::{Path, PathBuf};

use ocinet_shared::container_id::ContainerId;
use ocinet_shared::kernel::process;
use ocinet_shared::record_dir::StateDir;

use crate::annotations::Annotations;
use crate::error::{Error, report};
use crate::input::{self, BundleConfig, Container};
use crate::plan::{Inputs, Plan};
use crate::request::Request;
use crate::{config, facts, ports};

/// Prints the plan. A free host port is shown as 0: which it is, only the start decides.
pub(super) fn run(state: &StateDir, config: Option<&PathBuf>, bundle: &str) -> Result<(), Error> {
    let container =
        if bundle == "-" { input::parse_plan(&input::read(stdin().lock())?)? } else { from_bundle(bundle)? };
    let config = config::load(config)?;
    let Some(request) = Request::parse(Annotations::new(container.annotations), &config)? else {
        return super::print("nothing to do: the container has no net. annotation\n");
    };
    super::print(&plan(state, &config, &request, &container.id)?.to_string())
}

fn plan(
    state: &StateDir,
    config: &config::Config,
    request: &Request,
    id: &ContainerId,
) -> Result<Plan, Error> {
    if let Some(plan) = request.driver.plan_alone() {
        return Ok(plan);
    }
    let network = facts::network(state, config, request)?;
    ports::check_families(&request.ports, &network)?;
    let boot_id = process::boot_id().unwrap_or_default();
    let is_dead =
        |other: &ContainerId| Ok(state.read_record(other)?.is_some_and(|record| record.is_dead(&boot_id)));
    request.driver.plan(&Inputs {
        request,
        network: &network,
        addresses: &facts::addresses(state, request, &network, id, &is_dead)?,
        ports: &request.ports,
        host_interface: &facts::host_interface(id)?,
    })
}

fn from_bundle(bundle: &str) -> Result<Container, Error> {
    let folder = Path::new(bundle);
    let path = folder.join("config.json");
    let bytes = fs::read(&path).map_err(|error| {
        let doing = format!("read {}", path.display());
        Error::Usage(report(doing, error, "name a folder that holds an OCI bundle"))
    })?;
    let name =
        fs::canonicalize(folder).ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let id = name.and_then(|name| name.parse().ok()).map_or_else(|| input::parse_id("bundle"), Ok)?;
    Ok(Container { id, pid: 0, bundle: bundle.to_owned(), annotations: BundleConfig::parse(&bytes)? })
}
