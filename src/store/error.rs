//! Why the store did not do what it was asked.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::event::{GenerationId, MessageId};
use crate::journal::PagesError;

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is full, or failed: the same may succeed later.
    #[error("the database is away: {0}")]
    Away(String),
    /// It was reached and said no: the same will fail again.
    #[error("the database refused: {0}")]
    Refused(String),
    /// The conversation is another process's by now; here it must be read anew before anything is added to it.
    #[error("the conversation went to another process")]
    Moved,
    /// Another process is at work in this conversation.
    #[error("another process is at work in this conversation")]
    Elsewhere,
    /// Another process has taken the place of this one, which may store nothing more.
    #[error("another process has taken the place of this one")]
    Fenced,
}

/// The same for the statements of a transaction.
#[derive(Debug, thiserror::Error)]
pub(super) enum StatementError {
    #[error(transparent)]
    Database(#[from] DieselError),
    #[error("generation {0} is taken")]
    Taken(GenerationId),
    #[error("message {0} is taken")]
    MessageTaken(MessageId),
    #[error("message {0} is gone")]
    Gone(MessageId),
    #[error("moved")]
    Moved,
    #[error("elsewhere")]
    Elsewhere,
    #[error("fenced")]
    Fenced,
}

impl From<StatementError> for StoreError {
    fn from(error: StatementError) -> Self {
        match error {
            StatementError::Database(error) => error.into(),
            StatementError::Taken(_) | StatementError::MessageTaken(_) | StatementError::Gone(_) => {
                StoreError::Refused(error.to_string())
            }
            StatementError::Moved => StoreError::Moved,
            StatementError::Elsewhere => StoreError::Elsewhere,
            StatementError::Fenced => StoreError::Fenced,
        }
    }
}

impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        match &error {
            DieselError::DatabaseError(
                DatabaseErrorKind::UniqueViolation
                | DatabaseErrorKind::ForeignKeyViolation
                | DatabaseErrorKind::NotNullViolation
                | DatabaseErrorKind::CheckViolation,
                _,
            )
            | DieselError::SerializationError(_)
            | DieselError::DeserializationError(_)
            | DieselError::QueryBuilderError(_) => StoreError::Refused(error.to_string()),
            // A full disk and a server that is about to stop come with no kind of their own. So what nobody knows is
            // taken for something that passes; the recorder sees to it that it holds up nobody else.
            _ => StoreError::Away(error.to_string()),
        }
    }
}

impl From<StoreError> for PagesError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Elsewhere | StoreError::Moved => PagesError::Elsewhere,
            StoreError::Away(_) | StoreError::Refused(_) | StoreError::Fenced => PagesError::Failed(error.to_string()),
        }
    }
}

impl From<PagesError> for StoreError {
    fn from(error: PagesError) -> Self {
        match error {
            PagesError::Elsewhere => StoreError::Elsewhere,
            PagesError::Failed(reason) => StoreError::Away(reason),
        }
    }
}
