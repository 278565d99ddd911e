//! Every example in docs/protocol.md, sent to a real server and compared: the document cannot drift from the code.

mod document;
mod pattern;
mod talk;

use thinkwire::event::ErrorCode;

use self::document::{Answer, Ask, Example};
use self::pattern::{Keys, Known, StreamPattern};
use super::support::gateway::{Gateway, Setup};
use super::support::http::{Ended, Exchange, Request};
use super::support::sse::{Item, Parser};
use super::support::{PATIENCE, within};

const DOCUMENT: &str = include_str!("../../docs/protocol.md");

#[tokio::test]
async fn the_examples_of_the_wire_contract_hold() {
    let examples = document::examples(DOCUMENT);
    assert!(examples.len() >= 20, "only {} examples were found", examples.len());
    let gateway = Gateway::launch(Setup::new()).await;
    let mut known = Known::default();
    let mut failures = Vec::new();
    for example in &examples {
        if let Err(difference) = run(&gateway, example, &mut known).await {
            let Ask { method, path, .. } = &example.ask;
            failures.push(format!("docs/protocol.md:{}: {method} {path}\n{difference}\n", example.line));
        }
    }
    for talk in document::talks(DOCUMENT) {
        if let Err(difference) = talk.hold(&gateway, &mut known).await {
            failures.push(format!("docs/protocol.md:{}: {}\n{difference}\n", talk.line, talk.path));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n\n{}", failures.len(), examples.len(), failures.join("\n"));
}

#[test]
fn the_table_of_error_codes_tells_what_the_code_does() {
    let mut rows = 0;
    for line in DOCUMENT.lines().skip_while(|line| !line.starts_with("| code | status |")).skip(2) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, _, _, retry, _] = cells[..] else { break };
        let name = serde_json::Value::from(name.trim_matches('`'));
        let code: ErrorCode = serde_json::from_value(name).expect("a code of ours");
        assert_eq!(retry != "no", code.retryable(), "{line}");
        rows += 1;
    }
    assert_eq!(rows, ErrorCode::Internal as usize + 1, "codes in the table");
}

async fn run(gateway: &Gateway, example: &Example, known: &mut Known) -> Result<(), String> {
    let what = format!("the head for line {}", example.line);
    let sent = within(&what, request(&example.ask, known)?.send(gateway.address())).await;
    let exchange = sent.map_err(|ended| format!("no response: {ended:?}"))?;
    let expected = &example.answer;
    if exchange.status != expected.status {
        let body = tokio::time::timeout(PATIENCE, exchange_text(exchange)).await.unwrap_or_default();
        return Err(format!("the status is not {}: {body}", expected.status));
    }
    for (name, value) in &expected.headers {
        let actual = exchange.headers.get(name).ok_or_else(|| format!("no header {name}"))?;
        // A charset may follow the content type.
        let actual = if name == "content-type" { actual.split(';').next().unwrap_or_default() } else { actual };
        if !pattern::text(value, actual, known) {
            return Err(format!("{name} is {actual:?}, not {value:?}"));
        }
    }
    if expected.is_stream() {
        compare_stream(exchange, &example.ask.path, expected, known).await
    } else {
        compare_document(exchange, expected, known).await
    }
}

fn request(ask: &Ask, known: &Known) -> Result<Request, String> {
    let method = match ask.method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        other => return Err(format!("unknown method {other}")),
    };
    let request = Request::post_raw(known.fill_in(&ask.path), known.fill_in(&ask.body)).method(method);
    Ok(ask.headers.iter().fold(request, |request, (name, value)| request.header(name, known.fill_in(value))))
}

async fn compare_document(exchange: Exchange, expected: &Answer, known: &mut Known) -> Result<(), String> {
    let response = within("a whole response", exchange.response()).await.map_err(|ended| format!("{ended:?}"))?;
    if expected.body.is_empty() {
        return if response.body.is_empty() { Ok(()) } else { Err(format!("a body: {}", response.text())) };
    }
    let actual = serde_json::from_slice(&response.body).map_err(|error| format!("{error}: {}", response.text()))?;
    pattern::value(&pattern::parse(&expected.body)?, &actual, Keys::AtLeast, known)
        .map_err(|difference| format!("{difference}\nin {actual:#}"))
}

async fn compare_stream(
    mut exchange: Exchange,
    path: &str,
    expected: &Answer,
    known: &mut Known,
) -> Result<(), String> {
    let wanted = StreamPattern::parse(&expected.body)?;
    let mut parser = if path.starts_with("/v1/") { Parser::of_chunks() } else { Parser::default() };
    let mut frames = Vec::new();
    let difference = loop {
        let difference = |known: &mut Known| wanted.matches(&frames, known).err().unwrap_or_default();
        let data = match tokio::time::timeout(PATIENCE, exchange.data()).await {
            Ok(Ok(data)) => data,
            Ok(Err(Ended::Clean)) if !wanted.is_endless() => match wanted.matches(&frames, known) {
                Ok(()) => return Ok(()),
                Err(difference) => break difference,
            },
            Ok(Err(ended)) => break format!("the stream ended ({ended:?}): {}", difference(known)),
            Err(_) => break format!("the stream went on in vain: {}", difference(known)),
        };
        frames.extend(parser.feed(&data).into_iter().filter_map(|item| match item {
            Item::Frame(frame) => Some((frame.id, frame.json)),
            Item::Comment(_) | Item::Retry(_) => None,
        }));
        if wanted.is_endless() && wanted.matches(&frames, known).is_ok() {
            return Ok(());
        }
    };
    let shown: Vec<String> = frames.iter().map(|(id, json)| format!("  {id:?} {json}")).collect();
    Err(format!("{difference}\nin\n{}", shown.join("\n")))
}

async fn exchange_text(exchange: Exchange) -> String {
    let status = exchange.status;
    match exchange.response().await {
        Ok(response) => format!("{status} {}", String::from_utf8_lossy(&response.body)),
        Err(ended) => format!("{status}, {ended:?}"),
    }
}
