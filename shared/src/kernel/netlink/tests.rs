pub(in crate::kernel) mod answering;

use answering::{KIND, answered, message, refusal};

use super::*;
use crate::kernel::raw::NetlinkRequest;

const NLM_F_ACK: u16 = 4;

fn questions(count: usize) -> Vec<(Question<NetlinkRequest>, u16)> {
    (0..count).map(|_| (Question::Ask(NetlinkRequest::new(KIND, &[0; 16])), 0)).collect()
}

fn answer(sequence: u32, payload: &[u8]) -> Vec<u8> {
    message(KIND, 0, sequence, payload)
}

fn bytes(answers: &[Question<NetlinkRequest>]) -> Vec<&[u8]> {
    answers.iter().map(Question::bytes).collect()
}

#[test]
fn an_answer_is_told_by_the_message_that_it_is_for() {
    let together = [refusal(3, libc::EEXIST, "It is there."), refusal(4, libc::EPERM, "")].concat();
    let (mut socket, other) =
        answered(&[answer(1, b"first"), refusal(2, 0, ""), together, answer(4, b"fourth and longer")]);
    let (refusals, answers) = socket.exchange(questions(4)).unwrap();
    let told: Vec<_> = refusals.iter().map(|of| (of.index, of.errno, of.detail.as_deref())).collect();
    assert_eq!(told, [(2, Errno::EEXIST, Some("It is there.")), (3, Errno::EPERM, None)]);
    assert_eq!(bytes(&answers), [&b"first"[..], b"fourth and longer"]);
    assert_eq!(other.asked(), [[(1, 1), (1, 2), (1, 3), (1, 4)]]);
}

#[test]
fn an_answer_to_an_earlier_call_is_passed_over() {
    for sequence in [0, 9, 10, 13, u32::MAX] {
        let stray = [refusal(sequence, libc::EPERM, ""), answer(sequence, b"stray")].concat();
        let (mut socket, _other) = answered(&[stray, answer(12, b"own")]);
        socket.sequence = 10;
        let (refusals, answers) = socket.exchange(questions(2)).unwrap();
        assert!(refusals.is_empty(), "{refusals:?}");
        assert_eq!(bytes(&answers), [b"own"], "{sequence}");
    }
}

/// They begin at 0 again behind the highest.
#[test]
fn sequence_numbers_may_run_over() {
    let (mut socket, other) = answered(&[refusal(u32::MAX, libc::EBUSY, ""), answer(0, b"own")]);
    socket.sequence = u32::MAX - 1;
    let (refusals, answers) = socket.exchange(questions(2)).unwrap();
    assert_eq!(refusals.iter().map(|of| (of.index, of.errno)).collect::<Vec<_>>(), [(0, Errno::EBUSY)]);
    assert_eq!(bytes(&answers), [b"own"]);
    assert_eq!(other.asked(), [[(1, u32::MAX), (1, 0)]]);
}

#[test]
fn an_answer_that_is_cut_off_is_an_error() {
    let whole = [answer(1, b"first"), refusal(1, libc::EPERM, "No.")].concat();
    let second = answer(1, b"first").len();
    for length in 1..whole.len() {
        let (mut socket, _other) = answered(&[whole[..length].to_vec()]);
        let result = socket.exchange(questions(1));
        // Of the first message, only the padding may be missing; less than a header is nothing.
        let headless = |start: usize| (start..start + HEADER_LENGTH).contains(&length);
        let is_read = headless(0) || headless(second) || (second - 3..second).contains(&length);
        match result {
            Ok((refusals, answers)) => {
                assert!(is_read, "{length}");
                assert_eq!((refusals.len(), answers.len()), (0, usize::from(length > HEADER_LENGTH)));
            }
            Err(error) => {
                assert!(!is_read, "{length}");
                assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            }
        }
    }
    // A length that would never end.
    for length in [0_u32, 15, u32::MAX] {
        let broken = [&length.to_ne_bytes(), &whole[4..]].concat();
        let (mut socket, _other) = answered(&[broken]);
        assert_eq!(socket.exchange(questions(1)).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn a_change_is_made_when_the_last_message_is_accepted() {
    let later = answer(9, b"later");
    let (mut socket, other) = answered(&[refusal(3, 0, ""), later.clone()]);
    socket.change(questions(3), |index| format!("change {index}")).unwrap();
    // Only the last is asked to be acknowledged, and nothing behind its acknowledgement is read.
    assert_eq!(other.asked(), [[(1, 1), (1, 2), (1 | NLM_F_ACK, 3)]]);
    assert!(socket.receive().unwrap());
    assert_eq!(socket.received, later);

    let (mut socket, other) = answered(&[]);
    socket.change(questions(0), |index| format!("change {index}")).unwrap();
    assert!(other.asked().is_empty());
}

#[test]
fn a_change_says_which_message_was_refused_first() {
    let refusals = [refusal(2, libc::EEXIST, "It is there."), refusal(3, libc::EPERM, "")];
    let (mut socket, _other) = answered(&refusals);
    let error = socket.change(questions(3), |index| format!("change {index}")).unwrap_err();
    assert_eq!((error.doing.as_str(), error.errno), ("change 1", Errno::EEXIST));
    assert_eq!(error.detail.as_deref(), Some("It is there."));
}

#[test]
fn a_long_change_is_sent_in_groups_which_all_count() {
    let (first, last) = (128, 130);
    let (mut socket, other) = answered(&[refusal(first, 0, ""), refusal(last, libc::EBUSY, "")]);
    let error = socket.change(questions(140), |index| format!("change {index}")).unwrap_err();
    assert_eq!((error.doing.as_str(), error.errno), ("change 129", Errno::EBUSY));
    let asked = other.asked();
    assert_eq!(asked.iter().map(Vec::len).collect::<Vec<_>>(), [128, 12]);
    let acknowledged = asked.concat().into_iter().filter(|(flags, _)| flags & NLM_F_ACK != 0);
    assert_eq!(acknowledged.map(|(_, sequence)| sequence).collect::<Vec<_>>(), [128, 140]);
    // What is refused in the first group is the end.
    let (mut socket, other) = answered(&[refusal(5, libc::EPERM, ""), refusal(first, 0, "")]);
    let error = socket.change(questions(140), |index| format!("change {index}")).unwrap_err();
    assert_eq!(error.doing, "change 4");
    assert_eq!(other.asked().len(), 1);
}

#[test]
fn what_is_not_there_is_no_error() {
    let get = |datagrams: &[Vec<u8>]| {
        let (mut socket, _other) = answered(datagrams);
        let answer = socket.get(questions(1).remove(0).0, "read it");
        answer.map(|found| found.map(|found| found.bytes().to_vec()))
    };
    assert_eq!(get(&[answer(1, b"it")]).unwrap().as_deref(), Some(&b"it"[..]));
    assert_eq!(get(&[]).unwrap(), None);
    for errno in [libc::ENODEV, libc::ENOENT] {
        assert_eq!(get(&[refusal(1, errno, "")]).unwrap(), None);
    }
    let error = get(&[refusal(1, libc::EPERM, "No.")]).unwrap_err();
    assert_eq!(
        (error.doing.as_str(), error.errno, error.detail.as_deref()),
        ("read it", Errno::EPERM, Some("No."))
    );
}
