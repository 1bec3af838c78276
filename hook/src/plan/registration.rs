//! What `ocinet register` writes into a bundle's config.json. Pure.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

/// The hooks by their names in the OCI runtime specification. A bundle has no need of poststart: who starts it with runc or
/// crun writes nothing into the container's files after createRuntime.
const STAGES: [&str; 2] = ["createRuntime", "poststop"];

/// How a runtime is to call ocinet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The program.
    pub path: String,
    /// What of its environment differs from what it would assume, as `NAME=VALUE`.
    pub environment: Vec<String>,
}

impl Hook {
    /// Makes an entry for a stage of `old`, or of nothing, and keeps what ocinet has no opinion about, such as a timeout.
    fn entry(&self, stage: &str, old: Option<&Value>) -> Value {
        let mut entry = old.cloned().unwrap_or_else(|| json!({}));
        entry["path"] = json!(self.path);
        entry["args"] = json!(["ocinet", stage]);
        if !self.environment.is_empty() {
            entry["env"] = json!(self.environment);
        } else if let Some(entry) = entry.as_object_mut() {
            entry.remove("env");
        }
        entry
    }

    /// Writes the hook into a file of podman's hooks.d, of which `shipped` is the text.
    ///
    /// # Errors
    /// A text that is none.
    pub fn for_podman(&self, shipped: &str) -> serde_json::Result<Value> {
        let mut file: Value = serde_json::from_str(shipped)?;
        let stage = file["hook"]["args"][1].as_str().unwrap_or_default().to_owned();
        file["hook"] = self.entry(&stage, Some(&file["hook"]));
        Ok(file)
    }
}

/// Puts annotations and ocinet's hooks into a config.json, each once, and keeps all else.
///
/// # Errors
/// What in the file has another form than the specification gives it.
pub fn register(
    config: &mut Value,
    annotations: &BTreeMap<String, String>,
    hook: &Hook,
) -> Result<(), String> {
    let config = config.as_object_mut().ok_or("it is not a JSON object")?;
    let has = object(config, "annotations")?;
    for (key, value) in annotations {
        has.insert(key.clone(), json!(value));
    }
    let hooks = object(config, "hooks")?;
    for stage in STAGES {
        let list = hooks.entry(stage).or_insert(Value::Null);
        if list.is_null() {
            *list = json!([]);
        }
        let list = list.as_array_mut().ok_or_else(|| format!("hooks.{stage} is not a list"))?;
        match list.iter().position(|entry| is_ours(entry, &hook.path)) {
            Some(at) => list[at] = hook.entry(stage, Some(&list[at])),
            None => list.push(hook.entry(stage, None)),
        }
    }
    Ok(())
}

/// A member that is an object, or is to be one.
fn object<'a>(of: &'a mut Map<String, Value>, name: &str) -> Result<&'a mut Map<String, Value>, String> {
    let member = of.entry(name).or_insert(Value::Null);
    if member.is_null() {
        *member = json!({});
    }
    member.as_object_mut().ok_or_else(|| format!("{name} is not an object"))
}

/// An entry for ocinet, wherever it was installed before.
fn is_ours(entry: &Value, path: &str) -> bool {
    let has = entry["path"].as_str().unwrap_or_default();
    has == path || Path::new(has).file_name().is_some_and(|name| name == "ocinet")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(path: &str, environment: &[&str]) -> Hook {
        Hook {
            path: path.to_owned(),
            environment: environment.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn registers_once_and_keeps_all_else() {
        let text = r#"{"z":1.50,"ociVersion":"1.0.2","annotations":{"b":"1","net.driver":"veth"},"hooks":{"prestart":[{"path":"/p"}],"poststop":[{"path":"/q","timeout":5},{"path":"/old/ocinet","args":["ocinet","poststop"],"timeout":7,"env":["A=1"]}]},"a":[3,1,2]}"#;
        let mut config: Value = serde_json::from_str(text).unwrap();
        let asked = annotations(&[("net.driver", "bridge"), ("net.ports", "8080:80")]);
        register(&mut config, &asked, &hook("/usr/bin/ocinet", &[])).unwrap();
        let expected = r#"{"z":1.5,"ociVersion":"1.0.2","annotations":{"b":"1","net.driver":"bridge","net.ports":"8080:80"},"hooks":{"prestart":[{"path":"/p"}],"poststop":[{"path":"/q","timeout":5},{"path":"/usr/bin/ocinet","args":["ocinet","poststop"],"timeout":7}],"createRuntime":[{"path":"/usr/bin/ocinet","args":["ocinet","createRuntime"]}]},"a":[3,1,2]}"#;
        assert_eq!(config.to_string(), expected);
        register(&mut config, &asked, &hook("/usr/bin/ocinet", &[])).unwrap();
        assert_eq!(config.to_string(), expected);
    }

    #[test]
    fn what_has_another_form_is_refused() {
        for (text, says) in [
            ("[]", "not a JSON object"),
            (r#"{"annotations":[]}"#, "annotations is not an object"),
            (r#"{"hooks":5}"#, "hooks is not an object"),
            (r#"{"hooks":{"poststop":{}}}"#, "hooks.poststop is not a list"),
        ] {
            let mut config: Value = serde_json::from_str(text).unwrap();
            let refused = register(&mut config, &BTreeMap::new(), &hook("/o", &[])).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
        let mut config = json!({"annotations": null, "hooks": null});
        register(&mut config, &annotations(&[("net.driver", "none")]), &hook("/o", &["B=2"])).unwrap();
        assert_eq!(config["hooks"]["poststop"][0]["env"], json!(["B=2"]));
    }
}
