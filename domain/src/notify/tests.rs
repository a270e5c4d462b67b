use schemas::{
    Event, EventId, Facts, Fingerprint, IncidentId, InputPosition, JobId, Level, Position,
    ProjectId, SourceId, Status, Time,
    alert::Risk,
    event::{
        Answered, Applied, Cause, EVENT_VERSION, Expired, IncidentState, Kind, Opened, Repeated,
        Resolved, Stale,
    },
    job::AnswerResult,
    record::RulesDocument,
};
use uuid::Uuid;

use super::*;

fn facts(provider: &str, title: &str) -> Facts {
    Facts {
        level: Some(Level::Error),
        ..Facts::new(provider, SourceId::new("main").unwrap(), title, Status::Firing)
    }
}

mod deciding {
    use super::*;

    fn incident(n: u128) -> IncidentId {
        IncidentId(Uuid::from_u128(n))
    }

    fn at(sequence: u64) -> Position {
        InputPosition { incarnation: 7, sequence, record: 0 }.alert(0)
    }

    fn event(sequence: u64, kind: Kind) -> Event {
        Event {
            version: EVENT_VERSION,
            id: EventId(Uuid::from_u128(u128::from(sequence))),
            at: at(sequence),
            lane_time: Time::from_micros(sequence as i64),
            project: Some(ProjectId::new("shop").unwrap()),
            rules: "observed".into(),
            kind,
        }
    }

    fn fingerprint() -> Fingerprint {
        Fingerprint(Uuid::from_u128(9))
    }

    fn opened(n: u128) -> Kind {
        Kind::Opened(Box::new(Opened {
            incident: incident(n),
            fingerprint: fingerprint(),
            cause: Cause::New,
            episode: 1,
            risk: Risk::Critical,
            facts: facts("sentry", "boom"),
            rule: None,
            frequency: None,
            raised_by: None,
            flapping: None,
            channel: None,
        }))
    }

    fn repeated(n: u128) -> Kind {
        Kind::Repeated(Repeated {
            incident: incident(n),
            fingerprint: fingerprint(),
            opening: at(1),
            occurrences: 2,
            frequency: None,
        })
    }

    fn over(n: u128) -> Box<Resolved> {
        Box::new(Resolved {
            incident: incident(n),
            fingerprint: fingerprint(),
            opening: at(1),
            occurrences: 2,
            facts: facts("sentry", "boom"),
            flapping: None,
        })
    }

    fn answered(n: u128) -> Kind {
        Kind::Answered(Box::new(Answered {
            incident: incident(n),
            opening: at(1),
            job: JobId(Uuid::from_u128(1)),
            reason: "open".into(),
            prompt: "p".into(),
            result: AnswerResult { analysis: None, attempts: vec![], latency_ms: 0 },
        }))
    }

    fn apply(state: &mut State, event: Event) -> Decided {
        decide(state, &prepare(event).unwrap())
    }

    fn new_rules(text: &str) -> Kind {
        Kind::RulesChanged(Some(Box::new(RulesDocument {
            hash: Rules::parse(text).unwrap().hash().to_owned(),
            text: text.to_owned(),
            operator: "ada".into(),
        })))
    }

    /// Given the events before, when the last one comes, then exactly these words are noted.
    fn check(events: Vec<Kind>, expect: &[&str]) -> (State, Decided) {
        let mut state = State::default();
        let mut last = Decided::default();
        for (i, kind) in events.into_iter().enumerate() {
            // The state survives being stored at any point.
            state = State::decode(&state.encode()).unwrap();
            last = apply(&mut state, event(i as u64 + 1, kind));
        }
        let words: Vec<String> = last
            .notices
            .iter()
            .map(|notice| match &notice.kind {
                Kind::Planned(p) => format!("{} to {} by {}", p.kind.word(), p.receiver, p.rule),
                Kind::Withheld(w) => format!("{} by {}", w.reason, w.rule),
                other => panic!("not a notice: {other:?}"),
            })
            .collect();
        assert_eq!(words, expect);
        (state, last)
    }

    #[test]
    fn b2_an_opened_incident_is_planned_with_its_rule() {
        let (state, last) = check(vec![opened(1)], &["fire to default by everything"]);
        assert_eq!(state.open(), 1);
        assert!(last.changed);
        let plan = &last.plans[0];
        assert_eq!((plan.opening, plan.trigger, plan.risk), (at(1), at(1), Risk::Critical));
        assert_eq!(plan.rules, Rules::builtin().hash());
        assert_eq!(last.notices[0].rules, Rules::builtin().hash());
    }

    #[test]
    fn b2_a_route_that_tells_nobody_says_so() {
        let rules = "[[defaults.routes]]\nname = \"quiet\"\nreceivers = []";
        let mut state = State::default();
        apply(&mut state, event(1, new_rules(rules)));
        let fired = apply(&mut state, event(2, opened(1)));
        let over = apply(&mut state, event(3, Kind::Resolved(over(1))));
        for (decided, reason) in [(fired, "no_receiver"), (over, "resolve_without_fire")] {
            assert!(decided.plans.is_empty());
            let [notice] = decided.notices.as_slice() else { panic!("{decided:?}") };
            let Kind::Withheld(withheld) = &notice.kind else { panic!("{notice:?}") };
            assert_eq!((withheld.reason.as_str(), withheld.rule.as_str()), (reason, "quiet"));
        }
    }

    #[test]
    fn b2_a_repeat_is_withheld_and_says_so() {
        let (_, last) = check(vec![opened(1), repeated(1)], &["repeat by everything"]);
        assert!(last.plans.is_empty() && !last.changed);
    }

