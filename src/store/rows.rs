//! Rows, and how they become what the rest of the program uses.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use diesel::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::model::{StoredConversation, StoredGeneration, StoredMessage, StoredRun};
use super::schema::{conversations, event_batches, generations, messages};
use super::types::{Id, JsonText, TimeUs};
use crate::event::{BlockKind, Fold, MessageId, Opaque, OpaqueForm, Role, Span, SyncId};
use crate::journal::{Begin, InputMessage, MessageEnd, MessageStart, MessageStatus, Owner, Run};

/// Text that every database takes: U+0000, which PostgreSQL refuses, becomes U+FFFD.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

fn json(value: &impl Serialize) -> JsonText {
    // Our own types with string keys always serialise.
    JsonText(clean_json(serde_json::to_string(value).unwrap_or_default()))
}

/// The same for a JSON document, where U+0000 is an escape. An escaped backslash before `u0000` is none.
fn clean_json(json: String) -> String {
    const NUL: &str = "\\u0000";
    if !json.contains(NUL) {
        return json;
    }
    let mut cleaned = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        cleaned.push_str(before);
        if let Some(after) = escape.strip_prefix(NUL) {
            cleaned.push('\u{fffd}');
            rest = after;
        } else {
            // Every other escape keeps its backslash and the ASCII character behind it.
            let (escape, after) = escape.split_at(2);
            cleaned.push_str(escape);
            rest = after;
        }
    }
    cleaned.push_str(rest);
    cleaned
}

/// The spans of a message's texts after [`clean`], which makes them longer.
fn clean_spans(fold: &Fold) -> Cow<'_, [Span]> {
    if ![&fold.reasoning, &fold.text, &fold.refusal].iter().any(|text| text.contains('\0')) {
        return Cow::Borrowed(&fold.spans);
    }
    let moved = |span: &Span| {
        let text = match span.kind {
            BlockKind::Reasoning => &fold.reasoning,
            BlockKind::Text => &fold.text,
            BlockKind::Refusal => &fold.refusal,
            BlockKind::ToolCall => return span.clone(),
        };
        let place = |at: usize| text.get(..at).map_or(at, |before| clean(before).len());
        Span { from: place(span.from), to: place(span.to), ..span.clone() }
    };
    Cow::Owned(fold.spans.iter().map(moved).collect())
}

fn from_json<T: DeserializeOwned>(column: Option<JsonText>) -> Option<T> {
    let text = column?.0;
    serde_json::from_str(&text).inspect_err(|error| tracing::error!(%error, "a stored JSON column cannot be read")).ok()
}

/// A number as the databases keep it.
pub fn number(id: SyncId) -> i64 {
    i64::try_from(id.get()).unwrap_or(i64::MAX)
}

/// A number from a row.
pub fn sync_id(number: i64) -> SyncId {
    SyncId::new(u64::try_from(number).unwrap_or(0))
}

fn status(word: &str) -> MessageStatus {
    match word {
        "complete" => MessageStatus::Complete,
        "cancelled" => MessageStatus::Cancelled,
        "error" => MessageStatus::Error,
        _ => MessageStatus::Streaming,
    }
}

fn role(word: &str) -> Role {
    match word {
        "system" => Role::System,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        _ => Role::User,
    }
}

/// The JSON of the `reasoning` column.
#[derive(Serialize, Deserialize)]
struct ReasoningColumn {
    text: String,
    blocks: Vec<ReasoningColumnBlock>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningColumnBlock {
    #[serde(rename = "type")]
    kind: BlockKind,
    text: String,
    /// The number of the content block; rows of the first version have none.
    #[serde(default)]
    block: u32,
    /// What only the provider can read: its signature, a block that it withheld, and whole items of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    items: Vec<String>,
    provider: String,
    model: String,
    duration_ms: u64,
}

impl ReasoningColumnBlock {
    fn keep(&mut self, opaque: &Opaque) {
        let value = opaque.value.clone();
        match opaque.form {
            OpaqueForm::Signature => self.signature = Some(value),
            OpaqueForm::Redacted => self.data = Some(value),
            OpaqueForm::Item => self.items.push(value),
        }
    }

