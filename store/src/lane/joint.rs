//! The writes of a batch, as one statement.
//!
//! Under a trickle a batch is a handful of rows for each of half a dozen tables, and costs what the
//! round trips cost. Writes that do not look at each other's rows are parts of one `with`, and one
//! statement is a transaction by itself.

use sqlx::{
    Arguments, AssertSqlSafe, Encode, PgConnection, Postgres, Type,
    error::{BoxDynError, DatabaseError},
    postgres::PgArguments,
};

use crate::Error;

/// Writes that are still to be made. All of them see the tables as they are before the first, so
/// no two may write the same table.
#[derive(Debug, Default)]
pub(super) struct Joint {
    /// `, name as (statement)` of each.
    text: String,
    arguments: PgArguments,
    tables: Vec<&'static str>,
    failed: Option<BoxDynError>,
}

/// A write whose parameters are being given.
pub(crate) struct Part<'j> {
    joint: &'j mut Joint,
}

impl Joint {
    /// Nothing to write yet; `$1` and `$2` of every statement are generation and lane.
    pub fn new(generation: i32, lane: i32) -> Self {
        let mut joint = Self::default();
        Part { joint: &mut joint }.bind(generation).bind(lane);
        joint
    }

    /// Adds a write of `table`. Each `?` in the statement is the next parameter, to be bound in the
    /// order they stand in it.
    pub fn add(&mut self, table: &'static str, statement: &str) -> Part<'_> {
        debug_assert!(!self.tables.contains(&table), "a batch writes {table} twice");
        self.tables.push(table);
        self.text.push_str(", write_");
        self.text.push_str(table);
        self.text.push_str(" as (");
        let mut parameter = self.arguments.len();
        let mut pieces = statement.split('?');
        self.text.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            parameter += 1;
            self.text.push('$');
            self.text.push_str(&parameter.to_string());
            self.text.push_str(piece);
        }
        self.text.push(')');
        Part { joint: self }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Writes it all. With `at`, the (incarnation, sequence) that the batch goes through, the cursor
    /// is among it, and nothing is written unless the cursor moves, from where it was, within what
    /// the generation may fold.
    pub async fn write(
        mut self,
        connection: &mut PgConnection,
        at: Option<(i64, u64)>,
    ) -> Result<(), sqlx::Error> {
        let ending = if let Some((incarnation, sequence)) = at {
            let parameter = self.arguments.len();
            Part { joint: &mut self }.bind(incarnation).bind(sequence as i64);
            format!(
                " select bw_may_commit((select count(*) from write_cursor), h.state, h.frozen_inc, \
                   h.frozen_seq, ${}, ${}) \
                 from (values (1)) as one left join held h on true",
                parameter + 1,
                parameter + 2
            )
        } else {
            " select true".to_owned()
        };
        let text = format!(
            "with held as materialized (select state, frozen_inc, frozen_seq from generation \
               where generation = $1 for share){}{ending}",
            self.text
        );
        match self.failed {
            Some(failed) => Err(sqlx::Error::Encode(failed)),
            // Put together from statements that stand in this crate.
            None => sqlx::query_with(AssertSqlSafe(text), self.arguments)
                .execute(connection)
                .await
                .map(|_| ()),
        }
    }
}

impl Part<'_> {
    /// Gives the next parameter.
    pub fn bind<'t, T>(self, value: T) -> Self
    where
        T: Encode<'t, Postgres> + Type<Postgres>,
    {
        if let Err(error) = self.joint.arguments.add(value) {
            self.joint.failed.get_or_insert(error);
        }
        self
    }
}

/// Why `bw_may_commit` refused, if it did; the codes stand in its migration.
pub(super) fn refusal(error: &sqlx::Error) -> Option<Refusal> {
    match error.as_database_error().and_then(DatabaseError::code)?.as_ref() {
        "BW001" => Some(Refusal::Moved),
        "BW002" => Some(Refusal::Frozen),
        "BW003" => Some(Refusal::Over),
        _ => None,
    }
}

/// Why a batch may not be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The cursor is not where the batch began.
    Moved,
    /// The batch goes beyond where the generation is frozen.
    Frozen,
    /// The generation is not there, or not to be written any more.
    Over,
}

impl Refusal {
    /// The error of a lane's batch.
    pub fn error(self, stage: &str, generation: i32, lane: u16, batch: u64) -> Error {
        match self {
            Self::Moved => Error::NotOwner { stage: stage.to_owned(), lane, batch },
            Self::Frozen => Error::Frozen { generation },
            Self::Over => Error::Generation { generation, state: "not to be written".into() },
        }
    }
}
