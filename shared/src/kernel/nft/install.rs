//! The base tables. This is the only file that starts a program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::libc::MFD_NOEXEC_SEAL;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

use super::parts;
use super::parts::{Part, RULES};
use crate::kernel::landlock::WriteProtection;
use crate::kernel::privileges;
use crate::model::element::{Element, Set, Table};

/// Where distributions put nft. PATH is not asked: a runtime may clear it, and an image's author may not set it.
const NFT: [&str; 4] = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft"];

/// Why the base tables could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// nft is in none of the usual places.
    #[error("nft is in none of /usr/sbin, /sbin, /usr/bin, /usr/local/sbin")]
    Missing,
    /// nft could not be started or spoken to.
    #[error("cannot run {0}: {1}")]
    Run(&'static str, io::Error),
    /// nft said no, in its own words.
    #[error("nft refused the base tables: {0}")]
    Refused(String),
}

/// Makes both base tables with these elements, in one transaction: no packet meets the rules without the elements. Where
/// a table exists already nothing of it is lost: sets, chains, elements and tables that are there are taken as they are,
/// and the rules are written anew. `parts` are those that these elements need, and those that are there.
///
/// # Errors
/// [`InstallError`]; nft's own only where its exit status can be had.
pub fn install(elements: &[Element], parts: &BTreeSet<Part>) -> Result<(), InstallError> {
    let rules: String = parts.iter().map(|part| part.text()).collect();
    run(&["-f", "-"], [PREAMBLE, parts::base(), &rules, &text(elements)])
}

/// Has dormant tables asked again. The kernel refuses to do it in one transaction with new chains.
///
/// # Errors
/// [`InstallError`].
pub fn wake(tables: &[Table]) -> Result<(), InstallError> {
    let commands: String =
        tables.iter().map(|table| format!("add table {} ocinet\n", table.family())).collect();
    run(&["-f", "-"], [&commands, "", "", ""])
}

/// Why nft would refuse the base tables as things are, in its own words; nothing is changed. `None` where it would not.
///
/// # Errors
/// [`InstallError`], but for what nft refuses.
pub fn refusal() -> Result<Option<String>, InstallError> {
    match run(&["-c", "-f", "-"], [PREAMBLE, RULES, "", ""]) {
        Ok(()) => Ok(None),
        Err(InstallError::Refused(why)) => Ok(Some(why)),
        Err(error) => Err(error),
    }
}

fn run(arguments: &[&str], texts: [&str; 4]) -> Result<(), InstallError> {
    let nft = NFT.into_iter().find(|path| Path::new(path).exists()).ok_or(InstallError::Missing)?;
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let mut command = Command::new(nft);
    let run = |error| InstallError::Run(nft, error);
    let parent = getpid();
    // It ends with this process, whose locks it relies on: what it wrote later would be of containers that have ended.
    let protection = WriteProtection::new().map_err(run)?;
    let prepare = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The signal is not sent for a parent that ended before.
        if getppid() != parent {
            return Err(Errno::ESRCH.into());
        }
        privileges::keep_nfts()?;
        Ok(protection.restrict_self()?)
    };
    #[expect(unsafe_code, reason = "what runs between fork(2) and execve(2) may make system calls alone")]
    // SAFETY: prctl(2), getppid(2), capget(2), capset(2) and landlock_restrict_self(2) are all that it calls.
    let command = unsafe { command.pre_exec(prepare) };
    let child = command
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(whole(texts).map_err(run)?)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(run)?;
    let output = match child.wait_with_output() {
        // A runtime that ignores SIGCHLD lets the kernel forget how nft ended. Whether the tables are there is seen
        // by the first element that is added.
        Err(error) if error.raw_os_error() == Some(nix::libc::ECHILD) => return Ok(()),
        other => other.map_err(run)?,
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or("it gave no reason").to_owned();
    Err(InstallError::Refused(first))
}

/// A file that holds all of it before nft reads the first line. Of a pipe whose writer is killed, nft would take what it got
/// for all, and flush the rules without writing them anew.
fn whole(texts: [&str; 4]) -> io::Result<File> {
    let make = |flags| memfd_create("ocinet.nft", MFdFlags::MFD_CLOEXEC | flags);
    // A kernel before 6.3 does not know the flag; a later one writes to its log of a file without it, or refuses it
    // (memfd_create(2)).
    let made = make(MFdFlags::from_bits_retain(MFD_NOEXEC_SEAL)).or_else(|_| make(MFdFlags::empty()))?;
    let mut file = File::from(made);
    texts.into_iter().try_for_each(|text| file.write_all(text.as_bytes()))?;
    file.rewind()?;
    Ok(file)
}

/// One command a set: nft takes long over many commands.
fn text(elements: &[Element]) -> String {
    let mut by_set: BTreeMap<Set, Vec<String>> = BTreeMap::new();
    for element in elements {
        by_set.entry(element.set).or_default().push(element.nft());
    }
    let command = |(set, elements): (Set, Vec<String>)| {
        let (table, name) = set.place();
        format!("add element {} ocinet {name} {{ {} }}\n", table.family(), elements.join(", "))
    };
    by_set.into_iter().map(command).collect()
}

/// Two processes may find the tables missing at the same moment. `add table` and the declarations of sets and
/// chains change nothing where they are there already; rules would be there twice, so that they are flushed first. What older
/// versions had besides is deleted: an empty chain would still cost each packet its hook. To delete is refused of what is not
/// there, hence the additions.
const PREAMBLE: &str = "\
add table inet ocinet
add table bridge ocinet
flush table inet ocinet
flush table bridge ocinet
add chain inet ocinet count_port_out
add chain inet ocinet count_port_in
add chain bridge ocinet postrouting
add set inet ocinet networks { type devgroup; }
delete chain inet ocinet count_port_out
delete chain inet ocinet count_port_in
delete chain bridge ocinet postrouting
delete set inet ocinet networks
";
