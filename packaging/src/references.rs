//! Man pages that are made from the pages in docs/ and from README.md, and what other man pages have of those.

use std::error::Error;
use std::path::Path;

use crate::man::title;
use crate::{Page, markdown};

const TOML_PAGE: &str = "ocinet.toml(5)";
const ANNOTATIONS_PAGE: &str = "ocinet-annotations(7)";
const README: &str = include_str!("../../README.md");
const ANNOTATIONS: &str = include_str!("../../docs/annotations.md");
const POLICY: &str = include_str!("../../docs/policy.md");
const DOCTOR: &str = include_str!("../../docs/doctor.md");
const METRICS: &str = include_str!("../../docs/metrics.md");

/// What the commands of `ocinet` read; it stands on `ocinet(1)` alone.
const ENVIRONMENT: &str = ".SH ENVIRONMENT\n\
    .TP\n\\fBOCINET_STATE_DIR\\fR\nThe state folder, where \\fB\\-\\-state\\-dir\\fR names none.\n\
    .TP\n\\fBOCINET_CONFIG\\fR\nThe configuration, where \\fB\\-\\-config\\fR names none.\n\
    .TP\n\\fBOCINET_LOG\\fR\nHow much is said on standard error: error, warn (the default), info, debug or trace. The journal has \
    info in any case. With debug, a start says how many microseconds each of its phases took.\n";

/// ocinet.toml(5) and ocinet-annotations(7).
pub fn pages() -> Result<Vec<Page>, Box<dyn Error>> {
    let toml = [
        title("ocinet.toml", "5"),
        ".SH NAME\nocinet.toml \\- the configuration of ocinet\n.SH SYNOPSIS\n/etc/ocinet/config.toml\n"
            .to_owned(),
        ".SH DESCRIPTION\n".to_owned(),
        markdown::to_roff(TOML_PAGE, section(README, "Configuration")?),
        ".SH NETWORKS\n".to_owned(),
        markdown::to_roff(TOML_PAGE, section(ANNOTATIONS, "Networks with a name")?),
        markdown::to_roff(TOML_PAGE, &under("Policy", POLICY)),
        see_also(&["ocinet(1)", "ocinet-annotations(7)"]),
    ];
    let annotations = [
        title("ocinet-annotations", "7"),
        ".SH NAME\nocinet-annotations \\- how a container asks ocinet for its network\n".to_owned(),
        markdown::to_roff(ANNOTATIONS_PAGE, &under("Description", ANNOTATIONS)),
        see_also(&["ocinet(1)", "ocinet-plan(1)", "ocinet.toml(5)"]),
    ];
    let page = |name: &str, parts: &[String]| (Path::new("man").join(name), parts.concat());
    Ok(vec![page("ocinet.toml.5", &toml), page("ocinet-annotations.7", &annotations)])
}

/// What stands behind the part of a command's page that its command line gives.
pub fn behind(command: &str) -> Result<String, Box<dyn Error>> {
    let exits = exit_status(command)?;
    Ok(match command {
        "ocinet" => {
            let files = ".SH FILES\n.TP\n/etc/ocinet/config.toml\nThe configuration, see ocinet.toml(5).\n\
                         .TP\n/run/ocinet\nRecords, leases, and last\\-error/ID.json: why the last start of a container failed.\n";
            let also = [
                "ocinet-annotations(7)",
                "ocinet.toml(5)",
                "ocinet-exporter(1)",
                "runc(8)",
                "crun(1)",
                "podman(1)",
            ];
            format!("{exits}{ENVIRONMENT}{files}{}", see_also(&also))
        }
        "ocinet-doctor" => {
            format!(
                "{}{exits}{}",
                markdown::to_roff("ocinet-doctor(1)", &under("Findings", DOCTOR)),
                see_also(&["ocinet(1)", "ocinet-check(1)"])
            )
        }
        "ocinet-exporter" => {
            let files = ".SH FILES\n.TP\n/etc/default/ocinet\\-exporter\nThe flags of ocinet\\-exporter.service, as OPTIONS.\n";
            let metrics = markdown::to_roff("ocinet-exporter(1)", &under("Metrics", METRICS));
            format!("{metrics}{exits}{files}{}", see_also(&["ocinet(1)"]))
        }
        "ocinet-createRuntime" | "ocinet-plan" | "ocinet-register" => {
            format!("{exits}{}", see_also(&["ocinet(1)", "ocinet-annotations(7)", "ocinet.toml(5)"]))
        }
        "ocinet-poststart" => format!("{exits}{}", see_also(&["ocinet(1)", ANNOTATIONS_PAGE])),
        _ => format!("{exits}{}", see_also(&["ocinet(1)"])),
    })
}

fn see_also(pages: &[&str]) -> String {
    format!(".SH SEE ALSO\n{}\n", pages.join(", ").replace('-', "\\-"))
}

