//! What the container's own files are told about names: by createRuntime, and once more by poststart where its engine
//! wrote them anew in between.

use std::io;

use ocinet_shared::kernel::root_files::RootFiles;
use ocinet_shared::model::names::{Told, ToldHosts, ToldResolver};
use ocinet_shared::model::record::Record;

use super::applier::{Applier, Failure};
use crate::error::{Class, Error};
use crate::input::oci_bundle::OciBundle;
use crate::plan::resolver_files;

const RESOLV_CONF: &str = "etc/resolv.conf";
const HOSTS: &str = "etc/hosts";
/// What to do about a container without a name server.
pub const NAME_ONE: &str = "give it net.dns, or let resolv-conf in the configuration name a file with name servers that containers reach";

impl Applier<'_> {
    pub(super) fn write_resolver(&mut self, told: &ToldResolver) -> Result<(), Failure> {
        let written = self.rewrite(RESOLV_CONF, |old| resolver_files::resolv_conf(old, told));
        self.unless_asked_for(told.is_asked_for(), written)
    }

    /// A look-up without a name server fails, and does not say why.
    pub(super) fn warn_without_name_server(&self) {
        let mut has_one = false;
        let read = self.rewrite(RESOLV_CONF, |text| {
            has_one = resolver_files::names_server(text);
            None
        });
        let id = &self.target.id;
        match read {
            Err(error) => crate::log::warn(format_args!(
                "container {id} may have no name server: the host has none for it, and its etc/resolv.conf cannot be read ({}); hint: {NAME_ONE}",
                error.without_hint()
            )),
            Ok(()) if !has_one => crate::log::warn(format_args!(
                "container {id} has no name server: its etc/resolv.conf names none, and the host has none for it; hint: {NAME_ONE}"
            )),
            Ok(()) => {}
        }
    }

    pub(super) fn write_hosts(&mut self, told: &ToldHosts) -> Result<(), Failure> {
        let written = self.rewrite(HOSTS, |old| resolver_files::hosts(old, told));
        self.unless_asked_for(told.is_asked_for(), written)
    }

    fn root_files(&self, bundle: &OciBundle) -> io::Result<&RootFiles> {
        if let Some(files) = self.root_files.get() {
            return Ok(files);
        }
        let opened = RootFiles::open(self.target.pid, &bundle.root)?;
        Ok(self.root_files.get_or_init(|| opened))
    }

    /// What nobody asked for does not keep a container from starting: its image may have no place for it.
    fn unless_asked_for(&self, is_asked_for: bool, written: Result<(), Error>) -> Result<(), Failure> {
        match written {
            Err(error) if !is_asked_for => {
                let id = self.target.id;
                crate::log::info(format_args!(
                    "container {id} starts without its names: {}",
                    error.without_hint()
                ));
                Ok(())
            }
            written => Ok(written?),
        }
    }

    fn rewrite(
        &self,
        path: &str,
        new: impl FnOnce(Option<&str>) -> Option<String> + Send,
    ) -> Result<(), Error> {
        let bundle = self.target.bundle.as_ref().map_err(Error::clone)?;
        let written =
            self.root_files(bundle).and_then(|files| files.rewrite(path, &bundle.mounted(path)?, new));
        written.map_err(|error| {
            let hint = "see that it is a file of the container's own that can be written (docs/files.md says which are), or leave net.dns, net.dns-search and net.hosts out";
            Error::new(Class::Kernel, format!("write {path} in the container's root"), error, hint)
        })
    }
}

/// Writes again what createRuntime told a container, where its files do not say it any more. True where anything was written.
/// Only files that its engine made and mounted are looked at: what is in the root itself, the container alone can have
/// changed since.
///
/// # Errors
/// [`Class::Kernel`] for a file that cannot be read or written; the other one is told all the same.
pub fn tell_again(record: &Record, bundle: &OciBundle) -> Result<bool, Error> {
    let Told { resolver, hosts } = &record.told;
    let resolver = resolver.as_ref().map(|told| {
        rewrite_mounted(record, bundle, RESOLV_CONF, &|text| resolver_files::resolv_conf_again(text, told))
    });
    let hosts = hosts
        .as_ref()
        .map(|told| rewrite_mounted(record, bundle, HOSTS, &|text| resolver_files::hosts_again(text, told)));
    let (resolver, hosts) = (resolver.transpose(), hosts.transpose());
    Ok(resolver?.unwrap_or_default() | hosts?.unwrap_or_default())
}

/// Whether a container that runs has a name server in its own etc/resolv.conf; `None` where that cannot be read.
#[must_use]
pub fn has_name_server(record: &Record, bundle: &OciBundle) -> Option<bool> {
    let mounted = bundle.mounted(RESOLV_CONF).ok()?;
    let mut has_one = false;
    let read = RootFiles::of_running(record.pid, &bundle.root).and_then(|files| {
        files.rewrite(RESOLV_CONF, &mounted, |text| {
            has_one = resolver_files::names_server(text);
            None
        })
    });
    read.ok().map(|()| has_one)
}

/// Whether any file that the container is told names in is one that its engine made and mounted.
#[must_use]
pub fn are_mounted(record: &Record, bundle: &OciBundle) -> bool {
    let Told { resolver, hosts } = &record.told;
    let told = [(RESOLV_CONF, resolver.is_some()), (HOSTS, hosts.is_some())];
    let is_mounted = |path| bundle.mounted(path).is_ok_and(|mounted| mounted.file.is_some());
    told.into_iter().any(|(path, is_told)| is_told && is_mounted(path))
}

fn rewrite_mounted(
    record: &Record,
    bundle: &OciBundle,
    path: &str,
    new: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<bool, Error> {
    // A mount that is not the container's own was no place for names at createRuntime either.
    let Ok(mounted) = bundle.mounted(path) else { return Ok(false) };
    if mounted.file.is_none() {
        return Ok(false);
    }
    let mut is_written = false;
    let written = RootFiles::of_running(record.pid, &bundle.root).and_then(|files| {
        // What was opened is the container's only if its process lives until now: a pid is used again.
        if record.is_dead(&record.boot_id) {
            return Ok(());
        }
        files.rewrite(path, &mounted, |text| {
            let text = text.and_then(new);
            is_written = text.is_some();
            text
        })
    });
    match written {
        Ok(()) => Ok(is_written),
        Err(_) if record.is_dead(&record.boot_id) => Ok(false),
        Err(error) => {
            let doing = format!("tell container {} its names in {path} again", record.id);
            let hint = "see that the container's process has its own root, and that the file that config.json says is mounted there can be written";
            Err(Error::new(Class::Kernel, doing, error, hint))
        }
    }
}
