//! Address ranges that nobody on the internet owns (IANA's registries of special-purpose addresses, RFC 6890).

use ocinet_shared::model::cidr::Cidr;

/// Ranges for private networks, for a provider and its customers, for benchmarks, and for documentation.
const RANGES: [&str; 12] = [
    // RFC 1918.
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    // RFC 6598.
    "100.64.0.0/10",
    // RFC 2544.
    "198.18.0.0/15",
    // RFC 5737.
    "192.0.2.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    // RFC 4193.
    "fc00::/7",
    // RFC 5180, RFC 3849, RFC 9637.
    "2001:2::/48",
    "2001:db8::/32",
    "3fff::/20",
];

/// Whether a network lies in one of them.
pub(super) fn holds(network: &Cidr) -> bool {
    RANGES.iter().any(|range| range.parse().is_ok_and(|range: Cidr| range.holds(network)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_not_special() {
        for (text, expected) in [
            ("10.0.0.0/8", true),
            ("10.91.7.0/24", true),
            ("172.31.255.0/24", true),
            ("172.32.0.0/16", false),
            ("192.168.0.0/15", false),
            ("100.127.0.0/16", true),
            ("8.0.0.0/8", false),
            ("11.0.0.0/8", false),
            ("169.254.7.0/24", false),
            ("fd00:91:7::/64", true),
            ("2001:db8:1::/64", true),
            ("2001:4860::/32", false),
            ("3fff:fff::/32", true),
        ] {
            assert_eq!(holds(&text.parse().unwrap()), expected, "{text}");
        }
        assert!(RANGES.iter().all(|range| range.parse::<Cidr>().unwrap().is_network()));
    }
}
