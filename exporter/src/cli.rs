//! The command line: the flags that exporters of Prometheus have.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use ocinet_shared::one_line::of_clap_error;
use tracing::level_filters::LevelFilter;

use crate::http::listen::ListenAddress;
use crate::http::server;
use crate::log;
use crate::scrape::collector::{self, SOURCES};

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// How metrics are served.
    pub server: server::Options,
    /// What is collected.
    pub collector: collector::Options,
    /// What is left out of the log.
    pub log_level: LevelFilter,
    /// How the log is written.
    pub log_format: log::Format,
}

const LISTEN: &str = "web.listen-address";
const TELEMETRY_PATH: &str = "web.telemetry-path";
const CONFIG_FILE: &str = "web.config.file";
const MAX_REQUESTS: &str = "web.max-requests";
const SYSTEMD_SOCKET: &str = "web.systemd-socket";
const STATE_DIR: &str = "state-dir";
const DISABLE_DEFAULTS: &str = "collector.disable-defaults";
const CADVISOR: &str = "compat.cadvisor";
const LOG_LEVEL: &str = "log.level";
const LOG_FORMAT: &str = "log.format";

impl Options {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// clap's, also for `--help` and `--version`: [`explain`] prints it.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(words)?;
        let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
        let max_requests = matches.get_one::<usize>(MAX_REQUESTS).copied().unwrap_or_default();
        Ok(Self {
            server: server::Options {
                listen: matches.get_many(LISTEN).unwrap_or_default().copied().collect(),
                systemd_socket: is_on(&matches, SYSTEMD_SOCKET, false),
                telemetry_path: text(TELEMETRY_PATH),
                web_config: matches
                    .get_one::<String>(CONFIG_FILE)
                    .filter(|file| !file.is_empty())
                    .map(PathBuf::from),
                max_requests: (max_requests > 0).then_some(max_requests),
            },
            collector: collector::Options {
                state: matches.get_one::<PathBuf>(STATE_DIR).cloned().unwrap_or_default(),
                enabled: SOURCES
                    .iter()
                    .filter(|source| {
                        let default = source.default_on && !is_on(&matches, DISABLE_DEFAULTS, false);
                        is_on(&matches, &collector_flag(source.name), default)
                    })
                    .map(|source| source.name)
                    .collect(),
                cadvisor: is_on(&matches, CADVISOR, false),
            },
            log_level: text(LOG_LEVEL).parse().unwrap_or(LevelFilter::INFO),
            log_format: if text(LOG_FORMAT) == "json" { log::Format::Json } else { log::Format::Logfmt },
        })
    }
}

/// The command line as clap knows it.
#[must_use]
pub fn command() -> Command {
    let command = Command::new("ocinet-exporter")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Reports what ocinet's containers send, receive, publish and lose to Prometheus.")
        .disable_version_flag(true)
        .args_override_self(true)
        .args(valued_flags())
        .arg(Arg::new("version").long("version").action(ArgAction::Version).help("Print the version"));
    let mut switches = vec![
        (
            SYSTEMD_SOCKET.to_owned(),
            "Use the sockets that systemd has opened instead of --web.listen-address",
        ),
        (DISABLE_DEFAULTS.to_owned(), "Run only the sources that a --collector.NAME names"),
        (CADVISOR.to_owned(), "Write cAdvisor's container_network_* series as well"),
    ];
    for source in SOURCES {
        let state = if source.default_on { "on" } else { "off" };
        let help = format!("{} [default: {state}; --no-collector.{} turns it off]", source.help, source.name);
        switches.push((collector_flag(source.name), help.leak()));
    }
    switches.into_iter().fold(command, |command, (name, help)| command.args(switch(name, help)))
}

fn valued_flags() -> [Arg; 7] {
    let flag = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    [
        flag(
            LISTEN,
            "ADDRESS",
            "Where to listen, as :9477, 192.0.2.1:9477 or [2001:db8::1]:9477; may be repeated",
        )
        .action(ArgAction::Append)
        .value_parser(value_parser!(ListenAddress))
        .default_value(":9477"),
        flag(TELEMETRY_PATH, "PATH", "The path of the metrics")
            .value_parser(parse_path)
            .default_value("/metrics"),
        flag(CONFIG_FILE, "FILE", "TLS, client certificates and passwords, in the exporter-toolkit's format"),
        flag(MAX_REQUESTS, "N", "How many requests may wait for a scrape at once; 0 is no limit")
            .value_parser(value_parser!(usize))
            .default_value("40"),
        flag(STATE_DIR, "DIR", "Where ocinet's records and leases are")
            .value_parser(value_parser!(PathBuf))
            .env("OCINET_STATE_DIR")
            .default_value("/run/ocinet"),
        flag(LOG_LEVEL, "LEVEL", "What is logged")
            .value_parser(["debug", "info", "warn", "error"])
            .default_value("info"),
        flag(LOG_FORMAT, "FORMAT", "How it is written")
            .value_parser(["logfmt", "json"])
            .default_value("logfmt"),
    ]
}

