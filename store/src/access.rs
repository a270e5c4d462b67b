//! Tokens that receivers grant, one for all processes (R39): who asks for the next one, and what
//! was granted last.
//!
//! Whoever claims a row asks; the others wait for what comes of it. The tokens are sealed before
//! they come here.

use std::time::Duration;

use sqlx::FromRow;
use uuid::Uuid;

use crate::{Error, Store};

/// Rows that nobody used for this long go: their credentials are not configured any more.
const KEPT_SECONDS: f64 = 7.0 * 86_400.0;

/// What whoever needs a token has to do.
#[derive(Clone, PartialEq, Eq)]
pub enum Access {
    /// Use this one, as long as `left`. `turn` names it.
    Granted { sealed: Vec<u8>, turn: i64, left: Duration },
    /// Ask for one, and say under `claim` what came of it.
    Ask { claim: Uuid, failures: u32 },
    /// Look again: somebody asks. After `left` they are lost.
    Asked { left: Duration },
    /// Do not ask for so long.
    Quiet { left: Duration },
}

#[derive(FromRow)]
struct Row {
    turn: i64,
    sealed: Option<Vec<u8>>,
    usable: f64,
    asked: bool,
    quiet: f64,
}

impl Store {
    /// What to do for a token of `app`, needed by channel `target`. `refused` is the turn of one
    /// that the receiver does not take any more. Whoever is to ask has `lease` to do it.
    pub async fn access(
        &self,
        app: Uuid,
        target: &str,
        refused: Option<i64>,
        lease: Duration,
    ) -> Result<Access, Error> {
        let claimed: Option<(Uuid, i32)> = sqlx::query_as(
            "insert into access as a (app, target, claim, quiet_until)
             values ($1, $2, gen_random_uuid(), clock_timestamp() + make_interval(secs => $4))
             on conflict (app) do update
             set target = excluded.target, claim = excluded.claim,
                 quiet_until = excluded.quiet_until
             where a.quiet_until <= clock_timestamp()
               and (a.use_until <= clock_timestamp() or a.turn = $3)
             returning claim, failures",
        )
        .bind(app)
        .bind(target)
        .bind(refused)
        .bind(lease.as_secs_f64())
        .fetch_optional(self.pool())
        .await
        .map_err(Error::doing("claim to ask for a token"))?;
        if let Some((claim, failures)) = claimed {
            return Ok(Access::Ask { claim, failures: failures.unsigned_abs() });
        }
        let row: Option<Row> = sqlx::query_as(
            "select turn, sealed, claim is not null as asked,
                    extract(epoch from greatest(use_until, clock_timestamp())
                                       - clock_timestamp())::float8 as usable,
                    extract(epoch from greatest(quiet_until, clock_timestamp())
                                       - clock_timestamp())::float8 as quiet
             from access where app = $1",
        )
        .bind(app)
        .fetch_optional(self.pool())
        .await
        .map_err(Error::doing("read a token"))?;
        // What changed between the two statements is seen at the next look.
        let soon = Access::Asked { left: Duration::ZERO };
        let Some(row) = row else { return Ok(soon) };
        let left = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Ok(match row {
            Row { sealed: Some(sealed), turn, usable, .. }
                if usable > 0.0 && Some(turn) != refused =>
            {
                Access::Granted { sealed, turn, left: left(usable) }
            }
            Row { asked: true, quiet, .. } => Access::Asked { left: left(quiet) },
            Row { quiet, .. } if quiet > 0.0 => Access::Quiet { left: left(quiet) },
            Row { .. } => soon,
        })
    }

    /// Keeps what was granted to whoever claimed to ask; returns its turn. None: the claim was lost
    /// meanwhile, and another one's grant stands or will.
    pub async fn grant_access(
        &self,
        app: Uuid,
        claim: Uuid,
        sealed: &[u8],
        use_for: Duration,
    ) -> Result<Option<i64>, Error> {
        sqlx::query_scalar(
            "with forgotten as (
                 delete from access
                 where app <> $1
                   and greatest(use_until, quiet_until)
                       < clock_timestamp() - make_interval(secs => $5))
             update access
             set sealed = $3, turn = turn + 1, claim = null, failures = 0,
                 use_until = clock_timestamp() + make_interval(secs => $4),
                 quiet_until = '-infinity'
             where app = $1 and claim = $2
             returning turn",
        )
        .bind(app)
        .bind(claim)
        .bind(sealed)
        .bind(use_for.as_secs_f64())
        .bind(KEPT_SECONDS)
        .fetch_optional(self.pool())
        .await
        .map_err(Error::doing("keep a token"))
    }

    /// Says that none was granted, and for how long nobody is to ask.
    pub async fn deny_access(&self, app: Uuid, claim: Uuid, quiet: Duration) -> Result<(), Error> {
        sqlx::query(
            "update access
             set claim = null, failures = failures + 1,
                 quiet_until = clock_timestamp() + make_interval(secs => $3)
             where app = $1 and claim = $2",
        )
        .bind(app)
        .bind(claim)
        .bind(quiet.as_secs_f64())
        .execute(self.pool())
        .await
        .map_err(Error::doing("put off asking for a token"))?;
        Ok(())
    }
}
