//! Values with placeholders, as the document's first section defines them.

use std::collections::BTreeMap;

use serde_json::Value;

/// Whether an object may have keys that its pattern does not show.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    Exact,
    AtLeast,
}

/// The values that earlier examples remembered, by name.
#[derive(Clone, Default)]
pub struct Known(BTreeMap<String, String>);

impl Known {
    /// `text` with every `<name>` of a remembered value replaced.
    pub fn fill_in(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("<{name}>"), value))
    }
}

/// A JSON pattern. Placeholders outside of strings become strings.
pub fn parse(source: &str) -> Result<Value, String> {
    let mut json = String::with_capacity(source.len() + 64);
    let (mut quoted, mut escaped) = (false, false);
    for character in source.chars() {
        match character {
            '"' if !escaped => quoted = !quoted,
            '<' if !quoted => json.push('"'),
            _ => {}
        }
        json.push(character);
        if character == '>' && !quoted {
            json.push('"');
        }
        escaped = character == '\\' && !escaped;
    }
    serde_json::from_str(&json).map_err(|error| format!("the example is not JSON: {error} in {json}"))
}

/// Compares, and says where the first difference is.
pub fn value(pattern: &Value, actual: &Value, keys: Keys, known: &mut Known) -> Result<(), String> {
    at("", pattern, actual, keys, known)
}

fn at(place: &str, pattern: &Value, actual: &Value, keys: Keys, known: &mut Known) -> Result<(), String> {
    match (pattern, actual) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, pattern) in wanted {
                let name = key.trim_end_matches('?');
                match found.get(name) {
                    Some(actual) => at(&format!("{place}.{name}"), pattern, actual, keys, known)?,
                    None if key.ends_with('?') => {}
                    None => return Err(format!("no {place}.{name}")),
                }
            }
            let shown = |key: &String| wanted.contains_key(key) || wanted.contains_key(&format!("{key}?"));
            match found.keys().find(|key| keys == Keys::Exact && !shown(key)) {
                Some(key) => Err(format!("{place}.{key} is not in the example")),
                None => Ok(()),
            }
        }
        (Value::Array(wanted), Value::Array(found)) => {
            let open = wanted.last().is_some_and(|last| last == "...");
            let wanted = &wanted[..wanted.len() - usize::from(open)];
            if found.len() < wanted.len() || (!open && found.len() > wanted.len()) {
                return Err(format!("{place} has {} elements, not {}", found.len(), wanted.len()));
            }
            let pairs = wanted.iter().zip(found).enumerate();
            pairs.into_iter().try_for_each(|(i, (w, f))| at(&format!("{place}[{i}]"), w, f, keys, known))
        }
        (Value::String(pattern), actual) if scalar(pattern, actual, known) => Ok(()),
        (pattern, actual) if !pattern.is_string() && pattern == actual => Ok(()),
        _ => Err(format!("{} is {actual}, not {pattern}", if place.is_empty() { "it" } else { place })),
    }
}

fn scalar(pattern: &str, actual: &Value, known: &mut Known) -> bool {
    let whole = pattern.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    let kind = whole.map(|inside| inside.split(':').next().unwrap_or_default());
    match (kind, actual) {
        (Some("any"), _) | (Some("boolean"), Value::Bool(_)) | (Some("number?"), Value::Null | Value::Number(_)) => {
            true
        }
        (Some("boolean" | "number?"), _) => false,
        (Some("number"), Value::Number(number)) => text(pattern, &number.to_string(), known),
        (Some("number"), _) => false,
        // A remembered value stands for a number as well.
        (Some(_), Value::Number(number)) => {
            known.0.contains_key(whole.unwrap_or_default()) && text(pattern, &number.to_string(), known)
        }
        (_, Value::String(actual)) => text(pattern, actual, known),
        _ => false,
    }
}

/// Whether a text is what the pattern says. A placeholder takes as much as it can.
pub fn text(pattern: &str, actual: &str, known: &mut Known) -> bool {
    let Some((literal, inside, rest)) = placeholder(pattern) else { return pattern == actual };
    let Some(actual) = actual.strip_prefix(literal) else { return false };
    let (kind, name) = inside.split_once(':').unwrap_or((inside, ""));
    let ends = (0..=actual.len()).rev().filter(|&end| actual.is_char_boundary(end));
    for end in ends {
        let (taken, after) = actual.split_at(end);
        if accepts(kind, taken, known) && text(rest, after, known) {
            if !name.is_empty() {
                known.0.insert(name.to_owned(), taken.to_owned());
            }
            return true;
        }
    }
    false
}

/// What stands before the first placeholder, the placeholder without its brackets, and the rest.
fn placeholder(pattern: &str) -> Option<(&str, &str, &str)> {
    let (literal, from) = pattern.split_once('<')?;
    let (inside, rest) = from.split_once('>')?;
    Some((literal, inside, rest))
}

fn accepts(kind: &str, taken: &str, known: &Known) -> bool {
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match kind {
        "text" => true,
        "number" => taken.parse::<f64>().is_ok(),
        "uuid" => taken.len() == 36 && uuid::Uuid::parse_str(taken).is_ok(),
        "sha256" => taken.len() == 64 && hex(taken),
        "time" => chrono::DateTime::parse_from_rfc3339(taken).is_ok_and(|time| time.offset().local_minus_utc() == 0),
        name => known.0.get(name).is_some_and(|value| value == taken),
    }
}

/// Frames with gaps.
pub struct StreamPattern {
    parts: Vec<Part>,
}

enum Part {
    Gap,
    Frame { id: Option<String>, json: Value },
}

