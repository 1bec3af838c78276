//! A container's annotations: a request, or an error of one line. What a strict policy lets through is what it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinet::input::config;
use ocinet::input::config::Config;
use ocinet::policy::rules;
use ocinet::input::request::Request;
use std::collections::BTreeMap;
use std::sync::LazyLock;

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let text =
        "max-ports = 64\n[network.web]\ndriver = \"veth\"\nsubnet = \"10.81.0.0/24\"\ndns = \"10.81.0.1\"\n";
    config::parse(text).expect("a configuration")
});

static STRICT: LazyLock<Config> = LazyLock::new(|| {
    let text = "max-ports = 64\npolicy.preset = \"strict\"\npolicy.host-addresses = [\"192.0.2.10\"]\n[network.web]\n";
    config::parse(text).expect("a configuration")
});

fuzz_target!(|text: &str| {
    let annotations = text.lines().filter_map(|line| line.split_once('='));
    let owned: BTreeMap<String, String> =
        annotations.map(|(key, value)| (key.to_owned(), value.replace("\\n", "\n"))).collect();
    let strict = rules::admit(&owned, &STRICT, &|_| Ok(None));
    if let Ok(Some(request)) = strict {
        assert!(request.standalone.is_none() && request.sysctls.is_empty());
        for asked in &request.attachments {
            assert!(
                asked.network.as_str() == "web"
                    && asked.driver.name() == "bridge"
                    && asked.driver.texts().is_empty()
            );
            assert!(
                asked.addresses.is_empty()
                    && asked.snat.is_empty()
                    && !asked.allow_inbound
                    && asked.masquerade
            );
        }
        for port in request.ports() {
            assert!(port.host_address == "192.0.2.10".parse().ok());
            assert!(port.host_port == 0 || port.host_port >= 1024);
        }
    }
    match Request::parse(owned, &CONFIG, &|_| Ok(None)) {
        Ok(Some(request)) => {
            assert!(request.standalone.is_some() || !request.attachments.is_empty());
            assert!(request.ports().count() <= 64 * request.attachments.len());
        }
        Ok(None) => assert!(!text.lines().any(|line| line.starts_with("net.") && line.contains('='))),
        Err(error) => {
            let line = error.to_string();
            assert!(line.starts_with("cannot ") && line.contains("; hint: "), "{line}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
});
