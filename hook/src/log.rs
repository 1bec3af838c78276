//! The log: to standard error what OCINET_LOG asks for, and to the journal where its socket exists.
//!
//! It is started by the first message: a hook that has nothing to say does not look for the journal.

use std::fmt::Display;
use std::str::FromStr as _;
use std::sync::Once;

use ocinet_shared::one_line::one_line;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;

/// Something that somebody should look at, though this command goes on.
pub fn warn(message: impl Display) {
    start();
    tracing::warn!("{}", one_line(&message.to_string()));
}

/// Something that an administrator may want to find in the journal.
pub fn info(message: impl Display) {
    start();
    tracing::info!("{}", one_line(&message.to_string()));
}

/// Why a hook fails, for the journal alone: standard error has the line already, and crun shows nothing of it.
pub fn failure(message: impl Display) {
    start();
    tracing::error!(target: JOURNAL_ALONE, "{}", one_line(&message.to_string()));
}

/// What is not for standard error.
const JOURNAL_ALONE: &str = "ocinet::journal";

/// Something for whoever looks for a fault.
pub fn debug(message: impl Display) {
    if std::env::var_os("OCINET_LOG").is_some() {
        start();
        tracing::debug!("{}", one_line(&message.to_string()));
    }
}

/// Without OCINET_LOG only warnings go to standard error, because runc pastes what a hook says into its own messages.
fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let asked = std::env::var("OCINET_LOG").ok();
        let level =
            asked.as_deref().and_then(|level| LevelFilter::from_str(level).ok()).unwrap_or(LevelFilter::WARN);
        let terminal = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_filter(level.and(filter_fn(|of| of.target() != JOURNAL_ALONE)));
        let journal =
            tracing_journald::layer().ok().map(|layer| layer.with_filter(LevelFilter::INFO.max(level)));
        let _ = tracing::subscriber::set_global_default(
            tracing_subscriber::registry().with(terminal).with(journal),
        );
    });
}
