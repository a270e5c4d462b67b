//! What an input may cost: an estimate of tokens, and what is left out first to keep it.

use super::{Input, cut};

/// Tokens of the messages to an analyst whose configuration states none: about 24 kB, which a small
/// model of one's own takes with room for its answer.
pub const BUDGET: usize = 8_000;

/// The least number of tokens in which an input can always be told.
pub const BUDGET_MIN: usize = 4_000;

/// How many tokens a text is, by estimate: a third of its bytes, whatever the model. One Chinese
/// character is three bytes and about a token; English is overestimated.
pub fn tokens(text: &str) -> usize {
    text.len().div_ceil(3)
}

/// Something to leave out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// At most so many of them.
    Similar(usize),
    Runbook(usize),
    /// The first ones.
    Tags(usize),
    /// The innermost ones.
    Frames(usize),
    Releases(usize),
    /// At most so many characters.
    Message(usize),
    /// At most so many characters of every text.
    Texts(usize),
}

use Step::{Frames, Message, Releases, Runbook, Similar, Tags, Texts};

/// The least important first. The title, the place and what was rejected are told in any case.
pub(super) const STEPS: [Step; 22] = [
    Similar(3),
    Tags(25),
    Runbook(2),
    Similar(1),
    Message(2_000),
    Tags(12),
    Runbook(1),
    Texts(300),
    Frames(3),
    Message(800),
    Similar(0),
    Tags(6),
    Texts(200),
    Runbook(0),
    Message(400),
    Tags(0),
    Frames(1),
    Texts(100),
    Releases(3),
    Texts(50),
    Releases(0),
    Texts(24),
];

/// Leaves something out and notes it; false where there is no more of it than that.
pub(super) fn take(step: Step, input: &mut Input) -> bool {
    let whole = |of: &str, told: usize, were: usize, input: &mut Input| {
        input.left_out(of, "items", told, were);
        true
    };
    match step {
        Similar(max) if input.similar.len() > max => {
            let were = input.similar.len();
            input.similar.truncate(max);
            whole("similar", max, were, input)
        }
        Runbook(max) if input.runbook.len() > max => {
            let were = input.runbook.len();
            input.runbook.truncate(max);
            whole("runbook", max, were, input)
        }
        Tags(max) if input.context.tags.len() > max => {
            let were = input.context.tags.len();
            input.context.tags.truncate(max);
            whole("alert.tags", max, were, input)
        }
        Frames(max) if input.context.stacktrace.len() > max => {
            let were = input.context.stacktrace.len();
            input.context.stacktrace.drain(..were - max);
            whole("alert.stacktrace", max, were, input)
        }
        Releases(max) if input.releases.len() > max => {
            let were = input.releases.len();
            input.releases.truncate(max);
            whole("releases", max, were, input)
        }
        Message(max) => {
            let Some(message) = &mut input.context.message else { return false };
            let were = message.chars().count();
            if were <= max {
                return false;
            }
            message.truncate(cut(message, max).len());
            input.left_out("alert.message", "characters", max, were);
            true
        }
        Texts(max) => {
            let mut longest = 0;
            input.each_text(|text| {
                let kept = cut(text, max).len();
                if kept < text.len() {
                    longest = longest.max(text.chars().count());
                    text.truncate(kept);
                }
            });
            if longest > 0 {
                input.left_out("every text", "characters each", max, longest);
            }
            longest > 0
        }
        Similar(_) | Runbook(_) | Tags(_) | Frames(_) | Releases(_) => false,
    }
}
