//! Which destinations a route can have.

use ocinet_shared::model::cidr::Cidr;

/// What kind of addresses a route leads to, where no gateway leads to any of them. IPv4's link-local ones are not among
/// them: clouds have their services there.
pub(super) fn not_routable(to: Cidr) -> Option<&'static str> {
    // IANA's registries of special-purpose and of multicast addresses.
    let ranges = [
        ("0.0.0.0/8", "reserved"),
        ("127.0.0.0/8", "loopback"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "reserved"),
        ("::1/128", "loopback"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    ];
    let holds = |range: &str| {
        range.parse().is_ok_and(|range: Cidr| range.contains(to.address()) && range.prefix() <= to.prefix())
    };
    ranges.into_iter().find(|(range, _)| holds(range)).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_leads_somewhere() {
        let kind = |text: &str| not_routable(text.parse().unwrap());
        for bad in [
            "127.0.0.0/8",
            "127.0.0.1/32",
            "224.0.0.0/4",
            "239.1.1.1/32",
            "240.0.0.0/4",
            "255.255.255.255/32",
            "0.0.0.0/8",
            "::1/128",
            "::/128",
            "fe80::/10",
            "fe80::/64",
            "ff00::/8",
            "ff02::/16",
        ] {
            assert!(kind(bad).is_some(), "{bad}");
        }
        for good in [
            "0.0.0.0/0",
            "0.0.0.0/1",
            "128.0.0.0/1",
            "169.254.169.254/32",
            "10.0.0.0/8",
            "::/0",
            "::/1",
            "8000::/1",
            "fd00::/8",
            "2000::/3",
        ] {
            assert_eq!(kind(good), None, "{good}");
        }
    }
}
