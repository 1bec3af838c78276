//! The command line.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// Gives an OCI container its network, without a daemon.
#[derive(Debug, Parser)]
#[command(name = "ocinet", version, disable_help_subcommand = true)]
pub struct Options {
    /// Where records and leases are [default: /run/ocinet].
    #[arg(long, global = true, value_name = "DIR", env = "OCINET_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// The configuration [default: /etc/ocinet/config.toml, if there is one].
    #[arg(long, global = true, value_name = "FILE", env = "OCINET_CONFIG")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the state folder is by default.
pub const STATE_DIR: &str = "/run/ocinet";

impl Options {
    /// The state folder, named or not.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        self.state_dir.as_deref().unwrap_or(Path::new(STATE_DIR))
    }

    /// What a runtime's call means, whose one argument is the hook's name; `None` for every other command line. It spares
    /// the calls in every container's life the building of the whole parser.
    #[must_use]
    pub fn of_a_hook() -> Option<Self> {
        let mut arguments = std::env::args_os().skip(1);
        let command = match arguments.next()?.to_str()? {
            "createRuntime" | "prestart" => Command::CreateRuntime,
            "poststart" => Command::Poststart,
            "poststop" => Command::Poststop,
            _ => return None,
        };
        if arguments.next().is_some() {
            return None;
        }
        let state_dir = std::env::var_os("OCINET_STATE_DIR").map(PathBuf::from);
        Some(Self { state_dir, config: std::env::var_os("OCINET_CONFIG").map(PathBuf::from), command })
    }
}

/// What ocinet can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Attach a container to its networks, as a runtime's hook: its state on standard input.
    #[command(name = "createRuntime", alias = "prestart")]
    CreateRuntime,
    /// Tell a container its names again where its engine wrote its files anew, as a runtime's hook: its state on standard
    /// input. It exits with 0 also where it fails, because a runtime ends a container whose poststart hook fails.
    #[command(name = "poststart")]
    Poststart,
    /// Detach a container from its networks, as a runtime's hook: its state on standard input.
    #[command(name = "poststop")]
    Poststop,
    /// Print what createRuntime would do, and touch nothing.
    ///
    /// A bundle has no id yet: the folder's name stands for it, so that the container may get another address. Whether ports
    /// are free, host addresses and bridges are there and ocinet's, and sysctls exist, only a start finds out.
    Plan {
        /// A bundle whose config.json has the annotations; `-`, the default, reads the state from standard input.
        #[arg(long, value_name = "DIR", default_value = "-")]
        bundle: String,
        /// `-` reads the state from standard input.
        #[arg(value_name = "-", value_parser = ["-"])]
        standard_input: Option<String>,
    },
    /// List the containers that ocinet has attached.
    List {
        /// Print the records as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a container's attachments and what it has sent, received and published.
    ///
    /// What it has sent and received is what the host routed between it and the outside of its network. What it exchanges
    /// with neighbours on its network is not in it, nor anything of macvlan and ipvlan.
    Inspect {
        /// The container's id.
        id: String,
        /// Print the record and the counters as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Find why packets do not arrive, and what fixes it.
    Doctor {
        /// The container's id; without one, all containers are looked at.
        id: Option<String>,
    },
    /// Compare the records with the kernel and print each difference; exit 1 where there is one.
    Check {
        /// Only of this container.
        id: Option<String>,
    },
    /// Remove what no live container owns, and nothing else.
    Gc {
        /// Only print it.
        #[arg(long)]
        dry_run: bool,
    },
    /// Put back every rule and element of ocinet's, as after a flush of the rule set; living connections go on.
    Reload {
        /// Do nothing where the tables, their rules and all elements of this state folder are there.
        #[arg(long)]
        if_missing: bool,
    },
    /// Make a runtime call ocinet: for one bundle, or for podman's containers.
    Register(Register),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// What is to be registered where.
#[derive(Debug, Args)]
pub struct Register {
    /// The bundle into whose config.json hooks and annotations are written.
    #[arg(long, value_name = "DIR", required_unless_present = "podman", conflicts_with = "podman")]
    pub bundle: Option<PathBuf>,
    /// Write the files that make podman call ocinet for containers with net. annotations.
    #[arg(long)]
    pub podman: bool,
    /// Where podman looks for hooks.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/usr/share/containers/oci/hooks.d",
        requires = "podman"
    )]
    pub hooks_dir: PathBuf,
    /// net.driver.
    #[arg(long, value_name = "DRIVER", requires = "bundle")]
    pub driver: Option<String>,
    /// net.network.
    #[arg(long, value_name = "NAME", requires = "bundle")]
    pub network: Option<String>,
    /// A port to publish, as for docker run -p; may be repeated.
    #[arg(long, value_name = "PORT", requires = "bundle")]
    pub publish: Vec<String>,
    /// A further annotation; may be repeated.
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = pair, requires = "bundle")]
    pub annotations: Vec<(String, String)>,
    /// The program that runtimes are to call [default: this one].
    #[arg(long, value_name = "FILE")]
    pub hook_path: Option<PathBuf>,
    /// Where crun writes what the hooks say, which it drops otherwise.
    #[arg(long, value_name = "FILE", requires = "bundle")]
    pub hook_stderr: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it is not of the form KEY=VALUE"),
    }
}
