//! Who was asked in triage runs, how that ended and what it cost.

use futures_util::future::BoxFuture;
use schemas::event::{Answered, Kind};
use store::{lane::LaneTransaction, projection::analyst_call::AnalystCallRow};

use super::{
    Concerned, Projection,
    diagnosis::{ANSWERED, prompt_of},
};

/// One row an analyst that was asked.
pub struct AnalystCall;

impl Projection for AnalystCall {
    fn name(&self) -> &'static str {
        "analyst_call"
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        events: &'a [Concerned],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            let rows: Vec<_> = events.iter().flat_map(rows).collect();
            transaction.insert_analyst_calls(&rows);
            Ok(())
        })
    }
}

fn rows(concerned: &Concerned) -> Vec<AnalystCallRow<'_>> {
    match &concerned.event.kind {
        Kind::Answered(answered) => calls(concerned, answered),
        Kind::Opened(_)
        | Kind::Repeated(_)
        | Kind::Resolved(_)
        | Kind::Suppressed(_)
        | Kind::Stale(_)
        | Kind::Ticked
        | Kind::RulesChanged(_)
        | Kind::Escalated(_)
        | Kind::Expired(_)
        | Kind::Applied(_)
        | Kind::Refused(_)
        | Kind::SilenceChanged(_)
        | Kind::Asked(_)
        | Kind::Tested(_)
        | Kind::Observed(_)
        | Kind::Settled(_)
        | Kind::Sent(_)
        | Kind::Planned(_)
        | Kind::Withheld(_) => Vec::new(),
    }
}

fn calls<'a>(concerned: &'a Concerned, answered: &'a Answered) -> Vec<AnalystCallRow<'a>> {
    let result = &answered.result;
    // Answers of before say what all of it took, which is what the only one took.
    let alone = result.attempts.len() == 1;
    let row = |(ordinal, (analyst, end)): (usize, &'a (String, String))| {
        let usage = result.usage.iter().find(|usage| usage.analyst == *analyst);
        let said = result.analysis.as_ref().filter(|_| end == ANSWERED);
        let model = usage
            .and_then(|usage| usage.model.as_deref())
            .or_else(|| said.and_then(|analysis| analysis.model.as_deref()));
        AnalystCallRow {
            project: &concerned.project,
            run: answered.job,
            ordinal,
            analyst,
            model,
            prompt: prompt_of(answered, model),
            result: name(end),
            calls: usage.map_or(0, |usage| usage.calls),
            tokens_in: usage.map_or(0, |usage| usage.tokens_in),
            tokens_out: usage.map_or(0, |usage| usage.tokens_out),
            cost_micros: usage.map_or(0, |usage| usage.cost_micros),
            latency_ms: usage.map(|usage| usage.latency_ms).or(alone.then_some(result.latency_ms)),
            at: concerned.event.lane_time,
        }
    };
    result.attempts.iter().enumerate().map(row).collect()
}

/// The name of an end: what stands before the particulars.
pub fn name(end: &str) -> &str {
    end.split(':').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn a_failure_has_its_name_without_the_particulars() {
        for (end, expect) in [
            ("answered", "answered"),
            ("status 500", "status 500"),
            ("timeout after 60 s", "timeout after 60 s"),
            ("not reached: dns error: no such host", "not reached"),
            ("", ""),
        ] {
            assert_eq!(name(end), expect);
        }
    }
}
