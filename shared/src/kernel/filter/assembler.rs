//! Classic BPF, written instruction by instruction (`struct sock_filter` of linux/filter.h; the kernel's
//! Documentation/networking/filter.rst). Such a program has no loop and is checked by the kernel when it is loaded.

use nix::libc;

// The parts that an instruction's code is put together from, from linux/bpf_common.h.
const LD: u16 = libc::BPF_LD as u16;
const LDX: u16 = libc::BPF_LDX as u16;
const ST: u16 = libc::BPF_ST as u16;
const ALU: u16 = libc::BPF_ALU as u16;
const JMP: u16 = libc::BPF_JMP as u16;
const RET: u16 = libc::BPF_RET as u16;
const TAX: u16 = (libc::BPF_MISC | libc::BPF_TAX) as u16;
const ABSOLUTE: u16 = libc::BPF_ABS as u16;
const BEHIND_X: u16 = libc::BPF_IND as u16;
const MEMORY: u16 = libc::BPF_MEM as u16;
const LENGTH: u16 = libc::BPF_LEN as u16;
const ADD: u16 = libc::BPF_ADD as u16;
const SUB: u16 = libc::BPF_SUB as u16;
const AND: u16 = libc::BPF_AND as u16;
const LSH: u16 = libc::BPF_LSH as u16;
const X: u16 = libc::BPF_X as u16;

/// How much is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Word = libc::BPF_W as isize,
    Half = libc::BPF_H as isize,
    Byte = libc::BPF_B as isize,
}

/// How the accumulator is compared with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Is {
    Equal = libc::BPF_JEQ as isize,
    AtLeast = libc::BPF_JGE as isize,
    /// Has one of these bits.
    Set = libc::BPF_JSET as isize,
}

/// Where a jump leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JumpTarget(usize);

#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u16,
    /// Where it goes on if what it asks is so, and if it is not; the next instruction without.
    yes: Option<JumpTarget>,
    no: Option<JumpTarget>,
    number: u32,
}

/// A program that is being written.
#[derive(Debug, Default)]
pub(super) struct Program {
    instructions: Vec<Instruction>,
    /// The place of each label.
    places: Vec<Option<usize>>,
}

impl Program {
    fn push(&mut self, code: u16, number: u32) {
        self.instructions.push(Instruction { code, yes: None, no: None, number });
    }

    /// A label, to be put at a place behind every jump to it.
    pub fn jump_target(&mut self) -> JumpTarget {
        self.places.push(None);
        JumpTarget(self.places.len() - 1)
    }

    /// Puts a label here.
    pub fn here(&mut self, label: JumpTarget) {
        self.places[label.0] = Some(self.instructions.len());
    }

    /// Loads from a place in the frame, counted from its Ethernet header, or one of the kernel's own (`SKF_AD_OFF`).
    pub fn load(&mut self, size: Size, at: u32) {
        self.push(LD | ABSOLUTE | size as u16, at);
    }

    /// Loads from a place behind the index register.
    pub fn load_behind(&mut self, size: Size, at: u32) {
        self.push(LD | BEHIND_X | size as u16, at);
    }

    /// Loads the frame's length.
    pub fn load_length(&mut self) {
        self.push(LD | LENGTH, 0);
    }

    /// Sets the index register.
    pub fn index(&mut self, number: u32) {
        self.push(LDX, number);
    }

    /// Copies the accumulator to the index register.
    pub fn copy_to_index(&mut self) {
        self.push(TAX, 0);
    }

    /// Keeps the accumulator in one of the 16 cells that a program has (`BPF_MEMWORDS`).
    pub fn keep(&mut self, cell: u32) {
        self.push(ST, cell);
    }

    /// Loads what was kept in a cell.
    pub fn recall(&mut self, cell: u32) {
        self.push(LD | MEMORY, cell);
    }

    /// Adds a number to the accumulator.
    pub fn add(&mut self, number: u32) {
        self.push(ALU | ADD, number);
    }