    fn opaque(self) -> impl Iterator<Item = Opaque> {
        let ReasoningColumnBlock { kind, block, signature, data, items, .. } = self;
        let signature = signature.map(|value| (OpaqueForm::Signature, value));
        let data = data.map(|value| (OpaqueForm::Redacted, value));
        let items = items.into_iter().map(|value| (OpaqueForm::Item, value));
        let all = signature.into_iter().chain(data).chain(items);
        all.map(move |(form, value)| Opaque { block, kind, form, value })
    }
}

/// The `reasoning` column of a message: its thinking, and the blocks that its provider signed or withheld.
fn reasoning_column(end: &MessageEnd) -> Option<ReasoningColumn> {
    let fold = &end.content;
    if fold.reasoning.is_empty() && fold.opaque.is_empty() {
        return None;
    }
    let entry = |kind, block, text: &str, duration_ms| ReasoningColumnBlock {
        kind,
        text: text.to_owned(),
        block,
        signature: None,
        data: None,
        items: Vec::new(),
        provider: end.provider.clone(),
        model: end.model.clone(),
        duration_ms,
    };
    let thoughts = fold.reasoning_blocks().filter(|thought| !thought.text.is_empty());
    let mut blocks: Vec<_> =
        thoughts.map(|thought| entry(BlockKind::Reasoning, thought.block, thought.text, thought.duration_ms)).collect();
    for opaque in &fold.opaque {
        match blocks.iter_mut().find(|known| known.block == opaque.block) {
            Some(known) => known.keep(opaque),
            None => {
                let mut block = entry(opaque.kind, opaque.block, "", 0);
                block.keep(opaque);
                blocks.push(block);
            }
        }
    }
    Some(ReasoningColumn { text: fold.reasoning.clone(), blocks })
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = conversations)]
pub struct ConversationRow {
    pub id: Id,
    pub title: Option<String>,
    pub created_at: TimeUs,
    pub updated_at: TimeUs,
    pub last_sync_id: i64,
    pub reserved_sync_id: i64,
    pub trimmed_sync_id: i64,
    pub owner_node: Option<String>,
    pub owner_epoch: i64,
    pub external_id: Option<String>,
    pub external_kind: Option<String>,
}

impl From<ConversationRow> for StoredConversation {
    fn from(row: ConversationRow) -> Self {
        StoredConversation {
            id: row.id.into(),
            title: row.title,
            created_at_us: row.created_at.0,
            updated_at_us: row.updated_at.0,
            last: sync_id(row.last_sync_id),
            trimmed: sync_id(row.trimmed_sync_id),
            external_id: row.external_id,
        }
    }
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = generations)]
pub struct GenerationRow {
    pub id: Id,
    pub conversation_id: Id,
    pub status: String,
    pub idempotency_key: Option<String>,
    pub body_hash: Vec<u8>,
    pub request_id: String,
    pub created_at: TimeUs,
    pub last_sync_id: Option<i64>,
    pub task_id: Option<String>,
}

impl GenerationRow {
    pub fn begin(begin: &Begin) -> Self {
        GenerationRow {
            id: begin.generation.into(),
            conversation_id: begin.conversation.into(),
            status: MessageStatus::Streaming.as_str().to_owned(),
            idempotency_key: begin.idempotency_key.as_deref().map(str::to_owned),
            body_hash: begin.body_hash.to_vec(),
            request_id: begin.request_id.clone(),
            created_at: TimeUs(begin.at_us),
            last_sync_id: None,
            task_id: begin.task_id.as_deref().map(|task| clean(task).into_owned()),
        }
    }

    pub fn into_model(self, messages: Vec<StoredMessage>) -> StoredGeneration {
        StoredGeneration {
            id: self.id.into(),
            conversation: self.conversation_id.into(),
            status: status(&self.status),
            idempotency_key: self.idempotency_key,
            body_hash: self.body_hash,
            request_id: self.request_id,
            task_id: self.task_id,
            created_at_us: self.created_at.0,
            last: self.last_sync_id.map(sync_id),
            messages,
        }
    }
}

