//! A filter's table of frames, and what a filter becomes with one instruction changed.

use std::fmt::Write as _;
use std::ops::Range;

use super::frames::changed;
use crate::kernel::filter::interpreter::{Instruction, Packet, instructions, verdict};

/// `TC_ACT_SHOT` of linux/pkt_cls.h.
const SHOT: u32 = 2;
/// What a filter with an action says of a frame that the action is not for (tc-bpf(8)).
const NO_MATCH: u32 = 0;

/// A frame, and whether it passes.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) what: String,
    pub(super) packet: Packet,
    pub(super) passes: bool,
}

/// A filter's table, with the program that it is about.
pub(super) struct Table {
    pub(super) program: Vec<Instruction>,
    pub(super) cases: Vec<Case>,
    /// The verdict on what does not pass.
    refusal: u32,
}

impl Table {
    pub(super) fn new(program: Option<Vec<u8>>) -> Self {
        Self { program: instructions(&program.expect("a program")), cases: Vec::new(), refusal: SHOT }
    }

    /// The table of a filter with an action: a frame passes where the action is for it.
    pub(super) fn of_action(program: Option<Vec<u8>>) -> Self {
        Self { refusal: NO_MATCH, ..Self::new(program) }
    }

    pub(super) fn packet(&mut self, what: impl Into<String>, packet: Packet, passes: bool) {
        self.cases.push(Case { what: what.into(), packet, passes });
    }

    pub(super) fn passes(&mut self, what: impl Into<String>, bytes: Vec<u8>) {
        self.packet(what, Packet { bytes, ..Packet::default() }, true);
    }

    pub(super) fn drops(&mut self, what: impl Into<String>, bytes: Vec<u8>) {
        self.packet(what, Packet { bytes, ..Packet::default() }, false);
    }

    pub(super) fn judges(&mut self, what: impl Into<String>, bytes: Vec<u8>, passes: bool) {
        self.packet(what, Packet { bytes, ..Packet::default() }, passes);
    }

    /// Drops the frame with any of these bytes changed by one bit.
    pub(super) fn drops_changed(&mut self, what: &str, frame: &[u8], at: Range<usize>) {
        for at in at {
            self.drops(format!("{what}, byte {at} changed"), changed(frame, at));
        }
    }

    pub(super) fn passes_changed(&mut self, what: &str, frame: &[u8], at: Range<usize>) {
        for at in at {
            self.passes(format!("{what}, byte {at} changed"), changed(frame, at));
        }
    }

    pub(super) fn wrong(&self, program: &[Instruction]) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(move |case| (verdict(program, &case.packet) != self.refusal) != case.passes)
    }

    #[track_caller]
    pub(super) fn holds(&self) {
        let wrong: Vec<_> = self.wrong(&self.program).map(|case| (&case.what, case.passes)).collect();
        assert!(wrong.is_empty(), "(frame, whether it should pass) {wrong:#?}");
    }

    /// The changes to the program that no frame of the table shows.
    pub(super) fn survivors(&self) -> String {
        let mut survivors = String::new();
        for at in 0..self.program.len() {
            for mutant in mutants(self.program[at], self.refusal) {
                let mut program = self.program.clone();
                program[at] = mutant;
                if self.wrong(&program).next().is_none() {
                    let _ = writeln!(survivors, "{at}: {:x?} as {mutant:x?}", self.program[at]);
                }
            }
        }
        survivors
    }
}

/// What a program becomes with one instruction changed: a question that is always answered in one way, another number, another
/// place, another verdict.
fn mutants(instruction: Instruction, refusal: u32) -> Vec<Instruction> {
    use nix::libc::{BPF_ABS, BPF_ALU, BPF_IMM, BPF_IND, BPF_JA, BPF_JMP, BPF_LD, BPF_LDX, BPF_RET, BPF_X};
    let code = u32::from(instruction.code);
    let by = |change: u32| Instruction { number: instruction.number.wrapping_add(change), ..instruction };
    let go = |distance: u8| Instruction {
        code: u16::try_from(BPF_JMP | BPF_JA).unwrap(),
        yes: 0,
        no: 0,
        number: distance.into(),
    };
    match code & 7 {
        BPF_JMP if code & 0xf0 != BPF_JA => {
            vec![go(instruction.yes), go(instruction.no), by(1), by(u32::MAX)]
        }
        BPF_RET => {
            vec![Instruction {
                number: if instruction.number == refusal { !refusal } else { refusal },
                ..instruction
            }]
        }
        // Places outside the frame are as far from each other as others are not.
        BPF_LD if code & 0xe0 == BPF_ABS && instruction.number > u32::MAX / 2 => vec![by(4)],
        BPF_LD if [BPF_ABS, BPF_IND].contains(&(code & 0xe0)) => vec![by(1), by(u32::MAX)],
        BPF_LDX if code == BPF_LDX | BPF_IMM => vec![by(1), by(u32::MAX)],
        BPF_ALU if code & BPF_X == 0 => vec![by(1), by(u32::MAX)],
        _ => Vec::new(),
    }
}
