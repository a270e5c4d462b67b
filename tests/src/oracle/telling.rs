//! What notify said, beside what it says of the same events one after the other.

use domain::{
    invariant,
    replay::{Folded, Telling},
};
use eventlog::Message;
use schemas::{
    Event,
    event::{EventBatch, PartHeader},
    subject::{self, EventChannel},
};

use super::Differences;
use crate::{GENERATION, World};

impl Differences<'_> {
    /// What notify said, as far as it came, is what it says of the same events one after the other.
    pub(super) fn notices(
        &mut self,
        messages: &[Message],
        folded: &Folded,
        world: &World,
    ) -> Telling {
        let subject =
            subject::events(&world.namespace, GENERATION, self.lane, EventChannel::Notice);
        let said = messages.iter().filter(|m| m.subject == subject).flat_map(|message| {
            let header = PartHeader::from_headers(|name| message.header(name)).unwrap();
            EventBatch::read(&header, &message.payload).unwrap().events
        });
        let is: Vec<Event> = said.filter(|e| e.kind.channel() == EventChannel::Notice).collect();
        let mut telling = Telling::default();
        if is.is_empty() {
            return telling;
        }
        let decisions: Vec<Event> = folded
            .events
            .iter()
            .filter(|e| e.kind.channel() == EventChannel::Decision)
            .cloned()
            .collect();
        let mut state = telling.load().unwrap();
        for batch in decisions.chunks(1_000) {
            telling.apply(&mut state, batch.to_vec()).unwrap();
        }
        let should = &telling.notices;
        let at = is.iter().zip(should).position(|(a, b)| a != b);
        if at.is_some() || is.len() > should.len() {
            self.found.push(format!(
                "lane {} notices: {} in the stream, {} in the fold, first difference at {at:?}",
                self.lane,
                is.len(),
                should.len()
            ));
        }
        for wrong in [
            invariant::alerts_are_accounted_for(&decisions, should),
            invariant::summaries_add_up(should, &telling.plans, &telling.open().unwrap()),
            invariant::resolves_follow_fires(should),
        ] {
            self.found.extend(wrong.err().map(|wrong| format!("lane {}: {wrong}", self.lane)));
        }
        telling
    }
}
