//! What is wrong with a table of ocinet's, and what puts it right.

use ocinet_shared::kernel::nft::Flaw;
use ocinet_shared::quoted;

/// A flaw of a table in words.
#[must_use]
pub fn in_words(flaw: &Flaw, table: &str) -> String {
    match flaw {
        Flaw::Dormant => format!("{table} is dormant: `ocinet reload` wakes it"),
        Flaw::Lacks(chain) => format!("chain {chain} of {table} lacks rules: `ocinet reload` puts them back"),
        Flaw::Others(chain) => {
            format!(
                "chain {chain} of {table} has other rules than ocinet's: `ocinet reload` puts its own back"
            )
        }
        Flaw::Policy(chain) => {
            format!(
                "chain {chain} of {table} drops what no rule decides: `ocinet reload` puts its policy back"
            )
        }
        Flaw::Foreign(chain) => format!(
            "chain {chain} of {table} is not ocinet's, and decides about packets: `{}` deletes it",
            deletion(chain, table.trim_start_matches("table "))
        ),
    }
}

/// The command that deletes a chain which somebody added to a table, as `inet ocinet`.
#[must_use]
pub fn deletion(chain: &str, table: &str) -> String {
    format!("nft delete chain {table} {}", quoted::nft_name(chain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flaw_is_told_with_the_command_that_fixes_it() {
        for (found, expected) in [
            (Flaw::Dormant, "table inet ocinet is dormant: `ocinet reload` wakes it"),
            (
                Flaw::Lacks("forward"),
                "chain forward of table inet ocinet lacks rules: `ocinet reload` puts them back",
            ),
            (
                Flaw::Others("forward"),
                "chain forward of table inet ocinet has other rules than ocinet's: `ocinet reload` puts its own back",
            ),
            (
                Flaw::Policy("forward"),
                "chain forward of table inet ocinet drops what no rule decides: `ocinet reload` puts its policy back",
            ),
            (
                Flaw::Foreign("extra".to_owned()),
                "chain extra of table inet ocinet is not ocinet's, and decides about packets: \
                 `nft delete chain inet ocinet extra` deletes it",
            ),
        ] {
            assert_eq!(in_words(&found, "table inet ocinet"), expected);
        }
    }

    /// Somebody's name of a chain goes into a shell.
    #[test]
    fn a_command_deletes_nothing_but_what_it_names() {
        assert_eq!(deletion("extra", "bridge ocinet"), "nft delete chain bridge ocinet extra");
        for (name, argument) in [
            ("x; reboot", "'?x??reboot'"),
            ("$(reboot)", "'???reboot?'"),
            ("x\ny", "'?x?y'"),
            ("-x", "'?-x'"),
            ("", "'?'"),
        ] {
            assert_eq!(deletion(name, "inet ocinet"), format!("nft delete chain inet ocinet {argument}"));
        }
    }
}
