//! ICMPv6 messages where they are not looked for: behind extension headers and in fragments (RFC 8200, section 4).

use super::frame::Frame;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const ICMP6: u8 = 58;
const DESTINATION: u8 = 60;

/// A way to send a message: what it is called, and its frames.
pub type Disguise = (String, Vec<Vec<u8>>);

/// Every way to send an ICMPv6 message that is not right behind the IPv6 header. `decoy` is 16 bytes that stand where a
/// target would be if there were no extension header.
#[must_use]
pub fn disguises(frame: &Frame, message: &[u8], decoy: [u8; 16]) -> Vec<Disguise> {
    let message = frame.icmp6(message.to_vec());
    let mut all = Vec::new();
    for count in 1..=8 {
        for (name, kind) in [("destination options", DESTINATION), ("routing headers", ROUTING)] {
            all.push((format!("{count} {name}"), vec![chain(frame, &vec![kind; count], &message, decoy)]));
        }
    }
    for kinds in [
        &[HOP_BY_HOP][..],
        &[HOP_BY_HOP, DESTINATION, ROUTING],
        &[HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT, DESTINATION],
        &[FRAGMENT],
        &[FRAGMENT, FRAGMENT],
        &[FRAGMENT, DESTINATION],
        &[DESTINATION, FRAGMENT],
        &[AUTHENTICATION],
        &[AUTHENTICATION, DESTINATION],
        &[DESTINATION, AUTHENTICATION],
    ] {
        all.push((format!("headers {kinds:?}"), vec![chain(frame, kinds, &message, decoy)]));
    }
    for (number, first) in [8, 16, 24].into_iter().enumerate().filter(|(_, first)| *first < message.len()) {
        let fragments = fragments(frame, ICMP6, &message, first, 100 + u32::try_from(number).unwrap_or(0));
        all.push((format!("fragments, the first of {first} bytes"), fragments));
    }
    // The message begins in the second fragment; the first has only a header that leads to it.
    let options = options(ICMP6, decoy);
    for (number, first) in [8, options.len()].into_iter().enumerate() {
        let whole = [&options[..], &message].concat();
        let fragments =
            fragments(frame, DESTINATION, &whole, first, 200 + u32::try_from(number).unwrap_or(0));
        all.push((format!("fragments, the first of {first} bytes with options alone"), fragments));
    }
    // Fragments of what is a fragment once it is put together.
    let inner = [&fragment_header(ICMP6, 0, false, 301)[..], &message].concat();
    all.push(("fragments of a fragment".to_owned(), fragments(frame, FRAGMENT, &inner, 8, 300)));
    all
}

/// A packet in fragments, the first of which has this many bytes, a multiple of 8.
///
/// # Panics
/// When it is too long.
#[must_use]
pub fn fragments(frame: &Frame, next: u8, behind: &[u8], first: usize, id: u32) -> Vec<Vec<u8>> {
    let (head, tail) = behind.split_at(first);
    let offset = u16::try_from(first).expect("a short packet");
    [(head, 0, true), (tail, offset, false)]
        .map(|(part, offset, more)| {
            frame.ipv6(FRAGMENT, &[&fragment_header(next, offset, more, id)[..], part].concat())
        })
        .to_vec()
}

fn chain(frame: &Frame, kinds: &[u8], message: &[u8], decoy: [u8; 16]) -> Vec<u8> {
    let mut behind = message.to_vec();
    let mut next = ICMP6;
    for kind in kinds.iter().rev() {
        let header = match *kind {
            FRAGMENT => fragment_header(next, 0, false, 1).to_vec(),
            // Its length is in units of 4 bytes, without the first two (RFC 4302).
            AUTHENTICATION => [&[next, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1][..], &[0; 12]].concat(),
            ROUTING => [&[next, 2, 254, 0, 0, 0, 0, 0][..], &decoy].concat(),
            _ => options(next, decoy),
        };
        behind = [header, behind].concat();
        next = *kind;
    }
    frame.ipv6(next, &behind)
}

/// A header of options: one that is skipped where it is unknown, with the decoy 8 bytes into the header.
fn options(next: u8, decoy: [u8; 16]) -> Vec<u8> {
    [&[next, 2, 0x1e, 20, 0, 0, 0, 0][..], &decoy].concat()
}

fn fragment_header(next: u8, offset: u16, more: bool, id: u32) -> [u8; 8] {
    let [high, low] = (offset | u16::from(more)).to_be_bytes();
    let [a, b, c, d] = id.to_be_bytes();
    [next, 0, high, low, a, b, c, d]
}
