//! Texts that quote what came from outside.

/// The same text on one line: what came from outside must not break it or drive a terminal.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unseen(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// JSON whose texts drive no terminal either, where somebody looks at it on one. Its line ends stay.
#[must_use]
pub fn in_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if is_unseen(character) && character != '\n' {
            let units = &mut [0; 2];
            text.extend(character.encode_utf16(units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            text.push(character);
        }
    }
    text
}

/// Whether a character is none that is seen, but one that moves, hides or turns others: those of the categories Cc, Cf, Zl and
/// Zp of Unicode 16.
#[must_use]
pub fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2064}'
                | '\u{2066}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0001}'
                | '\u{e0020}'..='\u{e007f}'
        )
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
    fn what_is_not_seen_is_written_out_and_letters_are_not() {
        assert_eq!(one_line("a\u{202e}b\u{2028}\n\u{e0041}"), "a\\u{202e}b\\u{2028}\\n\\u{e0041}");
        let seen = "é漢 क्षि \u{a0}👍 שלום";
        assert_eq!(one_line(seen), seen);
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({ "a": "x\u{202e}\u{9b}\u{e0041}\n\u{7f}é" });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = in_json(&text);
        assert!(!shown.chars().any(|c| c != '\n' && is_unseen(c)) && shown.contains('é'), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn what_clap_proposes_is_kept_and_its_usage_is_not() {
        let said = "error: unexpected argument '--stat-dir' found\n\n  tip: a similar argument exists: '--state-dir'\n\n\
                    Usage: ocinet --state-dir <DIR> <COMMAND>\n\nFor more information, try '--help'.\n";
        let line = "unexpected argument '--stat-dir' found (a similar argument exists: '--state-dir')";
        assert_eq!(of_clap_error(said), line);
    }
}
