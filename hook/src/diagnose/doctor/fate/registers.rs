//! What a rule has in its registers, and what it makes of that.

use std::collections::BTreeMap;

use ocinet_shared::kernel::raw::Attributes;

/// What is known to be in the registers of a rule.
#[derive(Default)]
pub(super) struct Registers(BTreeMap<u32, Vec<u8>>);

impl Registers {
    /// A register of 16 bytes is four of those of 4 bytes (`enum nft_registers`).
    fn place(number: u32) -> u32 {
        if number <= 4 { number * 4 } else { number.saturating_sub(4) }
    }

    pub(super) fn get(&self, number: Option<u32>) -> Option<&[u8]> {
        self.0.get(&Self::place(number?)).map(Vec::as_slice)
    }

    pub(super) fn set(&mut self, number: u32, value: Option<Vec<u8>>) {
        match value {
            Some(value) => self.0.insert(Self::place(number), value),
            None => self.0.remove(&Self::place(number)),
        };
    }
}

/// `NFTA_DATA_VALUE`.
pub(super) fn value(data: &[u8]) -> Option<&[u8]> {
    Attributes::new(data).find(1)
}

pub(super) fn masked(source: &[u8], mask: &[u8], xor: &[u8]) -> Option<Vec<u8>> {
    let pairs = source.iter().zip(mask).zip(xor);
    (source.len() >= mask.len()).then(|| pairs.map(|((byte, mask), xor)| (byte & mask) ^ xor).collect())
}

/// `enum nft_cmp_ops`: equal and not equal; the beginning of a name is compared by as many bytes as are given.
pub(super) fn compared(source: &[u8], operation: u32, with: &[u8]) -> Option<bool> {
    let is_equal = source.get(..with.len())? == with;
    match operation {
        0 => Some(is_equal),
        1 => Some(!is_equal),
        _ => None,
    }
}
