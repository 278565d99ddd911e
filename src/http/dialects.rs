//! The dialects that a reader of Server-Sent Events can ask for with `?dialect=`.

use std::time::Duration;

use super::speaking::Speaking;
use crate::dialect::Dialect;
use crate::dialect::sync::{Features, Spelling, Sync};

/// The names, as given in a query.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DialectName {
    /// The events of this project's own contract.
    #[default]
    Native,
    /// The messages of the sync engine.
    Sync,
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
        };
        Some(Speaking::new(dialect, patience))
    }
}
