//! Which metrics and labels an expression of Prometheus' language names.

/// What an expression names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names<'a> {
    /// The metrics it selects.
    pub(super) selectors: Vec<Selector<'a>>,
    /// The labels that it groups or matches by.
    pub(super) grouped: Vec<&'a str>,
}

/// A metric with what narrows it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selector<'a> {
    /// The metric.
    pub(super) metric: &'a str,
    /// Labels with the values they must have.
    pub(super) labels: Vec<(&'a str, &'a str)>,
    /// The range, where it is one.
    pub(super) range: Option<&'a str>,
    /// The function or aggregation right around it.
    pub(super) function: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Quoted(&'a str),
    Range(&'a str),
    Sign(char),
}

const OPERATORS: [&str; 5] = ["and", "or", "unless", "offset", "bool"];
const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// Takes an expression apart.
///
/// # Panics
/// When it selects a metric by other labels than its name.
pub(super) fn names(expression: &str) -> Names<'_> {
    let tokens = tokens(expression);
    // The functions whose parentheses are open, and the one that comes next.
    let (mut open, mut function) = (Vec::new(), "");
    let (mut names, mut at) = (Names::default(), 0);
    while let Some(token) = tokens.get(at) {
        at += 1;
        match (*token, tokens.get(at)) {
            (Token::Word(word), _) if OPERATORS.contains(&word) => {}
            (Token::Word(word), Some(Token::Sign('('))) if GROUPING.contains(&word) => {
                let length = length_to(&tokens[at..], ')');
                names.grouped.extend(tokens[at..at + length].iter().filter_map(word_of));
                at += length;
            }
            // An aggregation's labels may stand between its name and its parenthesis.
            (Token::Word(word), Some(Token::Sign('('))) => function = word,
            (Token::Word(word), Some(Token::Word(next))) if GROUPING.contains(next) => function = word,
            (Token::Word(metric), next) => {
                let function = open.last().copied().unwrap_or_default();
                let mut selector = Selector { metric, function, ..Selector::default() };
                if next == Some(&Token::Sign('{')) {
                    let length = length_to(&tokens[at..], '}');
                    selector.labels = matchers(&tokens[at + 1..at + length - 1]);
                    at += length;
                }
                if let Some(Token::Range(range)) = tokens.get(at) {
                    selector.range = Some(*range);
                }
                names.selectors.push(selector);
            }
            (Token::Sign('('), _) => open.push(std::mem::take(&mut function)),
            (Token::Sign(')'), _) => drop(open.pop()),
            (Token::Sign('{'), _) => panic!("a selector without a metric: {expression}"),
            _ => {}
        }
    }
    names
}

fn word_of<'a>(token: &Token<'a>) -> Option<&'a str> {
    if let Token::Word(word) = token { Some(word) } else { None }
}

fn length_to(tokens: &[Token<'_>], end: char) -> usize {
    tokens.iter().position(|token| *token == Token::Sign(end)).expect("a closing sign") + 1
}

fn matchers<'a>(tokens: &[Token<'a>]) -> Vec<(&'a str, &'a str)> {
    let pairs = tokens.split(|token| *token == Token::Sign(',')).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match (pair.first(), pair.last()) {
            (Some(Token::Word(label)), Some(Token::Quoted(value))) => (*label, *value),
            _ => panic!("no matcher: {pair:?}"),
        })
        .collect()
}

fn tokens(expression: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut rest) = (Vec::new(), expression.trim_start());
    while let Some(first) = rest.chars().next() {
        let end_of_word = || rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len());
        let (token, length) = match first {
            '"' => {
                let end = rest[1..].find('"').expect("a closing quote");
                (Some(Token::Quoted(&rest[1..=end])), end + 2)
            }
            '[' => {
                let end = rest.find(']').expect("a closing bracket");
                (Some(Token::Range(&rest[1..end])), end + 1)
            }
            // A number or a duration.
            '0'..='9' => (None, end_of_word()),
            _ if is_of_word(first) => (Some(Token::Word(&rest[..end_of_word()])), end_of_word()),
            _ => (Some(Token::Sign(first)), first.len_utf8()),
        };
        tokens.extend(token);
        rest = rest[length..].trim_start();
    }
    tokens
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.')
}

#[test]
fn an_expression_is_taken_apart() {
    let names = names(
        "sum by (le, stage) (rate(a_bucket{job=\"$job\", x=~\"b|{c\"}[5m])) / 2.5 > 1e3\n\
         and on (job) topk(10, up:x @ end()) + y or vector(0) offset 15m",
    );
    let first = Selector {
        metric: "a_bucket",
        labels: vec![("job", "$job"), ("x", "b|{c")],
        range: Some("5m"),
        function: "rate",
    };
    assert_eq!(names.selectors[0], first);
    assert_eq!((names.selectors[1].metric, names.selectors[1].function), ("up:x", "topk"));
    assert_eq!((names.selectors[2].metric, names.selectors[2].function), ("y", ""));
    assert_eq!((names.selectors.len(), names.grouped), (3, vec!["le", "stage", "job"]));
}
