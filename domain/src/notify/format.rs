//! What messages say: their words in three languages, and the texts of every kind of message.
//!
//! The frames of the sources stand as they were given: R35 and R66 in `render`, R40 in `feishu`,
//! R37 and R38 here. A text is one line for each fact: whatever a sender, a model or somebody in a
//! chat wrote is made one line before it is put into one, so that nobody can forge another.

mod context;
mod keys;
mod kinds;
mod message;
mod parts;
mod reply;
mod sample;
mod template;
mod wecom;
mod words;

#[cfg(test)]
pub(crate) mod tests;

pub use keys::{Key, KeyName, keyboard};
pub use message::Message;
pub use sample::{SAMPLES, Sample, sample_facts};
pub use template::{ANY, TemplateError, Templates};
pub use wecom::wecom_text;
pub use words::Language;

pub(in crate::notify) use kinds::{Frame, summary, test};
pub(in crate::notify) use parts::{came_back, raised, reminder, standing, tags};
pub(in crate::notify) use reply::reply;
pub(in crate::notify) use words::{Words, fill};
