//! The table of containers: for each its interfaces, what is routed for it, and its published ports.

use std::fmt::Write as _;

use ocinet_shared::model::port::PublishedPort;
use ocinet_shared::model::record::{Attachment, Record};

use crate::render::page::text::{Bytes, Count, Text, plural};
use crate::scrape::snapshot::{Container, Interface, Port, Routed, addresses};

/// What all interfaces of a container carried.
pub(super) struct Totals {
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Totals {
    pub(super) fn of(container: &Container) -> Self {
        let mut totals = Self { received: 0, sent: 0 };
        for counters in container.interfaces.iter().filter_map(|interface| interface.counters) {
            totals.received = totals.received.saturating_add(counters.received.bytes);
            totals.sent = totals.sent.saturating_add(counters.sent.bytes);
        }
        totals
    }
}

pub(super) fn write(containers: &[Container], out: &mut String) {
    if containers.is_empty() {
        out.push_str("<div class=\"sheet empty\">No container is attached.</div>\n");
        return;
    }
    out.push_str(
        "<div class=\"sheet\"><table class=\"containers\"><thead><tr><th colspan=\"2\">container</th><th \
         class=\"amount\">received</th><th class=\"amount\">sent</th><th class=\"trend\"></th></tr></thead>\n",
    );
    for container in containers {
        let _ = writeln!(out, "<tbody>");
        head(container, out);
        for interface in &container.interfaces {
            write_interface(container, interface, out);
        }
        if let Some(routed) = &container.routed {
            write_routed(&container.record, routed, out);
        }
        for port in &container.ports {
            write_port(&container.record, port, out);
        }
        let _ = writeln!(out, "</tbody>");
    }
    out.push_str("</table></div>\n");
}

fn head(container: &Container, out: &mut String) {
    let record = &container.record;
    let (id, labels) = (&record.id, &record.labels);
    let _ = write!(
        out,
        "<tr class=\"head\"><th colspan=\"2\" scope=\"rowgroup\"><div class=\"name\">{}</div><div class=\"about\">",
        Text(record.display_name())
    );
    if labels.name.is_some() {
        let _ = write!(out, "<code title=\"{}\">{}</code>", Text(id), Text(id.short()));
    }
    let owner = record.shares.as_ref().map(|owner| format!("shares the interfaces of {}", owner.short()));
    let pod = labels.pod.as_ref().map(|pod| format!("pod {pod}"));
    for word in [labels.image.as_ref(), pod.as_ref(), owner.as_ref()].into_iter().flatten() {
        let _ = write!(out, "<span>{}</span>", Text(word));
    }
    if let Some(entries) = container.conntrack_entries {
        let _ = write!(out, "<span>{} open</span>", connections(entries));
    }
    let _ = write!(out, "</div></th>");
    let totals = Totals::of(container);
    for (direction, bytes) in [("in", totals.received), ("out", totals.sent)] {
        let cell = Cell { direction, key: format!("{id} {direction}"), sum: true };
        cell.write(bytes, out);
    }
    let _ = writeln!(
        out,
        "<td class=\"trend\"><svg class=\"line\" data-id=\"{}\" viewBox=\"0 0 100 20\" preserveAspectRatio=\"none\" \
         aria-hidden=\"true\"><polyline points=\"\"/></svg></td></tr>",
        Text(id)
    );
}

fn write_interface(container: &Container, interface: &Interface, out: &mut String) {
    let Some(attachment) = container.record.attachments.get(interface.attachment) else { return };
    let Attachment { interface: link, driver, network, .. } = attachment;
    let state = match interface.up {
        Some(true) => "up",
        Some(false) => "down",
        None => "",
    };
    let _ = write!(
        out,
        "<tr><th class=\"what\" scope=\"row\"><span class=\"{state}\" title=\"{state}\">{}</span></th><td \
         class=\"note\"><span>{} on {}</span>",
        Text(link),
        Text(driver),
        Text(network),
    );
    for address in addresses(container, interface) {
        let _ = write!(out, " <code>{address}</code>");
    }
    let _ = write!(out, "</td>");
    let key = format!("{} {link}", container.record.id);
    match interface.counters {
        Some(counters) => {
            let lost = [
                (counters.received.errors, "errors in"),
                (counters.sent.errors, "errors out"),
                (counters.received.drops, "dropped in"),
                (counters.sent.drops, "dropped out"),
            ];
            amounts(&key, counters.received.bytes, counters.sent.bytes, out);
            let said = lost.iter().filter(|(count, _)| *count > 0);
            let said: Vec<String> = said.map(|(count, what)| format!("{} {what}", Count(*count))).collect();
            let _ = writeln!(out, "<td class=\"trend lost\">{}</td></tr>", Text(said.join(", ")));
        }
        None => out
            .push_str("<td class=\"amount\"></td><td class=\"amount\"></td><td class=\"trend\"></td></tr>\n"),
    }
}

fn write_routed(record: &Record, routed: &Routed, out: &mut String) {
    let masqueraded = match routed.masqueraded {
        0 => String::new(),
        count => format!("{} behind the host's address", connections(count)),
    };
    let _ = write!(
        out,
        "<tr><th class=\"what\" scope=\"row\">other networks</th><td class=\"note\">{masqueraded}</td>"
    );
    amounts(&format!("{} routed", record.id), routed.received.bytes, routed.sent.bytes, out);
    out.push_str("<td class=\"trend\"></td></tr>\n");
}

fn write_port(record: &Record, port: &Port, out: &mut String) {
    let PublishedPort { host_address, protocol, host_port, container_port } = port.port;
    let host = match host_address {
        Some(address) => std::net::SocketAddr::new(address, host_port).to_string(),
        None => host_port.to_string(),
    };
    let _ = write!(
        out,
        "<tr><th class=\"what\" scope=\"row\">{host} → {container_port}/{protocol}</th><td class=\"note\">{}</td>",
        connections(port.connections)
    );
    amounts(&format!("{} {}", record.id, port.port), port.received.bytes, port.sent.bytes, out);
    out.push_str("<td class=\"trend\"></td></tr>\n");
}

fn connections(count: u64) -> String {
    let noun = plural(usize::try_from(count).unwrap_or(usize::MAX), "connection", "connections");
    format!("{} {noun}", Count(count))
}

fn amounts(key: &str, received: u64, sent: u64, out: &mut String) {
    Cell { direction: "in", key: format!("{key} in"), sum: false }.write(received, out);
    Cell { direction: "out", key: format!("{key} out"), sum: false }.write(sent, out);
}

/// An amount that the script finds again by its key, to put the rate before it.
struct Cell {
    direction: &'static str,
    key: String,
    /// Whether it is part of the sum of all containers.
    sum: bool,
}

impl Cell {
    fn write(&self, bytes: u64, out: &mut String) {
        let Self { direction, key, sum } = self;
        let sum = if *sum { format!(" data-sum=\"{direction}\"") } else { String::new() };
        let _ = write!(
            out,
            "<td class=\"amount {direction}\" data-key=\"{}\" data-count=\"{bytes}\"{sum}><b></b><span>{}</span></td>",
            Text(key),
            Bytes(bytes)
        );
    }
}
