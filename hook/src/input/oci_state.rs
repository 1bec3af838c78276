//! The state that a runtime writes to a hook's standard input (OCI runtime specification, "State").

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::{fmt, fs};

use oci_spec::runtime::State;
use ocinet_shared::model::container_id::ContainerId;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::error::{Class, Error};

/// The largest state that is read: a thousand published ports take some 20 KiB.
const MAX_STATE: usize = 1 << 20;
/// How much more is read and thrown away: a runtime whose write fails (EPIPE) may fail the container.
const MAX_DRAINED: u64 = 64 << 20;

/// A container as the runtime describes it to createRuntime.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its first process, in the runtime's pid namespace.
    pub pid: u32,
    /// Its bundle.
    pub bundle: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Reads all of standard input.
///
/// # Errors
/// More than 1 MiB, or what read(2) says.
pub fn read(mut from: impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let limit = MAX_STATE as u64 + 1;
    let read = from.by_ref().take(limit).read_to_end(&mut bytes);
    read.map_err(|error| refuse(error, "a runtime writes the state there; see `ocinet --help`"))?;
    if bytes.len() > MAX_STATE {
        let _ = io::copy(&mut from.take(MAX_DRAINED), &mut io::sink());
        return Err(refuse("it is larger than 1 MiB", "give the container fewer or shorter annotations"));
    }
    Ok(bytes)
}

fn refuse(cause: impl fmt::Display, hint: &str) -> Error {
    Error::new(Class::Usage, "read the container's state from standard input", cause, hint)
}

fn parse_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    from_object(bytes)
        .map_err(|error| refuse(error, "give the JSON state that an OCI runtime gives its hooks"))
}

/// serde also fills what is described by its keys from a list, by the order of its values.
fn from_object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    let first = bytes.trim_ascii_start().first();
    if first.is_some_and(|first| *first != b'{') {
        // What is no JSON at all is told as such.
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes)?;
        return Err(serde::de::Error::custom("it is not a JSON object"));
    }
    serde_json::from_slice(bytes)
}

/// The container of a createRuntime hook.
///
/// # Errors
/// Anything but a state with an id, a live process and annotations that are texts, each key once.
pub fn parse_create(bytes: &[u8]) -> Result<Container, Error> {
    let container = parse_plan(bytes)?;
    if container.pid == 0 {
        return Err(refuse(
            format!("the state of container {} has no pid above 0", container.id),
            "run this as a createRuntime hook, when the container's process exists",
        ));
    }
    Ok(container)
}

/// The container of a state whose process need not exist; its pid is 0 then.
///
/// # Errors
/// Anything but a state with an id and annotations that are texts, each key once.
pub fn parse_plan(bytes: &[u8]) -> Result<Container, Error> {
    let state: State = parse_json(bytes)?;
    let unique: UniqueAnnotations = parse_json(bytes)?;
    let pid = state.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default();
    let bundle = state.bundle().to_string_lossy().into_owned();
    Ok(Container { id: parse_new_id(state.id())?, pid, bundle, annotations: unique.annotations.0 })
}

/// A container as the runtime describes it to poststart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Its id.
    pub id: ContainerId,
    /// Its first process, in the runtime's pid namespace; 0 where the runtime does not tell.
    pub pid: u32,
    /// Its bundle; empty where the runtime does not tell.
    pub bundle: String,
    /// Whether its program runs, as it should by then.
    pub is_running: bool,
}

/// The container of a poststart hook: its id must be there. What else is not there is nobody's.
///
/// # Errors
/// Anything but a JSON object with an id.
pub fn parse_start(bytes: &[u8]) -> Result<Started, Error> {
    #[derive(Deserialize)]
    struct Described {
        #[serde(default)]
        id: String,
        #[serde(default)]
        pid: serde_json::Value,
        #[serde(default)]
        bundle: serde_json::Value,
        #[serde(default)]
        status: serde_json::Value,
    }
    let Described { id, pid, bundle, status } = parse_json(bytes)?;
    Ok(Started {
        id: parse_id(&id)?,
        pid: pid.as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default(),
        bundle: bundle.as_str().unwrap_or_default().to_owned(),
        is_running: status != "created",
    })
}

/// A container as the runtime describes it to poststop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Its id.
    pub id: ContainerId,
    /// Its bundle; empty where the runtime does not tell.
    pub bundle: String,
}

/// The container of a poststop hook: its id must be there, its bundle may be; the rest may be gone by then.
///
/// # Errors
/// Anything but a JSON object with an id.
pub fn parse_stop(bytes: &[u8]) -> Result<Stopped, Error> {
    #[derive(Deserialize)]
    struct Identified {
        #[serde(default)]
        id: String,
        #[serde(default)]
        bundle: serde_json::Value,
    }
    let Identified { id, bundle } = parse_json(bytes)?;
    Ok(Stopped { id: parse_id(&id)?, bundle: bundle.as_str().unwrap_or_default().to_owned() })
}

