//! `ocinet createRuntime`: wires a container.

use std::io::stdin;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ocinet_shared::container_id::ContainerId;
use ocinet_shared::kernel::netns::Namespace;
use ocinet_shared::kernel::process;
use ocinet_shared::record::{Phase, Record, VERSION};
use ocinet_shared::record_dir::{StateDir, StateError, to_json};

use crate::annotations::Annotations;
use crate::apply::{Applier, Failure};
use crate::config::{self, Config};
use crate::error::{Error, report};
use crate::holder::{Taken, Wanted};
use crate::input::{self, Container};
use crate::ipam::files;
use crate::plan::{Inputs, Plan};
use crate::request::Request;
use crate::take_back::{TakeBack, last_error};
use crate::{facts, ports, sweep};

/// How often a plan is made anew because another container was quicker to an address, a port or a network.
const ATTEMPTS: usize = 256;

/// Wires the container whose state is on standard input. A failure is written down too: crun shows only an exit code.
pub(super) fn run(state: &StateDir, config: Option<&PathBuf>) -> Result<(), Error> {
    let started = Instant::now();
    let container = input::parse_create(&input::read(stdin().lock())?)?;
    let config = config::load(config)?;
    let Some(request) = remember(
        state,
        &container.id,
        Request::parse(Annotations::new(container.annotations.clone()), &config),
    )?
    else {
        crate::log::debug(format_args!("container {} has no net. annotation: nothing to do", container.id));
        return Ok(());
    };
    let id = container.id.clone();
    let setup = Setup::new(state, &config, &request, container);
    remember(state, &id, setup.and_then(|setup| setup.run(started)))
}

fn remember<T>(state: &StateDir, id: &ContainerId, result: Result<T, Error>) -> Result<T, Error> {
    if let Err(error) = &result {
        let path = last_error(state, id);
        let json =
            serde_json::json!({ "id": id, "exit_code": error.exit_code(), "error": error.to_string() });
        let written = to_json(&json, &path).and_then(|json| state.replace(&path, &json).map(drop));
        if let Err(error) = written {
            crate::log::warn(error);
        }
    }
    result
}

/// One set-up.
struct Setup<'a> {
    state: &'a StateDir,
    config: &'a Config,
    request: &'a Request,
    container: Container,
    boot_id: String,
    pid_start: u64,
    home: Namespace,
    namespace: Namespace,
}

impl<'a> Setup<'a> {
    fn new(
        state: &'a StateDir,
        config: &'a Config,
        request: &'a Request,
        container: Container,
    ) -> Result<Self, Error> {
        let pid = container.pid;
        let dead = |error| {
            let doing = format!("find the process {pid} of container {}", container.id);
            Error::Usage(report(
                doing,
                error,
                "run this as a createRuntime hook, when the container's process exists",
            ))
        };
        let pid_start = process::start_time(pid).map_err(dead)?;
        let namespace = Namespace::of_process(pid).map_err(dead)?;
        let home = Namespace::own().map_err(dead)?;
        if home.id() == namespace.id() && request.driver.needs_own_namespace() {
            return Err(Error::Usage(report(
                format!("attach container {}", container.id),
                "it shares the host's network namespace",
                "give it a network namespace of its own, or use net.driver=host",
            )));
        }
        let boot_id = process::boot_id().map_err(dead)?;
        Ok(Self { state, config, request, container, boot_id, pid_start, home, namespace })
    }

