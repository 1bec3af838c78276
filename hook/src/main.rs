//! The program `ocinet`: arguments in, exit code out.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // A panic is a bug, and has an exit code of its own.
    std::panic::set_hook(Box::new(|panic| {
        say(&format!("cannot go on: {panic}; hint: this is a bug, please report it with this line"));
        exit(70);
    }));
    let options = match ocinet::cli::Options::of_a_hook().map_or_else(ocinet::cli::Options::try_parse, Ok) {
        Ok(options) => options,
        Err(error) => return ExitCode::from(ocinet::cli::explain(&error)),
    };
    match ocinet::commands::run(&options) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Standard error may be closed; the exit code tells the class all the same.
fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("ocinet: {}\n", line.replace('\n', " ")).as_bytes());
}

#[expect(clippy::exit, clippy::disallowed_methods, reason = "the only exit: a panic has no way back to main")]
fn exit(code: i32) -> ! {
    std::process::exit(code)
}
