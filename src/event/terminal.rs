//! The two ends of a message: `complete` and `error`.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{ErrorCode, FinishReason, Usage};

/// The end of a message that was asked for or that the provider declared.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Complete {
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The provider's name in the catalogue.
    pub provider: String,
    /// The provider's name for the model.
    pub model: String,
    /// The last token counts; absent where nobody counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// How long it took.
    pub timing: Timing,
    /// Whether the message is in the database.
    pub stored: bool,
    /// Lets a client prove that it lost nothing and doubled nothing.
    pub check: Check,
    /// Whether this is the generation's last event.
    #[serde(rename = "final")]
    pub is_final: bool,
}

/// The end of a message by a fault. What was received before it is kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorEvent {
    /// Which kind of fault.
    pub code: ErrorCode,
    /// A plain sentence.
    pub message: String,
    /// Whether the same request may well succeed a little later.
    pub retryable: bool,
    /// How long to wait before that, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The provider that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The provider's HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The last token counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Whether the message is in the database.
    pub stored: bool,
    /// The request that started the generation.
    pub request_id: String,
    /// Whether this is the generation's last event.
    #[serde(rename = "final")]
    pub is_final: bool,
}

/// How long a message took, in milliseconds from the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// To the provider's first event; `None` where there was none.
    pub first_event_ms: Option<u64>,
    /// From the first reasoning to its end; `None` where there was none.
    pub reasoning_ms: Option<u64>,
    /// To the end.
    pub total_ms: u64,
}

/// Digests of all reasoning and all answer text of a message (refusals apart).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// Of all `reasoning` content.
    pub reasoning: Digest,
    /// Of all `text` content.
    pub text: Digest,
}

/// Length and digest of a text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Digest {
    /// Bytes of UTF-8.
    pub bytes: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
}

impl Digest {
    /// Of one whole text.
    pub fn of(text: &str) -> Self {
        let hash = Sha256::digest(text.as_bytes());
        let mut sha256 = String::with_capacity(64);
        for byte in hash {
            for nibble in [byte >> 4, byte & 15] {
                sha256.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        Digest { bytes: text.len() as u64, sha256 }
    }
}
