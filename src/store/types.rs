//! SQL types that mean the same on every database: ids, times and JSON.
//!
//! Each has one marker type, one `table!` for all databases refers to it, and each database says how it keeps it.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::query_builder::QueryId;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{BigInt, Binary, SqlType, Text};
use diesel::sqlite::Sqlite;
use uuid::Uuid;

use crate::event::{ConversationId, GenerationId, MessageId};

/// SQL: a UUID. On SQLite, a BLOB of 16 bytes.
#[derive(SqlType, QueryId, Clone, Copy)]
#[diesel(sqlite_type(name = "Binary"))]
pub struct SqlId;

/// SQL: a point in time. On SQLite, an INTEGER of microseconds since the epoch.
#[derive(SqlType, QueryId, Clone, Copy)]
#[diesel(sqlite_type(name = "Long"))]
pub struct SqlTime;

/// SQL: a JSON document. On SQLite, TEXT.
#[derive(SqlType, QueryId, Clone, Copy)]
#[diesel(sqlite_type(name = "Text"))]
pub struct SqlJson;

/// An id in a row.
#[derive(AsExpression, FromSqlRow, Clone, Copy, PartialEq, Eq, Debug)]
#[diesel(sql_type = SqlId)]
pub struct Id(pub Uuid);

/// A point in time in a row: microseconds since the epoch, UTC.
#[derive(AsExpression, FromSqlRow, Clone, Copy, PartialEq, Eq, Debug)]
#[diesel(sql_type = SqlTime)]
pub struct TimeUs(pub i64);

/// A JSON document in a row, already serialised.
#[derive(AsExpression, FromSqlRow, Clone, PartialEq, Eq, Debug)]
#[diesel(sql_type = SqlJson)]
pub struct JsonText(pub String);

macro_rules! id_conversions {
    ($($id:ident),*) => { $(
        impl From<$id> for Id {
            fn from(id: $id) -> Self {
                Id(id.uuid())
            }
        }
        impl From<Id> for $id {
            fn from(id: Id) -> Self {
                $id::from_uuid(id.0)
            }
        }
    )* };
}

id_conversions!(ConversationId, GenerationId, MessageId);

impl ToSql<SqlId, Sqlite> for Id {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(&self.0.as_bytes()[..]);
        Ok(IsNull::No)
    }
}

impl FromSql<SqlId, Sqlite> for Id {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let bytes = <Vec<u8> as FromSql<Binary, Sqlite>>::from_sql(value)?;
        Ok(Id(Uuid::from_slice(&bytes)?))
    }
}

impl ToSql<SqlTime, Sqlite> for TimeUs {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0);
        Ok(IsNull::No)
    }
}

impl FromSql<SqlTime, Sqlite> for TimeUs {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        <i64 as FromSql<BigInt, Sqlite>>::from_sql(value).map(TimeUs)
    }
}

impl ToSql<SqlJson, Sqlite> for JsonText {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.as_str());
        Ok(IsNull::No)
    }
}

impl FromSql<SqlJson, Sqlite> for JsonText {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        <String as FromSql<Text, Sqlite>>::from_sql(value).map(JsonText)
    }
}
