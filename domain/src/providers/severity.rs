//! R67: the senders' words for severity, mapped to one scale.

use schemas::Level;

/// The level a sender's word stands for; an unknown word stays unknown.
pub fn level(word: &str) -> Option<Level> {
    Some(match word.trim().to_ascii_lowercase().as_str() {
        "fatal" | "critical" | "page" | "emergency" | "p1" | "disaster" => Level::Fatal,
        "error" | "high" | "p2" | "average" => Level::Error,
        "warning" | "warn" | "medium" | "p3" => Level::Warning,
        "info" | "low" | "p4" | "p5" => Level::Info,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use schemas::alert::Risk;

    use super::*;

    #[test]
    fn r25_levels_are_risks_and_what_is_neither_is_medium() {
        for (word, risk) in [
            ("fatal", Risk::Critical),
            ("ERROR", Risk::High),
            ("warning", Risk::Medium),
            ("info", Risk::Low),
            ("debug", Risk::Medium),
            ("sample", Risk::Medium),
            ("", Risk::Medium),
        ] {
            assert_eq!(Level::risk(level(word)), risk, "{word}");
        }
    }

    #[test]
    fn r67_severity_words_map_to_levels() {
        for (words, expected) in [
            ("critical page emergency P1 disaster fatal", Some(Level::Fatal)),
            ("high error P2 average", Some(Level::Error)),
            ("warning warn medium P3 WARNING", Some(Level::Warning)),
            ("low info P4 P5 Info", Some(Level::Info)),
            ("none debug unknown 3", None),
        ] {
            for word in words.split(' ') {
                assert_eq!(level(word), expected, "{word}");
            }
        }
        assert_eq!(level(""), None);
        assert_eq!(level(" Critical "), Some(Level::Fatal));
    }
}
