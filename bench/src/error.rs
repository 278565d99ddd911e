//! Errors of the benchmark end in one line for a person, so a boxed error with context is enough.

use std::fmt::Display;

/// Any failure, with its story as text.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// A result with that error.
pub type Result<T> = std::result::Result<T, Error>;

/// Says what was being done when an error came up.
pub trait Context<T> {
    /// Puts `what` before the error's own text.
    fn context(self, what: impl Display) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Display) -> Result<T> {
        self.map_err(|error| format!("{what}: {error}").into())
    }
}