#[derive(Insertable)]
#[diesel(table_name = messages)]
pub struct NewMessageRow<'a> {
    pub id: Id,
    pub conversation_id: Id,
    generation_id: Id,
    pub created_at: TimeUs,
    place: i32,
    role: &'static str,
    content: Cow<'a, str>,
    tool_calls: Option<JsonText>,
    tool_call_id: Option<Cow<'a, str>>,
    status: &'static str,
    provider: Option<Cow<'a, str>>,
    model: Option<Cow<'a, str>>,
    metadata: Option<JsonText>,
}

impl<'a> NewMessageRow<'a> {
    /// The same message at its place in the request.
    pub fn at(self, place: i32) -> Self {
        NewMessageRow { place, ..self }
    }

    pub fn input(begin: &Begin, message: &'a InputMessage) -> Self {
        NewMessageRow {
            id: message.id.into(),
            conversation_id: begin.conversation.into(),
            generation_id: begin.generation.into(),
            created_at: TimeUs(begin.at_us),
            place: 0,
            role: message.role.as_str(),
            content: clean(&message.content),
            tool_calls: (!message.tool_calls.is_empty()).then(|| json(&message.tool_calls)),
            tool_call_id: message.tool_call_id.as_deref().map(clean),
            status: MessageStatus::Complete.as_str(),
            provider: None,
            model: None,
            metadata: None,
        }
    }

    pub fn output(begin: &Begin, message: &'a MessageStart) -> Self {
        NewMessageRow {
            id: message.id.into(),
            conversation_id: begin.conversation.into(),
            generation_id: begin.generation.into(),
            created_at: TimeUs(begin.at_us),
            place: 0,
            role: Role::Assistant.as_str(),
            content: Cow::Borrowed(""),
            tool_calls: None,
            tool_call_id: None,
            status: MessageStatus::Streaming.as_str(),
            provider: Some(clean(&message.provider)),
            model: Some(clean(&message.model)),
            metadata: (!message.metadata.is_empty()).then(|| json(&message.metadata)),
        }
    }
}

#[derive(AsChangeset)]
#[diesel(table_name = messages)]
pub struct MessageEndRow<'a> {
    content: Cow<'a, str>,
    refusal: Option<Cow<'a, str>>,
    reasoning: Option<JsonText>,
    spans: Option<JsonText>,
    tool_calls: Option<JsonText>,
    usage: Option<JsonText>,
    status: &'static str,
    finish_reason: Option<&'static str>,
    error: Option<JsonText>,
    /// Who made it in the end, which may be another one than it began with.
    provider: Option<Cow<'a, str>>,
    model: Option<Cow<'a, str>>,
    timing: Option<JsonText>,
    first_sync_id: Option<i64>,
    ended_at: Option<TimeUs>,
}

impl<'a> From<&'a MessageEnd> for MessageEndRow<'a> {
    fn from(end: &'a MessageEnd) -> Self {
        let fold = &end.content;
        MessageEndRow {
            content: clean(&fold.text),
            refusal: (!fold.refusal.is_empty()).then(|| clean(&fold.refusal)),
            reasoning: reasoning_column(end).as_ref().map(json),
            spans: (!fold.spans.is_empty()).then(|| json(&clean_spans(fold))),
            tool_calls: (!fold.tool_calls.is_empty()).then(|| json(&fold.tool_calls)),
            usage: fold.usage.as_ref().map(json),
            status: end.status.as_str(),
            finish_reason: end.finish_reason.map(|reason| reason.as_str()),
            error: end.error.as_ref().map(json),
            provider: Some(clean(&end.provider)),
            model: Some(clean(&end.model)),
            timing: Some(json(&end.timing)),
            first_sync_id: Some(number(end.first)),
            ended_at: Some(TimeUs(end.at_us)),
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = messages)]
pub struct MessageRow {
    id: Id,
    conversation_id: Id,
    generation_id: Id,
    created_at: TimeUs,
    role: String,
    content: String,
    refusal: Option<String>,
    reasoning: Option<JsonText>,
    spans: Option<JsonText>,
    tool_calls: Option<JsonText>,
    tool_call_id: Option<String>,
    usage: Option<JsonText>,
    status: String,
    finish_reason: Option<String>,
    error: Option<JsonText>,
    provider: Option<String>,
    model: Option<String>,
    metadata: Option<JsonText>,
    timing: Option<JsonText>,
    first_sync_id: Option<i64>,
    last_sync_id: Option<i64>,
}

