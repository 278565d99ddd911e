//! What a client asks for, in either spelling.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::reply::Tag;
use crate::dialect::sync::{Features, Spelling};
use crate::event::{ConversationId, ErrorCode, Fault, GenerationId, MessageId};
use crate::http::input::{BATCH_TOO_LONG, GenerateRequest, MAX_BATCH_MS};

/// The longest `id` of a message, in characters, as of all ids that are not ours.
const MAX_ID_CHARS: usize = 128;

/// One message of the client.
pub struct Asked {
    /// How it spells; `None` where that cannot be told.
    pub spelling: Option<Spelling>,
    /// What its answer repeats.
    pub tag: Tag,
    /// What it wants.
    pub request: Result<Request, Fault>,
}

/// What a client wants.
pub enum Request {
    /// To read a conversation.
    Subscribe(Subscribe),
    /// To say something.
    Message(Box<Message>),
    /// To stop something.
    Cancel(Cancel),
    /// To read it no more.
    Unsubscribe(Unsubscribe),
    /// To know whether we are there.
    Ping,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    id: Option<Value>,
    #[serde(rename = "conversationId", alias = "conversation_id")]
    conversation_id: Option<Value>,
}

/// To read a conversation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscribe {
    scope: Option<String>,
    /// Which; `None` means a new one.
    #[serde(alias = "conversation_id")]
    pub conversation_id: Option<ConversationId>,
    /// The last number that the client has.
    #[serde(alias = "last_sync_id")]
    pub last_sync_id: Option<u64>,
    features: Option<Vec<String>>,
    /// For how long deltas may be joined.
    #[serde(default, alias = "batch_ms")]
    pub batch_ms: u64,
}

impl Subscribe {
    /// What it wants to be told.
    ///
    /// # Errors
    /// Where it names something unknown.
    pub fn features(&self) -> Result<Features, Fault> {
        let unknown = |name: &str| {
            let message = format!("features names {name:?}; there are reasoning, status, tools and usage.");
            Fault::new(ErrorCode::InvalidRequest, message)
        };
        self.features.as_deref().map_or(Ok(Features::ALL), |names| Features::named(names).map_err(unknown))
    }

    fn check(&self) -> Result<(), Fault> {
        let wrong = |message: String| Err(Fault::new(ErrorCode::InvalidRequest, message));
        match self.scope.as_deref() {
            None | Some("chat") => {}
            Some(other) => return wrong(format!("The scope is chat, not {other:?}.")),
        }
        if self.batch_ms > MAX_BATCH_MS {
            return wrong(BATCH_TOO_LONG.to_owned());
        }
        self.features().map(drop)
    }
}

/// To say something: the fields of `POST /api/generate`, with `content` for the prompt.
#[derive(Debug, Deserialize)]
pub struct Message {
    content: Option<String>,
    #[serde(flatten)]
    body: GenerateRequest,
}

impl Message {
    /// The conversation that it names.
    pub fn conversation_id(&self) -> Option<ConversationId> {
        self.body.conversation_id
    }

    /// The same as a request.
    ///
    /// # Errors
    /// Where it says nothing, or something twice.
    pub fn into_body(self) -> Result<GenerateRequest, Fault> {
        let Message { content, mut body } = self;
        if let Some(content) = content {
            body.say(content)?;
        }
        body.check()?;
        Ok(body)
    }
}

/// To stop something, by one of three names.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cancel {
    /// All that a request started.
    #[serde(alias = "generation_id")]
    pub generation_id: Option<GenerationId>,
    /// One message of it.
    #[serde(alias = "message_id")]
    pub message_id: Option<MessageId>,
    /// What the message of this `id` started.
    pub id: Option<String>,
    /// Where that message went.
    #[serde(alias = "conversation_id")]
    pub conversation_id: Option<ConversationId>,
}

/// To read a conversation no more.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unsubscribe {
    /// Which; may be left out where there is only one.
    #[serde(alias = "conversation_id")]
    pub conversation_id: Option<ConversationId>,
}

