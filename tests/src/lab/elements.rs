//! Elements of nftables' sets and maps, and what they count, as nft(8) says it. The code under test asks the kernel itself.

use nftables::expr::{Expression, NamedExpression};
use nftables::stmt::Counter;
use serde_json::Value;

use super::netns::Netns;

/// An element of a set or of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// The parts of its key, as text.
    pub key: Vec<String>,
    /// The parts of what a map has for this key.
    pub data: Vec<String>,
    /// The packets that it counts.
    pub packets: u64,
    /// The bytes that it counts.
    pub bytes: u64,
}

impl Element {
    fn of(expression: Expression) -> Self {
        match expression {
            Expression::List(mut pair) if pair.len() == 2 => {
                let data = pair.pop().expect("the data");
                Self { data: parts(data), ..Self::of(pair.pop().expect("the key")) }
            }
            Expression::Named(NamedExpression::Elem(element)) => {
                let counted = match element.counter {
                    Some(Counter::Anonymous(counted)) => counted.unwrap_or_default(),
                    _ => Default::default(),
                };
                Self {
                    key: parts(*element.val),
                    data: Vec::new(),
                    packets: number(counted.packets),
                    bytes: number(counted.bytes),
                }
            }
            key => Self { key: parts(key), data: Vec::new(), packets: 0, bytes: 0 },
        }
    }
}

fn number(counted: Option<usize>) -> u64 {
    counted.map_or(0, |number| u64::try_from(number).expect("64 bits"))
}

/// A key or data of one part or of several.
fn parts(expression: Expression) -> Vec<String> {
    match expression {
        Expression::Named(NamedExpression::Concat(all)) => all.into_iter().flat_map(parts).collect(),
        Expression::String(text) => vec![text.into_owned()],
        Expression::Number(number) => vec![number.to_string()],
        other => panic!("an element of {other:?}"),
    }
}

impl Netns {
    /// The elements of what `nft list` calls so, as `set inet ocinet sent4`.
    ///
    /// # Panics
    /// When there is no such set, or something else than text and numbers is in it.
    #[must_use]
    #[track_caller]
    pub fn elements(&self, of: &str) -> Vec<Element> {
        let listed = self.ok(&["nft", "-j", &format!("list {of}")]);
        // The crate's types of sets and maps lack some of nft's types (devgroup, nf_proto, and concatenations as data): only
        // the elements are read by it.
        let listed: Value = serde_json::from_str(&listed).expect("nft says JSON");
        let kind = of.split(' ').next().expect("a kind");
        let listed =
            listed["nftables"].as_array().expect("objects").iter().find_map(|object| object.get(kind));
        let elements = listed.unwrap_or_else(|| panic!("no {kind} in {of}")).get("elem").cloned();
        let elements: Vec<Expression> =
            elements.map(|all| serde_json::from_value(all).expect("elements")).unwrap_or_default();
        elements.into_iter().map(Element::of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of every kind that ocinet's tables have, the parts that are compared.
    #[test]
    #[ignore = "needs root"]
    fn what_is_added_is_listed() {
        let net = Netns::new();
        net.ok(&["nft", &crate::guards::base()]);
        for element in [
            "inet ocinet within { 0x6f000001 . 0x6f000001 }",
            "inet ocinet no_transit { ipv4 }",
            "inet ocinet sent4 { 192.0.2.1 counter packets 3 bytes 180 }",
            "inet ocinet port_in6 { 2001:db8::1 . tcp . 80 . 8080 counter packets 7 bytes 5000000000 }",
            "inet ocinet publish4 { tcp . 8080 counter packets 2 bytes 120 : 192.0.2.1 . 80 }",
            "inet ocinet snat6 { 2001:db8::1 : 2001:db8::2 }",
            "bridge ocinet target6 { oc-a . 02:00:00:00:00:01 . 0x20010db8000000000000000000000001 }",
        ] {
            net.ok(&["nft", &format!("add element {element}")]);
        }
        let one = |of: &str| {
            let mut all = net.elements(of);
            assert_eq!(all.len(), 1, "{of}");
            all.pop().expect("an element")
        };
        let text = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        assert_eq!(one("set inet ocinet within").key, text(&["1862270977", "1862270977"]));
        assert_eq!(one("set inet ocinet no_transit").key, text(&["ipv4"]));
        assert_eq!(net.elements("set inet ocinet sent6"), []);
        let sent = one("set inet ocinet sent4");
        assert_eq!((sent.key, sent.packets, sent.bytes), (text(&["192.0.2.1"]), 3, 180));
        let port = one("set inet ocinet port_in6");
        assert_eq!(port.key, text(&["2001:db8::1", "tcp", "80", "8080"]));
        assert_eq!((port.packets, port.bytes), (7, 5_000_000_000));
        let target = one("set bridge ocinet target6").key;
        assert_eq!(target, text(&["oc-a", "02:00:00:00:00:01", "0x20010db8000000000000000000000001"]));
        let published = one("map inet ocinet publish4");
        assert_eq!((published.key, published.data), (text(&["tcp", "8080"]), text(&["192.0.2.1", "80"])));
        assert_eq!((published.packets, published.bytes), (2, 120));
        assert_eq!(one("map inet ocinet snat6").data, text(&["2001:db8::2"]));
    }
}
