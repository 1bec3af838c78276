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

/// What clap says of a wrong command line, on one line and without its own hints.
#[must_use]
pub fn of_command_line(error: &str) -> String {
    let said = error.lines().take_while(|line| !line.starts_with("Usage:")).map(str::trim);
    let said = said.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    one_line(said.collect::<Vec<_>>().join(" ").trim_start_matches("error: "))
}