/// `--NAME` and `--no-NAME`; the last one counts. Their names are leaked, because clap keeps references.
fn switch(name: String, help: &'static str) -> [Arg; 2] {
    let off: &str = format!("no-{name}").leak();
    let on: &str = name.leak();
    let arg = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    [arg(on).help(help).overrides_with(off), arg(off).hide(true).overrides_with(on)]
}

fn is_on(matches: &ArgMatches, name: &str, default: bool) -> bool {
    let off = matches.get_flag(&format!("no-{name}"));
    matches.get_flag(name) || (default && !off)
}

fn collector_flag(source: &str) -> String {
    format!("collector.{source}")
}

fn parse_path(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~".contains(&b));
    match text {
        "/healthz" => Err("it is taken by the health check".to_owned()),
        _ if text.starts_with('/') && plain => Ok(text.to_owned()),
        _ => Err("it must begin with / and hold only letters, digits and /-._~".to_owned()),
    }
}

/// Prints what clap says of a command line: help and version to standard output, an error in one line to standard error.
/// Returns the exit code.
#[must_use]
pub fn explain(error: &clap::Error) -> u8 {
    use clap::error::ErrorKind;
    let text = error.to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = std::io::stdout().write_all(format!("{}\n", text.trim_end()).as_bytes());
        return 0;
    }
    let cause = of_clap_error(&text);
    let line = format!(
        "ocinet-exporter: cannot read the command line: {cause}; hint: see `ocinet-exporter --help`\n"
    );
    let _ = std::io::stderr().write_all(line.as_bytes());
    2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_none_of_claps_own_hints() {
        let said = parse(&["--web.max-requests=x"]).unwrap_err().to_string();
        let cause = of_clap_error(&said);
        assert!(
            cause.starts_with("invalid value 'x'") && cause.ends_with("invalid digit found in string"),
            "{cause}"
        );
    }

    fn parse(words: &[&str]) -> Result<Options, clap::Error> {
        let words = ["ocinet-exporter"].iter().chain(words);
        Options::parse(words.map(OsString::from))
    }

    fn enabled(words: &[&str]) -> Vec<&'static str> {
        parse(words).unwrap().collector.enabled.iter().copied().collect()
    }

    #[test]
    fn the_defaults_are_those_of_other_exporters() {
        let options = parse(&[]).unwrap();
        assert_eq!(options.server.listen, [":9477".parse().unwrap()]);
        assert_eq!(
            (options.server.telemetry_path.as_str(), options.server.max_requests),
            ("/metrics", Some(40))
        );
        assert_eq!((options.server.web_config, options.server.systemd_socket), (None, false));
        assert_eq!((options.log_level, options.log_format), (LevelFilter::INFO, log::Format::Logfmt));
        let defaults = SOURCES.iter().filter(|source| source.default_on).count();
        assert_eq!(options.collector.enabled.len(), defaults);
        assert!(!options.collector.cadvisor);
    }

    #[test]
    fn flags_are_written_as_for_other_exporters() {
        let words = "--web.listen-address=127.0.0.1:1 --web.listen-address [::1]:2 --web.telemetry-path=/m \
                     --web.config.file=web.yml --web.max-requests=0 --web.systemd-socket --compat.cadvisor \
                     --state-dir /s --log.level=debug --log.format=json";
        let options = parse(&words.split_whitespace().collect::<Vec<_>>()).unwrap();
        assert_eq!(
            options.server.listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["127.0.0.1:1", "[::1]:2"]
        );
        assert_eq!((options.server.telemetry_path.as_str(), options.server.max_requests), ("/m", None));
        assert_eq!(options.server.web_config, Some(PathBuf::from("web.yml")));
        assert!(options.server.systemd_socket && options.collector.cadvisor);
        assert_eq!(options.collector.state, PathBuf::from("/s"));
        assert_eq!((options.log_level, options.log_format), (LevelFilter::DEBUG, log::Format::Json));
    }

    #[test]
    fn sources_are_turned_on_and_off_by_name() {
        assert!(!enabled(&["--no-collector.links"]).contains(&"links"));
        assert!(enabled(&["--collector.conntrack"]).contains(&"conntrack"));
        assert_eq!(enabled(&["--collector.disable-defaults", "--collector.nft"]), ["nft"]);
        assert_eq!(enabled(&["--collector.nft", "--collector.disable-defaults"]), ["nft"]);
        // The last one counts.
        assert!(enabled(&["--no-collector.nft", "--collector.nft"]).contains(&"nft"));
        assert!(!enabled(&["--collector.nft", "--no-collector.nft"]).contains(&"nft"));
        assert_eq!(
            enabled(&["--collector.disable-defaults", "--no-collector.disable-defaults"]),
            enabled(&[])
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for words in [
            ["--web.listen-address=9477"].as_slice(),
            &["--web.telemetry-path=metrics"],
            &["--web.telemetry-path=/healthz"],
            &["--web.telemetry-path=/a?b"],
            &["--web.max-requests=-1"],
            &["--collector.weather"],
            &["--log.level=loud"],
            &["--log.format=xml"],
            &["serve"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