    #[test]
    fn a8_a_resolve_follows_its_fire_and_is_forgotten() {
        let (state, last) =
            check(vec![opened(1), Kind::Resolved(over(1))], &["resolve to default by everything"]);
        assert_eq!(state, State::default());
        let plan = &last.plans[0];
        assert_eq!((plan.opening, plan.trigger, plan.risk), (at(1), at(2), Risk::Critical));
    }

    #[test]
    fn a8_no_resolve_without_a_fire() {
        let (_, last) = check(vec![Kind::Resolved(over(1))], &["resolve_without_fire by none"]);
        assert!(last.plans.is_empty());
        check(
            vec![opened(1), Kind::Resolved(over(1)), Kind::Resolved(over(1))],
            &["resolve_without_fire by none"],
        );
    }

    #[test]
    fn r4_what_the_sender_ignores_is_withheld_and_closed() {
        let (state, _) = check(
            vec![opened(1), Kind::Suppressed(over(1))],
            &["suppressed_at_sender by everything"],
        );
        assert_eq!(state.open(), 0);
    }

    fn applied(before: IncidentState, after: IncidentState) -> Kind {
        Kind::Applied(Box::new(Applied {
            incident: incident(1),
            fingerprint: fingerprint(),
            opening: at(1),
            verb: "a verb".into(),
            actor: "ada".into(),
            auth_method: "api_key".into(),
            before,
            after,
            changed: before != after,
            arguments: "{}".into(),
            triage: None,
            reply: None,
        }))
    }

    #[test]
    fn r70_what_expires_is_withheld_and_closed() {
        let expired = Kind::Expired(Box::new(Expired {
            incident: incident(1),
            fingerprint: fingerprint(),
            opening: at(1),
            occurrences: 2,
            last_seen: Time::from_micros(1),
            after_seconds: 7200,
            rule: "expiry".into(),
        }));
        let (state, last) = check(vec![opened(1), expired], &["expired by everything"]);
        assert_eq!(state.open(), 0);
        assert!(last.plans.is_empty());
    }

    #[test]
    fn an_operators_end_is_withheld_and_closed_and_what_else_they_do_says_nothing() {
        use IncidentState::{Acknowledged, Open, Resolved, Superseded};
        let ended = applied(Acknowledged, Resolved);
        let (state, last) = check(vec![opened(1), ended], &["resolved_by_operator by everything"]);
        assert_eq!(state.open(), 0);
        assert!(last.plans.is_empty());
        for (before, after) in
            [(Open, Acknowledged), (Open, Open), (Resolved, Resolved), (Superseded, Superseded)]
        {
            let (state, last) = check(vec![opened(1), applied(before, after)], &[]);
            assert_eq!(state.open(), 1);
            assert_eq!(last, Decided::default());
        }
    }

    #[test]
    fn an_answer_hastens_and_says_nothing() {
        let (_, last) = check(vec![opened(1), answered(1)], &[]);
        assert_eq!(last.analysed, Some(incident(1)));
        assert!(!last.changed);
    }

    #[test]
    fn clocks_and_stale_changes_say_nothing() {
        let stale = Kind::Stale(Stale {
            fingerprint: fingerprint(),
            status_at: Time::from_micros(1),
            last_change: Time::from_micros(2),
            rule: None,
        });
        for kind in [Kind::Ticked, Kind::RulesChanged(None), stale] {
            let (_, last) = check(vec![kind], &[]);
            assert_eq!(last, Decided::default());
        }
    }

    #[test]
    fn b6_other_rules_decide_from_their_event_on_and_resolve_whom_the_old_ones_told() {
        let route = |name: &str, to: &str| {
            format!("[[defaults.routes]]\nname = \"{name}\"\nreceivers = [\"{to}\"]\n")
        };
        let ours = "[[project.shop.routes]]\nname = \"shop\"\nreceivers = [\"shop-team\"]\n";
        let (state, last) = check(vec![opened(1), new_rules(&route("all", "ops"))], &[]);
        assert!(last.changed);
        assert_eq!(state.rules().hash(), Rules::parse(&route("all", "ops")).unwrap().hash());
        check(vec![new_rules(&route("all", "ops")), opened(1)], &["fire to ops by all"]);
        let own = route("all", "ops") + ours;
        let (state, last) = check(vec![new_rules(&own), opened(1)], &["fire to shop-team by shop"]);
        assert_eq!(last.plans[0].rules, state.rules().hash());
        check(
            vec![opened(1), new_rules(&own), Kind::Resolved(over(1))],
            &["resolve to default by everything"],
        );
    }

    #[test]
    fn a_document_that_is_not_understood_is_no_event() {
        let document = |hash: &str, text: &str| {
            let (hash, text) = (hash.to_owned(), text.to_owned());
            let document = RulesDocument { hash, text, operator: "ada".into() };
            prepare(event(1, Kind::RulesChanged(Some(Box::new(document)))))
        };
        let text = Rules::builtin().text();
        assert!(document(Rules::builtin().hash(), text).is_ok());
        assert!(document("0123456789abcdef", text).is_err());
        assert!(document("0123456789abcdef", "[defaults.later]").is_err());
    }

    #[test]
    fn a_state_written_before_it_held_rules_has_the_builtin_ones() {
        // {0: 1, 1: [], 2: {}}
        let state = State::decode(&[0xa3, 0x00, 0x01, 0x01, 0x80, 0x02, 0xa0]).unwrap();
        assert_eq!(state, State::default());
        assert_eq!(state.rules(), Rules::builtin());
    }

    #[test]
    fn i5_the_same_events_are_decided_the_same_with_distinct_ids() {
        let (_, a) = check(vec![opened(1)], &["fire to default by everything"]);
        let (_, b) = check(vec![opened(1)], &["fire to default by everything"]);
        assert_eq!(a, b);
        assert_ne!(a.notices[0].id, event(1, opened(1)).id);
    }
}
