//! One container's set-up: plan, record, apply, and again where another container was quicker.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use ocinet_shared::kernel::netlink::NetlinkSocket;
use ocinet_shared::kernel::netns::Namespace;
use ocinet_shared::kernel::process;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::record::{Phase, Record, VERSION};
use ocinet_shared::state::{Locked, MAX_FILE, StateDir, to_json};

use crate::error::{Class, Error, annotation};
use crate::host::boot;
use crate::host::conflict::{Conflict, Wanted};
use crate::input::config::Config;
use crate::input::labels;
use crate::input::oci_bundle::OciBundle;
use crate::input::oci_state::Container;
use crate::input::request::Request;
use crate::lifecycle::apply::{Applier, Failure, Target};
use crate::lifecycle::phases::Phases;
use crate::lifecycle::planner::Planner;
use crate::lifecycle::teardown::Teardown;
use crate::lifecycle::{identity, sweep};
use crate::plan::{Plan, pod};
use crate::policy::rules::Rules;
use crate::state::leases;
use crate::state::pod_members;

/// How often a plan is made anew because another container was quicker to an address, a port or a network.
const ATTEMPTS: usize = 256;

/// The largest record that a start begins with: a little grows until it is complete.
const MAX_RECORD: usize = MAX_FILE as usize - (4 << 10);

/// What earlier attempts of this start found: in the container's namespace, what others of its pod made; on the host, which
/// addresses living containers have.
#[derive(Default)]
struct Learned {
    /// The container whose attachments this one shares.
    owner: Option<Box<Record>>,
    /// Whether there is a default route.
    default_route: bool,
    /// The addresses of all containers that live on this host; empty until the kernel refused one.
    living: BTreeSet<IpAddr>,
    /// Containers that had something which this one wants, and had no record when it was looked for.
    gone: BTreeSet<ContainerId>,
}

/// One set-up.
pub struct Setup<'a> {
    state: &'a StateDir,
    config: &'a Config,
    request: &'a Request,
    container: Container,
    bundle: Result<OciBundle, Error>,
    boot_id: String,
    pid_start: u64,
    home: Namespace,
    namespace: Namespace,
    phases: &'a Phases,
}

impl<'a> Setup<'a> {
    /// Opens the container's namespace and finds out which process it is. `phases` begin with the hook.
    ///
    /// # Errors
    /// A container without a process or without a namespace of its own.
    pub fn new(
        state: &'a StateDir,
        config: &'a Config,
        request: &'a Request,
        container: Container,
        phases: &'a Phases,
    ) -> Result<Self, Error> {
        let pid = container.pid;
        let dead = |error| {
            let doing = format!("find the process {pid} of container {}", container.id);
            Error::new(
                Class::Usage,
                doing,
                error,
                "run this as a createRuntime hook, when the container's process exists",
            )
        };
        let pid_start = process::start_time(pid).map_err(dead)?;
        let namespace = Namespace::of_process(pid).map_err(dead)?;
        // The number may have become another process's meanwhile.
        if process::start_time(pid).map_err(dead)? != pid_start {
            return Err(dead(Errno::ESRCH.into()));
        }
        let home = Namespace::own().map_err(dead)?;
        if home.id() == namespace.id() && request.needs_own_namespace() {
            return Err(no_own_namespace(&container.id));
        }
        let boot_id = boot::id()?;
        let bundle = OciBundle::read(Path::new(&container.bundle));
        phases.end("look at the process and its bundle");
        Ok(Self { state, config, request, container, bundle, boot_id, pid_start, home, namespace, phases })
    }

    /// Sets the container up.
    ///
    /// # Errors
    /// Why it was not; nothing is left then.
    pub fn run(&self) -> Result<(), Error> {
        self.state.check()?;
        self.check_capabilities()?;
        if self.detach_earlier()? {
            return Ok(());
        }
        self.phases.end("check the state folder");
        sweep::some(self.state, &self.boot_id);
        self.phases.end("look for the dead");
        let mut last = None;
        let mut found = Learned::default();
        for _ in 0..ATTEMPTS {
            match self.attempt(&found) {
                Ok(()) => return Ok(()),
                Err(Failure::Stale(error)) => last = Some(error),
                Err(Failure::HasDefaultRoute(error)) if found.default_route => return Err(error),
                Err(Failure::HasDefaultRoute(_)) => found.default_route = true,
                Err(Failure::WithoutLease(of)) if self.asks_for(of.address) => return Err(of.error),
                Err(Failure::WithoutLease(of)) => {
                    found.living.extend(of.living);
                    last = Some(of.error);
                }
                Err(Failure::Attached(record)) => found.owner = self.owner(record)?,
                Err(Failure::Conflict(conflict)) => match self.pod_mate(&conflict)? {
                    Some(record) if found.owner.is_none() => found.owner = self.owner(record)?,
                    _ if self.free(&conflict, &mut found.gone)? => last = Some(conflict.error),
                    _ => return Err(conflict.error),
                },
                Err(Failure::Final(error)) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| {
            Error::new(
                Class::Conflict,
                "make a plan",
                "the host changes too fast",
                "start the container again",
            )
        }))
    }