/// An id from outside.
///
/// # Errors
/// One that cannot be a file name.
pub fn parse_id(id: &str) -> Result<ContainerId, Error> {
    id.parse().map_err(|error| {
        Error::new(
            Class::Usage,
            "use the container id",
            error,
            "name the container with letters, digits and dashes",
        )
    })
}

/// The id that stands for the container of a bundle which has none yet: its folder's name.
///
/// # Errors
/// As [`parse_id`].
pub fn id_of_bundle(folder: &Path) -> Result<ContainerId, Error> {
    let name =
        fs::canonicalize(folder).ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    name.and_then(|name| name.parse().ok()).map_or_else(|| parse_id("bundle"), Ok)
}

/// Who holds an address while `ocinet gc` deletes its elements, so that no container takes it meanwhile.
pub const COLLECTOR: &str = "ocinet-gc";

/// The id of a container that starts.
///
/// # Errors
/// As [`parse_id`], and [`COLLECTOR`], whose leases are given back.
pub fn parse_new_id(id: &str) -> Result<ContainerId, Error> {
    if id == COLLECTOR {
        let cause = "`ocinet gc` works under that id itself";
        return Err(Error::new(
            Class::Usage,
            format!("use the container id {id}"),
            cause,
            "give the container another id",
        ));
    }
    parse_id(id)
}

#[derive(Deserialize)]
struct UniqueAnnotations {
    #[serde(default)]
    annotations: UniqueMap,
}

/// serde_json keeps the last of two equal keys without a word; whoever reviewed the first would be deceived.
#[derive(Debug, Default)]
struct UniqueMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for UniqueMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = UniqueMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of annotations whose values are texts")
    }

    fn visit_unit<E>(self) -> Result<UniqueMap, E> {
        Ok(UniqueMap::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueMap, A::Error> {
        let mut unique = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            if unique.contains_key(&key) {
                return Err(serde::de::Error::custom(format_args!("the annotation {key:?} is there twice")));
            }
            unique.insert(key, value);
        }
        Ok(UniqueMap(unique))
    }
}

/// Where a command reads a container from instead of a runtime: the bundle's config.json.
#[derive(Debug, Deserialize)]
pub struct BundleConfig {
    #[serde(default)]
    annotations: UniqueMap,
}

impl BundleConfig {
    /// Reads a config.json.
    ///
    /// # Errors
    /// Not JSON, or annotations of another form.
    pub fn parse(bytes: &[u8]) -> Result<BTreeMap<String, String>, Error> {
        let config: Self = from_object(bytes).map_err(|error| {
            Error::new(Class::Usage, "read the bundle's config.json", error, "make one with `runc spec`")
        })?;
        Ok(config.annotations.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_runc_and_crun_write() {
        let runc = br#"{"ociVersion":"1.0.2-dev","id":"web","status":"creating","pid":7,"bundle":"/b","annotations":{"net.driver":"bridge"}}"#;
        let crun = br#"{"ociVersion":"1.0","id":"web","pid":7,"root":"/run","bundle":"/b","status":"created","annotations":{}}"#;
        assert_eq!(parse_create(runc).unwrap().annotations["net.driver"], "bridge");
        assert_eq!(parse_create(crun).unwrap().pid, 7);
        for (state, bundle) in [
            (r#"{"ociVersion":"1.0","id":"web","pid":0,"status":"stopped","bundle":"/b"}"#, "/b"),
            (r#"{"id":"web"}"#, ""),
            (r#"{"id":"web","bundle":null}"#, ""),
            (r#"{"id":"web","bundle":7}"#, ""),
        ] {
            let stopped = Stopped { id: "web".parse().unwrap(), bundle: bundle.to_owned() };
            assert_eq!(parse_stop(state.as_bytes()).unwrap(), stopped, "{state}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for bad in [
            "",
            "{}",
            "[]",
            "not JSON",
            r#"{"id":"","pid":1}"#,
            r#"{"id":"a","pid":0}"#,
            r#"{"id":"a","pid":-1}"#,
            r#"{"id":"a"}"#,
            r#"{"id":"../x","pid":1}"#,
            r#"{"id":"a","pid":1,"annotations":{"net.ip":5}}"#,
            r#"{"id":"a","pid":1,"annotations":{"net.ip":"1","net.ip":"2"}}"#,
        ] {
            let error = parse_create(bad.as_bytes()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn a_list_is_neither_a_state_nor_a_bundle() {
        for list in ["[]", " [\"web\"]", "\n[{}]", "null", "7", "\"web\"", "[\"web\",7,\"/b\",\"running\"]"] {
            let bytes = list.as_bytes();
            for refused in [
                BundleConfig::parse(bytes).map(drop),
                parse_create(bytes).map(drop),
                parse_stop(bytes).map(drop),
                parse_start(bytes).map(drop),
            ] {
                let error = refused.unwrap_err();
                assert!(
                    error.exit_code() == 2 && error.to_string().contains("it is not a JSON object"),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn an_oversized_state_is_drained_and_refused() {
        let endless = io::repeat(b'x').take(3 << 20);
        assert!(read(endless).unwrap_err().to_string().contains("larger than 1 MiB"));
    }
}
