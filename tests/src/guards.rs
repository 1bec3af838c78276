//! The rules of ocinet's base tables, and the test that holds each: docs/guards.md.

use std::fmt::{self, Write as _};
use std::fs;
use std::ops::Range;

/// The page.
pub const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guards.md");
const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/src/kernel/nft/base.nft");

const HEAD: &str = "\
# Which test holds which rule

`sudo make mutants` takes each of these rules out of ocinet's tables in turn, and runs the test beside it, which must fail. `sudo make mutants FIND=1` looks for a test for a rule
that is new or has changed; it keeps rows that say why no test can hold a rule. That every rule is here, and every test, is itself a test (`every_rule_has_a_test_that_holds_it`). What stands before `::` is the test's file in `tests/tests/lab/`.

The checks of the filters are held by `no_check_of_a_filter_can_be_removed_unnoticed`, which changes each of their instructions.
";

/// A rule of a chain.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The family of its table.
    pub family: String,
    /// Its chain.
    pub chain: String,
    /// What it says.
    pub text: String,
    /// Where it is in base.nft, in bytes.
    pub span: Range<usize>,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        (&self.family, &self.chain, &self.text) == (&other.family, &other.chain, &other.text)
    }
}

/// A rule and what holds it.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The rule.
    pub rule: Rule,
    /// Who notices that it is missing.
    pub held: Held,
}

/// What holds a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// The test of this name, with its module, which fails without the rule.
    By(String),
    /// No test can, for this reason.
    ByNone(String),
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(test) => write!(f, "`{test}`"),
            Self::ByNone(reason) => f.write_str(reason),
        }
    }
}

/// The text of the base tables.
///
/// # Panics
/// Outside a checkout.
#[must_use]
pub fn base() -> String {
    fs::read_to_string(BASE).expect("base.nft of this checkout")
}

/// All rules of the base tables.
#[must_use]
pub fn rules(base: &str) -> Vec<Rule> {
    let (mut family, mut chain, mut rules, mut at) = (String::new(), String::new(), Vec::new(), 0);
    for line in base.split_inclusive('\n') {
        let (start, text) = (at + line.len() - line.trim_start().len(), line.trim());
        at += line.len();
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            ["table", of, ..] => of.clone_into(&mut family),
            ["chain", name, "{"] => name.clone_into(&mut chain),
            ["}"] => chain.clear(),
            ["type", ..] | [] => {}
            _ if chain.is_empty() || text.starts_with('#') => {}
            _ => rules.push(Rule {
                family: family.clone(),
                chain: chain.clone(),
                text: text.to_owned(),
                span: start..start + text.len(),
            }),
        }
    }
    rules
}

/// The page, in the order of the rules. A rule without a test is left out.
#[must_use]
pub fn page(rules: &[Rule], guards: &[Guard]) -> String {
    let mut page = HEAD.to_owned();
    let mut last = None;
    for rule in rules {
        let Some(guard) = guards.iter().find(|guard| guard.rule == *rule) else { continue };
        let place = (&rule.family, &rule.chain);
        if last != Some(place) {
            let _ = write!(page, "\n## {} {}\n\n| rule | test |\n|---|---|\n", rule.family, rule.chain);
            last = Some(place);
        }
        let _ = writeln!(page, "| `{}` | {} |", rule.text.replace('|', "\\|"), guard.held);
    }
    page
}

/// What the page says. There may be none yet.
#[must_use]
pub fn read_page() -> Vec<Guard> {
    let text = fs::read_to_string(PAGE).unwrap_or_default();
    let (mut family, mut chain, mut guards) = (String::new(), String::new(), Vec::new());
    for line in text.lines() {
        if let Some((of, name)) = line.strip_prefix("## ").and_then(|place| place.split_once(' ')) {
            (family, chain) = (of.to_owned(), name.to_owned());
        }
        let row = line.strip_prefix("| `").and_then(|row| row.strip_suffix(" |")?.split_once("` | "));
        let Some((rule, held)) = row else { continue };
        let text = rule.replace("\\|", "|");
        let rule = Rule { family: family.clone(), chain: chain.clone(), text, span: 0..0 };
        let test = held.strip_prefix('`').and_then(|test| test.strip_suffix('`'));
        let held = test.map_or_else(|| Held::ByNone(held.to_owned()), |test| Held::By(test.to_owned()));
        guards.push(Guard { rule, held });
    }
    guards
}
