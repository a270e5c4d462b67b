//! How often a problem recurs, and what that makes of an incident's risk (R27, R28).

use schemas::{
    Time,
    alert::Risk,
    event::{EscalationLevel, Frequency},
};

use super::counts::{Counts, LONGEST};
use crate::rules::Escalation;

/// The counts of a problem's occurrences, and the level they and its refires make by `rule`.
///
/// `refires` counts the episodes that began after an end.
pub fn frequency(
    rule: &Escalation,
    occurrences: &Counts,
    refires: &Counts,
    now: Time,
) -> Frequency {
    let count_1h = occurrences.within(60, now);
    let count_24h = occurrences.within(24 * 60, now);
    let count_7d = occurrences.within(LONGEST, now);
    let level = if refires.within(LONGEST, now) >= u64::from(rule.permanent_fix_episodes_7d) {
        EscalationLevel::PermanentFix
    } else if count_1h >= u64::from(rule.escalate_1h) || count_24h >= u64::from(rule.escalate_24h) {
        EscalationLevel::Escalate
    } else if count_24h >= u64::from(rule.repeat_24h) {
        EscalationLevel::Repeat
    } else {
        EscalationLevel::None
    };
    Frequency { count_1h, count_24h, count_7d, level }
}

/// R28: PERMANENT_FIX makes CRITICAL, ESCALATE makes HIGH unless it is CRITICAL; never lower.
pub fn raised(risk: Risk, level: EscalationLevel) -> Risk {
    match level {
        EscalationLevel::None | EscalationLevel::Repeat => risk,
        EscalationLevel::Escalate => risk.max(Risk::High),
        EscalationLevel::PermanentFix => Risk::Critical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{observe::samples::second, rules::Rules};

    #[test]
    fn r28_levels_raise_a_risk_and_never_lower_it() {
        use EscalationLevel::{Escalate, None, PermanentFix, Repeat};
        use Risk::{Critical, High, Low, Medium};
        for (level, expect) in [
            (None, [Low, Medium, High, Critical]),
            (Repeat, [Low, Medium, High, Critical]),
            (Escalate, [High, High, High, Critical]),
            (PermanentFix, [Critical; 4]),
        ] {
            let got = [Low, Medium, High, Critical].map(|risk| raised(risk, level));
            assert_eq!(got, expect, "{}", level.word());
        }
    }

    #[test]
    fn r27_each_level_begins_with_the_number_the_rule_names() {
        let project = crate::observe::samples::project();
        let rule = Rules::builtin().escalation(&project);
        // So many occurrences this far apart, and so many refires.
        let level = |count: i64, seconds_apart: i64, refires: i64| {
            let (mut occurrences, mut again) = (Counts::default(), Counts::default());
            (0..count).for_each(|n| occurrences.push(second(n * seconds_apart)));
            let now = second((count - 1) * seconds_apart);
            (0..refires).for_each(|_| again.push(now));
            frequency(rule, &occurrences, &again, now).level.word()
        };
        assert_eq!(level(1, 0, 0), "NONE");
        assert_eq!(level(2, 0, 0), "REPEAT");
        assert_eq!(level(2, 24 * 3600 - 60, 0), "REPEAT");
        assert_eq!(level(2, 24 * 3600, 0), "NONE");
        assert_eq!(level(4, 60, 0), "REPEAT");
        assert_eq!(level(5, 60, 0), "ESCALATE");
        assert_eq!(level(5, 14 * 60, 0), "ESCALATE");
        assert_eq!(level(5, 15 * 60, 0), "REPEAT");
        assert_eq!(level(9, 2 * 3600, 0), "REPEAT");
        assert_eq!(level(10, 2 * 3600, 0), "ESCALATE");
        assert_eq!(level(1, 0, 2), "NONE");
        assert_eq!(level(1, 0, 3), "PERMANENT_FIX");
    }
}
