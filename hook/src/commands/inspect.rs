//! `ocinet inspect ID`: a container's record, and what the kernel counted for it.

use std::net::IpAddr;

use ocinet_shared::kernel::nft::{Counter, Nft};
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::element::{Element, Field, Set};
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::port::Protocol;
use ocinet_shared::model::port_elements;
use ocinet_shared::model::record::Record;
use ocinet_shared::one_line::one_line;
use ocinet_shared::state::StateDir;
use serde::Serialize;

use super::list::to_text;
use super::output::print;
use crate::error::{Class, Error};
use crate::input::oci_state;

/// Bytes and packets.
#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Traffic {
    bytes: u64,
    packets: u64,
}

impl Traffic {
    fn add(&mut self, counter: Counter) {
        self.bytes += counter.bytes;
        self.packets += counter.packets;
    }
}

/// What was counted for a published port, both families together.
#[derive(Debug, Serialize)]
struct PortCounters {
    host_address: Option<IpAddr>,
    protocol: Protocol,
    host_port: u16,
    container_port: u16,
    connections: u64,
    #[serde(rename = "in")]
    inward: Traffic,
    #[serde(rename = "out")]
    outward: Traffic,
}

/// What was counted for a container since it was attached.
#[derive(Debug, Default, Serialize)]
struct Counters {
    sent: Traffic,
    received: Traffic,
    masqueraded_connections: u64,
    ports: Vec<PortCounters>,
}

/// Prints the container for people, or everything for programs.
pub(super) fn run(state: &StateDir, id: &str, json: bool) -> Result<(), Error> {
    let id = oci_state::parse_id(id)?;
    let record = state.read_record(&id)?.ok_or_else(|| {
        Error::new(
            Class::Usage,
            format!("inspect container {id}"),
            "it has no record",
            "see `ocinet list` for those that have",
        )
    })?;
    let counters = counters(&record)?;
    if json {
        #[derive(Serialize)]
        struct Inspected<'a> {
            record: &'a Record,
            counters: &'a Counters,
        }
        return print(&(to_text(&Inspected { record: &record, counters: &counters })? + "\n"));
    }
    print(&describe(&record, &counters))
}

fn counters(record: &Record) -> Result<Counters, Error> {
    let mut nft = Nft::open()?;
    // An element that leads to another container counts that one's connections.
    let mut count = |element: &Element| -> Result<Counter, Error> {
        let own = nft.get(element)?.filter(|found| found.value == element.value_bytes());
        Ok(own.map(|found| found.counter).unwrap_or_default())
    };
    let mut counters = Counters::default();
    for address in record.addresses() {
        let own = |ipv4, ipv6| {
            Element::new(Set::by_family(Family::of(address), ipv4, ipv6), vec![Field::Address(address)])
        };
        counters.sent.add(count(&own(Set::Sent4, Set::Sent6))?);
        counters.received.add(count(&own(Set::Received4, Set::Received6))?);
        counters.masqueraded_connections += count(&own(Set::Masquerade4, Set::Masquerade6))?.packets;
        counters.masqueraded_connections += count(&own(Set::Snat4, Set::Snat6))?.packets;
    }
    for attachment in &record.attachments {
        for port in &attachment.ports {
            let mut counted = PortCounters {
                host_address: port.host_address,
                protocol: port.protocol,
                host_port: port.host_port,
                container_port: port.container_port,
                connections: 0,
                inward: Traffic::default(),
                outward: Traffic::default(),
            };
            for cidr in attachment.addresses.iter().filter(|cidr| port.serves(cidr.family())) {
                let [publish, inward, outward] = port_elements::of_port(port, cidr);
                counted.connections += count(&publish)?.packets;
                counted.inward.add(count(&inward)?);
                counted.outward.add(count(&outward)?);
            }
            counters.ports.push(counted);
        }
    }
    Ok(counters)
}

fn describe(record: &Record, counters: &Counters) -> String {
    let mut text = format!("container    {}\n", record.id);
    let mut line = |label: &str, value: String| text.push_str(&format!("{label:<12} {}\n", one_line(&value)));
    if let Some(name) = &record.labels.name {
        line("name", name.clone());
    }
    line("process", record.pid.to_string());
    line("bundle", record.bundle.clone());
    if let Some(owner) = &record.shares {
        line("shares", format!("the network of container {owner}"));
    }
    for attachment in &record.attachments {
        let addresses: Vec<String> = attachment.addresses.iter().map(ToString::to_string).collect();
        line(
            "interface",
            format!(
                "{} ({}) on network {}{}",
                attachment.interface,
                attachment.driver,
                attachment.network,
                attachment.mac.map_or_else(String::new, |mac| format!(", {mac}")),
            ),
        );
        line("addresses", addresses.join(", "));
        let host = [attachment.host_interface.as_ref(), attachment.parent.as_ref()];
        let host: Vec<&str> = host.into_iter().flatten().map(IfName::as_str).collect();
        line("host", host.join(" on "));
    }
    line("set up in", format!("{} us", record.setup_us));
    line("sent", format!("{} bytes in {} packets", counters.sent.bytes, counters.sent.packets));
    line("received", format!("{} bytes in {} packets", counters.received.bytes, counters.received.packets));
    line("masqueraded", format!("{} connections", counters.masqueraded_connections));
    for (port, counted) in record.ports().zip(&counters.ports) {
        line(
            "port",
            format!(
                "{port}: {} connections, {} bytes in, {} bytes out",
                counted.connections, counted.inward.bytes, counted.outward.bytes
            ),
        );
    }
    text
}
