//! What is said at `GET /ws`: the handshake, and the messages of the sync engine.

use std::net::SocketAddr;

use memchr::memmem;
use serde_json::json;

use super::frame::{self, Opcode};
use crate::params::StreamParams;

/// The request that opens a WebSocket.
pub fn handshake(address: SocketAddr) -> String {
    // The key proves nothing to us, so one does for all.
    format!(
        "GET /ws HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Asks for a generation, in a conversation or in a new one.
pub fn message(params: &StreamParams, prompt: &str, conversation: Option<&str>) -> String {
    let mut message = json!({"type": "message", "id": "1", "model": format!("bench/{params}"), "content": prompt});
    if let Some(conversation) = conversation {
        message["conversationId"] = conversation.into();
    }
    message.to_string()
}

/// Reads a conversation from its beginning; without an id a new one.
pub fn subscribe(conversation: Option<&str>) -> String {
    let mut subscribe = json!({"type": "subscribe", "scope": "chat", "lastSyncId": 0});
    if let Some(conversation) = conversation {
        subscribe["conversationId"] = conversation.into();
    }
    subscribe.to_string()
}

/// A text as a frame.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    frame::write(Opcode::Text, text.as_bytes(), out);
}

/// What a message of the gateway is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// A piece of a message.
    Update,
    /// The end of one.
    Complete,
    /// A conversation is read from now on.
    Subscribed,
    /// A fault.
    Error,
    /// Anything else.
    Other,
}

impl Said {
    /// By the first key, which is where the gateway puts the type; by any, where that is another.
    pub fn of(text: &[u8]) -> Self {
        const KINDS: [(&[u8], Said); 4] = [
            (br#""type":"update""#, Said::Update),
            (br#""type":"complete""#, Said::Complete),
            (br#""type":"subscribed""#, Said::Subscribed),
            (br#""type":"error""#, Said::Error),
        ];
        let first = KINDS.iter().find(|(key, _)| text.get(1..).is_some_and(|text| text.starts_with(key)));
        match first {
            Some((_, said)) => *said,
            None if text.starts_with(br#"{"type":"#) => Self::Other,
            None => KINDS.iter().find(|(key, _)| memmem::find(text, key).is_some()).map_or(Self::Other, |kind| kind.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_found_wherever_it_stands() {
        let rows = [
            (r#"{"type":"update","syncId":7,"messageId":"x","delta":{"content":"a"}}"#, Said::Update),
            (r#"{"syncId":7,"type":"update","delta":{}}"#, Said::Update),
            (r#"{"type":"complete","syncId":9,"final":true}"#, Said::Complete),
            (r#"{"type":"subscribed","scope":"chat"}"#, Said::Subscribed),
            (r#"{"type":"error","code":"internal"}"#, Said::Error),
            (r#"{"type":"event","event":{"type":"error"}}"#, Said::Other),
            (r#"{"type":"accepted","id":"1"}"#, Said::Other),
            ("", Said::Other),
        ];
        for (text, said) in rows {
            assert_eq!(Said::of(text.as_bytes()), said, "{text}");
        }
    }

    #[test]
    fn requests_are_json_and_name_their_conversation() {
        let params = StreamParams::new(8, 10);
        for text in [message(&params, "Go \"on\".", Some("c")), subscribe(Some("c"))] {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["conversationId"], "c");
        }
        assert!(!message(&params, "Go on.", None).contains("conversationId"));
    }
}