impl StreamPattern {
    /// Frames are separated by an empty line; a line `...` is a gap.
    pub fn parse(source: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut id = None;
        for line in source.lines() {
            if line == "..." {
                parts.push(Part::Gap);
            } else if let Some(number) = line.strip_prefix("id: ") {
                id = Some(number.to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                let json = if data == "[DONE]" { Value::from(data) } else { parse(data)? };
                parts.push(Part::Frame { id: id.take(), json });
            } else if !line.is_empty() {
                return Err(format!("the example has a line of no known form: {line:?}"));
            }
        }
        Ok(StreamPattern { parts })
    }

    /// Whether the stream goes on behind what is shown.
    pub fn is_endless(&self) -> bool {
        matches!(self.parts.last(), Some(Part::Gap))
    }

    /// Compares the frames so far; what a full match remembers is kept.
    pub fn matches(&self, frames: &[(Option<u64>, Value)], known: &mut Known) -> Result<(), String> {
        let mut furthest = (0, "no frames".to_owned());
        match walk(&self.parts, frames, known.clone(), self.parts.len(), &mut furthest) {
            Some(remembered) => {
                *known = remembered;
                Ok(())
            }
            None => Err(furthest.1),
        }
    }
}

/// Tries a gap as short as possible first. `furthest` keeps the difference that the longest attempt ended with.
fn walk(
    parts: &[Part],
    frames: &[(Option<u64>, Value)],
    mut known: Known,
    total: usize,
    furthest: &mut (usize, String),
) -> Option<Known> {
    let mut note = |difference: String| {
        let done = total - parts.len() + 1;
        if done >= furthest.0 {
            *furthest = (done, difference);
        }
    };
    match (parts, frames) {
        ([], []) => Some(known),
        ([], [(_, extra), ..]) => {
            note(format!("a frame more than shown: {extra}"));
            None
        }
        ([Part::Gap], _) => Some(known),
        ([Part::Gap, rest @ ..], _) => {
            (0..=frames.len()).find_map(|skipped| walk(rest, &frames[skipped..], known.clone(), total, furthest))
        }
        ([Part::Frame { json, .. }, ..], []) => {
            // A difference from a frame of that type tells more.
            if total - parts.len() + 1 > furthest.0 {
                *furthest = (total - parts.len() + 1, format!("no frame like {json}"));
            }
            None
        }
        ([Part::Frame { id, json }, rest @ ..], [(number, actual), after @ ..]) => {
            let number = number.map(|number| number.to_string());
            let compared = match (id, &number) {
                (None, None) => Ok(()),
                (Some(wanted), Some(number)) if text(wanted, number, &mut known) => Ok(()),
                _ => Err(format!("the number of {actual} is {number:?}, not {id:?}")),
            };
            let compared = value(json, actual, Keys::Exact, &mut known).and(compared);
            match compared {
                Ok(()) => walk(rest, after, known, total, furthest),
                Err(difference) => {
                    // A frame of another type is merely not the one that is looked for.
                    if json["type"] == actual["type"] {
                        note(difference);
                    }
                    None
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fits(pattern: &str, actual: &Value, keys: Keys) -> bool {
        value(&parse(pattern).unwrap(), actual, keys, &mut Known::default()).is_ok()
    }

    #[test]
    fn placeholders_stand_for_values_of_their_kind() {
        let uuid = "0192f0c1-7a00-7000-8000-0000000000a1";
        assert!(fits(
            r#"{"a":<number>,"b?":1,"c":"/x/<uuid>/y"}"#,
            &json!({"a": 5, "c": format!("/x/{uuid}/y")}),
            Keys::Exact
        ));
        assert!(!fits(r#"{"a":<number>}"#, &json!({"a": "5"}), Keys::Exact));
        assert!(fits(r#"{"t":"<time>"}"#, &json!({"t": "2026-11-20T12:00:00.123Z"}), Keys::Exact));
        assert!(!fits(r#"{"t":"<time>"}"#, &json!({"t": "2026-11-20T12:00:00+01:00"}), Keys::Exact));
        assert!(fits(r#"[1,"..."]"#, &json!([1, 2, 3]), Keys::Exact));
        assert!(!fits("[1]", &json!([1, 2]), Keys::Exact));
        assert!(fits(r#"{"a":<number?>,"b":<boolean>}"#, &json!({"a": null, "b": false}), Keys::Exact));
        assert!(!fits(r#"{"a":"x"}"#, &json!({"a": 1}), Keys::Exact));
    }

    #[test]
    fn more_keys_are_allowed_only_where_they_are() {
        assert!(fits(r#"{"a":1}"#, &json!({"a": 1, "b": 2}), Keys::AtLeast));
        assert!(!fits(r#"{"a":1}"#, &json!({"a": 1, "b": 2}), Keys::Exact));
    }

    #[test]
    fn gaps_stand_for_frames_and_values_are_remembered() {
        let pattern =
            StreamPattern::parse("data: {\"type\":\"r\"}\n\n...\nid: <number:last>\ndata: {\"type\":\"c\"}").unwrap();
        let frames = [(None, json!({"type": "r"})), (Some(1), json!({"type": "t"})), (Some(2), json!({"type": "c"}))];
        let mut known = Known::default();
        assert_eq!(pattern.matches(&frames, &mut known), Ok(()));
        assert_eq!(known.fill_in("after <last>, <text>"), "after 2, <text>");
        assert!(pattern.matches(&frames[..2], &mut known).is_err());
        assert!(pattern.matches(&frames[1..], &mut known).is_err());
        assert!(value(&parse("<last>").unwrap(), &json!(2), Keys::Exact, &mut known).is_ok());
        assert!(value(&parse("<last>").unwrap(), &json!(3), Keys::Exact, &mut known).is_err());
    }
}
