//! The log channel: prints the flat text where the process prints.

use super::{Channel, Key, Notification, Rate, Request, Response, Verdict};
use crate::config::Target;

/// Prints.
pub struct Log;

impl Channel for Log {
    fn kind(&self) -> &'static str {
        "log"
    }

    fn keys(&self) -> &'static [Key] {
        &[]
    }

    fn can_edit(&self, _: &Target) -> bool {
        false
    }

    /// A text that is printed twice wakes nobody twice.
    fn idempotent(&self) -> bool {
        true
    }

    fn rate(&self) -> Rate {
        Rate { per_minute: 60_000, burst: 1_000 }
    }

    fn request(&self, notification: &Notification, _: &Target) -> Result<Request, String> {
        Ok(Request::Print { text: notification.text.clone() })
    }

    fn outcome(&self, _: &Response) -> Verdict {
        Verdict::Delivered(None)
    }
}
