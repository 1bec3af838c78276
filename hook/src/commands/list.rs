//! `ocinet list`.

use ocinet_shared::model::port::PublishedPort;
use ocinet_shared::model::record::{Phase, Record};
use ocinet_shared::one_line::{in_json, one_line};
use ocinet_shared::state::StateDir;

use super::output::print;
use crate::error::{Class, Error};

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
        return print(&(to_text(&records)? + "\n"));
    }
    let mut rows: Vec<[String; 7]> = vec![
        ["CONTAINER", "NETWORK", "DRIVER", "INTERFACE", "ADDRESSES", "PORTS", "PHASE"].map(str::to_owned),
    ];
    rows.extend(records.iter().flat_map(rows_of));
    print(&table(&rows))
}

/// JSON for programs.
pub(super) fn to_text(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string_pretty(value)
        .map(|json| in_json(&json))
        .map_err(|error| Error::new(Class::Usage, "print JSON", error, "report this as a bug"))
}

fn rows_of(record: &Record) -> Vec<[String; 7]> {
    let phase = if record.phase == Phase::Ready { "ready" } else { "pending" }.to_owned();
    let id = record.id.to_string();
    if record.attachments.is_empty() {
        let none = || "-".to_owned();
        return vec![[id, none(), none(), none(), none(), none(), phase]];
    }
    let row = |attachment: &ocinet_shared::model::record::Attachment| {
        [
            id.clone(),
            attachment.network.to_string(),
            attachment.driver.clone(),
            attachment.interface.to_string(),
            join(&attachment.addresses),
            if attachment.ports.is_empty() { "-".to_owned() } else { ranges(&attachment.ports) },
            phase.clone(),
        ]
    };
    record.attachments.iter().map(row).map(|cells| cells.map(|cell| one_line(&cell))).collect()
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Ports as an annotation has them: those that follow on each other as a range.
fn ranges(ports: &[PublishedPort]) -> String {
    let follows = |last: &PublishedPort, next: &PublishedPort| {
        (last.host_address, last.protocol) == (next.host_address, next.protocol)
            && last.host_port.checked_add(1) == Some(next.host_port)
            && last.container_port.checked_add(1) == Some(next.container_port)
    };
    let text = |range: &[PublishedPort]| match range {
        [first, .., last] => {
            let bare = first.to_string();
            let one = format!("{}:{}/", first.host_port, first.container_port);
            let all = format!(
                "{}-{}:{}-{}/",
                first.host_port, last.host_port, first.container_port, last.container_port
            );
            // The address before it may end in the same figures.
            let at = bare.len() - one.len() - first.protocol.name().len();
            format!("{}{all}{}", &bare[..at], first.protocol)
        }
        [one] => one.to_string(),
        [] => String::new(),
    };
    ports.chunk_by(follows).map(text).collect::<Vec<_>>().join(",")
}

/// Columns as wide as their widest cell, two spaces apart.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        // A width in a format may have no more than 16 bits.
        let padded = |(cell, width): (&String, &usize)| format!("{cell}{}", " ".repeat(width - cell.len()));
        let cells: Vec<String> = row.iter().zip(&widths).map(padded).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocinet_shared::model::port::parse_published;

    #[test]
    fn ports_that_follow_on_each_other_are_one_range() {
        for text in [
            "8080:80/tcp",
            "9000-9010:9000-9010/tcp",
            "127.0.0.1:9000-9001:80-81/udp",
            "[2001:db8::90]:90-92:90-92/sctp,8080:80/tcp",
            "80:80/tcp,81:81/udp",
            "80:80/tcp,81:82/tcp",
            "1-65535:1-65535/tcp",
        ] {
            let ports: Vec<PublishedPort> =
                text.split(',').flat_map(|item| parse_published(item).unwrap()).collect();
            assert_eq!(ranges(&ports), text);
        }
    }

    #[test]
    fn a_table_is_as_wide_as_it_must_be() {
        let wide = "x".repeat(70_000);
        let text = table(&[[wide.clone(), "a".to_owned()], ["y".to_owned(), "b".to_owned()]]);
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [70_003, 70_003]);
    }
}
