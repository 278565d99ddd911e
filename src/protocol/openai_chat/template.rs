//! A quicker look still: the line that differs from the last usual one only in its text.
//!
//! Within one answer the lines of most providers are the same byte for byte, but for the piece of text. Where a line
//! begins and ends like the last one, and what is between holds nothing that ends or escapes a JSON string, then it is
//! that line with another text, whatever its fields mean.

use std::borrow::Cow;

use super::types::{Content, Delta};
use crate::protocol::lenient::Text;

/// Longer lines are not worth remembering.
const MOST_BYTES: usize = 2048;
/// After so many lines in a row that were new, this provider's lines are taken to differ always.
const MOST_MISSES: u32 = 16;

/// What the last usual line had around its text.
#[derive(Debug, Default)]
pub(super) struct Template {
    known: Option<Known>,
    misses: u32,
}

#[derive(Debug)]
struct Known {
    before: String,
    after: String,
    field: Field,
}

/// Which field of the delta the text is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    Content,
    ReasoningContent,
    Reasoning,
}

impl Template {
    /// The delta of a line that differs only in its text from the one that was learnt.
    pub(super) fn delta<'a>(&mut self, line: &'a str) -> Option<Delta<'a>> {
        let Known { before, after, field } = self.known.as_ref()?;
        let text = line.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
        // No early exit: this way it is a few vector instructions.
        if text.bytes().fold(false, |found, byte| found | (byte < b' ') | (byte == b'"') | (byte == b'\\')) {
            return None;
        }
        self.misses = 0;
        let text = Cow::Borrowed(text);
        Some(match field {
            Field::Content => Delta { content: Content::Text(text), ..Delta::default() },
            Field::ReasoningContent => Delta { reasoning_content: Text(text), ..Delta::default() },
            Field::Reasoning => Delta { reasoning: Text(text), ..Delta::default() },
        })
    }

    /// Remembers what stands around the text of a usual line.
    pub(super) fn learn(&mut self, line: &str, delta: &Delta<'_>) {
        if line.len() > MOST_BYTES || self.misses > MOST_MISSES {
            return;
        }
        let Some((field, text)) = only_text(delta) else { return };
        // The text is a part of the line, borrowed from it.
        let from = text.as_ptr().addr().wrapping_sub(line.as_ptr().addr());
        if let (Some(before), Some(after)) = (line.get(..from), line.get(from.saturating_add(text.len())..)) {
            self.misses += 1;
            self.known = Some(Known { before: before.to_owned(), after: after.to_owned(), field });
        }
    }
}

/// The one field that holds text, where that was borrowed from the line as it stands.
fn only_text<'a>(delta: &'a Delta<'_>) -> Option<(Field, &'a str)> {
    let content = match &delta.content {
        Content::Nothing => None,
        Content::Text(text) => Some(text),
        Content::Parts(_) => return None,
    };
    let fields = [
        (Field::Content, content),
        (Field::ReasoningContent, Some(&delta.reasoning_content.0)),
        (Field::Reasoning, Some(&delta.reasoning.0)),
    ];
    let mut held = fields.into_iter().filter_map(|(field, text)| Some((field, text?))).filter(|(_, t)| !t.is_empty());
    match (held.next()?, held.next()) {
        ((field, Cow::Borrowed(text)), None) => Some((field, text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::usual;
    use super::*;

    fn plain(delta: &Delta<'_>) -> (String, String, String) {
        let content = match &delta.content {
            Content::Text(text) => text.to_string(),
            _ => String::new(),
        };
        (content, delta.reasoning_content.0.to_string(), delta.reasoning.0.to_string())
    }

    fn line(id: u32, field: &str, text: &str) -> String {
        let text = serde_json::to_string(text).expect("a string");
        format!(r#"{{"id":"{id}","choices":[{{"index":0,"delta":{{"{field}":{text}}},"finish_reason":null}}]}}"#)
    }

    #[test]
    fn a_line_with_another_text_is_known() {
        let mut template = Template::default();
        let first = line(1, "content", "Hello");
        assert!(template.delta(&first).is_none(), "nothing was learnt yet");
        template.learn(&first, &usual::delta(&first).expect("a usual line"));
        for text in ["", ", world", "é😀", "Hello"] {
            let next = line(1, "content", text);
            assert_eq!(plain(&template.delta(&next).expect("known")).0, text);
        }
        for other in [line(2, "content", "x"), line(1, "reasoning", "x"), line(1, "content", "a\"b\n")] {
            assert!(template.delta(&other).is_none(), "{other}");
        }
    }

    #[test]
    fn lines_that_always_differ_are_not_remembered_for_ever() {
        let mut template = Template::default();
        for id in 0..100 {
            let line = line(id, "content", "x");
            assert!(template.delta(&line).is_none());
            template.learn(&line, &usual::delta(&line).expect("a usual line"));
        }
        assert!(template.known.expect("the last that was learnt").before.contains("\"16\""));
    }

    proptest! {
        #[test]
        fn what_is_known_is_what_the_usual_reader_finds(
            lines in proptest::collection::vec(
                (0u32..2, prop_oneof![Just("content"), Just("reasoning"), Just("reasoning_content")], "[a-c\"\\\\{}:,é\\n]{0,6}"),
                1..40,
            ),
            cut in 0usize..200,
        ) {
            let mut template = Template::default();
            for (id, field, text) in &lines {
                let whole = line(*id, field, text);
                // A damaged line as well: what is missing must not be guessed.
                let damaged: String = whole.chars().enumerate().filter(|(at, _)| *at != cut).map(|(_, c)| c).collect();
                for line in [&whole, &damaged] {
                    let usual = usual::delta(line);
                    if let Some(known) = template.delta(line) {
                        let usual = usual.as_ref().map(plain);
                        prop_assert_eq!(Some(plain(&known)), usual, "{}", line);
                    } else if let Some(usual) = &usual {
                        template.learn(line, usual);
                    }
                }
            }
        }
    }
}