    fn check_capabilities(&self) -> Result<(), Error> {
        let bundle = self.bundle.as_ref();
        let rules = Rules::of(self.config, &self.container.annotations);
        if let Some(warning) = rules.check_capabilities(&self.container.id, bundle)? {
            crate::log::warn(warning);
        }
        Ok(())
    }

    /// The container whose attachments this one is to share; where it is dead, the namespace is free again once it is
    /// detached.
    fn owner(&self, record: Box<Record>) -> Result<Option<Box<Record>>, Error> {
        if sweep::if_dead(self.state, &record.id, &self.boot_id)? {
            return Ok(None);
        }
        let members = pod_members::records(self.state, &record);
        pod::check(&record, &members, &self.container.id, self.request)?;
        Ok(Some(record))
    }

    /// The record of who has what this container wants, if that one is in the same namespace: they share it then.
    fn pod_mate(&self, conflict: &Conflict) -> Result<Option<Box<Record>>, Error> {
        conflict.by.as_ref().map_or(Ok(None), |holder| self.mate(holder))
    }

    fn mate(&self, other: &ContainerId) -> Result<Option<Box<Record>>, Error> {
        if *other == self.container.id {
            return Ok(None);
        }
        let record = self.state.read_record(other)?;
        let is_mate = |record: &Record| record.netns == self.namespace.id() && record.shares.is_none();
        Ok(record.filter(is_mate).map(Box::new))
    }

    /// The same id may be created again without a poststop between (hazards of containerd and CRIU restores). In a pod
    /// it finds its attachments where it left them to the others: true where nothing is left to do.
    fn detach_earlier(&self) -> Result<bool, Error> {
        let id = &self.container.id;
        // Looked at without the lock first: a start that is under way is not waited for.
        let Some(record) = self.state.read_record(id)? else { return Ok(false) };
        self.check_free(&record)?;
        let Some((record, lock)) = self.state.lock_record(id)? else { return Ok(false) };
        self.check_free(&record)?;
        if pod_members::keeper(self.state, &record, &self.boot_id).is_some() {
            let members = pod_members::records(self.state, &record);
            let own = Record { attachments: without_ports(&record), ..record.clone() };
            pod::check(&own, &members, id, self.request)?;
            let path = self.state.record_path(id);
            let bundle = self.container.bundle.clone();
            let back = Record { pid: self.container.pid, pid_start: self.pid_start, bundle, ..record };
            self.state.replace(&path, &to_json(&back, &path)?)?;
            return Ok(true);
        }
        let mut teardown = Teardown::new(self.state)?;
        let result = teardown.container(&record);
        drop(lock);
        teardown.close();
        result.map(|()| false)
    }

    fn check_free(&self, record: &Record) -> Result<(), Error> {
        let netns_is_same = record.netns == self.namespace.id();
        identity::check_free(self.state, record, &self.container, &self.boot_id, netns_is_same)
    }

    /// Detaches whoever has it, if that one is dead. True if another attempt may succeed: it was given back, whoever had it has
    /// gone, or ocinet chose it and can choose another. A container without a record is worth one more attempt, because a stop
    /// removes the record last.
    fn free(&self, conflict: &Conflict, gone: &mut BTreeSet<ContainerId>) -> Result<bool, Error> {
        if conflict.is_given_back {
            return Ok(true);
        }
        let other = conflict.by.as_ref().filter(|holder| **holder != self.container.id);
        if let Some(holder) = other
            && (sweep::if_dead(self.state, holder, &self.boot_id)?
                || (self.state.read_record(holder)?.is_none() && gone.insert(holder.clone())))
        {
            return Ok(true);
        }
        let asked_for = match conflict.what {
            Wanted::Address(address) => self.asks_for(address),
            Wanted::Port(wanted) => self.request.ports().any(|port| port.host_port == wanted),
            Wanted::Mac(mac) => self.request.attachments.iter().any(|asked| {
                let by_address = |address: &IpAddr| Mac::of_container(*address) == mac;
                asked.mac == Some(mac) || asked.addresses.first().is_some_and(by_address)
            }),
        };
        Ok(!asked_for)
    }

    fn asks_for(&self, address: IpAddr) -> bool {
        self.request.attachments.iter().any(|asked| asked.addresses.contains(&address))
    }