/// A page under another title, its sections below it.
fn under(title: &str, page: &str) -> String {
    let rest = page.split_once('\n').map_or("", |(_, rest)| rest);
    format!("## {title}\n{rest}")
}

/// What stands under a heading `## TITLE` of a page.
fn section<'a>(page: &'a str, title: &str) -> Result<&'a str, Box<dyn Error>> {
    let heading = format!("\n## {title}\n");
    let (_, rest) = page.split_once(&heading).ok_or_else(|| format!("no page has the section {title}"))?;
    Ok(rest.split_once("\n## ").map_or(rest, |(section, _)| section))
}

/// `.SH EXIT STATUS`: how a command ends where it does not fail, and README's exit codes of failures.
fn exit_status(command: &str) -> Result<String, Box<dyn Error>> {
    let failures = markdown::to_roff("ocinet(1)", exit_codes()?);
    let (codes, failures): (&[(&str, &str)], _) = match command {
        "ocinet-poststart" => (
            &[
                (
                    "0",
                    "done, or failed: a runtime ends a container whose poststart hook fails; a warning says why",
                ),
                ("2", "a wrong command line"),
                ("70", "a bug"),
            ],
            "",
        ),
        "ocinet-exporter" => (
            &[
                ("0", "it was told to end (SIGTERM or SIGINT)"),
                ("2", "a wrong command line, web configuration or socket unit"),
                ("5", "the kernel refused something, as an address that another program listens on"),
                ("70", "a bug"),
            ],
            "",
        ),
        "ocinet" | "ocinet-check" | "ocinet-doctor" => {
            (&[("0", "done"), ("1", "check or doctor found something")], &*failures)
        }
        _ => (&[("0", "done")], &*failures),
    };
    let told = codes.iter().map(|(code, text)| format!(".TP\n\\fB{code}\\fR\n{text}\n"));
    Ok(format!(".SH EXIT STATUS\n{}{failures}", told.collect::<String>()))
}

/// README's table of exit codes.
fn exit_codes() -> Result<&'static str, Box<dyn Error>> {
    let commands = section(README, "Commands")?;
    let start = commands.find("\n| 2 |").ok_or("README.md has no table of exit codes")?;
    let table = &commands[start..];
    Ok(table.split_once("\n\n").map_or(table, |(table, _)| table))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(name: &str) -> String {
        let pages = pages().unwrap();
        pages.into_iter().find(|(path, _)| path.ends_with(name)).unwrap().1
    }

    #[test]
    fn each_annotation_is_on_the_page_of_annotations() {
        let page = page("ocinet-annotations.7");
        for key in ocinet::KEYS {
            let key = key.name.replace('-', "\\-");
            assert!(page.contains(&key), "{key}");
        }
    }

    #[test]
    fn each_key_of_the_configuration_is_on_its_page() {
        let page = page("ocinet.toml.5");
        for key in [
            "default-subnets",
            "subnet-pool",
            "max-ports",
            "resolv-conf",
            "preset",
            "host-ports",
            "host-addresses",
            "subnets",
            "net-admin",
            "[network.web]",
        ] {
            let key = key.replace('-', "\\-");
            assert!(page.contains(&key), "{key}");
        }
    }

    #[test]
    fn exit_codes_are_told_one_by_one() {
        let page = behind("ocinet-list").unwrap();
        assert!(page.contains(".SH EXIT STATUS\n.TP\n\\fB0\\fR\ndone\n.TP\n\\fB2\\fR\n"), "{page}");
        assert!(
            page.contains(".TP\n\\fB2\\fR\ncommand line, configuration or the runtime's state\n"),
            "{page}"
        );
        assert!(page.contains(".TP\n\\fB70\\fR\na bug\n"), "{page}");
    }

    #[test]
    fn what_ends_otherwise_says_so() {
        for command in ["ocinet", "ocinet-check", "ocinet-doctor"] {
            assert!(
                behind(command).unwrap().contains("\\fB1\\fR\ncheck or doctor found something\n"),
                "{command}"
            );
        }
        let page = behind("ocinet-poststart").unwrap();
        assert!(page.contains("\\fB0\\fR\ndone, or failed") && !page.contains("\\fB5\\fR"), "{page}");
    }

    #[test]
    fn the_exporter_has_exit_codes_of_its_own() {
        let page = behind("ocinet-exporter").unwrap();
        let codes: Vec<&str> = page.split(".SH EXIT STATUS\n").nth(1).unwrap().split(".SH ").collect();
        let told = |code: &str| codes[0].contains(&format!(".TP\n\\fB{code}\\fR\n"));
        assert!(["0", "2", "5", "70"].into_iter().all(told) && !told("1") && !told("7"), "{page}");
    }

    #[test]
    fn what_is_read_of_the_environment_is_told() {
        let page = behind("ocinet").unwrap();
        for name in ["OCINET_STATE_DIR", "OCINET_CONFIG", "OCINET_LOG"] {
            assert!(page.contains(&format!(".TP\n\\fB{name}\\fR\n")), "{page}");
        }
    }
}
