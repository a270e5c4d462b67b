//! The console's queries: tables only, one file per subject.
//!
//! Every query belongs to a [`View`]: one snapshot of the active generation, narrowed to the
//! projects its caller may see. There is no other way in, so no query can forget the filter.

pub mod action;
mod by_incident;
pub mod coverage;
pub mod delivery;
pub mod event;
pub mod home;
pub mod incident;
pub mod recurrence;
pub mod silence;
pub mod triage;
pub mod why;

use schemas::ProjectId;
use sqlx::{Postgres, Transaction};

use crate::{Error, Store};

/// The projects a caller may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visible {
    Everything,
    Projects(Vec<ProjectId>),
}

impl Visible {
    /// Whether `project` is one of them.
    pub fn contains(&self, project: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Projects(projects) => projects.iter().any(|p| p.as_str() == project),
        }
    }
}

/// One snapshot of the active generation's read models, as one caller may see them.
#[derive(Debug)]
pub struct View {
    transaction: Transaction<'static, Postgres>,
    generation: i32,
    /// For `project = any($n)`; absent means no filter.
    projects: Option<Vec<String>>,
}

impl Store {
    /// Opens a snapshot for a caller who may see `visible`.
    pub async fn view(&self, visible: &Visible) -> Result<View, Error> {
        let mut transaction = self
            .pool()
            .begin_with("begin isolation level repeatable read read only")
            .await
            .map_err(Error::doing("begin to read"))?;
        let generation =
            sqlx::query_scalar("select generation from generation where state = 'active'")
                .fetch_one(&mut *transaction)
                .await
                .map_err(Error::doing("look for the active generation"))?;
        let projects = match visible {
            Visible::Everything => None,
            Visible::Projects(projects) => {
                Some(projects.iter().map(|p| p.as_str().to_owned()).collect())
            }
        };
        Ok(View { transaction, generation, projects })
    }
}
