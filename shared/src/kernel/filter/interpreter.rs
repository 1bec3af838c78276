//! Runs classic BPF as the kernel does for a filter of a link (Documentation/networking/filter.rst and `bpf_convert_filter`
//! of net/core/filter.c), so that what a filter lets pass is tested without a kernel.

use nix::libc;

use crate::kernel::frame::{SKF_AD_MARK, SKF_AD_VLAN_TAG_PRESENT};

/// `struct sock_filter` of linux/filter.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub code: u16,
    pub yes: u8,
    pub no: u8,
    pub number: u32,
}

/// Reads a program's bytes.
pub(super) fn instructions(program: &[u8]) -> Vec<Instruction> {
    let of = |bytes: &[u8]| match *bytes {
        [a, b, yes, no, c, d, e, f] => Instruction {
            code: u16::from_ne_bytes([a, b]),
            yes,
            no,
            number: u32::from_ne_bytes([c, d, e, f]),
        },
        _ => panic!("an instruction has eight bytes"),
    };
    program.chunks(8).map(of).collect()
}

/// A frame, and what the kernel knows of it besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Packet {
    pub bytes: Vec<u8>,
    /// A VLAN tag, which the kernel has taken out of the frame before a filter is asked.
    pub has_tag: bool,
    pub mark: u32,
}

/// What a load ends the whole program with where there is nothing to load: 0, which lets the frame pass (`TC_ACT_OK`).
const NOTHING_THERE: u32 = 0;

/// The verdict of a program.
///
/// # Panics
/// Where the kernel would not take the program: an unknown instruction, or an end without a verdict.
pub(super) fn verdict(program: &[Instruction], packet: &Packet) -> u32 {
    let (mut a, mut x, mut cells, mut at) = (0_u32, 0_u32, [0_u32; 16], 0);
    loop {
        let Instruction { code, yes, no, number } = program[at];
        at += 1;
        match u32::from(code) & 7 {
            libc::BPF_LD => match load(u32::from(code), number, x, &cells, packet) {
                Some(loaded) => a = loaded,
                None => return NOTHING_THERE,
            },
            libc::BPF_LDX if u32::from(code) == libc::BPF_LDX | libc::BPF_IMM => x = number,
            libc::BPF_ST => cells[number as usize] = a,
            libc::BPF_ALU => {
                let operand = if u32::from(code) & libc::BPF_X == 0 { number } else { x };
                a = match u32::from(code) & 0xf0 {
                    libc::BPF_ADD => a.wrapping_add(operand),
                    libc::BPF_SUB => a.wrapping_sub(operand),
                    libc::BPF_AND => a & operand,
                    libc::BPF_LSH => a << operand,
                    other => panic!("no such arithmetic: {other:#x}"),
                };
            }
            libc::BPF_JMP => {
                let is_so = match u32::from(code) & 0xf0 {
                    libc::BPF_JA => {
                        at += number as usize;
                        continue;
                    }
                    libc::BPF_JEQ => a == number,
                    libc::BPF_JGE => a >= number,
                    libc::BPF_JSET => a & number != 0,
                    other => panic!("no such question: {other:#x}"),
                };
                at += usize::from(if is_so { yes } else { no });
            }
            libc::BPF_RET => return number,
            libc::BPF_MISC if u32::from(code) == libc::BPF_MISC => x = a,
            _ => panic!("no such instruction: {code:#x}"),
        }
    }
}

fn load(code: u32, number: u32, x: u32, cells: &[u32; 16], packet: &Packet) -> Option<u32> {
    let at = match code & 0xe0 {
        libc::BPF_LEN => return u32::try_from(packet.bytes.len()).ok(),
        libc::BPF_MEM => return cells.get(number as usize).copied(),
        libc::BPF_ABS if number == SKF_AD_MARK => return Some(packet.mark),
        libc::BPF_ABS if number == SKF_AD_VLAN_TAG_PRESENT => return Some(packet.has_tag.into()),
        libc::BPF_ABS => number,
        libc::BPF_IND => number.wrapping_add(x),
        other => panic!("no such place: {other:#x}"),
    };
    let length = match code & 0x18 {
        libc::BPF_W => 4,
        libc::BPF_H => 2,
        libc::BPF_B => 1,
        other => panic!("no such size: {other:#x}"),
    };
    let at = usize::try_from(at).ok()?;
    let bytes = packet.bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}
