//! Man pages of the programs and their commands, from their command lines.

use std::error::Error;
use std::path::Path;

use clap::{Command, CommandFactory as _};
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
    man.render_synopsis_section(&mut text)?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
