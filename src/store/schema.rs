//! The tables, for every database. What each column means stands in the migrations.

use diesel::table;

table! {
    use diesel::sql_types::{BigInt, Nullable, Text};
    use crate::store::types::{SqlId, SqlTime};

    conversations (id) {
        id -> SqlId,
        owner -> Nullable<Text>,
        external_id -> Nullable<Text>,
        external_kind -> Nullable<Text>,
        title -> Nullable<Text>,
        created_at -> SqlTime,
        updated_at -> SqlTime,
        last_sync_id -> BigInt,
        reserved_sync_id -> BigInt,
        trimmed_sync_id -> BigInt,
        owner_node -> Nullable<Text>,
        owner_epoch -> BigInt,
    }
}

table! {
    use diesel::sql_types::{BigInt, Binary, Nullable, Text};
    use crate::store::types::{SqlId, SqlTime};

    generations (id) {
        id -> SqlId,
        conversation_id -> SqlId,
        status -> Text,
        idempotency_key -> Nullable<Text>,
        body_hash -> Binary,
        request_id -> Text,
        created_at -> SqlTime,
        ended_at -> Nullable<SqlTime>,
        last_sync_id -> Nullable<BigInt>,
        task_id -> Nullable<Text>,
    }
}

table! {
    use diesel::sql_types::{BigInt, Integer, Nullable, Text};
    use crate::store::types::{SqlId, SqlJson, SqlTime};

    messages (id) {
        id -> SqlId,
        conversation_id -> SqlId,
        generation_id -> SqlId,
        created_at -> SqlTime,
        place -> Integer,
        role -> Text,
        content -> Text,
        refusal -> Nullable<Text>,
        reasoning -> Nullable<SqlJson>,
        spans -> Nullable<SqlJson>,
        tool_calls -> Nullable<SqlJson>,
        tool_call_id -> Nullable<Text>,
        usage -> Nullable<SqlJson>,
        status -> Text,
        finish_reason -> Nullable<Text>,
        error -> Nullable<SqlJson>,
        provider -> Nullable<Text>,
        model -> Nullable<Text>,
        metadata -> Nullable<SqlJson>,
        timing -> Nullable<SqlJson>,
        first_sync_id -> Nullable<BigInt>,
        last_sync_id -> Nullable<BigInt>,
        ended_at -> Nullable<SqlTime>,
    }
}

table! {
    use diesel::sql_types::{BigInt, Binary, Nullable};
    use crate::store::types::{SqlId, SqlTime};

    event_batches (conversation_id, to_sync_id) {
        conversation_id -> SqlId,
        to_sync_id -> BigInt,
        from_sync_id -> BigInt,
        message_id -> SqlId,
        generation_id -> Nullable<SqlId>,
        frames -> Binary,
        recorded_at -> SqlTime,
    }
}

table! {
    use diesel::sql_types::{BigInt, Text};
    use crate::store::types::SqlTime;

    nodes (name) {
        name -> Text,
        epoch -> BigInt,
        lease_until -> SqlTime,
    }
}

diesel::allow_tables_to_appear_in_same_query!(conversations, generations, nodes);
