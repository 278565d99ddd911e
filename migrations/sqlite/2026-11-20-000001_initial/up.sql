-- Ids are 16 bytes of a UUID, times are microseconds since the epoch (UTC), JSON is text.

CREATE TABLE conversations (
    id BLOB NOT NULL PRIMARY KEY,
    owner TEXT,
    external_id TEXT,
    external_kind TEXT,
    title TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    -- The last number in use when a generation of this conversation last ended.
    last_sync_id INTEGER NOT NULL,
    -- No number above this one was ever given out.
    reserved_sync_id INTEGER NOT NULL,
    -- Exact events up to this number are no longer kept.
    trimmed_sync_id INTEGER NOT NULL DEFAULT 0,
    owner_node TEXT,
    owner_epoch INTEGER NOT NULL DEFAULT 0,
    lease_until INTEGER
);

CREATE INDEX conversations_by_update ON conversations (updated_at, id);

CREATE TABLE generations (
    id BLOB NOT NULL PRIMARY KEY,
    conversation_id BLOB NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    -- streaming, complete, cancelled or error; streaming until the final terminal event is stored.
    status TEXT NOT NULL,
    idempotency_key TEXT,
    body_hash BLOB NOT NULL,
    request_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at INTEGER,
    last_sync_id INTEGER
);

CREATE INDEX generations_by_conversation ON generations (conversation_id);
CREATE INDEX generations_running ON generations (status) WHERE status = 'streaming';

CREATE TABLE messages (
    id BLOB NOT NULL PRIMARY KEY,
    conversation_id BLOB NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    generation_id BLOB NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
    -- Messages of a conversation in their order: the time of the request, then the place in it.
    created_at INTEGER NOT NULL,
    place INTEGER NOT NULL,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    refusal TEXT,
    reasoning TEXT,
    -- Which part of the texts belongs to which content block.
    spans TEXT,
    tool_calls TEXT,
    tool_call_id TEXT,
    usage TEXT,
    status TEXT NOT NULL,
    finish_reason TEXT,
    error TEXT,
    provider TEXT,
    model TEXT,
    metadata TEXT,
    timing TEXT,
    first_sync_id INTEGER,
    last_sync_id INTEGER,
    ended_at INTEGER
);

CREATE INDEX messages_by_conversation ON messages (conversation_id, created_at, place);
CREATE INDEX messages_by_generation ON messages (generation_id);

CREATE TABLE event_batches (
    conversation_id BLOB NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    to_sync_id INTEGER NOT NULL,
    from_sync_id INTEGER NOT NULL,
    message_id BLOB NOT NULL,
    -- NULL for a message that a client sent.
    generation_id BLOB,
    -- Native frames, as they went to the clients.
    frames BLOB NOT NULL,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, to_sync_id)
);
