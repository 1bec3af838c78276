//! Writes a snapshot as what a client has asked for.

use std::io::{self, Write as _};
use std::time::SystemTime;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::render::exposition::Format;
use crate::render::metrics;
use crate::render::page::StatusPage;
use crate::scrape::collector::Options;
use crate::scrape::snapshot::Snapshot;

/// What a client can have of a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// The metrics, in a text format.
    Metrics(Format),
    /// The live status page.
    StatusPage,
}

/// A document as it is sent (RFC 9110, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Representation {
    /// What is sent.
    pub document: Document,
    /// Whether it is compressed.
    pub gzip: bool,
}

/// Writes snapshots.
#[derive(Debug)]
pub struct Renderer {
    /// What has been collected, and under which names.
    pub options: Options,
    /// The status page.
    pub page: StatusPage,
}

impl Renderer {
    /// Writes a snapshot. Nothing where it cannot be compressed, which the log says.
    #[must_use]
    pub fn write(&self, snapshot: &Snapshot, wanted: Representation) -> Option<Bytes> {
        let mut text = String::new();
        match wanted.document {
            Document::Metrics(format) => metrics::write(snapshot, &self.options, format, &mut text),
            Document::StatusPage => self.page.write(snapshot, SystemTime::now(), &mut text),
        }
        if !wanted.gzip {
            return Some(text.into());
        }
        compress(&text).map_err(|error| tracing::error!(%error, "cannot compress a scrape")).ok()
    }
}

/// The fastest level: the next one takes twice the time to save a third of the bytes.
fn compress(text: &str) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::fast());
    encoder.write_all(text.as_bytes())?;
    Ok(encoder.finish()?.into())
}
