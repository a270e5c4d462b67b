//! The memory that bodies may take, and who has how much of it.
//!
//! What an authentic request holds counts against the whole alone. What is not known to be
//! authentic counts against the share of its address and of its source too, so that whoever sends
//! slowly, or never ends, cannot take the room of others; and where a share or the whole is used
//! up, the body that has been arriving for the longest gives way to the one that arrives now. A
//! sender in good order is done long before it is the oldest.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// How many bytes may be held, by whom.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// By all together.
    pub total: usize,
    /// By requests from one address that are not known to be authentic.
    pub peer: usize,
    /// By requests to one source that are not known to be authentic.
    pub source: usize,
}

/// The bytes of bodies that may be held at once.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    shares: Shares,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: usize,
    /// Number of the next body: bodies are numbered in the order of their first byte.
    next: u64,
    arriving: HashMap<u64, Arriving>,
    by_peer: HashMap<IpAddr, Group>,
    by_source: HashMap<usize, Group>,
}

/// What bodies with something in common hold.
#[derive(Debug, Default)]
struct Group {
    bytes: usize,
    /// Those that have not ended, the oldest first.
    arriving: BTreeSet<u64>,
}

/// A body that has not ended.
#[derive(Debug)]
struct Arriving {
    bytes: usize,
    from: From,
    gone: Arc<Notify>,
}

/// Where a body comes from and where it goes.
#[derive(Clone, Copy, Debug)]
struct From {
    peer: IpAddr,
    source: usize,
}

/// Bytes taken from a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    from: From,
    /// Its number once it has bytes.
    number: Option<u64>,
    /// Of the whole.
    bytes: usize,
    /// Of them, those that are counted in the shares too.
    shared: usize,
    stage: Stage,
    gone: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Arriving,
    /// Whole, and not known to be authentic.
    Whole,
    Authentic,
}

/// Why there are no bytes for a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Everything is taken by those who cannot give way.
    Full,
    /// It gave way to another.
    GaveWay,
}

impl Budget {
    /// A budget of these shares.
    pub fn new(shares: Shares) -> Self {
        Self(Arc::new(Shared { shares, state: Mutex::default() }))
    }

