//! Answers that the log says already: nobody is asked for them again (I7).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use eventlog::Log;
use lanes::job::Job;
use schemas::{
    Lane, LaneKey, codec,
    job::{AnswerResult, TriageJob},
    subject::{Class, deliveries, deliveries_stream},
};
use store::{Store, recorded::RecordedAnswer};
use tokio::time::{Instant, sleep};

use super::Kept;

/// How long a job waits at once for observe to catch up, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);

/// What was answered before.
pub(super) struct Past {
    store: Store,
    log: Arc<dyn Log>,
    ends: Mutex<HashMap<Lane, End>>,
}

/// What the log of a lane said when this process first met it.
#[derive(Clone, Copy, Debug)]
struct End {
    /// Incarnation and sequence of the last frame.
    at: (i64, u64),
    /// All of it is in the tables.
    known: bool,
}

impl Past {
    pub(super) fn new(store: Store, log: Arc<dyn Log>) -> Self {
        Self { store, log, ends: Mutex::default() }
    }

    /// Whether every answer that stood in the log of the job's lane when this process began is in the
    /// tables; else why not, after a while.
    ///
    /// Where the tables are made anew from the log, a job is made of an alert whose answer stands
    /// further on: it must not be asked for before observe has come there. What is triggered behind
    /// the end of then can have no answer but one that stands in its row.
    pub(super) async fn caught_up(&self, job: &Job) -> Result<Result<(), String>, store::Error> {
        let began = Instant::now();
        let end = match self.end(job.lane).await {
            Ok(end) => end,
            Err(reason) => return Ok(Err(reason)),
        };
        let trigger = job.trigger.input;
        if end.known || (trigger.incarnation, trigger.sequence) > end.at {
            return Ok(Ok(()));
        }
        while self.store.observed_through(job.lane).await? < Some(end.at) {
            if began.elapsed() >= PATIENCE {
                let reason = "observe is still on its way to what the log said at the start";
                return Ok(Err(reason.to_owned()));
            }
            sleep(LOOK).await;
        }
        self.ends().insert(job.lane, End { known: true, ..end });
        Ok(Ok(()))
    }

    /// The answer to be given again: that of one of these prompts and models, else the first.
    /// In one generation only the first of a reason ever took effect, whatever was asked of whom.
    pub(super) async fn answer(
        &self,
        asked: &TriageJob,
        prompts: &[&str],
        models: &[&str],
    ) -> Result<Option<Kept>, store::Error> {
        let answers = self.store.recorded_answers(asked.opening, &asked.reason).await?;
        let Some(answer) = choose(&answers, prompts, models) else { return Ok(None) };
        let result: AnswerResult =
            codec::decode("recorded answer", &answer.result).map_err(|e| store::Error::Column {
                table: "answer",
                column: "result",
                detail: e.to_string(),
            })?;
        let kept = Kept::new(result, answer.prompt.clone(), String::new());
        Ok(Some(Kept { found_at: Some(answer.at.whole().to_string()), ..kept }))
    }

    async fn end(&self, lane: Lane) -> Result<End, String> {
        if let Some(end) = self.ends().get(&lane) {
            return Ok(*end);
        }
        let namespace = self.log.namespace();
        let stream = deliveries_stream(namespace);
        let subject = deliveries(namespace, LaneKey::Lane(lane), Class::Data);
        let failed = |e| format!("the log: {e}");
        let incarnation = self.log.info(&stream).await.map_err(failed)?.incarnation;
        let last = self.log.last(&stream, &subject).await.map_err(failed)?;
        let sequence = last.map_or(0, |message| message.sequence);
        let end = End { at: (incarnation, sequence), known: sequence == 0 };
        // Another job may have been quicker; the earlier end is as good.
        Ok(*self.ends().entry(lane).or_insert(end))
    }

    // A panic while the lock is held cannot leave the map half written.
    fn ends(&self) -> MutexGuard<'_, HashMap<Lane, End>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn choose<'a>(
    answers: &'a [RecordedAnswer],
    prompts: &[&str],
    models: &[&str],
) -> Option<&'a RecordedAnswer> {
    let same = |a: &&RecordedAnswer| {
        prompts.contains(&a.prompt.as_str()) && models.contains(&a.model.as_str())
    };
    answers.iter().find(same).or_else(|| answers.first())
}

#[cfg(test)]
mod tests {
    use schemas::{InputPosition, ProjectId};

    use super::*;

    #[test]
    fn i7_the_same_prompt_and_model_come_before_what_came_first() {
        let answer = |sequence, prompt: &str, model: &str| RecordedAnswer {
            project: ProjectId::new("shop").unwrap(),
            opening: "1-2-0-0".parse().unwrap(),
            reason: "open".into(),
            prompt: prompt.into(),
            model: model.into(),
            at: InputPosition { incarnation: 1, sequence, record: 0 },
            result: Vec::new(),
        };
        let answers = [answer(3, "", ""), answer(4, "p1", "m1"), answer(5, "p2", "m1")];
        let chosen =
            |prompt, models: &[&str]| choose(&answers, &[prompt], models).unwrap().at.sequence;
        assert_eq!(chosen("p1", &["m0", "m1"]), 4);
        assert_eq!(chosen("p2", &["m1"]), 5);
        assert_eq!(chosen("p2", &["m2"]), 3);
        assert_eq!(choose(&[], &["p1"], &["m1"]), None);
    }
}
