//! What the control records say about keys and switches: a fold like any other, of these two kinds
//! alone.

use std::collections::BTreeMap;

use schemas::{
    ProjectId, SourceId, Time,
    record::{Control, KeyChange, KeyEvent, KeyScope, SourceSwitch},
};
use serde::{Deserialize, Serialize};

/// Every key that was ever made, and what is switched off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// In the order of making. Those that hold no more stay: their ids are never used again, and a
    /// source that had a key stays closed to whoever has none.
    keys: Vec<Key>,
    /// The sources that are switched off.
    off: BTreeMap<SourceId, By>,
}

/// A key, without itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub id: String,
    pub scope: Scope,
    #[serde(with = "hex")]
    pub sha256: [u8; 32],
    pub made: By,
    /// It holds before this, because a newer one takes its place.
    pub until: Option<Time>,
    pub revoked: Option<By>,
}

/// What a key lets in; [`KeyScope`] as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Source(SourceId),
    /// Any source of the project.
    Project(ProjectId),
}

/// Who did something, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct By {
    pub at: Time,
    pub operator: String,
}

impl Held {
    /// Takes in a control record of this time; true when it changed anything.
    pub fn apply(&mut self, at: Time, control: &Control) -> bool {
        match control {
            Control::Key(change) => self.key(at, change),
            Control::SourceSwitch(switch) => self.switch(at, switch),
            Control::Rules(_)
            | Control::IncidentNumber(_)
            | Control::Promote(_)
            | Control::ChatOperator(_)
            | Control::Silence(_) => false,
        }
    }

    /// Every key, in the order of making.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The key of that id.
    pub fn find(&self, id: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// Who switched a source off, if it is off.
    pub fn off(&self, source: &SourceId) -> Option<&By> {
        self.off.get(source)
    }

    /// What is switched off.
    pub fn all_off(&self) -> impl Iterator<Item = (&SourceId, &By)> {
        self.off.iter()
    }

    fn key(&mut self, at: Time, change: &KeyChange) -> bool {
        let by = By { at, operator: change.operator.clone() };
        match &change.event {
            KeyEvent::Created { sha256, previous_until } => {
                if self.find(&change.id).is_some() {
                    return false;
                }
                let scope = Scope::from(&change.scope);
                let before = self.keys.iter_mut().rev();
                let before = before.filter(|key| key.scope == scope && key.holds(at));
                for (n, key) in before.enumerate() {
                    let ends = if n == 0 { *previous_until } else { at };
                    key.until = Some(key.until.map_or(ends, |until| until.min(ends)));
                }
                let (id, sha256) = (change.id.clone(), *sha256);
                self.keys.push(Key { id, scope, sha256, made: by, until: None, revoked: None });
                true
            }
            KeyEvent::Revoked => {
                let key = self.keys.iter_mut().find(|key| key.id == change.id);
                let Some(key) = key.filter(|key| key.revoked.is_none()) else { return false };
                key.revoked = Some(by);
                true
            }
        }
    }

    fn switch(&mut self, at: Time, switch: &SourceSwitch) -> bool {
        let SourceSwitch { source, on, operator } = switch;
        if *on {
            return self.off.remove(source).is_some();
        }
        if self.off.contains_key(source) {
            return false;
        }
        self.off.insert(source.clone(), By { at, operator: operator.clone() });
        true
    }
}

impl Key {
    /// Whether it lets anything in at this time.
    pub fn holds(&self, at: Time) -> bool {
        self.revoked.is_none() && self.until.is_none_or(|until| at < until)
    }

