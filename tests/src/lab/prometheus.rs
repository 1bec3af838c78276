//! A Prometheus inside a namespace.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::http::{http_get, url_encoded};
use super::netns::Netns;
use super::process::{Background, command};

const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 9090);

/// A Prometheus that runs for as long as this value lives.
#[derive(Debug)]
pub struct Prometheus {
    net: Netns,
    folder: PathBuf,
    process: Background,
}

/// One series of an answer, and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels, the metric's name among them as `__name__`.
    pub labels: BTreeMap<String, String>,
    /// Its value now.
    pub value: f64,
}

impl Prometheus {
    /// Starts one with this configuration; its files are in `folder`, which it makes. It answers only some time later.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(net: &Netns, folder: &Path, configuration: &str) -> Self {
        fs::create_dir_all(folder).expect("make a folder");
        let file = folder.join("prometheus.yml");
        fs::write(&file, configuration).expect("write a configuration");
        let log = fs::File::create(folder.join("log")).expect("make a log");
        let mut prometheus = command("prometheus");
        prometheus.arg(format!("--config.file={}", file.display()));
        prometheus.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        prometheus.arg(format!("--web.listen-address={}", SocketAddr::from(ADDRESS)));
        prometheus.args(["--log.level=warn"]).stderr(log);
        Self { net: net.again(), folder: folder.to_owned(), process: Background(net.spawn(prometheus)) }
    }

    /// What a path of its HTTP interface answers; nothing while it does not listen yet.
    ///
    /// # Panics
    /// When Prometheus has ended.
    #[must_use]
    #[track_caller]
    pub fn get(&self, path: &str) -> Option<Value> {
        let Some((_, body)) = http_get(&self.net, ADDRESS.into(), path) else {
            assert!(self.process.is_alive(), "prometheus has ended: {}", self.log());
            return None;
        };
        serde_json::from_str(&body).ok()
    }

    /// What an expression gives now; nothing while Prometheus is not ready.
    ///
    /// # Panics
    /// When Prometheus refuses it, or has ended.
    #[must_use]
    #[track_caller]
    pub fn query(&self, expression: &str) -> Option<Vec<Sample>> {
        let answer = self.get(&format!("/api/v1/query?query={}", url_encoded(expression)))?;
        assert_eq!(answer["status"], "success", "{expression}: {}", answer["error"]);
        let result = answer["data"]["result"].as_array().expect("a list of series");
        Some(result.iter().map(sample).collect())
    }

    /// What it wrote to its log: nothing, unless something is wrong.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).expect("read the log")
    }
}

fn sample(series: &Value) -> Sample {
    let labels = series["metric"].as_object().expect("labels").iter();
    let labels = labels.map(|(label, value)| (label.clone(), value.as_str().expect("a text").to_owned()));
    let value = series["value"][1].as_str().expect("a value").parse().expect("a number");
    Sample { labels: labels.collect(), value }
}
