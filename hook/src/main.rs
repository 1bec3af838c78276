//! The program `ocinet`: arguments in, exit code out.

// Rust's own start reads /proc/self/maps to find the stack, which takes a tenth of a stop.
#![no_main]

use std::ffi::{c_char, c_int};
use std::io::Write as _;

use clap::Parser as _;
use ocinet_shared::kernel::process;

#[cfg(not(target_env = "gnu"))]
compile_error!(
    "without glibc, Rust's standard library does not learn the arguments of a program that has no Rust main"
);

/// Where the C library starts the program. Before that, glibc has given Rust's standard library the arguments (`.init_array`).
#[expect(unsafe_code, reason = "the C library knows this function by its name alone")]
#[unsafe(no_mangle)]
extern "C" fn main(_count: c_int, _arguments: *const *const c_char) -> c_int {
    process::start();
    let code = run();
    // A reader that has gone is not an error of ours.
    let _ = std::io::stdout().flush();
    code.into()
}

/// Does what the arguments say, and returns the exit code.
fn run() -> u8 {
    // A panic is a bug, and has an exit code of its own.
    std::panic::set_hook(Box::new(|panic| {
        say(&format!("cannot go on: {panic}; hint: this is a bug, please report it with this line"));
        exit(70);
    }));
    let options = match ocinet::cli::Options::of_a_hook().map_or_else(ocinet::cli::Options::try_parse, Ok) {
        Ok(options) => options,
        Err(error) => return ocinet::commands::explain(&error),
    };
    match ocinet::commands::run(&options) {
        Ok(code) => code,
        Err(error) => {
            say(&error.to_string());
            error.exit_code()
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
