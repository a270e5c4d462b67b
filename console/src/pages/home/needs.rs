//! What needs somebody, most needed first, and the one sentence.

use schemas::Time;

use super::{
    NEEDS, RiskMark, Scope, Snapshot,
    problems::cut,
    proof::{Proof, SourceState},
};
use crate::pages::{
    text::{self, Html},
    words::Words,
};

/// One thing that needs somebody.
#[derive(Debug)]
pub struct Need {
    /// The row's id.
    pub id: String,
    pub risk: RiskMark,
    pub what: Html,
    pub detail: Html,
    pub age: Option<Html>,
    /// Where it is shown whole.
    pub link: Option<String>,
}

/// All that needs somebody.
#[derive(Debug)]
pub struct Needs {
    pub count: i64,
    pub oldest: Option<Time>,
    pub shown: Vec<Need>,
    pub more: Option<Html>,
    /// Open incidents among `count`.
    incidents: i64,
}

impl Needs {
    pub(super) fn new(
        snapshot: &Snapshot,
        scope: &Scope,
        proof: &Proof,
        words: &'static Words,
    ) -> Self {
        let now = snapshot.now;
        let urgent =
            || snapshot.open.iter().filter(|(risk, _, _)| risk == "CRITICAL" || risk == "HIGH");
        let incidents: i64 = urgent().map(|(_, open, _)| open).sum();
        let mut oldest = urgent().map(|(_, _, oldest)| *oldest).min();
        let mut waits = |since: Time| oldest = Some(oldest.map_or(since, |o| o.min(since)));

        let mut faults = Vec::new();
        let mut fault = |id: String, risk: &str, what, detail: String, since: Option<Time>| {
            faults.push(Need {
                id,
                risk: RiskMark::of(risk, words),
                what,
                detail: Html::text(&detail),
                age: since.map(|at| Html::age(at, now, words)),
                link: None,
            });
        };
        for (stage, lanes, since) in &proof.still {
            waits(*since);
            let what = Html::fill(words.need_still, &[("what", Html::text(stage))]);
            let hint = words.need_still_hint.replace("{n}", &lanes.to_string());
            fault(format!("n-still-{stage}"), "HIGH", what, hint, Some(*since));
        }
        for lane in proof.ledger.iter().flat_map(|l| &l.lanes).filter(|l| l.difference != 0) {
            let slots = [
                ("what", Html::text(&lane.lane.to_string())),
                ("n", Html::text(&text::thousands(lane.difference))),
            ];
            let what = Html::fill(words.need_ledger, &slots);
            let hint = words.need_ledger_hint.to_owned();
            fault(format!("n-ledger-{}", lane.lane), "HIGH", what, hint, None);
        }
        for parked in &snapshot.parked {
            waits(parked.oldest);
            let slots = [("n", Html::number(parked.records)), ("what", Html::text(&parked.stage))];
            let what = Html::fill(words.need_parked, &slots);
            let hint = words.need_parked_hint.to_owned();
            fault(format!("n-parked-{}", parked.stage), "HIGH", what, hint, Some(parked.oldest));
        }
        // On a first run nothing is missing yet: the page says what it waits for.
        let heard_of = proof.sources.iter().filter(|_| !snapshot.heard.is_empty());
        for source in heard_of.filter(|s| s.state != SourceState::Fresh) {
            let silent = source.state == SourceState::Silent;
            if let Some(at) = source.last_at {
                waits(at);
            }
            let name = if scope.many() {
                format!("{} ({})", source.provider, source.project)
            } else {
                source.provider.clone()
            };
            let what = if silent {
                Html::fill(words.need_silent, &[("what", Html::text(&name))])
            } else {
                Html::text(&format!("{name}: {}", words.never))
            };
            let risk = if silent { "HIGH" } else { "MEDIUM" };
            fault(
                format!("n-source-{}", source.key),
                risk,
                what,
                source.hint.clone(),
                source.last_at,
            );
        }

        let count = incidents + faults.len() as i64;
        let room = NEEDS - faults.len().min(NEEDS / 2);
        let mut shown: Vec<Need> = snapshot
            .urgent
            .iter()
            .take(room)
            .map(|p| {
                let place = p.facts.culprit.as_deref().or(p.facts.target.as_deref());
                let detail = match place {
                    Some(place) if scope.many() => format!("{place} · {}", p.project),
                    Some(place) => place.to_owned(),
                    None if scope.many() => p.project.clone(),
                    None => p.facts.provider.clone(),
                };
                Need {
                    id: format!("n-{}", p.incident),
                    risk: RiskMark::of(&p.risk, words),
                    what: Html::foreign(cut(&p.facts.title)),
                    detail: Html::foreign(cut(&detail)),
                    age: Some(Html::age(p.opened_at, now, words)),
                    link: Some(format!("#i-{}", p.incident)),
                }
            })
            .collect();
        let left = incidents - shown.len() as i64;
        shown.extend(faults);
        let more = (left > 0).then(|| Html::fill(words.more_below, &[("n", Html::number(left))]));
        Self { count, oldest, shown, more, incidents }
    }
}

/// The one sentence: how much needs somebody; or that nothing does, beside its proof; or what is
/// missing of the proof.
pub(super) fn sentence(
    needs: &Needs,
    proof: &Proof,
    first_run: bool,
    now: Time,
    words: &'static Words,
) -> Html {
    if needs.count == 0 && first_run {
        return Html::text(words.first_run);
    }
    let sources = [
        ("n", Html::text(&proof.heard_count.to_string())),
        ("all", Html::text(&proof.sources.len().to_string())),
    ];
    if needs.count == 0 && proof.holds() {
        let [n, all] = sources;
        let last = proof.last_event.map_or_else(Html::default, Html::clock);
        let whole = format!("{} {}", words.nothing, words.proof);
        return Html::fill(&whole, &[n, all, ("t", last)]);
    }
    if needs.incidents == 0 {
        let what = if !proof.still.is_empty() {
            Html::text(words.proof_still)
        } else if proof.ledger.as_ref().is_none_or(|l| !l.balanced) {
            Html::text(words.proof_ledger)
        } else if let Some(parked @ 1..) = proof.parked {
            Html::fill(words.proof_parked, &[("n", Html::text(&text::thousands(parked)))])
        } else {
            let silent = (proof.sources.len() - proof.heard_count).to_string();
            let [_, all] = sources;
            Html::fill(words.proof_silent, &[("n", Html::text(&silent)), all])
        };
        return Html::fill(words.no_incidents, &[("what", what)]);
    }
    let n = Html::lead(needs.count);
    match needs.oldest {
        None => Html::fill(words.need_no_age, &[("n", n)]),
        Some(at) => {
            let message = if needs.count == 1 { words.need_one } else { words.need_many };
            Html::fill(message, &[("n", n), ("t", Html::age(at, now, words))])
        }
    }
}
