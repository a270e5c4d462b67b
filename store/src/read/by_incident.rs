//! Reading what belongs to incidents: of each the same bounded number of rows, in one statement.

use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::View;
use crate::Error;

/// Most rows of one incident that are shown.
const MOST: i64 = 500;

/// A table whose rows belong to incidents, as it is read.
pub(super) struct ByIncident {
    pub columns: &'static str,
    /// The table, and what is asked of its rows besides.
    pub from: &'static str,
    /// The order in which the first 500 of each incident are taken.
    pub taken: &'static str,
    /// The order in which those of all incidents are shown, of `r`.
    pub shown: &'static str,
    /// What is attempted, for the error.
    pub doing: &'static str,
}

impl View {
    /// The rows of these incidents of `project`.
    pub(super) async fn of_incidents(
        &mut self,
        read: &ByIncident,
        project: &str,
        incidents: &[Uuid],
    ) -> Result<Vec<PgRow>, Error> {
        let ByIncident { columns, from, taken, shown, doing } = read;
        let sql = format!(
            "select r.* from unnest($4::uuid[]) u(id) cross join lateral \
               (select {columns} from {from} and generation = $1 and project = $2 \
                 and ($3::text[] is null or project = any($3)) and incident = u.id \
                 order by {taken} limit $5) r \
             order by {shown}"
        );
        // Made of constants of this folder.
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.generation)
            .bind(project)
            .bind(&self.projects)
            .bind(incidents)
            .bind(MOST)
            .fetch_all(&mut *self.transaction)
            .await
            .map_err(Error::doing(doing))
    }
}
