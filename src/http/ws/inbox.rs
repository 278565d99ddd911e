//! What a client sends: whole messages, and the faults of the protocol with the code that each closes with (RFC 6455, 7.4).

use std::io::ErrorKind;
use std::pin::Pin;
use std::str::Utf8Error;
use std::task::{Context, Poll, ready};

use actix_web::web::{Bytes, BytesMut};
use actix_ws::{CloseCode, CloseReason, Item, Message, MessageStream, ProtocolError};
use futures_core::Stream;

/// What comes in.
#[derive(Debug)]
pub enum Heard {
    /// A whole text message.
    Text(Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// To be answered with the same bytes.
    Ping(Bytes),
    /// An answer to a ping, or a sign of life.
    Pong(Bytes),
    /// A piece of a message that goes on.
    Piece,
    /// The client closes.
    Closed(Option<CloseReason>),
    /// The client broke the protocol, or sent too much.
    Broken(CloseCode, String),
    /// The connection is gone.
    Gone,
}

/// The reading side of a socket.
pub struct Inbox {
    messages: MessageStream,
    max_message_bytes: usize,
    /// A message that comes in pieces.
    pieces: Option<Pieces>,
}

struct Pieces {
    is_text: bool,
    bytes: BytesMut,
    /// How much of a text is known to be UTF-8. The rest may be the beginning of a character.
    valid: usize,
}

impl Inbox {
    /// Of a socket whose messages may have so many bytes.
    pub fn new(messages: MessageStream, max_message_bytes: usize) -> Self {
        Inbox { messages: messages.max_frame_size(max_message_bytes), max_message_bytes, pieces: None }
    }

    /// The next of what comes in.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        Poll::Ready(match ready!(Pin::new(&mut self.messages).poll_next(cx)) {
            None => Heard::Gone,
            Some(Err(error)) => broken(error, self.max_message_bytes),
            Some(Ok(Message::Text(text))) => Heard::Text(text.into_bytes()),
            Some(Ok(Message::Binary(bytes))) => Heard::Binary(bytes),
            Some(Ok(Message::Ping(bytes))) => Heard::Ping(bytes),
            Some(Ok(Message::Pong(bytes))) => Heard::Pong(bytes),
            Some(Ok(Message::Close(reason))) => Heard::Closed(reason),
            Some(Ok(Message::Continuation(item))) => self.piece(item),
            Some(Ok(Message::Nop)) => Heard::Piece,
        })
    }

    fn piece(&mut self, item: Item) -> Heard {
        let (bytes, last) = match item {
            Item::FirstText(bytes) => {
                self.pieces = Some(Pieces { is_text: true, bytes: BytesMut::new(), valid: 0 });
                (bytes, false)
            }
            Item::FirstBinary(bytes) => {
                self.pieces = Some(Pieces { is_text: false, bytes: BytesMut::new(), valid: 0 });
                (bytes, false)
            }
            Item::Continue(bytes) => (bytes, false),
            Item::Last(bytes) => (bytes, true),
        };
        let Some(pieces) = &mut self.pieces else {
            return Heard::Broken(CloseCode::Protocol, "A message goes on that never began.".to_owned());
        };
        if pieces.bytes.len() + bytes.len() > self.max_message_bytes {
            return too_large(self.max_message_bytes);
        }
        pieces.bytes.extend_from_slice(&bytes);
        if !pieces.is_valid(last) {
            return not_utf8();
        }
        if !last {
            return Heard::Piece;
        }
        match self.pieces.take() {
            Some(Pieces { is_text: true, bytes, .. }) => Heard::Text(bytes.freeze()),
            Some(Pieces { bytes, .. }) => Heard::Binary(bytes.freeze()),
            None => Heard::Piece,
        }
    }
}

impl Pieces {
    /// Whether what has come can still become a message. A text that cannot is refused at once, not at its end.
    fn is_valid(&mut self, last: bool) -> bool {
        if !self.is_text {
            return true;
        }
        match std::str::from_utf8(&self.bytes[self.valid..]) {
            Ok(_) => self.valid = self.bytes.len(),
            Err(error) if error.error_len().is_none() && !last => self.valid += error.valid_up_to(),
            Err(_) => return false,
        }
        true
    }
}

fn too_large(most: usize) -> Heard {
    Heard::Broken(CloseCode::Size, format!("Messages have at most {most} bytes (websocket.max_message_bytes)."))
}

fn not_utf8() -> Heard {
    Heard::Broken(CloseCode::Invalid, "A text message is not UTF-8.".to_owned())
}

fn broken(error: ProtocolError, most: usize) -> Heard {
    match error {
        ProtocolError::Overflow => too_large(most),
        ProtocolError::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<Utf8Error>()) => not_utf8(),
        ProtocolError::Io(error) if error.kind() != ErrorKind::InvalidData => Heard::Gone,
        error => Heard::Broken(CloseCode::Protocol, format!("{error}.")),
    }
}