    /// Adds the index register to the accumulator.
    pub fn add_index(&mut self) {
        self.push(ALU | ADD | X, 0);
    }

    /// Takes the index register from the accumulator.
    pub fn subtract_index(&mut self) {
        self.push(ALU | SUB | X, 0);
    }

    /// Leaves some of the accumulator's bits.
    pub fn and(&mut self, mask: u32) {
        self.push(ALU | AND, mask);
    }

    /// Shifts the accumulator left.
    pub fn shift_left(&mut self, bits: u32) {
        self.push(ALU | LSH, bits);
    }

    /// Goes on at one label or the other; at the next instruction where there is none.
    pub fn ask(&mut self, is: Is, number: u32, yes: Option<JumpTarget>, no: Option<JumpTarget>) {
        self.instructions.push(Instruction { code: JMP | is as u16, yes, no, number });
    }

    /// Goes on at a label.
    pub fn go(&mut self, to: JumpTarget) {
        self.instructions.push(Instruction { code: JMP, yes: Some(to), no: None, number: 0 });
    }

    /// Ends with a verdict.
    pub fn end(&mut self, verdict: u32) {
        self.push(RET, verdict);
    }

    /// The program's bytes; `None` where a jump leads back or too far, which the program's text alone decides.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(8 * self.instructions.len());
        for (index, instruction) in self.instructions.iter().enumerate() {
            let distance = |label: Option<JumpTarget>| match label {
                None => Some(0),
                Some(label) => self.places.get(label.0).copied()??.checked_sub(index + 1),
            };
            let (mut yes, no) = (distance(instruction.yes)?, distance(instruction.no)?);
            let mut number = instruction.number;
            if instruction.code == JMP {
                number = u32::try_from(yes).ok()?;
                yes = 0;
            }
            let [code_low, code_high] = instruction.code.to_ne_bytes();
            let [a, b, c, d] = number.to_ne_bytes();
            // One copy each: a program has hundreds of instructions, and every start writes three.
            let (yes, no) = (u8::try_from(yes).ok()?, u8::try_from(no).ok()?);
            bytes.extend_from_slice(&[code_low, code_high, yes, no, a, b, c, d]);
        }
        Some(bytes)
    }
}

/// The same program with each verdict replaced by `other(verdict)`.
pub(super) fn with_verdicts(program: &[u8], other: impl Fn(u32) -> u32) -> Vec<u8> {
    let mut changed = program.to_vec();
    for instruction in changed.chunks_exact_mut(8) {
        let (code, number) = instruction.split_at_mut(4);
        if code[..2] == RET.to_ne_bytes()
            && let Ok(verdict) = <[u8; 4]>::try_from(&*number)
        {
            number.copy_from_slice(&other(u32::from_ne_bytes(verdict)).to_ne_bytes());
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_are_counted_from_the_next_instruction() {
        let mut program = Program::default();
        let (far, end) = (program.jump_target(), program.jump_target());
        program.load(Size::Half, 12);
        program.ask(Is::Equal, 0x800, Some(far), None);
        program.go(end);
        program.here(far);
        program.end(2);
        program.here(end);
        program.end(0);
        let instruction = |code: u16, yes, no, number: u32| {
            [&code.to_ne_bytes()[..], &[yes, no], &number.to_ne_bytes()].concat()
        };
        let expected = [
            instruction(0x28, 0, 0, 12),
            instruction(0x15, 1, 0, 0x800),
            instruction(0x05, 0, 0, 1),
            instruction(0x06, 0, 0, 2),
            instruction(0x06, 0, 0, 0),
        ];
        assert_eq!(program.bytes().unwrap(), expected.concat());
    }

    #[test]
    fn a_jump_back_or_to_nowhere_is_no_program() {
        let mut program = Program::default();
        let label = program.jump_target();
        program.go(label);
        assert_eq!(program.bytes(), None);
        program.here(label);
        assert!(program.bytes().is_some());
        program.places[0] = Some(0);
        assert_eq!(program.bytes(), None);
    }
}
