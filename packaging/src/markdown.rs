//! From the Markdown of the reference pages to the macros of man(7). Tables become tagged paragraphs, which a terminal of any
//! width shows; the names of tests are for who reads the repository, and left out.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// Man pages by the page of the repository that they are made from.
const PAGES: [(&str, &str); 4] = [
    ("annotations.md", "ocinet-annotations(7)"),
    ("policy.md", "ocinet.toml(5)"),
    ("doctor.md", "ocinet-doctor(1)"),
    ("metrics.md", "ocinet-exporter(1)"),
];

/// A page, or a part of one, as the body of a man page, whose name is `own`.
pub fn to_roff(own: &'static str, markdown: &str) -> String {
    let mut writer = Writer { own, ..Writer::default() };
    let markdown = without_names_of_tests(markdown);
    for event in Parser::new_ext(&markdown, Options::ENABLE_TABLES) {
        writer.take(event);
    }
    writer.page
}

/// A table while it is read; a cell is text with its fonts.
#[derive(Default)]
struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

#[derive(Default)]
struct Writer {
    /// The man page that is being written.
    own: &'static str,
    page: String,
    /// The paragraph, heading or cell that is being read.
    text: String,
    table: Option<Table>,
    /// Where links lead to, and where in the text they begin.
    links: Vec<(String, usize)>,
    lists: usize,
    /// Whether the next paragraph goes on in an item of a list.
    in_item: bool,
    is_code: bool,
}

impl Writer {
    fn take(&mut self, event: Event) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.is_code => self.page.push_str(&protected(&code(&text))),
            Event::Text(text) => self.text.push_str(&text.replace('\\', "\\e")),
            Event::Code(text) => self.text.push_str(&format!("\\fB{}\\fR", code(&text))),
            Event::SoftBreak => self.text.push('\n'),
            Event::HardBreak => self.text.push_str("\n.br\n"),
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag) {
        match tag {
            Tag::CodeBlock(CodeBlockKind::Fenced(_) | CodeBlockKind::Indented) => {
                self.flush();
                self.page.push_str(".PP\n.RS 4\n.EX\n");
                self.is_code = true;
            }
            Tag::Emphasis => self.text.push_str("\\fI"),
            Tag::Strong => self.text.push_str("\\fB"),
            Tag::Link { dest_url, .. } => self.links.push((dest_url.into_string(), self.text.len())),
            Tag::List(_) => {
                self.flush();
                self.lists += 1;
                if self.lists > 1 {
                    self.page.push_str(".RS 2\n");
                }
            }
            Tag::Item => {
                self.page.push_str(".IP \\(bu 2\n");
                self.in_item = true;
            }
            Tag::Paragraph if !self.in_item && self.table.is_none() => self.page.push_str(".PP\n"),
            Tag::Table(_) => self.table = Some(Table::default()),
            Tag::TableRow => self.table.iter_mut().for_each(|table| table.rows.push(Vec::new())),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => {
                let title = std::mem::take(&mut self.text);
                let heading = match level {
                    HeadingLevel::H1 | HeadingLevel::H2 => format!(".SH {}\n", title.to_uppercase()),
                    _ => format!(".SS {title}\n"),
                };
                self.page.push_str(&heading);
            }
            TagEnd::Paragraph => self.flush(),
            TagEnd::CodeBlock => {
                self.page.push_str(".EE\n.RE\n");
                self.is_code = false;
            }
            TagEnd::Emphasis | TagEnd::Strong => self.text.push_str("\\fR"),
            TagEnd::Link => self.end_link(),
            TagEnd::Item => {
                self.flush();
                self.in_item = false;
            }
            TagEnd::List(_) => {
                self.lists -= 1;
                self.page.push_str(if self.lists > 0 { ".RE\n" } else { "" });
            }
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.text);
                let Some(table) = &mut self.table else { return };
                table.rows.last_mut().unwrap_or(&mut table.header).push(cell);
            }
            TagEnd::Table => {
                let table = self.table.take().unwrap_or_default();
                self.page.push_str(&table.to_roff());
            }
            _ => {}
        }
    }

    fn end_link(&mut self) {
        let (to, start) = self.links.pop().unwrap_or_default();
        let page = PAGES.iter().find(|(file, _)| to.contains(file));
        if let Some((_, page)) = page {
            // Who reads a man page has no such file.
            let is_path = self.text.ends_with(".md");
            if is_path {
                self.text.truncate(start);
                self.text.push_str(if *page == self.own { "this page" } else { page });
            } else if *page != self.own {
                self.text.push_str(&format!(" (see {page})"));
            }
        } else if to.starts_with("https:") {
            self.text.push_str(&format!(" <{}>", code(&to)));
        }
    }

    /// Writes the text that has been read so far.
    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() {
            self.page.push_str(&protected(text.trim_start()));
            self.page.push('\n');
        }
    }
}

