//! The program `ocinet-exporter`: arguments in, exit code out.

use std::io::Write as _;
use std::panic::catch_unwind;
use std::process::ExitCode;

use ocinet_exporter::cli::{Options, explain};
use ocinet_exporter::http::server;
use ocinet_exporter::log;
use ocinet_shared::kernel::landlock;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os()) {
        Ok(options) => options,
        Err(error) => return ExitCode::from(explain(&error)),
    };
    log::start(options.log_level, options.log_format);
    std::panic::set_hook(Box::new(|panic| tracing::error!("this is a bug, please report it: {panic}")));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "Starting ocinet-exporter");
    match landlock::restrict_writing_and_execution() {
        Ok(true) => {}
        Ok(false) => tracing::debug!(
            "this kernel has no Landlock: nothing but its user keeps the exporter from writing files"
        ),
        Err(error) => tracing::warn!("cannot give up writing files: {error}"),
    }
    match catch_unwind(|| server::run(&options.server, &options.collector)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            let _ = std::io::stderr().write_all(format!("ocinet-exporter: {error}\n").as_bytes());
            ExitCode::from(error.code)
        }
        // The panic hook has logged it.
        Err(_) => ExitCode::from(70),
    }
}
