use super::*;
use crate::kernel::raw::{captured, every_beginning};

/// What a kernel before 6.10 has to be shown one by one.
#[test]
fn connections_to_end_are_told_in_a_dump_too() {
    let answers = captured(include_str!("../captured/conntrack.hex"));
    let web: IpAddr = [10, 90, 30, 241].into();
    let of = |direction| {
        answers.iter().filter(|answer| ends(answer, direction).first() == Some(&web)).collect::<Vec<_>>()
    };
    let (began, led_to) = (of(CTA_TUPLE_ORIG), of(CTA_TUPLE_REPLY));
    assert_eq!((began.len(), led_to.len()), (1, 1));
    let mut message = Vec::new();
    deletion(led_to[0], Family::Ipv4).unwrap().write(0, 1, &mut message);
    let payload = &message[crate::kernel::raw::HEADER_LENGTH..];
    assert_eq!(payload[0], 2);
    assert_eq!(ends(payload, CTA_TUPLE_ORIG), ends(led_to[0], CTA_TUPLE_ORIG));
    assert!(Attributes::behind(payload, NFGENMSG_LENGTH).find(CTA_ID).is_some_and(|id| id.len() == 4));
    // TCP, and translated: nothing that was sent before a UDP port was published.
    assert!(!answers.iter().any(|answer| is_unpublished(answer, None, 8080)));
}

#[test]
fn what_was_sent_before_a_port_was_published_is_told() {
    let (client, host): (IpAddr, IpAddr) = ([198, 51, 100, 20].into(), [198, 51, 100, 10].into());
    let tuple = |request: Request, kind, [source, target]: [IpAddr; 2], protocol: u8| {
        request.with_nested(kind, |tuple| {
            let ends = |ip| with_address(with_address(ip, CTA_IP_SRC, source), CTA_IP_DST, target);
            tuple.with_nested(CTA_TUPLE_IP, ends).with_nested(CTA_TUPLE_PROTO, |of| {
                of.with(CTA_PROTO_NUM, &[protocol]).with(CTA_PROTO_DST_PORT, &5353_u16.to_be_bytes())
            })
        })
    };
    let payload = |answered_by, protocol| {
        let request = tuple(of_family(CT_GET, Family::Ipv4), CTA_TUPLE_ORIG, [client, host], protocol);
        let mut message = Vec::new();
        tuple(request, CTA_TUPLE_REPLY, [answered_by, client], protocol).write(0, 1, &mut message);
        message[crate::kernel::raw::HEADER_LENGTH..].to_vec()
    };
    let untranslated = payload(host, 17);
    assert!(is_unpublished(&untranslated, None, 5353) && is_unpublished(&untranslated, Some(host), 5353));
    assert!(!is_unpublished(&untranslated, None, 5354) && !is_unpublished(&untranslated, Some(client), 5353));
    assert!(!is_unpublished(&payload([10, 90, 0, 7].into(), 17), None, 5353));
    assert!(!is_unpublished(&payload(host, 6), None, 5353));
}

#[test]
fn what_leaves_by_a_port_is_told() {
    let payload = |status: u32, protocol: u8, port: u16| {
        let request = of_family(CT_GET, Family::Ipv4).with_nested(CTA_TUPLE_REPLY, |tuple| {
            tuple.with_nested(CTA_TUPLE_PROTO, |of| {
                of.with(CTA_PROTO_NUM, &[protocol]).with(CTA_PROTO_DST_PORT, &port.to_be_bytes())
            })
        });
        let mut message = Vec::new();
        request.with(CTA_STATUS, &status.to_be_bytes()).write(0, 1, &mut message);
        message[crate::kernel::raw::HEADER_LENGTH..].to_vec()
    };
    let confirmed = 1 << 3;
    assert!(leaves_by(&payload(IPS_SRC_NAT | confirmed, 17, 10101), 10101));
    for other in [
        payload(confirmed, 17, 10101),
        payload(IPS_NAT_MASK, 17, 10101),
        payload(IPS_SRC_NAT, 6, 10101),
        payload(IPS_SRC_NAT, 17, 10102),
    ] {
        assert!(!leaves_by(&other, 10101));
    }
}

#[test]
fn reads_the_addresses_of_both_directions() {
    let answers = captured(include_str!("../captured/conntrack.hex"));
    let mut seen = Vec::new();
    for payload in &answers {
        let mut addresses = Vec::new();
        answer(payload, &mut addresses);
        seen.push(addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
        every_beginning(payload, |part| {
            let mut fewer = Vec::new();
            answer(part, &mut fewer);
            assert!(addresses.starts_with(&fewer));
        });
    }
    seen.sort();
    let masqueraded = ["10.90.30.241", "203.0.113.1", "203.0.113.1", "198.51.100.10"];
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[0], masqueraded);
    let published = ["198.51.100.20", "198.51.100.10", "10.90.30.241", "198.51.100.20"];
    assert_eq!(seen[1], published);
    assert!(seen[2..].iter().all(|addresses| addresses.len() == 4 && addresses[0].contains(':')));
}