    /// Room for a body from this address to the source of this number; nothing yet.
    pub fn hold(&self, peer: Option<IpAddr>, source: usize) -> Held {
        let peer = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), network);
        Held {
            budget: self.clone(),
            from: From { peer, source },
            number: None,
            bytes: 0,
            shared: 0,
            stage: Stage::Arriving,
            gone: Arc::default(),
        }
    }

    /// Bytes that nobody holds.
    #[cfg(test)]
    pub fn left(&self) -> usize {
        self.0.shares.total - self.state().held
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made whole before anything can panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever has one address of an IPv6 network has as many as it likes.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

impl Held {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// There are none for it.
    pub fn take(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.add(bytes, bytes)
    }

    /// Takes `bytes` for what it decodes to, beside what was sent. Both are held, so both count in
    /// the whole; a share says how much of it a sender may fill, and there a body counts once, as
    /// the larger of the two.
    ///
    /// # Errors
    /// There are none for it.
    pub fn take_decoded(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.add(bytes, bytes.saturating_sub(self.shared))
    }

    /// Gives back `bytes` of what is authentic: they are held no more.
    pub fn give_back(&mut self, bytes: usize) {
        debug_assert!(self.stage == Stage::Authentic && bytes <= self.bytes);
        self.bytes -= bytes;
        self.budget.state().held -= bytes;
    }

    /// Takes `bytes` of the whole, and of the shares `of_shares`.
    fn add(&mut self, bytes: usize, of_shares: usize) -> Result<(), NoRoom> {
        if bytes == 0 {
            return Ok(());
        }
        let budget = self.budget.clone();
        let shares = budget.0.shares;
        let mut state = budget.state();
        if self.number.is_some_and(|number| {
            self.stage == Stage::Arriving && !state.arriving.contains_key(&number)
        }) {
            return Err(NoRoom::GaveWay);
        }
        if self.stage != Stage::Authentic {
            let (own, From { peer, source }) = (self.number, self.from);
            state.make_room(own, of_shares, shares.peer, |s| s.by_peer.get(&peer))?;
            state.make_room(own, of_shares, shares.source, |s| s.by_source.get(&source))?;
        }
        while state.held + bytes > shares.total {
            // Whoever has most of what can be given back.
            let groups = state.by_peer.values().filter(|group| group.oldest(self.number).is_some());
            let oldest = groups.max_by_key(|group| group.bytes).and_then(|g| g.oldest(self.number));
            state.give_way(oldest.ok_or(NoRoom::Full)?);
        }
        state.held += bytes;
        self.bytes += bytes;
        if self.stage == Stage::Authentic {
            return Ok(());
        }
        let From { peer, source } = self.from;
        let number = *self.number.get_or_insert_with(|| {
            state.next += 1;
            state.next
        });
        let arriving = self.stage == Stage::Arriving;
        if arriving {
            let gone = &self.gone;
            let new = || Arriving { bytes: 0, from: self.from, gone: Arc::clone(gone) };
            state.arriving.entry(number).or_insert_with(new).bytes += bytes;
        }
        self.shared += of_shares;
        for group in state.groups(peer, source) {
            group.bytes += of_shares;
            if arriving {
                group.arriving.insert(number);
            }
        }
        Ok(())
    }

    /// Resolves when it has to give way to another.
    pub async fn gives_way(&self) {
        self.gone.notified().await;
    }

    /// It is whole, and gives way no more.
    ///
    /// # Errors
    /// It already did.
    pub fn whole(&mut self) -> Result<(), NoRoom> {
        let budget = self.budget.clone();
        let mut state = budget.state();
        if let Some(number) = self.number {
            state.arriving.remove(&number).ok_or(NoRoom::GaveWay)?;
            for group in state.groups(self.from.peer, self.from.source) {
                group.arriving.remove(&number);
            }
        }
        self.stage = Stage::Whole;
        Ok(())
    }

    /// It is authentic: what it holds is nobody's share any more.
    pub fn authentic(&mut self) {
        if self.stage == Stage::Whole {
            self.stage = Stage::Authentic;
            self.budget.state().leave(self.from, self.shared);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let budget = self.budget.clone();
        let mut state = budget.state();
        match (self.stage, self.number) {
            // Nothing was taken, or it was given back already.
            (Stage::Arriving, None) => {}
            (Stage::Arriving, Some(number)) => state.give_back(number).map_or((), drop),
            (Stage::Whole, _) => {
                state.held -= self.bytes;
                state.leave(self.from, self.shared);
            }
            (Stage::Authentic, _) => state.held -= self.bytes,
        }
    }
}

impl Group {
    /// The oldest body that has not ended, other than this one.
    fn oldest(&self, but: Option<u64>) -> Option<u64> {
        self.arriving.iter().copied().find(|number| Some(*number) != but)
    }
}

impl State {
    /// Lets the oldest of a group go until `bytes` more fit into its share.
    fn make_room(
        &mut self,
        own: Option<u64>,
        bytes: usize,
        share: usize,
        group: impl Fn(&Self) -> Option<&Group>,
    ) -> Result<(), NoRoom> {
        loop {
            let group = group(self);
            if group.map_or(0, |group| group.bytes) + bytes <= share {
                return Ok(());
            }
            let oldest = group.and_then(|group| group.oldest(own)).ok_or(NoRoom::Full)?;
            self.give_way(oldest);
        }
    }

    fn groups(&mut self, peer: IpAddr, source: usize) -> [&mut Group; 2] {
        [self.by_peer.entry(peer).or_default(), self.by_source.entry(source).or_default()]
    }

    /// Takes these bytes out of the shares they were counted in.
    fn leave(&mut self, from: From, bytes: usize) {
        for group in self.groups(from.peer, from.source) {
            group.bytes -= bytes;
        }
        if self.by_peer.get(&from.peer).is_some_and(|g| g.bytes == 0 && g.arriving.is_empty()) {
            self.by_peer.remove(&from.peer);
        }
    }

    fn give_way(&mut self, number: u64) {
        if let Some(gone) = self.give_back(number) {
            gone.notify_one();
        }
    }

    /// Forgets a body that has not ended, and all it held.
    fn give_back(&mut self, number: u64) -> Option<Arc<Notify>> {
        let Arriving { bytes, from, gone } = self.arriving.remove(&number)?;
        for group in self.groups(from.peer, from.source) {
            group.arriving.remove(&number);
        }
        self.held -= bytes;
        self.leave(from, bytes);
        Some(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARES: Shares = Shares { total: 100, peer: 40, source: 60 };

    fn peer(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn what_is_held_is_given_back_whatever_became_of_it() {
        let budget = Budget::new(SHARES);
        let mut arriving = budget.hold(peer(1), 0);
        let mut whole = budget.hold(peer(1), 0);
        let mut authentic = budget.hold(None, 0);
        for held in [&mut arriving, &mut whole, &mut authentic] {
            held.take(5).unwrap();
            held.take(5).unwrap();
        }
        whole.whole().unwrap();
        authentic.whole().unwrap();
        authentic.authentic();
        assert_eq!(budget.left(), 70);
        drop((arriving, whole, authentic, budget.hold(peer(2), 1)));
        assert_eq!(budget.left(), 100);
        let state = budget.state();
        assert!(state.arriving.is_empty() && state.by_peer.is_empty());
        assert!(state.by_source.values().all(|g| g.bytes == 0 && g.arriving.is_empty()));
    }

    #[test]
    fn within_a_share_the_oldest_gives_way() {
        let budget = Budget::new(SHARES);
        let mut first = budget.hold(peer(1), 0);
        first.take(30).unwrap();
        let mut second = budget.hold(peer(1), 1);
        second.take(20).unwrap();
        assert_eq!(first.take(1), Err(NoRoom::GaveWay));
        assert_eq!(first.whole(), Err(NoRoom::GaveWay));
        assert_eq!(budget.left(), 80);
        drop(first);
        assert_eq!(budget.left(), 80, "nothing is given back twice");
        // Of another address, and so is the share of the source.
        let mut others: Vec<_> = (2..5).map(|n| budget.hold(peer(n), 1)).collect();
        others.iter_mut().take(2).for_each(|held| held.take(20).unwrap());
        others[2].take(20).unwrap();
        assert_eq!(second.whole(), Err(NoRoom::GaveWay));
        assert!(others.iter_mut().all(|held| held.whole().is_ok()));
        // What is whole does not give way.
        assert_eq!(budget.hold(peer(9), 1).take(1), Err(NoRoom::Full));
        budget.hold(peer(9), 2).take(1).unwrap();
    }

    #[test]
    fn when_all_is_taken_whoever_has_most_gives_way() {
        let budget = Budget::new(Shares { total: 100, peer: 80, source: 100 });
        let mut small = budget.hold(peer(1), 0);
        small.take(10).unwrap();
        let mut large: Vec<_> = (0..4).map(|_| budget.hold(peer(2), 0)).collect();
        large.iter_mut().for_each(|held| held.take(20).unwrap());
        let mut late = budget.hold(peer(3), 1);
        late.take(20).unwrap();
        assert!(small.whole().is_ok() && late.whole().is_ok());
        assert_eq!(large[0].take(1), Err(NoRoom::GaveWay));
        assert!(large[1].take(1).is_ok());
    }

    #[test]
    fn what_is_authentic_counts_against_the_whole_alone() {
        let budget = Budget::new(SHARES);
        let mut held: Vec<_> = (0..10).map(|_| budget.hold(peer(1), 0)).collect();
        for held in &mut held {
            held.take(10).unwrap();
            held.whole().unwrap();
            held.authentic();
        }
        assert_eq!(budget.hold(peer(2), 0).take(1), Err(NoRoom::Full));
        drop(held);
        budget.hold(peer(2), 0).take(40).unwrap();
        assert_eq!(budget.hold(peer(2), 0).take(41), Err(NoRoom::Full));
    }

    #[test]
    fn what_is_sent_and_decoded_counts_twice_in_the_whole_and_once_in_a_share() {
        let budget = Budget::new(SHARES);
        let body = |sent, decoded| {
            let mut held = budget.hold(peer(1), 0);
            held.take(sent).unwrap();
            held.whole().unwrap();
            held.take_decoded(decoded).map(|()| held)
        };
        let state = || {
            let state = budget.state();
            let bytes = |group: Option<&Group>| group.map_or(0, |group| group.bytes);
            (state.held, bytes(state.by_peer.values().next()), bytes(state.by_source.get(&0)))
        };
        // As large as a share takes, and not compressed by what it is said to be.
        let held = body(40, 40).unwrap();
        assert_eq!(state(), (80, 40, 40));
        drop(held);
        assert_eq!(state(), (0, 0, 0));
        let mut held = body(10, 40).unwrap();
        assert_eq!(state(), (50, 40, 40));
        assert_eq!(budget.hold(peer(1), 0).take(1), Err(NoRoom::Full), "the share is used up");
        held.authentic();
        assert_eq!(state(), (50, 0, 0));
        // What was sent is needed no more.
        held.give_back(10);
        assert_eq!(state(), (40, 0, 0));
        drop(held);
        assert_eq!(state(), (0, 0, 0));
        assert_eq!(body(1, 41).err(), Some(NoRoom::Full), "more than the share");
        assert_eq!(state(), (0, 0, 0));
    }

    #[test]
    fn addresses_of_one_network_share() {
        let ip = |text: &str| network(text.parse().unwrap());
        assert_eq!(ip("2001:db8::1"), ip("2001:db8::ffff:0:0:1"));
        assert_ne!(ip("2001:db8::1"), ip("2001:db8:0:1::1"));
        assert_eq!(ip("::ffff:192.0.2.1"), ip("192.0.2.1"));
        assert_ne!(ip("192.0.2.2"), ip("192.0.2.1"));
    }
}
