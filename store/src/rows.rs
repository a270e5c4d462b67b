//! A batch of rows as one parameter: an array of a composite type.
//!
//! An array per column is cut up by Postgres column by column, each into a store of its own; for
//! the wide rows of the read models that is two thirds of what an insert costs. A composite type
//! costs as much as `COPY` does, and takes part in any statement. The types stand in the
//! migrations; a row of another shape is a new type, because older binaries may still write the
//! old one. Postgres checks number and types of the fields of every row it is given.

use sqlx::{
    Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{
        PgArgumentBuffer, PgHasArrayType, PgTypeInfo,
        types::{Oid, PgRecordEncoder},
    },
};

/// A row that is a value of a composite type.
pub(crate) trait Row {
    /// Name of the type.
    const TYPE: &'static str;

    /// Writes the fields in the order of the type.
    fn put(&self, to: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError>;
}

/// A row as a bind parameter.
pub(crate) struct Composite<'r, R>(&'r R);

/// Rows as one bind parameter, for `unnest`.
pub(crate) fn composites<'r, R>(rows: impl IntoIterator<Item = &'r R>) -> Vec<Composite<'r, R>> {
    rows.into_iter().map(Composite).collect()
}

impl<R: Row> Type<Postgres> for Composite<'_, R> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name(R::TYPE)
    }
}

impl<R: Row> PgHasArrayType for Composite<'_, R> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::array_of(R::TYPE)
    }
}

impl<R: Row> Encode<'_, Postgres> for Composite<'_, R> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let mut record = PgRecordEncoder::new(buffer);
        self.0.put(&mut record)?;
        record.finish();
        Ok(IsNull::No)
    }
}

/// JSON text as a value of type `jsonb`.
pub(crate) struct JsonText(pub String);

impl Type<Postgres> for JsonText {
    fn type_info() -> PgTypeInfo {
        /// Of `jsonb`, in every server: `pg_type.dat`.
        const JSONB: Oid = Oid(3802);
        PgTypeInfo::with_oid(JSONB)
    }
}

impl Encode<'_, Postgres> for JsonText {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        /// The one version there is of the binary form.
        const VERSION: u8 = 1;
        buffer.push(VERSION);
        buffer.extend(self.0.as_bytes());
        Ok(IsNull::No)
    }
}