    /// Whether it is a key of this source of that project.
    pub fn is_of(&self, source: &SourceId, project: &ProjectId) -> bool {
        match &self.scope {
            Scope::Source(of) => of == source,
            Scope::Project(of) => of == project,
        }
    }
}

impl From<&KeyScope> for Scope {
    fn from(scope: &KeyScope) -> Self {
        match scope {
            KeyScope::Source(source) => Self::Source(source.clone()),
            KeyScope::Project(project) => Self::Project(project.clone()),
        }
    }
}

impl From<&Scope> for KeyScope {
    fn from(scope: &Scope) -> Self {
        match scope {
            Scope::Source(source) => Self::Source(source.clone()),
            Scope::Project(project) => Self::Project(project.clone()),
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Source(source) => write!(f, "source {source}"),
            Self::Project(project) => write!(f, "project {project}"),
        }
    }
}

/// 32 bytes as 64 hexadecimal digits.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&const_hex::encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(d)?;
        const_hex::decode_to_array(text).map_err(|_| D::Error::custom("not 64 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: i64) -> Time {
        Time::from_micros(1_800_000_000_000_000).plus_seconds(n)
    }

    fn source(id: &str) -> Scope {
        Scope::Source(SourceId::new(id).unwrap())
    }

    fn project(id: &str) -> Scope {
        Scope::Project(ProjectId::new(id).unwrap())
    }

    fn created(id: &str, scope: &Scope, previous_until: Time) -> Control {
        let event = KeyEvent::Created { sha256: [id.as_bytes()[0]; 32], previous_until };
        let (id, operator) = (id.to_owned(), "ada".to_owned());
        Control::Key(KeyChange { id, scope: scope.into(), event, operator })
    }

    fn revoked(id: &str, scope: &Scope) -> Control {
        let (id, operator) = (id.to_owned(), "bob".to_owned());
        Control::Key(KeyChange { id, scope: scope.into(), event: KeyEvent::Revoked, operator })
    }

    /// The ids that hold at that second.
    fn holding(held: &Held, at: i64) -> Vec<&str> {
        held.keys().iter().filter(|key| key.holds(second(at))).map(|key| key.id.as_str()).collect()
    }

    #[test]
    fn r11_the_one_before_holds_until_its_time_and_never_more_than_two() {
        let mut held = Held::default();
        let main = source("main");
        assert!(held.apply(second(0), &created("a", &main, second(10))));
        assert_eq!(holding(&held, 99), ["a"], "the first has none before it");
        assert!(held.apply(second(1), &created("b", &main, second(10))));
        assert_eq!(holding(&held, 9), ["a", "b"]);
        assert_eq!(holding(&held, 10), ["b"]);
        // A third while two hold: the oldest ends at once, and no end moves back.
        assert!(held.apply(second(2), &created("c", &main, second(60))));
        assert_eq!(holding(&held, 2), ["b", "c"]);
        assert_eq!(holding(&held, 60), ["c"]);
        assert_eq!(held.find("a").unwrap().until, Some(second(2)));
        assert!(held.apply(second(3), &created("d", &main, second(999))));
        assert_eq!(held.find("b").unwrap().until, Some(second(3)));
        assert_eq!(held.find("c").unwrap().until, Some(second(999)));
    }

    #[test]
    fn keys_of_another_scope_are_left_alone() {
        let mut held = Held::default();
        for (id, scope) in [("a", source("main")), ("b", source("other")), ("c", project("main"))] {
            held.apply(second(0), &created(id, &scope, second(0)));
        }
        assert_eq!(holding(&held, 1), ["a", "b", "c"]);
        let [main, shop] = [SourceId::new("main").unwrap(), SourceId::new("shop").unwrap()];
        let project = ProjectId::new("main").unwrap();
        let of = |source| -> Vec<_> {
            let keys = held.keys().iter().filter(|key| key.is_of(source, &project));
            keys.map(|key| key.id.as_str()).collect()
        };
        assert_eq!((of(&main), of(&shop)), (vec!["a", "c"], vec!["c"]));
    }

    #[test]
    fn a_revoked_key_holds_no_more_and_its_id_is_not_used_again() {
        let mut held = Held::default();
        let main = source("main");
        held.apply(second(0), &created("a", &main, second(0)));
        assert!(!held.apply(second(1), &revoked("b", &main)), "nobody's");
        assert!(held.apply(second(1), &revoked("a", &main)));
        assert!(!held.apply(second(2), &revoked("a", &main)), "again");
        assert!(!held.apply(second(3), &created("a", &main, second(0))), "the same id");
        assert_eq!(holding(&held, 0), [""; 0]);
        let by = held.find("a").unwrap().revoked.clone().unwrap();
        assert_eq!((by.at, by.operator.as_str()), (second(1), "bob"));
    }

    #[test]
    fn a_switch_turns_off_and_on() {
        let mut held = Held::default();
        let id = SourceId::new("main").unwrap();
        let switch = |on, operator: &str| {
            let operator = operator.to_owned();
            Control::SourceSwitch(SourceSwitch { source: id.clone(), on, operator })
        };
        assert!(!held.apply(second(0), &switch(true, "ada")));
        assert!(held.apply(second(1), &switch(false, "ada")));
        assert!(!held.apply(second(2), &switch(false, "bob")));
        let by = held.off(&id).unwrap();
        assert_eq!((by.at, by.operator.as_str()), (second(1), "ada"));
        assert!(held.apply(second(3), &switch(true, "bob")));
        assert_eq!(held.off(&id), None);
    }

    #[test]
    fn it_reads_back_what_it_wrote_and_holds_no_key() {
        let mut held = Held::default();
        held.apply(second(0), &created("a", &source("main"), second(0)));
        held.apply(second(0), &created("b", &project("shop"), second(0)));
        held.apply(second(1), &revoked("a", &source("main")));
        let text = serde_json::to_string(&held).unwrap();
        assert_eq!(serde_json::from_str::<Held>(&text).unwrap(), held);
        for bad in [text.replace("6161", "616"), text.replace("keys", "locks")] {
            assert!(serde_json::from_str::<Held>(&bad).is_err(), "{bad}");
        }
    }
}