    fn run(&self, started: Instant) -> Result<(), Error> {
        self.take_back_earlier()?;
        sweep::some(self.state, &self.boot_id);
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match self.attempt(started) {
                Ok(()) => return Ok(()),
                Err(Failure::Stale(error)) => last = Some(error),
                Err(Failure::Taken(taken)) if self.is_worth_another_try(&taken)? => last = Some(taken.error),
                Err(Failure::Taken(taken)) => return Err(taken.error),
                Err(Failure::Final(error)) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| {
            Error::Conflict(report("make a plan", "the host changes too fast", "start the container again"))
        }))
    }

    /// The same id may be created again without a poststop between (hazards of containerd and CRIU restores).
    fn take_back_earlier(&self) -> Result<(), Error> {
        let Some((record, lock)) = self.state.lock_record(&self.container.id)? else { return Ok(()) };
        let mut take_back = TakeBack::new(self.state)?;
        let result = take_back.container(&record);
        drop(lock);
        take_back.close();
        result
    }

    /// What ocinet itself chose is chosen anew. What the container asks for has one holder, who may be dead.
    fn is_worth_another_try(&self, taken: &Taken) -> Result<bool, Error> {
        let asked_for = match taken.what {
            Wanted::Address(address) => self.request.addresses.contains(&address),
            Wanted::Port(wanted) => self.request.ports.iter().any(|port| port.host_port == wanted),
        };
        match &taken.by {
            Some(holder)
                if *holder != self.container.id && sweep::if_dead(self.state, holder, &self.boot_id)? =>
            {
                Ok(true)
            }
            _ => Ok(!asked_for),
        }
    }

    fn attempt(&self, started: Instant) -> Result<(), Failure> {
        let plan = self.plan()?;
        let path = self.state.record_path(&self.container.id);
        let mut record = self.record(&plan);
        let mut applier = Applier::new(self.state, &self.container.id, &self.home, &self.namespace)?;
        let pending = self.state.create(&path, &to_json(&record, &path)?)?;
        let pending = pending.ok_or_else(|| Error::from(StateError::Busy { path: path.clone() }))?;
        let result = applier.apply(&plan).and_then(|()| {
            for attachment in &mut record.attachments {
                attachment.host_ifindex = applier.host_index();
            }
            let ready = Record { phase: Phase::Ready, setup_us: microseconds(started), ..record.clone() };
            drop(self.state.replace(&path, &to_json(&ready, &path)?)?);
            files::forget_source(self.state, &self.container.id)?;
            Ok(self.state.remove(&last_error(self.state, &self.container.id))?)
        });
        let mut take_back = applier.into_take_back();
        let result = result.map_err(|failure| match take_back.container(&record) {
            Ok(()) => failure,
            Err(undo) => both(&failure, undo).into(),
        });
        drop(pending);
        take_back.close();
        result
    }

    fn plan(&self) -> Result<Plan, Error> {
        if let Some(plan) = self.request.driver.plan_alone() {
            return Ok(plan);
        }
        let id = &self.container.id;
        let network = facts::network(self.state, self.config, self.request)?;
        let take_back_dead = |other: &ContainerId| sweep::if_dead(self.state, other, &self.boot_id);
        let addresses = facts::addresses(self.state, self.request, &network, id, &take_back_dead)?;
        let ports = ports::settle(&self.request.ports, &network)?;
        self.request.driver.plan(&Inputs {
            request: self.request,
            network: &network,
            addresses: &addresses,
            ports: &ports,
            host_interface: &facts::host_interface(id)?,
        })
    }

    fn record(&self, plan: &Plan) -> Record {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Record {
            version: VERSION,
            id: self.container.id.clone(),
            boot_id: self.boot_id.clone(),
            phase: Phase::Pending,
            pid: self.container.pid,
            pid_start: self.pid_start,
            netns: self.namespace.id(),
            bundle: self.container.bundle.clone(),
            created: now.as_secs(),
            attachments: plan.attachments.clone(),
            ports: plan.ports.clone(),
            undo: plan.undo(),
            setup_us: 0,
        }
    }
}

fn microseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A failure whose undo failed too: both are said, and the record stays for poststop.
fn both(failure: &Failure, undo: Error) -> Error {
    let first = match failure {
        Failure::Stale(error) | Failure::Final(error) => error,
        Failure::Taken(taken) => &taken.error,
    };
    match undo {
        Error::Partial(mut partial) => {
            partial.cause = format!("{} (after: {})", partial.cause, first.without_hint());
            Error::Partial(partial)
        }
        other => other,
    }
}
