//! `ocinet-exporter`: will report interface and NAT counters per container to Prometheus.

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    // It collects nothing yet, and says so with a failure: a unit that starts it must not look healthy.
    let message = "ocinet-exporter: cannot serve metrics: this version collects nothing yet; \
                   hint: `ocinet inspect ID --json` prints a container's counters\n";
    let _ = std::io::stderr().write_all(message.as_bytes());
    ExitCode::from(2)
}