impl Table {
    fn to_roff(&self) -> String {
        let for_people: Vec<usize> =
            (0..self.header.len()).filter(|at| self.header[*at] != "tests").collect();
        // A table whose one row is numbered is read column by column.
        let is_number = |cell: &String| cell.parse::<u16>().is_ok();
        if let ([row], true) = (self.rows.as_slice(), self.header.iter().all(is_number)) {
            let pairs = self.header.iter().zip(row);
            return pairs
                .map(|(tag, text)| tagged(&format!("\\fB{tag}\\fR"), std::slice::from_ref(text)))
                .collect();
        }
        // What is left of a table of tests says nothing.
        let [first, rest @ ..] = for_people.as_slice() else { return String::new() };
        if rest.is_empty() {
            return String::new();
        }
        let told = |row: &Vec<String>| {
            let cell = |at: &usize| row.get(*at).map_or("", String::as_str);
            let labelled = |at: &usize| match self.header[*at].as_str() {
                "" => cell(at).to_owned(),
                label => format!("{label}: {}", cell(at)),
            };
            let lines = rest.iter().filter(|at| !cell(at).is_empty());
            let lines: Vec<String> = match rest {
                // What one other column says of the first needs no heading.
                [only] => vec![cell(only).to_owned()],
                _ => lines.map(labelled).collect(),
            };
            tagged(&labelled(first), &lines)
        };
        self.rows.iter().map(told).collect()
    }
}

fn tagged(tag: &str, lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| protected(line)).collect();
    format!(".TP\n{}\n{}\n", protected(tag), lines.join("\n.br\n"))
}

/// Text that is to be seen letter by letter.
fn code(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars() {
        match letter {
            '\\' => shown.push_str("\\e"),
            '-' => shown.push_str("\\-"),
            '\'' => shown.push_str("\\(aq"),
            '`' => shown.push_str("\\(ga"),
            '^' => shown.push_str("\\(ha"),
            '~' => shown.push_str("\\(ti"),
            letter => shown.push(letter),
        }
    }
    shown
}

/// A line that begins like a macro is none.
fn protected(text: &str) -> String {
    let is_macro = |line: &str| line.starts_with(['.', '\'']) && line != ".br";
    let lines =
        text.split('\n').map(|line| if is_macro(line) { format!("\\&{line}") } else { line.to_owned() });
    lines.collect::<Vec<_>>().join("\n")
}

/// Takes out what stands between parentheses where that is nothing but names of tests.
fn without_names_of_tests(markdown: &str) -> String {
    let is_test = |word: &str| {
        let name = word.trim_matches(['`', ',']);
        word.starts_with('`')
            && name.matches('_').count() >= 2
            && name.bytes().all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b))
    };
    let mut kept = String::new();
    let mut rest = markdown;
    while let Some((before, behind)) = rest.split_once('(') {
        kept.push_str(before);
        rest = match behind.split_once(')') {
            Some((inside, after)) if inside.split_whitespace().all(is_test) && !inside.is_empty() => {
                kept.truncate(kept.trim_end().len());
                after
            }
            _ => {
                kept.push('(');
                behind
            }
        };
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roff(markdown: &str) -> String {
        to_roff("ocinet(1)", markdown)
    }

    #[test]
    fn tables_become_tagged_paragraphs_without_their_tests() {
        let table = "| key | value | what it does |\n|---|---|---|\n| `net.mtu` | 68 to 65535 | the link's |\n| `net.x` | | y |\n";
        assert_eq!(
            roff(table),
            ".TP\nkey: \\fBnet.mtu\\fR\nvalue: 68 to 65535\n.br\nwhat it does: the link's\n\
             .TP\nkey: \\fBnet.x\\fR\nwhat it does: y\n"
        );
        let with_tests = "| what | is | tests |\n|---|---|---|\n| one | two | `a_b_c` |\n";
        assert_eq!(roff(with_tests), ".TP\nwhat: one\ntwo\n");
        assert_eq!(roff("| | tests |\n|---|---|\n| one | `a_b_c` |\n"), "");
        assert_eq!(
            roff("| 2 | 3 |\n|---|---|\n| two | three |\n"),
            ".TP\n\\fB2\\fR\ntwo\n.TP\n\\fB3\\fR\nthree\n"
        );
    }

    #[test]
    fn names_of_tests_are_left_out_of_sentences() {
        assert_eq!(roff("It holds (`a_test_name`\n`an_other_one`), always."), ".PP\nIt holds, always.\n");
        assert_eq!(roff("It is `net_a_b` (or not)."), ".PP\nIt is \\fBnet_a_b\\fR (or not).\n");
    }

    #[test]
    fn nothing_is_taken_for_a_macro() {
        assert_eq!(roff(".br is\n'text"), ".PP\n\\&.br is\n\\&'text\n");
        assert_eq!(roff("    .so /etc/passwd\n"), ".PP\n.RS 4\n.EX\n\\&.so /etc/passwd\n.EE\n.RE\n");
        assert_eq!(roff("a\\b `c\\-d`"), ".PP\na\\eb \\fBc\\e\\-d\\fR\n");
    }

    #[test]
    fn links_name_the_man_page_of_a_page() {
        assert_eq!(roff("the [policy](policy.md)."), ".PP\nthe policy (see ocinet.toml(5)).\n");
        assert_eq!(
            roff("It lists them ([docs/policy.md](docs/policy.md))."),
            ".PP\nIt lists them (ocinet.toml(5)).\n"
        );
        assert_eq!(to_roff("ocinet.toml(5)", "([docs/policy.md](policy.md))"), ".PP\n(this page)\n");
        assert_eq!(to_roff("ocinet.toml(5)", "the [policy](policy.md)."), ".PP\nthe policy.\n");
        assert_eq!(roff("[format](https://example.org/a-b)"), ".PP\nformat <https://example.org/a\\-b>\n");
    }
}
