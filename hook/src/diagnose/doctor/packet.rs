//! A packet that is looked at, with what is known of it.

/// The bit of `ct state new`.
const NEW: u32 = 8;
/// That of `ct state established`.
const ESTABLISHED: u32 = 2;

/// A link as conditions see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) group: u32,
}

/// A packet that is looked at: a connection's first, where nothing else is said.
#[derive(Debug, Clone)]
pub(super) struct Packet<'a> {
    pub(super) is_ipv6: bool,
    pub(super) from: Option<&'a Place>,
    pub(super) to: Option<&'a Place>,
    pub(super) transport: Transport,
}

/// What is known of a packet's protocol and port.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Transport {
    pub(super) protocol: Option<u8>,
    pub(super) destination: Option<u16>,
    /// Whether it is for a published port, whose address and port were translated before.
    pub(super) is_translated: bool,
    /// Whether it is of a connection that is established, instead of its first packet.
    pub(super) is_established: bool,
}

impl Transport {
    /// The state of its connection.
    pub(super) fn state(self) -> u32 {
        if self.is_established { ESTABLISHED } else { NEW }
    }
}
