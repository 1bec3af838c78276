use std::collections::BTreeSet;

use netlink_sys::protocols::NETLINK_ROUTE;

use super::*;
use crate::kernel::netlink::Question;
use crate::kernel::netlink::tests::answering::{KIND, answered, message, refusal as refused};
use crate::kernel::raw::Attributes;

/// `NLM_F_MULTI`.
const PART: u16 = 2;
/// `NLM_F_DUMP_INTR`.
const INTERRUPTED: u16 = 0x10;

fn part(sequence: u32, flags: u16, payload: &[u8]) -> Vec<u8> {
    message(KIND, flags | PART, sequence, payload)
}

fn done(sequence: u32, code: i32) -> Vec<u8> {
    message(3, PART, sequence, &(-code).to_ne_bytes())
}

fn request() -> NetlinkRequest {
    NetlinkRequest::new(KIND, &[0; 16])
}

/// What a dump and what a stream makes of the same answers, and how often it asked.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    dump: Result<Vec<String>, Errno>,
    stream: Result<Vec<String>, Errno>,
    asked: usize,
}

fn read(datagrams: &[Vec<u8>]) -> Read {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (mut socket, other) = answered(datagrams);
    let dumped = socket.dump(&Question::Ask(request()), "read all");
    let dump = dumped.map(|all| all.iter().map(|of| text(of.bytes())).collect()).map_err(|error| {
        assert_eq!(error.doing, "read all");
        error.errno
    });
    let asked = other.asked();
    // A question for all: `NLM_F_REQUEST | NLM_F_DUMP`.
    assert!(asked.iter().flatten().zip(1..).all(|(message, sequence)| *message == (0x301, sequence)));

    let (mut socket, other) = answered(datagrams);
    let mut streamed = Vec::new();
    let stream = socket.stream(&request(), "read all", &mut |payload| streamed.push(text(payload)));
    assert_eq!(other.asked(), asked);
    Read { dump, stream: stream.map(|()| streamed).map_err(|error| error.errno), asked: asked.len() }
}

fn found(texts: &[&str]) -> Result<Vec<String>, Errno> {
    Ok(texts.iter().map(|text| (*text).to_owned()).collect())
}

#[test]
fn a_dump_is_read_to_its_end() {
    let together = [part(1, 0, b"one1"), part(1, 0, b"two22"), part(9, 0, b"stray")].concat();
    for last in [done(1, 0), message(3, PART, 1, &[]), refused(1, 0, "")] {
        let behind = [last, part(1, 0, b"behind")].concat();
        let read = read(&[together.clone(), part(0, INTERRUPTED, b"stray"), part(1, 0, b"three"), behind]);
        let all = ["one1", "two22", "three"];
        assert_eq!(read, Read { dump: found(&all), stream: found(&all), asked: 1 });
    }
    assert_eq!(read(&[done(1, 0)]), Read { dump: found(&[]), stream: found(&[]), asked: 1 });
}

#[test]
fn a_dump_that_was_interrupted_is_begun_again() {
    let flagged = |kind| message(kind, PART | INTERRUPTED, 1, &[0; 4]);
    for interrupted in [
        [part(1, INTERRUPTED, b"old"), done(1, 0)].concat(),
        [part(1, 0, b"old"), flagged(3)].concat(),
        [part(1, 0, b"old"), done(1, libc::EINTR)].concat(),
        [part(1, 0, b"old"), refused(1, libc::EINTR, "")].concat(),
    ] {
        let read = read(&[interrupted, part(2, 0, b"new"), done(2, 0)]);
        // A stream has handed the first over already.
        assert_eq!(read, Read { dump: found(&["new"]), stream: found(&["old", "new"]), asked: 2 });
    }
}

#[test]
fn a_dump_that_is_always_interrupted_comes_to_an_end() {
    let again = |sequence| [part(sequence, INTERRUPTED, b"old"), done(sequence, 0)].concat();
    let all: Vec<_> = (1..9).map(again).collect();
    let expected = Read { dump: Err(Errno::EAGAIN), stream: found(&["old"; 4]), asked: 4 };
    assert_eq!(read(&all), expected);
}

