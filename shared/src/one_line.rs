//! Texts that quote what came from outside.

/// The same text on one line: what came from outside must not break it or drive a terminal.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// What clap says of a wrong command line, on one line, without its usage and where to find more. What it proposes is kept, in
/// parentheses.
#[must_use]
pub fn of_clap_error(error: &str) -> String {
    let said = error.lines().take_while(|line| !line.starts_with("Usage:")).map(str::trim);
    let said = said.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let told = said.map(|line| match line.strip_prefix("tip: ") {
        Some(proposal) => format!("({proposal})"),
        None => line.to_owned(),
    });
    one_line(told.collect::<Vec<_>>().join(" ").trim_start_matches("error: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clap_proposes_is_kept_and_its_usage_is_not() {
        let said = "error: unexpected argument '--stat-dir' found\n\n  tip: a similar argument exists: '--state-dir'\n\n\
                    Usage: ocinet --state-dir <DIR> <COMMAND>\n\nFor more information, try '--help'.\n";
        let line = "unexpected argument '--stat-dir' found (a similar argument exists: '--state-dir')";
        assert_eq!(of_clap_error(said), line);
    }
}
