//! `ocinet list`.

use ocinet_shared::record::{Phase, Record};
use ocinet_shared::record_dir::StateDir;

use crate::error::{Error, report};

/// Prints a table for people, or the records for programs. A record that cannot be read is logged and left out.
pub(super) fn run(state: &StateDir, json: bool) -> Result<(), Error> {
    let mut records = Vec::new();
    for record in state.records()? {
        match record {
            Ok(record) => records.push(record),
            Err(error) => crate::log::warn(error),
        }
    }
    if json {
        return super::print(&(to_text(&records)? + "\n"));
    }
    let mut rows: Vec<[String; 7]> = vec![
        ["CONTAINER", "NETWORK", "DRIVER", "INTERFACE", "ADDRESSES", "PORTS", "PHASE"].map(str::to_owned),
    ];
    rows.extend(records.iter().flat_map(rows_of));
    super::print(&table(&rows))
}

/// JSON for programs.
pub(super) fn to_text(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string_pretty(value)
        .map_err(|error| Error::Usage(report("print JSON", error, "report this as a bug")))
}

fn rows_of(record: &Record) -> Vec<[String; 7]> {
    let phase = if record.phase == Phase::Ready { "ready" } else { "pending" }.to_owned();
    let id = record.id.to_string();
    if record.attachments.is_empty() {
        let none = || "-".to_owned();
        return vec![[id, none(), none(), none(), none(), none(), phase]];
    }
    let row = |attachment: &ocinet_shared::record::Attachment| {
        [
            id.clone(),
            attachment.network.to_string(),
            attachment.driver.clone(),
            attachment.interface.to_string(),
            join(&attachment.addresses),
            if attachment.ports.is_empty() { "-".to_owned() } else { join(&attachment.ports) },
            phase.clone(),
        ]
    };
    record.attachments.iter().map(row).collect()
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Columns as wide as their widest cell, two spaces apart.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
