//! One HTTP request from inside a namespace.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::netns::Netns;

/// How long a server may take to say anything more.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks for a path, by GET. The status and the body, or nothing where nobody answers.
///
/// By HTTP/1.0: the body is what comes until the server closes.
#[must_use]
pub fn http_get(namespace: &Netns, server: SocketAddr, path: &str) -> Option<(u16, String)> {
    let answer = namespace.within(|| {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {server}\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    })?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// A text as it stands in a query of a URL.
#[must_use]
pub fn url_encoded(text: &str) -> String {
    let encode = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(encode).collect()
}
