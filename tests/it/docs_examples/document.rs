//! Finds the examples in the document: blocks marked `http request`, each followed by one marked `http response`.

use super::talk::Talk;

/// A request and the response that the document promises.
pub struct Example {
    /// Where the request begins, for messages.
    pub line: usize,
    pub ask: Ask,
    pub answer: Answer,
}

/// What is sent.
pub struct Ask {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// What is expected.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// Whether the body is shown as frames.
    pub fn is_stream(&self) -> bool {
        self.headers.iter().any(|(name, value)| name == "content-type" && value == "text/event-stream")
    }
}

/// All examples, in order. Panics where a block has no partner, so that none is skipped in silence.
pub fn examples(markdown: &str) -> Vec<Example> {
    let mut found = Vec::new();
    let mut waiting: Option<(usize, Ask)> = None;
    for (line, info, text) in blocks(markdown) {
        match (info, waiting.take()) {
            ("http request", None) => waiting = Some((line, ask(&text))),
            ("http response", Some((line, ask))) => found.push(Example { line, ask, answer: answer(&text) }),
            ("http request" | "http response", _) => panic!("line {line}: {info} without its partner"),
            (_, before) => waiting = before,
        }
    }
    assert!(waiting.is_none(), "the last request has no response");
    found
}

/// All talks over WebSockets, in order.
pub fn talks(markdown: &str) -> Vec<Talk> {
    let talks = blocks(markdown).into_iter().filter_map(|(line, info, text)| {
        let path = info.strip_prefix("websocket ")?;
        Some(Talk::parse(line, path.trim(), &text))
    });
    talks.collect()
}

/// The fenced blocks: line number, info string and content.
fn blocks(markdown: &str) -> Vec<(usize, &str, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, &str, String)> = None;
    for (index, line) in markdown.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some((index + 1, info.trim(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some((_, _, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "the last block is not closed");
    found
}

/// First line, headers, body.
fn parts(text: &str) -> (&str, Vec<(String, String)>, String) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let first = lines.next().expect("a block is not empty");
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a header: {line:?}"));
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    (first, lines.map(header).collect(), body.trim().to_owned())
}

fn ask(text: &str) -> Ask {
    let (first, headers, body) = parts(text);
    let (method, path) = first.split_once(' ').unwrap_or_else(|| panic!("not a method and a path: {first:?}"));
    Ask { method: method.to_owned(), path: path.to_owned(), headers, body }
}

fn answer(text: &str) -> Answer {
    let (first, headers, body) = parts(text);
    let status = first.trim().parse().unwrap_or_else(|_| panic!("not a status: {first:?}"));
    Answer { status, headers, body }
}

#[test]
fn a_pair_of_blocks_is_an_example_and_other_blocks_are_not() {
    let markdown = "```sh\nls\n```\n\n```http request\nPOST /x\nA: b\n\n{}\n```\n\n```http response\n204\n```\n";
    let [example] = &examples(markdown)[..] else { panic!("not one example") };
    assert_eq!((example.line, example.ask.method.as_str(), example.ask.path.as_str()), (5, "POST", "/x"));
    assert_eq!(example.ask.headers, [("a".to_owned(), "b".to_owned())]);
    assert_eq!((example.ask.body.as_str(), example.answer.status, example.answer.body.as_str()), ("{}", 204, ""));
}
