//! The log: to standard error what OCINET_LOG asks for, and to the journal where its socket exists.

use std::str::FromStr as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;

/// Starts the log. Without OCINET_LOG only warnings go to standard error, because runc pastes what a hook says into its
/// own messages.
pub fn start() {
    let asked = std::env::var("OCINET_LOG").ok();
    let level =
        asked.as_deref().and_then(|level| LevelFilter::from_str(level).ok()).unwrap_or(LevelFilter::WARN);
    let terminal = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_filter(level);
    let journal = tracing_journald::layer().ok().map(|layer| layer.with_filter(LevelFilter::INFO.max(level)));
    let _ =
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(terminal).with(journal));
}
