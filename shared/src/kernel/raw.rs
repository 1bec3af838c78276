//! Netlink messages as bytes, for answers of which a few fields are wanted out of thousands of objects.
//!
//! Nothing here trusts a length: what does not fit ends the reading, and what was read until then stands.

use std::net::IpAddr;

use netlink_packet_core::NetlinkSerializable;

/// `struct nlmsghdr` of linux/netlink.h: length, type at 4, flags at 6, sequence number at 8, port at 12.
pub const HEADER_LENGTH: usize = 16;
/// `struct nlattr` of linux/netlink.h: length, type at 2.
const ATTRIBUTE_HEADER: usize = 4;
/// `NLA_TYPE_MASK` of linux/netlink.h: the two highest bits say how the payload is written.
const TYPE_MASK: u16 = 0x3fff;
/// `NLA_F_NESTED` of linux/netlink.h, which a kernel that checks strictly asks for.
pub(super) const NESTED: u16 = 1 << 15;
/// Messages and attributes begin on a 4-byte boundary (`NLMSG_ALIGN`, `NLA_ALIGN`).
const ALIGNMENT: usize = 4;

/// More than a message about an element takes, in bytes.
const USUAL_BODY: usize = 160;

/// A question: a message's type, and what follows its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetlinkRequest {
    kind: u16,
    body: Vec<u8>,
}

impl NetlinkRequest {
    /// A message of a type with the family's own header, such as `struct ifinfomsg`, and no attribute yet.
    #[must_use]
    pub fn new(kind: u16, header: &[u8]) -> Self {
        let mut body = Vec::with_capacity(USUAL_BODY);
        body.extend_from_slice(header);
        Self { kind, body }
    }

    /// The same with a further attribute.
    #[must_use]
    pub fn with(self, kind: u16, payload: &[u8]) -> Self {
        self.with_parts(kind, payload, &[])
    }

    fn with_parts(mut self, kind: u16, payload: &[u8], rest: &[u8]) -> Self {
        self.body.extend_from_slice(&attribute_header(ATTRIBUTE_HEADER + payload.len() + rest.len(), kind));
        self.body.extend_from_slice(payload);
        self.body.extend_from_slice(rest);
        self.body.resize(self.body.len().next_multiple_of(ALIGNMENT), 0);
        self
    }

    /// The same with a further attribute that is an address.
    #[must_use]
    pub fn with_address(self, kind: u16, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.with(kind, &address.octets()),
            IpAddr::V6(address) => self.with(kind, &address.octets()),
        }
    }

    /// The same with a further attribute that holds attributes, which `inside` adds.
    #[must_use]
    pub fn with_nested(mut self, kind: u16, inside: impl FnOnce(Self) -> Self) -> Self {
        let start = self.body.len();
        self.body.extend_from_slice(&[0; ATTRIBUTE_HEADER]);
        let mut whole = inside(self);
        let header = attribute_header(whole.body.len() - start, kind | NESTED);
        whole.body[start..][..ATTRIBUTE_HEADER].copy_from_slice(&header);
        whole
    }

    /// The same with a further attribute that is a text, which the kernel wants to end with NUL.
    #[must_use]
    pub fn with_text(self, kind: u16, text: &str) -> Self {
        self.with_parts(kind, text.as_bytes(), &[0])
    }

    /// What follows the message's own header.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Appends the message with its header.
    pub fn write(&self, flags: u16, sequence: u32, bytes: &mut Vec<u8>) {
        let length = u32::try_from(HEADER_LENGTH + self.body.len()).unwrap_or(u32::MAX);
        bytes.extend(length.to_ne_bytes());
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.body);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

fn attribute_header(length: usize, kind: u16) -> [u8; ATTRIBUTE_HEADER] {
    // The longest payload is a table's name.
    let [first, second] = u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes();
    let [third, fourth] = kind.to_ne_bytes();
    [first, second, third, fourth]
}

impl NetlinkSerializable for NetlinkRequest {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.body.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.body);
    }
}

/// One message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its type.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The sequence number of the request that it answers.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// The messages of a datagram.
#[derive(Debug, Clone)]
pub struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    /// Reads a datagram.
    #[must_use]
    pub fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = word(self.0, 0)? as usize;
        let message = Message {
            kind: half_word(self.0, 4)?,
            flags: half_word(self.0, 6)?,
            sequence: word(self.0, 8)?,
            payload: self.0.get(HEADER_LENGTH..length)?,
        };
        self.0 = self.0.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some(message)
    }
}