/// Reads one message.
pub fn read(text: &str) -> Asked {
    let head: Head = match parse(text) {
        Ok(head) => head,
        Err(fault) => return Asked { spelling: None, tag: Tag::default(), request: Err(fault) },
    };
    let spelling = match head.kind.starts_with(|first: char| first.is_ascii_uppercase()) {
        true => Spelling::Pascal,
        false => Spelling::Camel,
    };
    let id = match &head.id {
        Some(Value::String(id)) => Some(id.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let conversation = head.conversation_id.as_ref().and_then(Value::as_str).and_then(|id| id.parse().ok());
    let tag = Tag { id, conversation };
    let request = request(&head, &tag, text);
    Asked { spelling: Some(spelling), tag, request }
}

fn request(head: &Head, tag: &Tag, text: &str) -> Result<Request, Fault> {
    let wrong = |message: String| Err(Fault::new(ErrorCode::InvalidRequest, message));
    if tag.id.as_ref().is_some_and(|id| id.chars().count() > MAX_ID_CHARS) {
        return wrong(format!("An id has at most {MAX_ID_CHARS} characters."));
    }
    if head.id.as_ref().is_some_and(|id| !id.is_null() && tag.id.is_none()) {
        return wrong("An id is a text or a number.".to_owned());
    }
    Ok(match head.kind.to_ascii_lowercase().as_str() {
        "subscribe" => {
            let request: Subscribe = parse(text)?;
            request.check()?;
            Request::Subscribe(request)
        }
        "message" => Request::Message(parse(text)?),
        "cancel" => {
            let request: Cancel = parse(text)?;
            let names = [request.generation_id.is_some(), request.message_id.is_some(), request.id.is_some()];
            if names == [false; 3] {
                return wrong(
                    "cancel names what is to end: generationId, messageId, or the id of a message.".to_owned(),
                );
            }
            Request::Cancel(request)
        }
        "unsubscribe" => Request::Unsubscribe(parse(text)?),
        "ping" => Request::Ping,
        _ => {
            let shown: String = head.kind.chars().take(32).collect();
            return wrong(format!(
                "There is no message of type {shown:?}; there are subscribe, message, cancel, unsubscribe and ping."
            ));
        }
    })
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "does not fit",
            _ => "is not JSON",
        };
        Fault::new(ErrorCode::InvalidRequest, format!("The message {what}: {error}."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        match read(text).request {
            Err(fault) => {
                assert_eq!(fault.code, ErrorCode::InvalidRequest);
                fault.message
            }
            Ok(_) => panic!("taken: {text}"),
        }
    }

    #[test]
    fn both_spellings_are_read() {
        let id = "0192f0c1-7a00-7000-8000-0000000000c1";
        let camel = format!(r#"{{"type":"subscribe","scope":"chat","conversationId":"{id}","lastSyncId":7}}"#);
        let pascal = format!(r#"{{"type":"Subscribe","scope":"chat","conversation_id":"{id}","last_sync_id":7}}"#);
        for (text, spelling) in [(camel, Spelling::Camel), (pascal, Spelling::Pascal)] {
            let asked = read(&text);
            assert_eq!((asked.spelling, asked.tag.conversation), (Some(spelling), id.parse().ok()));
            let Ok(Request::Subscribe(request)) = asked.request else { panic!("no subscribe: {text}") };
            assert_eq!((request.conversation_id, request.last_sync_id), (id.parse().ok(), Some(7)));
            assert_eq!(request.features(), Ok(Features::ALL));
        }
    }

    #[test]
    fn a_message_is_a_request() {
        let text = r#"{"type":"Message","id":7,"content":"Hi","use_reasoning":true,"metadata":{"a":"b"}}"#;
        let asked = read(text);
        assert_eq!(asked.tag.id.as_deref(), Some("7"));
        let Ok(Request::Message(message)) = asked.request else { panic!("no message") };
        let mut body = message.into_body().expect("a good one");
        assert_eq!(body.metadata.get("a").map(String::as_str), Some("b"));
        assert_eq!(body.take_input()[0].content, "Hi");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let rows = [
            ("{", "is not JSON"),
            ("[]", "does not fit"),
            (r#"{"id":1}"#, "type"),
            (r#"{"type":"dance"}"#, "dance"),
            (r#"{"type":"subscribe","scope":"room"}"#, "scope"),
            (r#"{"type":"subscribe","lastSyncId":"abc"}"#, "abc"),
            (r#"{"type":"subscribe","lastSyncId":-1}"#, "-1"),
            (r#"{"type":"subscribe","conversationId":"x"}"#, "does not fit"),
            (r#"{"type":"subscribe","features":["mood"]}"#, "mood"),
            (r#"{"type":"subscribe","batchMs":5000}"#, "batchMs"),
            (r#"{"type":"cancel"}"#, "generationId"),
            (r#"{"type":"ping","id":{}}"#, "id"),
        ];
        for (text, word) in rows {
            let message = fault(text);
            assert!(message.contains(word), "{text}: {message}");
        }
        assert!(fault(&format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(129))).contains("128"));
    }
}
