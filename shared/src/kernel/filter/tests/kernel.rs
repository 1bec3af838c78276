//! The interpreter beside the kernel, which runs the same programs for a socket.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;

use nix::libc;

use super::tables;
use crate::kernel::filter::interpreter::{Instruction, verdict};

/// How many bytes of a datagram the kernel leaves where a program runs for a socket: as many as its verdict says. `None`
/// where the verdict is 0.
fn left([sender, receiver]: [&UnixDatagram; 2], datagram: &[u8]) -> Option<usize> {
    sender.send(datagram).unwrap();
    match receiver.recv(&mut [0; 4096]) {
        Ok(length) => Some(length),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

fn attach(socket: &UnixDatagram, program: &[Instruction]) {
    let filter = |instruction: &Instruction| libc::sock_filter {
        code: instruction.code,
        jt: instruction.yes,
        jf: instruction.no,
        k: instruction.number,
    };
    let mut filters: Vec<_> = program.iter().map(filter).collect();
    let program = libc::sock_fprog { len: filters.len().try_into().unwrap(), filter: filters.as_mut_ptr() };
    #[expect(unsafe_code, reason = "neither std nor nix has this option")]
    // SAFETY: the program and its instructions live until the call returns, and the length is the program's.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program).try_into().unwrap(),
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

#[test]
fn the_kernel_judges_as_the_interpreter_does() {
    for (what, table) in tables() {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        receiver.set_nonblocking(true).unwrap();
        attach(&receiver, &table.program);
        // A datagram between sockets has neither tag nor mark.
        let plain = table.cases.iter().filter(|case| !case.packet.has_tag && case.packet.mark == 0);
        for case in plain {
            let bytes = &case.packet.bytes;
            let kept = Some(verdict(&table.program, &case.packet)).filter(|verdict| *verdict > 0);
            let expected = kept.map(|verdict| bytes.len().min(verdict.try_into().unwrap()));
            assert_eq!(left([&sender, &receiver], bytes), expected, "{what}: {}", case.what);
        }
    }
}