/// A row of attributes: the type of each without its flags, and its payload.
#[derive(Debug, Clone)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Reads a row of attributes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The attributes behind a message's own header of so many bytes; none where the message is shorter.
    #[must_use]
    pub fn behind(payload: &'a [u8], header: usize) -> Self {
        Self(payload.get(header..).unwrap_or_default())
    }

    /// The payload of the first attribute of a type.
    #[must_use]
    pub fn find(&self, kind: u16) -> Option<&'a [u8]> {
        self.clone().find_map(|(found, payload)| (found == kind).then_some(payload))
    }

    /// The payload of the first attribute of each type below `TYPES`, in one pass; the index is the type.
    #[must_use]
    pub fn by_type<const TYPES: usize>(self) -> [Option<&'a [u8]>; TYPES] {
        let mut found = [None; TYPES];
        for (kind, payload) in self {
            if let Some(first) = found.get_mut(usize::from(kind)) {
                first.get_or_insert(payload);
            }
        }
        found
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(half_word(self.0, 0)?);
        let kind = half_word(self.0, 2)? & TYPE_MASK;
        let payload = self.0.get(ATTRIBUTE_HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind, payload))
    }
}

fn half_word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A 32-bit number in the host's order.
#[must_use]
pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A 64-bit number in the host's order.
#[must_use]
pub fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A 64-bit number in network order, as nfnetlink writes them.
#[must_use]
pub fn long_be(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.first_chunk()?))
}

/// What a kernel answered, as `captured/` holds it: a message's payload in hexadecimal, and an empty line before the next.
#[cfg(test)]
pub(super) fn captured(text: &str) -> Vec<Vec<u8>> {
    let bytes = |payload: &str| {
        let digits: Vec<char> = payload.chars().filter(char::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap()).collect()
    };
    text.split("\n\n").map(bytes).collect()
}

/// Hands over every beginning of a payload: whatever is cut off, nothing may panic.
#[cfg(test)]
pub(super) fn every_beginning(payload: &[u8], mut read: impl FnMut(&[u8])) {
    (0..=payload.len()).for_each(|length| read(&payload[..length]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram() -> Vec<u8> {
        let mut bytes = Vec::new();
        let first = NetlinkRequest::new(18, &[0; 16]).with(46, &7_u32.to_ne_bytes()).with_text(3, "eth0");
        first.write(0x301, 5, &mut bytes);
        NetlinkRequest::new(3, &[]).write(2, 6, &mut bytes);
        bytes
    }

    #[test]
    fn what_is_written_is_read_again() {
        let bytes = datagram();
        let messages: Vec<Message<'_>> = Messages::new(&bytes).collect();
        let headers: Vec<_> =
            messages.iter().map(|m| (m.kind, m.flags, m.sequence, m.payload.len())).collect();
        assert_eq!(headers, [(18, 0x301, 5, 36), (3, 2, 6, 0)]);
        let attributes: Vec<_> = Attributes::behind(messages[0].payload, 16).collect();
        assert_eq!(attributes, [(46, &7_u32.to_ne_bytes()[..]), (3, &b"eth0\0"[..])]);
        assert_eq!(Attributes::behind(messages[0].payload, 16).find(3), Some(&b"eth0\0"[..]));
        assert_eq!(Attributes::behind(messages[0].payload, 64).find(3), None);
        let twice = [&messages[0].payload[16..]; 2].concat();
        let by_type = Attributes::new(&twice).by_type::<46>();
        assert_eq!(by_type[3], Some(&b"eth0\0"[..]));
        assert_eq!(by_type.iter().flatten().count(), 1);
    }

    #[test]
    fn what_does_not_fit_ends_the_reading() {
        let bytes = datagram();
        every_beginning(&bytes, |part| {
            let messages: Vec<Message<'_>> = Messages::new(part).collect();
            assert!(messages.len() <= 2);
            assert!(messages.iter().all(|message| Attributes::behind(message.payload, 16).count() <= 2));
        });
        for length in [0_u32, 1, 15, u32::MAX] {
            let mut broken = bytes.clone();
            broken[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(Messages::new(&broken).count(), 0);
        }
        for length in [0_u16, 3, 400, u16::MAX] {
            let mut broken = bytes[32..].to_vec();
            broken[..2].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(Attributes::new(&broken).count(), 0);
        }
    }

    #[test]
    fn the_flags_of_a_type_are_not_the_type() {
        let mut bytes = 4_u16.to_ne_bytes().to_vec();
        bytes.extend((0x8000_u16 | 7).to_ne_bytes());
        assert_eq!(Attributes::new(&bytes).next(), Some((7, &[][..])));
    }
}
