//! Published ports and the addresses in them: what is read is shown in a form that reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinet_shared::model::cidr::{Cidr, parse_address};
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::ifname::IfName;
use ocinet_shared::model::mac::Mac;
use ocinet_shared::model::port::parse_published;
use std::fmt::Display;
use std::str::FromStr;

fn shown_reads_the_same<T: FromStr + Display + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert!(value.to_string().parse::<T>().is_ok_and(|again| again == value), "{value}");
    }
}

fuzz_target!(|text: &str| {
    if let Ok(ports) = parse_published(text) {
        assert!(!ports.is_empty() && ports.len() <= usize::from(u16::MAX));
        for port in ports {
            assert_ne!(port.container_port, 0);
            if port.host_port != 0 {
                assert_eq!(parse_published(&port.to_string()).expect("a port"), [port]);
            }
        }
    }
    if let Ok(address) = parse_address(text) {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    shown_reads_the_same::<Cidr>(text);
    shown_reads_the_same::<Mac>(text);
    shown_reads_the_same::<IfName>(text);
    shown_reads_the_same::<ContainerId>(text);
});
