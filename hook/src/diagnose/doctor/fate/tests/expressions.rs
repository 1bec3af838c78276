//! The expressions of rules, as the kernel hands them over.

use ocinet_shared::kernel::raw::{HEADER_LENGTH, NetlinkRequest};

pub(super) type Expression = (String, Vec<u8>);

/// A row of attributes.
pub(super) fn attributes(with: impl FnOnce(NetlinkRequest) -> NetlinkRequest) -> Vec<u8> {
    let mut bytes = Vec::new();
    with(NetlinkRequest::new(0, &[])).write(0, 0, &mut bytes);
    bytes.split_off(HEADER_LENGTH)
}

pub(super) fn expression(name: &str, with: impl FnOnce(NetlinkRequest) -> NetlinkRequest) -> Expression {
    (name.to_owned(), attributes(with))
}

/// An expression whose attributes are numbers, by the type of each.
pub(super) fn numbers(name: &str, with: &[(u16, u32)]) -> Expression {
    expression(name, |request| {
        with.iter().fold(request, |request, (kind, number)| request.with(*kind, &number.to_be_bytes()))
    })
}

pub(super) fn meta(key: u32) -> Expression {
    numbers("meta", &[(1, 8), (2, key)])
}

pub(super) fn set_meta(key: u32) -> Expression {
    numbers("meta", &[(2, key), (3, 8)])
}

pub(super) fn ct(key: u32) -> Expression {
    numbers("ct", &[(1, 8), (2, key)])
}

pub(super) fn payload(base: u32, offset: u32, length: u32) -> Expression {
    numbers("payload", &[(1, 8), (2, base), (3, offset), (4, length)])
}

/// `operation` is 0 for equal, 1 for not equal.
pub(super) fn cmp(operation: u32, with: &[u8]) -> Expression {
    expression("cmp", |request| {
        let request = request.with(1, &8_u32.to_be_bytes()).with(2, &operation.to_be_bytes());
        request.with_nested(3, |inside| inside.with(1, with))
    })
}

pub(super) fn is(number: u32) -> Expression {
    cmp(0, &number.to_ne_bytes())
}

pub(super) fn bitwise(mask: u32, xor: u32) -> Expression {
    expression("bitwise", |request| {
        let request = request.with(1, &8_u32.to_be_bytes()).with(2, &8_u32.to_be_bytes());
        let request = request.with_nested(4, |inside| inside.with(1, &mask.to_ne_bytes()));
        request.with_nested(5, |inside| inside.with(1, &xor.to_ne_bytes()))
    })
}

/// A number that a rule puts into the register.
pub(super) fn load(number: u32) -> Expression {
    expression("immediate", |request| {
        let request = request.with(1, &8_u32.to_be_bytes());
        request.with_nested(2, |inside| inside.with(1, &number.to_ne_bytes()))
    })
}

pub(super) fn decide(code: i32, chain: &str) -> Expression {
    expression("immediate", |request| {
        let request = request.with(1, &0_u32.to_be_bytes());
        request.with_nested(2, |data| {
            data.with_nested(2, |verdict| {
                let verdict = verdict.with(1, &code.to_be_bytes());
                if chain.is_empty() { verdict } else { verdict.with_text(2, chain) }
            })
        })
    })
}

pub(super) fn accept() -> Expression {
    decide(1, "")
}

pub(super) fn drop() -> Expression {
    decide(0, "")
}

pub(super) fn jump(chain: &str) -> Expression {
    decide(-3, chain)
}

pub(super) fn goto(chain: &str) -> Expression {
    decide(-4, chain)
}

pub(super) fn leave() -> Expression {
    decide(-5, "")
}

pub(super) fn reject(kind: u32, code: u8) -> Expression {
    expression("reject", |request| request.with(1, &kind.to_be_bytes()).with(2, &[code]))
}

/// An extension of iptables': a target or a match.
pub(super) fn xtables(expression_name: &str, name: &str, info: &[u8]) -> Expression {
    expression(expression_name, |request| {
        request.with_text(1, name).with(2, &0_u32.to_be_bytes()).with(3, info)
    })
}
