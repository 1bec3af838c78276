//! Names in commands that are printed for a shell: others chose them, and the administrator runs the commands as root.

use std::borrow::Cow;

/// A text as one word of a POSIX shell (sh(1), "Quoting"): as it is where no shell reads it as anything else.
#[must_use]
pub fn word(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.,:/@%+".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

/// A text as one string of nft's language (nft(8), "Lexical conventions"), which a shell sees as one word: as it is where nft
/// needs no quotes. nft knows no escape for a quote: a name that has one is not matched, and nothing else is done.
#[must_use]
pub fn nft(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    if text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    // A star at the end would stand for whatever follows.
    let string = text.replace('"', "?");
    let string = string.strip_suffix('*').map(|all| format!("{all}\\*")).unwrap_or(string);
    Cow::Owned(word(&format!("\"{string}\"")).into_owned())
}

/// The name of a table or a chain, which nft takes without quotes alone. A name that cannot be written so, as a netlink program
/// may give one, is printed with `?`, and nft refuses the command.
#[must_use]
pub fn nft_name(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if text.starts_with(|first: char| first.is_ascii_alphabetic() || "_.".contains(first))
        && text.chars().all(is_plain)
    {
        return Cow::Borrowed(text);
    }
    let shown: String = text.chars().map(|c| if is_plain(c) { c } else { '?' }).collect();
    Cow::Owned(word(&format!("?{shown}")).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_reads_as_more_than_a_word_is_quoted() {
        for plain in ["eth0", "br-lan", "eth0.7", "10.90.0.0/16", "fd00::1%eth0", "net/ipv4/conf/eth0"] {
            assert_eq!((word(plain), word(plain).is_empty()), (Cow::Borrowed(plain), false));
        }
        assert_eq!(word("e;touch${IFS}P"), "'e;touch${IFS}P'");
        assert_eq!(word("o'c"), r"'o'\''c'");
        assert_eq!(word(""), "''");
        assert_eq!(word("~"), "'~'");
        assert_eq!(word("a=b"), "'a=b'");
    }

    #[test]
    fn what_nft_reads_as_more_than_a_string_is_quoted() {
        for plain in ["eth0", "br-lan", "eth0.7"] {
            assert_eq!(nft(plain), plain);
        }
        assert_eq!(nft("e;touch${IFS}P"), "'\"e;touch${IFS}P\"'");
        assert_eq!(nft("x\";flush"), "'\"x?;flush\"'");
        assert_eq!(nft("eth*"), r#"'"eth\*"'"#);
        assert_eq!(nft("0a"), "'\"0a\"'");
        for plain in ["forward", "_fwd", ".x", "filter_FORWARD-in"] {
            assert_eq!(nft_name(plain), plain);
        }
        assert_eq!(nft_name("x; flush ruleset"), "'?x??flush?ruleset'");
    }
}
