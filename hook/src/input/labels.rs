//! What people call a container, as far as its annotations tell: for lists and dashboards, never for a decision.

use std::collections::BTreeMap;

use ocinet_shared::model::record::Labels;

/// The annotation of one's own, before those of engines: CRI-O and kubelet, containerd, nerdctl.
const NAME: &[&str] = &[
    "ocinet.name",
    "io.kubernetes.cri-o.ContainerName",
    "io.kubernetes.container.name",
    "io.kubernetes.cri.container-name",
    "nerdctl/name",
];
const IMAGE: &[&str] =
    &["ocinet.image", "io.kubernetes.cri-o.ImageName", "io.kubernetes.cri.image-name", "nerdctl/image"];
const POD: &[&str] =
    &["ocinet.pod", "io.kubernetes.pod.name", "io.kubernetes.cri.sandbox-name", "io.podman.annotations.pod"];

/// A longer text is no name, and would be in every line of every scrape.
const MAX_LENGTH: usize = 256;

/// The labels of a container with these annotations.
#[must_use]
pub fn of(annotations: &BTreeMap<String, String>) -> Labels {
    let first = |keys: &[&str]| {
        let texts = keys.iter().filter_map(|key| annotations.get(*key));
        texts.map(|text| text.trim()).find(|text| is_usable(text)).map(str::to_owned)
    };
    Labels { name: first(NAME), image: first(IMAGE), pod: first(POD) }
}

fn is_usable(text: &str) -> bool {
    (1..=MAX_LENGTH).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_own_annotation_comes_first_and_what_is_no_name_is_left_out() {
        let annotations = |pairs: &[(&str, &str)]| {
            of(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        let labels = annotations(&[
            ("nerdctl/name", "web-1"),
            ("ocinet.name", " web "),
            ("io.kubernetes.cri.image-name", "docker.io/library/nginx:1"),
            ("io.kubernetes.pod.name", "a\nb"),
        ]);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(labels, Labels { name: text("web"), image: text("docker.io/library/nginx:1"), pod: None });
        assert_eq!(annotations(&[("ocinet.name", &"x".repeat(257)), ("nerdctl/name", "y")]).name, text("y"));
    }
}
