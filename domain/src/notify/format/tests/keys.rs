use schemas::{InputPosition, Lane, event::IncidentState, job::Standing};

use super::*;
use crate::button::{Button, MAX_BYTES};

fn standing(state: IncidentState, silenced: bool) -> Standing {
    Standing {
        state,
        verb: None,
        actor: None,
        at: told_at(),
        silenced_until: silenced.then(told_at),
        folded: 0,
        rose: None,
    }
}

fn verbs(standing: Option<&Standing>) -> Vec<&'static str> {
    let rows = keyboard(&KeyName::ALL, standing, Language::TraditionalChinese);
    assert_eq!(rows.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    rows.into_iter().flatten().map(|key| key.verb).collect()
}

#[test]
fn r36_six_keys_by_where_the_incident_stands() {
    let fresh = ["ack", "resolve", "silence", "confirm", "reject", "handoff"];
    assert_eq!(verbs(None), fresh);
    for state in IncidentState::ALL {
        let taken = matches!(state, IncidentState::Acknowledged | IncidentState::Confirmed);
        for silenced in [false, true] {
            let mut expect = fresh;
            if taken {
                expect[0] = "unack";
            }
            if state.is_over() {
                expect[1] = "reopen";
            }
            if silenced {
                expect[2] = "unsilence";
            }
            assert_eq!(verbs(Some(&standing(state, silenced))), expect, "{state:?} {silenced}");
        }
    }
}

#[test]
fn r36_every_key_is_a_button_that_chats_take_and_says_what_it_does_in_every_language() {
    let opening = InputPosition { incarnation: -1, sequence: u64::MAX, record: u32::MAX };
    for language in Language::ALL {
        let mut labels = std::collections::BTreeSet::new();
        for standing in [
            None,
            Some(standing(IncidentState::Acknowledged, true)),
            Some(standing(IncidentState::Resolved, false)),
        ] {
            for key in keyboard(&KeyName::ALL, standing.as_ref(), language).into_iter().flatten() {
                let button = Button::new(key.verb, Lane(u16::MAX), opening.alert(u32::MAX));
                assert!(button.unwrap().to_string().len() <= MAX_BYTES, "{}", key.verb);
                labels.insert(key.label);
            }
        }
        assert_eq!(labels.len(), 9, "{labels:?}");
    }
}

#[test]
fn r36_order_and_what_is_hidden_are_as_configured() {
    let shown = ["handoff", "ack", "resolve", "confirm"].map(|w| KeyName::from_word(w).unwrap());
    let rows = keyboard(&shown, None, Language::English);
    let verbs: Vec<Vec<&str>> =
        rows.iter().map(|row| row.iter().map(|key| key.verb).collect()).collect();
    assert_eq!(verbs, [vec!["handoff", "ack", "resolve"], vec!["confirm"]]);
    assert_eq!(KeyName::from_word("unack"), None);
    assert!(keyboard(&[], None, Language::English).is_empty());
}

#[test]
fn a15_whether_a_message_was_of_use_can_be_pressed_where_it_is_configured() {
    let further = ["useful", "not_useful", "noise"];
    let mut shown = KeyName::ALL.to_vec();
    shown.extend(further.map(|word| KeyName::from_word(word).unwrap()));
    let opening = InputPosition { incarnation: -1, sequence: u64::MAX, record: u32::MAX };
    for language in Language::ALL {
        let rows = keyboard(&shown, None, language);
        let six = keyboard(&KeyName::ALL, None, language);
        assert_eq!(rows[..2], six[..], "the six keys stay as they are");
        let verbs: Vec<&str> = rows[2].iter().map(|key| key.verb).collect();
        assert_eq!(verbs, further);
        let labels: std::collections::BTreeSet<_> =
            rows.iter().flatten().map(|key| key.label).collect();
        assert_eq!(labels.len(), 9, "{labels:?}");
        for key in &rows[2] {
            let button = Button::new(key.verb, Lane(u16::MAX), opening.alert(u32::MAX));
            assert!(button.unwrap().to_string().len() <= MAX_BYTES, "{}", key.verb);
        }
    }
}
