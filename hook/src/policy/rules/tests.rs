use std::path::Path;

use serde_json::json;

use super::*;
use crate::input::config;

/// Says what is refused about a container on a network, where `eth0` alone carries the host's default route.
fn of_network(config: &str, annotations: &[(&str, &str)], settings: &[(&str, &str)]) -> Option<String> {
    let config = config::parse(config).unwrap();
    let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let annotations: BTreeMap<String, String> = annotations.iter().map(text).collect();
    let request = Request::parse(annotations.clone(), &config, &|_| Ok(None)).unwrap().unwrap();
    let asked = &request.attachments[0];
    let settings: BTreeMap<String, String> = settings.iter().map(text).collect();
    let network: Network = serde_json::from_value(json!({
        "name": asked.network, "driver": asked.driver.name(), "settings": settings, "subnets": [],
        "internal": false, "isolate": false, "mtu": null, "group": 0,
    }))
    .unwrap();
    let checked =
        Rules::of(&config, &annotations).check_network(asked, &network, |link| Ok(link.as_str() == "eth0"));
    checked.err().map(|error| error.to_string())
}

#[test]
fn nobody_has_the_link_with_the_default_route_for_itself_unless_the_configuration_says_so() {
    let alone = &[("parent", "eth0"), ("mode", "passthru")][..];
    let lan = &[("net.driver", "macvlan"), ("net.network", "lan")][..];
    let asks = [lan, &[("net.mode", "passthru")]].concat();
    let both = "[network.lan]\ndriver = \"macvlan\"\nparent = \"eth0\"\nmode = \"passthru\"\n";
    let parent = "[network.lan]\ndriver = \"macvlan\"\nparent = \"eth0\"\n";
    let mode = "[network.lan]\ndriver = \"macvlan\"\nmode = \"passthru\"\n";
    let says_mode = [lan, &[("net.mode", "passthru")]].concat();
    let says_parent = [lan, &[("net.parent", "eth0")]].concat();
    for (config, annotations, settings, is_refused) in [
        ("", lan, alone, true),
        ("", &asks[..], alone, true),
        ("", lan, &[("parent", "eth1"), ("mode", "passthru")][..], false),
        ("", lan, &[("parent", "eth0"), ("mode", "bridge")][..], false),
        (both, lan, alone, false),
        (parent, lan, alone, true),
        (mode, lan, alone, true),
        // What an annotation repeats, the configuration does not say.
        (both, &says_mode[..], alone, true),
        (both, &says_parent[..], alone, true),
    ] {
        let refused = of_network(config, annotations, settings);
        let says = "the policy gives nobody eth0, which carries the host's default route";
        let case = format!("{config:?} {annotations:?} {settings:?}: {refused:?}");
        assert_eq!(refused.is_some_and(|said| said.contains(says)), is_refused, "{case}");
    }
}

#[test]
fn what_a_network_was_made_with_is_the_lists_matter_unless_the_configuration_says_it() {
    let vxlan = [("net.driver", "vxlan"), ("net.network", "far"), ("net.vni", "7")];
    let made = [("bridge", "oc-far"), ("vni", "7"), ("port", "4789"), ("parent", "eth1")];
    let configured = "[network.far]\ndriver = \"vxlan\"\nvni = 7\nparent = \"eth1\"\n";
    for (policy, refused) in [
        ("vnis = [7]\nparents = [\"eth1\"]", None),
        ("vnis = [8]\nparents = [\"eth1\"]", Some("VNI 7")),
        ("vnis = [7]\nparents = [\"eth2\"]", Some("the parent eth1")),
    ] {
        let said = of_network(&format!("[policy]\n{policy}"), &vxlan, &made);
        assert_eq!(said.is_some(), refused.is_some(), "{policy}: {said:?}");
        assert!(refused.is_none_or(|what| said.unwrap().contains(what)), "{policy}");
        let by_name = of_network(&format!("[policy]\n{policy}\n{configured}"), &vxlan[1..2], &made);
        assert_eq!(by_name, None, "{policy}");
    }
}

fn bundle(capability: &str) -> OciBundle {
    let made = tempfile::tempdir().unwrap();
    let folder = made.path();
    let config = json!({"root": {"path": "r"}, "process": {"capabilities": {"bounding": [capability]}}});
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    OciBundle::read(folder).unwrap()
}

#[test]
fn the_capability_over_the_hosts_network_is_allowed_forbidden_or_told_of() {
    const FORBIDDEN: Option<Result<&str, &str>> = Some(Err("which the policy does not allow"));
    const TOLD: Option<Result<&str, &str>> = Some(Ok("`net-admin` of the policy allows or forbids it"));
    let (has, has_not) = (bundle("CAP_NET_ADMIN"), bundle("CAP_KILL"));
    let unreadable = OciBundle::read(Path::new("/nowhere")).unwrap_err();
    let entry = "[[policy.match]]\nannotation = \"team\"\nprefix = \"net\"\nnet-admin = true\n";
    for (policy, with, unknown) in [
        ("", TOLD, None),
        ("net-admin = true", None, None),
        ("net-admin = false", FORBIDDEN, FORBIDDEN),
        ("preset = \"strict\"", FORBIDDEN, FORBIDDEN),
        ("preset = \"strict\"\nnet-admin = true", None, None),
        (&format!("net-admin = false\n{entry}"), None, None),
    ] {
        let config = config::parse(&format!("[policy]\n{policy}")).unwrap();
        let annotations = BTreeMap::from([("team".to_owned(), "network".to_owned())]);
        let rules = Rules::of(&config, &annotations);
        for (bundle, expected) in [(Ok(&has_not), None), (Ok(&has), with), (Err(&unreadable), unknown)] {
            let checked = rules.check_capabilities(&"web".parse().unwrap(), bundle);
            let case = format!("{policy:?} {:?}: {checked:?}", bundle.map(|of| of.has_net_admin_over_host));
            match expected {
                None => assert_eq!(checked.unwrap(), None, "{case}"),
                Some(Ok(says)) => assert!(checked.unwrap().unwrap().ends_with(says), "{case}"),
                Some(Err(says)) => assert!(checked.unwrap_err().to_string().contains(says), "{case}"),
            }
        }
    }
}