    /// One plan, recorded and applied.
    fn attempt(&self, found: &Learned) -> Result<(), Failure> {
        let plan = self.plan(found)?;
        self.phases.end("plan");
        let owner = found.owner.as_deref();
        let path = self.state.record_path(&self.container.id);
        let mut record = self.record(&plan, owner)?;
        let target = Target {
            id: &self.container.id,
            pid: self.container.pid,
            bundle: &self.bundle,
            home: &self.home,
            namespace: &self.namespace,
            phases: self.phases,
        };
        let mut applier = Applier::new(self.state, &target)?;
        let json = to_json(&record, &path)?;
        if json.len() > MAX_RECORD {
            let cause = format!("its record would have {} bytes, and may have {MAX_RECORD}", json.len());
            return Err(annotation("net.ports", cause, "publish fewer ports").into());
        }
        let lock = self.state.lock(Locked::Container(&self.container.id))?;
        if !self.state.create(&path, &json)? {
            // Another start of this id was quicker.
            drop(lock);
            self.detach_earlier()?;
            return Err(Failure::Stale(Error::new(
                Class::Conflict,
                format!("attach container {}", self.container.id),
                "its id is given to another container again and again",
                "give the containers ids of their own",
            )));
        }
        self.phases.end("record");
        let result = applier.apply(&plan).and_then(|()| {
            for attachment in record.attachments.iter_mut().filter(|_| owner.is_none()) {
                attachment.host_ifindex = applier.host_index(&attachment.interface);
            }
            let ready = Record {
                phase: Phase::Ready,
                setup_us: microseconds(self.phases.started()),
                ..record.clone()
            };
            self.state.replace(&path, &to_json(&ready, &path)?)?;
            applier.keep_elements(&ready)?;
            leases::remove_source(self.state, &self.container.id)?;
            Ok(self.state.remove(&self.state.last_error_path(&self.container.id))?)
        });
        let mut teardown = applier.into_teardown();
        let result = result.map_err(|failure| match teardown.container(&record) {
            Ok(()) => failure,
            Err(undo) => both(&failure, undo).into(),
        });
        drop(lock);
        teardown.close();
        self.phases.end("record that it is ready");
        result
    }

    fn plan(&self, found: &Learned) -> Result<Plan, Error> {
        // Whether something is shared with a pod mate is found out when it turns out to be taken.
        let ended = RefCell::new(BTreeSet::new());
        let is_gone = |other: &ContainerId| {
            if pod_members::has_ended(self.state, other, &self.boot_id)? {
                ended.borrow_mut().insert(other.clone());
                return Ok(true);
            }
            Ok(self.mate(other)?.is_some())
        };
        let planner = Planner {
            state: self.state,
            config: self.config,
            rules: &Rules::of(self.config, &self.container.annotations),
            id: &self.container.id,
            bundle: self.bundle.as_ref().ok(),
            is_gone: &is_gone,
            living: &found.living,
            asks_host: true,
            has_default_route: found.default_route,
        };
        let plan = match &found.owner {
            Some(owner) => planner.share(self.request, owner),
            None => planner.plan(self.request),
        }?;
        // What the plan counts on has to be free before it is applied.
        for other in ended.into_inner() {
            sweep::if_dead(self.state, &other, &self.boot_id)?;
        }
        Ok(plan)
    }

    fn record(&self, plan: &Plan, owner: Option<&Record>) -> Result<Record, Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let netns_number = if plan.needs_namespace_number() {
            Some(self.namespace.number(&mut NetlinkSocket::open(NETLINK_ROUTE)?)?)
        } else {
            None
        };
        Ok(Record {
            version: VERSION,
            id: self.container.id.clone(),
            boot_id: self.boot_id.clone(),
            phase: Phase::Pending,
            pid: self.container.pid,
            pid_start: self.pid_start,
            netns: self.namespace.id(),
            netns_number,
            shares: owner.map(|owner| owner.id.clone()),
            bundle: self.container.bundle.clone(),
            labels: labels::of(&self.container.annotations),
            told: plan.told(),
            created: now.as_secs(),
            attachments: plan.attachments.clone(),
            owned: plan.owned(),
            setup_us: 0,
        })
    }
}

/// The refusal of a container in the host's network namespace, whose driver needs one of its own.
#[must_use]
pub fn no_own_namespace(id: &ContainerId) -> Error {
    Error::new(
        Class::Usage,
        format!("attach container {id}"),
        "it shares the host's network namespace",
        "give it a network namespace of its own (podman: --network=none), or use net.driver=host",
    )
}

/// A container that comes back is not in its own way with the ports that it published before.
fn without_ports(record: &Record) -> Vec<ocinet_shared::model::record::Attachment> {
    let mut attachments = record.attachments.clone();
    attachments.iter_mut().for_each(|attachment| attachment.ports.clear());
    attachments
}

fn microseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A failure whose undo failed too: both are said, and the record stays for poststop.
fn both(failure: &Failure, undo: Error) -> Error {
    let first = match failure {
        Failure::Stale(error) | Failure::HasDefaultRoute(error) | Failure::Final(error) => {
            error.without_hint()
        }
        Failure::Conflict(conflict) => conflict.error.without_hint(),
        Failure::WithoutLease(of) => of.error.without_hint(),
        Failure::Attached(owner) => format!("its network namespace is container {}'s", owner.id),
    };
    undo.with_cause(|cause| format!("{cause} (after: {first})"))
}