impl From<MessageRow> for StoredMessage {
    fn from(row: MessageRow) -> Self {
        let reasoning: Option<ReasoningColumn> = from_json(row.reasoning);
        let (reasoning, blocks) = reasoning.map(|column| (column.text, column.blocks)).unwrap_or_default();
        let content = Fold {
            reasoning,
            text: row.content,
            refusal: row.refusal.unwrap_or_default(),
            tool_calls: from_json(row.tool_calls).unwrap_or_default(),
            usage: from_json(row.usage),
            first_event_at_ms: None,
            spans: from_json(row.spans).unwrap_or_default(),
            opaque: blocks.into_iter().flat_map(ReasoningColumnBlock::opaque).collect(),
        };
        let finish_reason = row.finish_reason.map(|word| JsonText(format!("\"{word}\"")));
        StoredMessage {
            id: row.id.into(),
            conversation: row.conversation_id.into(),
            generation: row.generation_id.into(),
            role: role(&row.role),
            content,
            tool_call_id: row.tool_call_id,
            status: status(&row.status),
            finish_reason: from_json(finish_reason),
            error: from_json(row.error),
            provider: row.provider,
            model: row.model,
            metadata: from_json(row.metadata).unwrap_or_default(),
            timing: from_json(row.timing),
            created_at_us: row.created_at.0,
            first: row.first_sync_id.map(sync_id),
            last: row.last_sync_id.map(sync_id),
        }
    }
}

// A fixed list of columns keeps the statement in the cache by its type, without its text being built for every row.
#[derive(Insertable)]
#[diesel(table_name = event_batches, treat_none_as_default_value = false)]
pub struct NewBatchRow<'a> {
    conversation_id: Id,
    to_sync_id: i64,
    from_sync_id: i64,
    message_id: Id,
    generation_id: Option<Id>,
    frames: &'a [u8],
    recorded_at: TimeUs,
}

impl<'a> NewBatchRow<'a> {
    pub fn new(conversation: Id, run: &'a Run, recorded_at_us: i64) -> Self {
        NewBatchRow {
            conversation_id: conversation,
            to_sync_id: number(run.last),
            from_sync_id: number(run.first),
            message_id: run.owner.message.into(),
            generation_id: run.owner.generation.map(Into::into),
            frames: &run.frames,
            recorded_at: TimeUs(recorded_at_us),
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = event_batches)]
pub struct BatchRow {
    to_sync_id: i64,
    from_sync_id: i64,
    message_id: Id,
    generation_id: Option<Id>,
    frames: Vec<u8>,
    recorded_at: TimeUs,
}

impl BatchRow {
    pub fn len(&self) -> usize {
        self.frames.len()
    }
}

impl From<BatchRow> for StoredRun {
    fn from(row: BatchRow) -> Self {
        let owner = Owner {
            message: MessageId::from(row.message_id),
            generation: row.generation_id.map(Into::into),
            writer: None,
        };
        StoredRun {
            run: Run {
                owner: Arc::new(owner),
                first: sync_id(row.from_sync_id),
                last: sync_id(row.to_sync_id),
                frames: Bytes::from(row.frames),
            },
            recorded_at_ms: u64::try_from(row.recorded_at.0 / 1000).unwrap_or(0),
        }
    }
}
