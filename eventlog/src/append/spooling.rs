//! The appender of those who only need a record to be durable.

use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use schemas::{LaneKey, Record, subject::Class};

use super::{AppendError, Appender, AppenderConfig, Durable};
use crate::{Log, Spool};

/// Appends records to the input log or, while it does not take them, to a spool. Clones share the
/// queues.
#[derive(Clone, Debug)]
pub struct SpoolingAppender(Appender);

impl SpoolingAppender {
    /// An appender, and its driver. The driver does the work while it is polled, publishing what is
    /// spooled included, and ends when all handles are dropped and everybody who waited was
    /// answered; what waits in the spool then stays there. Without a spool it is an [`Appender`].
    pub fn start(
        log: Arc<dyn Log>,
        config: AppenderConfig,
        spool: Option<Spool>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (appender, writers) = Appender::start_with(log.clone(), config, spool.clone());
        let driver = async move {
            // Only what was woken is polled: an idle spool costs the writers nothing.
            let mut parts = FuturesUnordered::from_iter([writers.boxed()]);
            parts.extend(spool.map(|spool| spool.run(log).boxed()));
            parts.next().await;
        };
        (Self(appender), driver)
    }

    /// Appends one record and waits until it is durable.
    ///
    /// Once polled, the record is on its way: dropping the future does not take it back.
    ///
    /// # Errors
    /// See [`AppendError`]; after [`AppendError::Unknown`] the record may stand in the log, or still
    /// get there.
    pub async fn append(
        &self,
        lane: LaneKey,
        class: Class,
        record: Record,
    ) -> Result<Durable, AppendError> {
        self.0.append_somewhere(lane, class, record).await
    }
}
