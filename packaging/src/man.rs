//! Man pages of the programs and their commands, from their command lines.

use std::error::Error;
use std::path::Path;

use clap::{Arg, ArgAction, Command, CommandFactory as _};
use clap_mangen::Man;

use crate::{Page, references};

/// The command lines of both programs.
pub fn programs() -> [Command; 2] {
    let mut programs = [ocinet::cli::Options::command(), ocinet_exporter::cli::command()];
    programs.iter_mut().for_each(Command::build);
    programs
}

/// `.TH`: the title of a page. It has no date, so that a page of a version is the same whenever it is made.
pub fn title(name: &str, section: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH {name} {section} \"\" \"ocinet {version}\" \"ocinet\"\n")
}

/// One page for each program and each of its commands.
pub fn pages() -> Result<Vec<Page>, Box<dyn Error>> {
    let mut pages = Vec::new();
    for program in programs() {
        for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
            pages.push(page(command)?);
        }
        pages.push(page(&program)?);
    }
    Ok(pages)
}

/// What a command's page is called.
pub fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn page(command: &Command) -> Result<Page, Box<dyn Error>> {
    let name = name(command);
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command.clone().about(about.trim_end_matches('.').to_owned()));
    let mut text = Vec::new();
    man.render_name_section(&mut text)?;
    text.extend(synopsis(command).into_bytes());
    man.render_description_section(&mut text)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut text)?;
    }
    if command.has_subcommands() {
        Man::new(command.clone().subcommand_help_heading("COMMANDS"))
            .render_subcommands_section(&mut text)?;
    }
    let text = format!("{}{}{}", title(name, "1"), String::from_utf8(text)?, references::behind(name)?);
    Ok((Path::new("man").join(format!("{name}.1")), text))
}

/// `.SH SYNOPSIS`: clap_mangen's has neither the options' values nor what may be repeated.
fn synopsis(command: &Command) -> String {
    let shown: Vec<&Arg> = command.get_arguments().filter(|argument| !argument.is_hide_set()).collect();
    let (positional, options): (Vec<&Arg>, Vec<&Arg>) =
        shown.into_iter().partition(|argument| argument.is_positional());
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let mut words = vec![format!("\\fB{}\\fR", name.replace('-', "\\-"))];
    words.extend(options.into_iter().chain(positional).map(usage));
    words.extend(command.has_subcommands().then(|| "\\fICOMMAND\\fR".to_owned()));
    format!(".SH SYNOPSIS\n{}\n", words.join(" "))
}

/// An argument as it is written on a command line.
fn usage(argument: &Arg) -> String {
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let names = names.iter().map(|name| format!("\\fB{}\\fR", name.replace('-', "\\-")));
    let takes_value = argument.is_positional() || argument.get_action().takes_values();
    let value = argument.get_value_names().filter(|_| takes_value).and_then(|names| names.first());
    let value = value.map(|value| format!("\\fI{}\\fR", value.replace('-', "\\-")));
    let written = [names.collect::<Vec<_>>().join("|")].into_iter().chain(value);
    let written = written.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let written = if argument.is_required_set() { written } else { format!("[{written}]") };
    if matches!(argument.get_action(), ArgAction::Append) { format!("{written}...") } else { written }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synopsis_has_values_and_what_may_be_repeated() {
        let pages = pages().unwrap();
        let synopsis = |name: &str| {
            let (_, page) = pages.iter().find(|(path, _)| path.ends_with(name)).unwrap();
            page.split(".SH ").find(|part| part.starts_with("SYNOPSIS")).unwrap().replace("\\-", "-")
        };
        for (page, says) in [
            ("ocinet-register.1", "[\\fB--publish\\fR \\fIPORT\\fR]..."),
            ("ocinet-register.1", "[\\fB--podman\\fR]"),
            ("ocinet-exporter.1", "[\\fB--web.listen-address\\fR \\fIADDRESS\\fR]..."),
            ("ocinet-inspect.1", " \\fIID\\fR"),
            ("ocinet-check.1", " [\\fIID\\fR]"),
            ("ocinet.1", "[\\fB--state-dir\\fR \\fIDIR\\fR]"),
        ] {
            let synopsis = synopsis(page);
            assert!(synopsis.contains(says), "{synopsis}");
        }
    }

    #[test]
    fn each_command_has_a_page_of_its_name() {
        let pages = pages().unwrap();
        let names: Vec<String> = pages.iter().map(|(path, _)| path.display().to_string()).collect();
        for command in ocinet::cli::Options::command().get_subcommands() {
            let page = format!("man/ocinet-{}.1", command.get_name());
            assert!(names.contains(&page), "{page} is not among {names:?}");
        }
        assert!(
            names.contains(&"man/ocinet.1".to_owned()) && names.contains(&"man/ocinet-exporter.1".to_owned())
        );
    }

    #[test]
    fn each_flag_is_on_its_page() {
        let pages = pages().unwrap();
        for program in programs() {
            for command in program.get_subcommands().chain([&program]) {
                let path = Path::new("man").join(format!("{}.1", name(command)));
                let (_, text) = pages.iter().find(|(at, _)| *at == path).unwrap();
                for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                    let Some(long) = argument.get_long() else { continue };
                    let flag = format!("--{long}").replace('-', "\\-");
                    assert!(text.contains(&flag), "{path:?} lacks {flag}");
                }
            }
        }
    }
}
