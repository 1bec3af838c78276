//! Labels of a series.

/// The labels of a series as text, in braces; empty without a label.
#[derive(Debug, Clone, Default)]
pub struct LabelSet(String);

impl LabelSet {
    /// The same with a further label.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        // The closing brace makes room.
        self.0.pop();
        self.0.reserve(name.len() + value.len() + 5);
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(name);
        self.0.push_str("=\"");
        escape(value, true, &mut self.0);
        self.0.push_str("\"}");
        self
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Backslashes and line feeds, and quotation marks within quotation marks.
pub(super) fn escape(text: &str, quotes: bool, out: &mut String) {
    if !text.bytes().any(|byte| matches!(byte, b'\\' | b'\n' | b'"')) {
        out.push_str(text);
        return;
    }
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_label_is_escaped() {
        let labels = LabelSet::default().with("id", "a\"b\\c\nd{}é").with("name", "");
        assert_eq!(labels.as_str(), "{id=\"a\\\"b\\\\c\\nd{}é\",name=\"\"}");
    }
}
