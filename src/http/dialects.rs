//! The dialects of readers of Server-Sent Events.

use std::time::Duration;

use super::speaking::Speaking;
use crate::dialect::Dialect;
use crate::dialect::openai::ChatStream;
use crate::dialect::sync::{Features, Spelling, Sync};

/// Asked for with `?dialect=`, or by the route.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DialectName {
    /// The events of this project's own contract.
    #[default]
    Native,
    /// The messages of the sync engine.
    Sync,
    /// OpenAI's chat completions, on their own route only.
    OpenAi {
        /// With token counts at the end.
        include_usage: bool,
    },
}

impl DialectName {
    /// What the names are, for whoever gives another one.
    pub const NAMES: &str = "native or sync";

    /// The dialect of that name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "native" => Some(DialectName::Native),
            "sync" => Some(DialectName::Sync),
            _ => None,
        }
    }

    /// An encoder for one reader; `None` where frames go out as they are.
    pub fn speaking(self) -> Option<Speaking> {
        let (dialect, patience): (Box<dyn Dialect>, Duration) = match self {
            DialectName::Native => return None,
            DialectName::Sync => (Box::new(Sync::new(Spelling::Camel, Features::ALL)), Duration::ZERO),
            DialectName::OpenAi { include_usage } => (Box::new(ChatStream::new(include_usage)), Duration::ZERO),
        };
        Some(Speaking::new(dialect, patience))
    }

    /// Whether its readers come back to a stream, and are told when.
    pub const fn is_resumed(self) -> bool {
        !matches!(self, DialectName::OpenAi { .. })
    }
}