#[test]
fn a_dump_that_is_refused_tells_the_error_number() {
    for (last, errno) in [
        (refused(1, libc::EPERM, ""), Errno::EPERM),
        (done(1, libc::ENOENT), Errno::ENOENT),
        (refused(1, libc::EOPNOTSUPP, "No."), Errno::EOPNOTSUPP),
        (done(1, i32::MAX), Errno::UnknownErrno),
    ] {
        let read = read(&[part(1, INTERRUPTED, b"one"), last]);
        assert_eq!(read, Read { dump: Err(errno), stream: Err(errno), asked: 1 });
    }
}

#[test]
fn a_dump_without_an_end_is_an_error() {
    let whole = [part(1, 0, b"one1"), part(1, 0, b"two2"), done(1, 0)].concat();
    let expected = Read { dump: Err(Errno::EAGAIN), stream: Err(Errno::EAGAIN), asked: 1 };
    for length in 1..whole.len() {
        assert_eq!(read(&[whole[..length].to_vec()]), expected, "{length}");
    }
    assert_eq!(read(&[]), expected);
    assert_eq!(read(&[part(1, 0, b"one1"), done(2, 0)]), expected);
    for length in [0_u32, 15, u32::MAX] {
        let broken = [&length.to_ne_bytes(), &whole[4..]].concat();
        assert_eq!(read(&[broken]), expected);
    }
}

#[test]
fn each_question_has_an_answer_of_its_own() {
    let together = [message(KIND, 0, 12, b"second"), refused(14, libc::ENODEV, "")].concat();
    let strays = [9, 10, 16, u32::MAX].map(|sequence| message(KIND, 0, sequence, b"stray")).concat();
    let (mut socket, other) =
        answered(&[strays, together, message(KIND, 0, 11, b"first"), refused(15, 0, "")]);
    socket.sequence = 10;
    let mut answers = Vec::new();
    let questions = vec![request(); 5];
    let take = &mut |index, answer: Answer<'_>| answers.push((index, answer.map(<[u8]>::to_vec)));
    socket.ask_each(&questions, take).unwrap();
    let expected = [
        (1, Ok(b"second".to_vec())),
        (3, Err(Errno::ENODEV)),
        (0, Ok(b"first".to_vec())),
        (4, Err(Errno::UnknownErrno)),
    ];
    assert_eq!(answers, expected);
    assert_eq!(other.asked(), [[11, 12, 13, 14, 15].map(|sequence| (1, sequence))]);
}

/// The answers wait in the socket's buffer, which is not without end.
#[test]
fn questions_are_asked_in_groups() {
    let (mut socket, other) = answered(&[]);
    socket.ask_each(&vec![request(); 70], &mut |number, _| panic!("{number} was not answered")).unwrap();
    assert_eq!(other.asked().iter().map(Vec::len).collect::<Vec<_>>(), [32, 32, 6]);
}

/// Every namespace has its loopback link, whose index is 1.
#[test]
fn the_kernel_is_asked_for_more_than_fit_into_one_send() {
    const RTM_GETLINK: u16 = 18;
    let of = |index: u32| {
        let mut header = [0; 16];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        NetlinkRequest::new(RTM_GETLINK, &header)
    };
    let is_absent = |number: usize| number.is_multiple_of(3);
    let questions: Vec<_> =
        (0..70).map(|number| of(if is_absent(number) { 0x7fff_ffff } else { 1 })).collect();
    let mut socket = NetlinkSocket::open(NETLINK_ROUTE).unwrap();
    let name = |payload: &[u8]| Attributes::behind(payload, 16).find(3).map(<[u8]>::to_vec);
    let mut answered = BTreeSet::new();
    socket
        .ask_each(&questions, &mut |number, answer| {
            assert_eq!(
                answer.map(name),
                if is_absent(number) { Err(Errno::ENODEV) } else { Ok(Some(b"lo\0".to_vec())) }
            );
            assert!(answered.insert(number));
        })
        .unwrap();
    assert_eq!(answered, (0..70).collect());

    let mut names = Vec::new();
    socket.stream(&of(0), "list the links", &mut |payload| names.extend(name(payload))).unwrap();
    assert!(names.contains(&b"lo\0".to_vec()));
}
