//! The numbers and names that everything else refers to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The number of an event in its conversation's journal.
///
/// Numbers begin at 1, rise, are never given out twice, and may have gaps. `SyncId::ZERO` stands for "before the
/// first event" and is only ever a position, never an event's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SyncId(u64);

impl SyncId {
    /// The position before the first event.
    pub const ZERO: SyncId = SyncId(0);

    /// Wraps a number read from a client or a row.
    pub const fn new(number: u64) -> Self {
        SyncId(number)
    }

    /// The bare number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number `count` places further on.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        SyncId(self.0 + count)
    }

    /// The number just before this one; `ZERO` stays `ZERO`.
    #[must_use]
    pub const fn before(self) -> Self {
        SyncId(self.0.saturating_sub(1))
    }
}

impl fmt::Display for SyncId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id: a UUIDv7, so that ids sort by the time they were made.
            // Not `Default`: two calls give two different values.
            #[allow(clippy::new_without_default)]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// Wraps an id that was made elsewhere (a client, a row).
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The bare UUID.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// Names a conversation: one journal, many messages.
    ConversationId
);
uuid_id!(
    /// Names one message of a conversation, a user's or a model's.
    MessageId
);
uuid_id!(
    /// Names what one request started: one message a model in it.
    GenerationId
);
