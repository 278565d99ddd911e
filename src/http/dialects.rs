//! The dialects of readers of Server-Sent Events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::App;
use super::speaking::Speaking;
use crate::dialect::openai::ChatStream;
use crate::dialect::progress::{self, Progress, TaskOf};
use crate::dialect::sync::{Features, Spelling, Sync};
use crate::dialect::{Dialect, Source};
use crate::event::{GenerationId, SyncId};
use crate::generation::usual_task;

/// Asked for with `?dialect=`, or by the route.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DialectName {
    /// The events of this project's own contract.
    #[default]
    Native,
    /// The messages of the sync engine.
    Sync,
    /// Progress events.
    Progress,
    /// OpenAI's chat completions, on their own route only.
    OpenAi {
        /// With token counts at the end.
        include_usage: bool,
    },
}

/// The names of tasks, as far as they are known.
pub type Tasks = HashMap<GenerationId, Arc<str>>;

impl DialectName {
    /// What the names are, for whoever gives another one.
    pub const NAMES: &str = "native, sync or ai_progress";

    /// The dialect of that name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "native" => Some(DialectName::Native),
            "sync" => Some(DialectName::Sync),
            progress::NAME => Some(DialectName::Progress),
            _ => None,
        }
    }

    /// Whether it tells messages whole at their end, so that it has to see them from their beginning.
    pub fn tells_whole(self) -> bool {
        self == DialectName::Progress
    }

    /// An encoder for one reader, who has everything up to `after`; `None` where frames go out as they are.
    pub fn speaking(self, app: &App, after: SyncId, tasks: Tasks) -> Option<Speaking> {
        let dialect: Box<dyn Dialect> = match self {
            DialectName::Native => return None,
            DialectName::Progress => return Some(progress(app, after, tasks, false)),
            DialectName::Sync => Box::new(Sync::new(Spelling::Camel, Features::ALL)),
            DialectName::OpenAi { include_usage } => Box::new(ChatStream::new(include_usage)),
        };
        Some(Speaking::new(dialect, Duration::ZERO))
    }

    /// Whether its readers come back to a stream, and are told when.
    pub const fn is_resumed(self) -> bool {
        !matches!(self, DialectName::OpenAi { .. })
    }
}

/// Progress events for one reader.
pub fn progress(app: &App, after: SyncId, mut tasks: Tasks, enveloped: bool) -> Speaking {
    let stream = &app.config.stream;
    let running = app.running.clone();
    let task_of: TaskOf = Box::new(move |source: &Source| {
        let usual = || usual_task(source.conversation);
        let Some(generation) = source.generation else { return usual() };
        let known = || running.get(generation).map(|handle| handle.task.clone());
        tasks.entry(generation).or_insert_with(|| known().unwrap_or_else(usual)).clone()
    });
    let settings = progress::Settings { join_chars: stream.progress_join_chars, after, enveloped };
    let patience = Duration::from_millis(stream.progress_join_ms);
    Speaking::new(Box::new(Progress::new(settings, task_of)), patience)
}
