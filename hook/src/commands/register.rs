//! `ocinet register`: makes a runtime call ocinet, by a bundle's config.json or by podman's hooks.d.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::state::StateDir;
use serde::Serialize as _;
use serde_json::Value;

use super::output::print_line;
use crate::cli::{Options, Register, STATE_DIR};
use crate::error::{Class, Error};
use crate::host::facts;
use crate::input::config;
use crate::input::oci_bundle::{
    NETWORK_PATH_HINT, OciBundle, check_network_path, read_config, shares_host_network,
};
use crate::input::oci_state;
use crate::input::oci_state::BundleConfig;
use crate::plan::registration;
use crate::plan::registration::Hook;
use crate::policy::rules;
use crate::policy::rules::Rules;

/// The files that packages of ocinet bring for podman; what is registered differs from them only in the program's place.
const FOR_PODMAN: [(&str, &str); 3] = [
    ("ocinet-create.json", include_str!("../../../packaging/hooks.d/ocinet-create.json")),
    ("ocinet-poststart.json", include_str!("../../../packaging/hooks.d/ocinet-poststart.json")),
    ("ocinet-poststop.json", include_str!("../../../packaging/hooks.d/ocinet-poststop.json")),
];
/// What crun writes the output of hooks to; without it, nobody sees that.
const CRUN_STDERR: &str = "run.oci.hooks.stderr";
/// The annotation that asks for a driver, a network and ports.
const SHORT: [&str; 3] = ["net.driver", "net.network", "net.ports"];

/// Writes what the options ask for, and says so.
pub(super) fn run(state: &StateDir, options: &Options, register: &Register) -> Result<(), Error> {
    let hook = Hook { path: program(register)?, environment: environment(options)? };
    match &register.bundle {
        Some(bundle) => into_bundle(state, options.config.as_ref(), register, (bundle, &hook)),
        None => into_hooks_dir(&register.hooks_dir, &hook),
    }
}

fn into_bundle(
    state: &StateDir,
    config: Option<&PathBuf>,
    register: &Register,
    (bundle, hook): (&Path, &Hook),
) -> Result<(), Error> {
    let path = bundle.join("config.json");
    let doing = || format!("register the bundle {}", bundle.display());
    let refuse = |cause: String, hint: &str| Error::new(Class::Usage, doing(), cause, hint);
    // Behind a symbolic link the file itself is replaced, and the link stays.
    let path = fs::canonicalize(&path)
        .map_err(|error| refuse(format!("{}: {error}", path.display()), "make one with `runc spec`"))?;
    let unreadable = |error: io::Error| refuse(error.to_string(), "make it a readable file of JSON text");
    let bytes = read_config(&path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|error| unreadable(io::Error::other(error)))?;
    let mut annotations = BundleConfig::parse(text.as_bytes())?;
    annotations.extend(asked(register).map_err(|cause| refuse(cause, "give it once"))?);
    let config = config::load(config)?;
    let driver_of = |network: &ContainerId| facts::driver_of(state, network);
    let Some(request) = rules::admit(&annotations, &config, &driver_of)? else {
        return Err(refuse(
            "it would have no net. annotation, so that ocinet would leave it alone".to_owned(),
            "give it a --driver, as --driver bridge",
        ));
    };
    check_capabilities(&Rules::of(&config, &annotations), &path)?;
    let hint = "make config.json anew with `runc spec`";
    let shares_host =
        shares_host_network(text.as_bytes()).map_err(|error| refuse(error.to_string(), hint))?;
    check_network_path(text.as_bytes()).map_err(|error| refuse(error.to_string(), NETWORK_PATH_HINT))?;
    if request.needs_own_namespace() && shares_host {
        return Err(refuse(
            "it has no network namespace of its own".to_owned(),
            "add {\"type\": \"network\"} to linux.namespaces in config.json, or use --driver host",
        ));
    }
    let mut value: Value = serde_json::from_str(&text).map_err(|error| refuse(error.to_string(), hint))?;
    registration::register(&mut value, &annotations, hook).map_err(|cause| refuse(cause, hint))?;
    serde_json::from_value::<Spec>(value.clone())
        .map_err(|error| refuse(format!("it is not of the form of the OCI specification: {error}"), hint))?;
    let written = shown(&value, &text).map_err(|error| refuse(error.to_string(), hint))?;
    let room = "make room in the bundle, and make it writable";
    replace(&path, &written, Some(&text)).map_err(|error| refuse(error.to_string(), room))?;
    print_line(format_args!("{}: its createRuntime and poststop hooks are {}", path.display(), hook.path))
}

