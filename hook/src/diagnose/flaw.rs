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