/// Refuses, or warns of, what the policy says about the bundle's capabilities, as a start would.
fn check_capabilities(rules: &Rules<'_>, config: &Path) -> Result<(), Error> {
    let folder = config.parent().unwrap_or(Path::new("/"));
    let id = oci_state::id_of_bundle(folder)?;
    if let Some(warning) = rules.check_capabilities(&id, OciBundle::read(folder).as_ref())? {
        crate::log::warn(warning);
    }
    Ok(())
}

fn into_hooks_dir(folder: &Path, hook: &Hook) -> Result<(), Error> {
    let doing = || format!("register with podman in {}", folder.display());
    let refuse = |error: io::Error| {
        Error::new(Class::Usage, doing(), error, "name a folder that can be written to with --hooks-dir")
    };
    fs::create_dir_all(folder).map_err(refuse)?;
    for (name, shipped) in FOR_PODMAN {
        let value = hook.for_podman(shipped).map_err(|error| refuse(error.into()))?;
        let written = shown(&value, shipped).map_err(refuse)?;
        let path = folder.join(name);
        let old = read_config(&path).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        replace(&path, &written, old.as_deref()).map_err(refuse)?;
        print_line(format_args!("{}: the hook is {}", path.display(), hook.path))?;
    }
    Ok(())
}

/// The annotations that the options stand for.
///
/// # Errors
/// An annotation that is given twice: one of the two values would be lost.
fn asked(register: &Register) -> Result<BTreeMap<String, String>, String> {
    let ports = (!register.publish.is_empty()).then(|| register.publish.join(","));
    let short = SHORT.into_iter().zip([register.driver.clone(), register.network.clone(), ports]);
    let short = short.filter_map(|(key, value)| Some((key.to_owned(), value?)));
    let file = register.hook_stderr.as_ref();
    let file = file.map(|file| (CRUN_STDERR.to_owned(), file.display().to_string()));
    let mut asked = BTreeMap::new();
    for (key, value) in register.annotations.iter().cloned().chain(short).chain(file) {
        if let Some(first) = asked.insert(key.clone(), value.clone()) {
            return Err(format!("{key} is asked for twice, as \"{first}\" and as \"{value}\""));
        }
    }
    Ok(asked)
}

/// Runtimes want an absolute path; this very program has one.
fn program(register: &Register) -> Result<String, Error> {
    let refuse = |cause: String| {
        let hint = "name the program by its absolute path with --hook-path";
        Error::new(Class::Usage, "find the program that runtimes are to call", cause, hint)
    };
    let path = match &register.hook_path {
        Some(path) => path.clone(),
        None => std::env::current_exe().map_err(|error| refuse(error.to_string()))?,
    };
    if !path.is_absolute() {
        return Err(refuse(format!("{} is not an absolute path", path.display())));
    }
    path.into_os_string().into_string().map_err(|path| refuse(format!("{path:?} is not UTF-8")))
}

/// Hooks are to find what this command was told of, whatever environment their runtime gives them.
fn environment(options: &Options) -> Result<Vec<String>, Error> {
    let state = (options.state_dir() != Path::new(STATE_DIR)).then(|| options.state_dir());
    let mut environment = Vec::new();
    for (name, path) in [("OCINET_STATE_DIR", state), ("OCINET_CONFIG", options.config.as_deref())] {
        let Some(path) = path else { continue };
        let path = std::path::absolute(path).map_err(|error| {
            Error::new(Class::Usage, format!("use {}", path.display()), error, "give an absolute path")
        })?;
        environment.push(format!("{name}={}", path.display()));
    }
    Ok(environment)
}

/// A value as text, indented as `like` is.
fn shown(value: &Value, like: &str) -> io::Result<String> {
    let indent: &[u8] = if like.contains("\n\t") { b"\t" } else { b"  " };
    let mut text = Vec::new();
    if like.trim_end().contains('\n') {
        let pretty = serde_json::ser::PrettyFormatter::with_indent(indent);
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, pretty))?;
    } else {
        serde_json::to_writer(&mut text, value)?;
    }
    if like.ends_with('\n') {
        text.push(b'\n');
    }
    String::from_utf8(text).map_err(io::Error::other)
}

/// Replaces a file in one step, with its owner and mode kept; one that has the content already is left alone.
fn replace(path: &Path, content: &str, old: Option<&str>) -> io::Result<()> {
    if old == Some(content) {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.ocinet-{}", std::process::id()));
    let mut options = File::options();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = (|| {
        file.write_all(content.as_bytes())?;
        if let Ok(like) = path.metadata() {
            fchown(&file, Some(like.uid()), Some(like.gid()))?;
            file.set_permissions(like.permissions())?;
        } else {
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        }
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}
