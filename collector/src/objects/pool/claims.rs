//! Which objects it is this collector's turn to get: of all collectors one asks for each.
//!
//! A claim is a lease in the catalog. Claims are wanted one by one and taken together, renewed as long
//! as something is done about them, and given back when nothing is: then it is somebody else's turn first.
//! Without the catalog nobody gets one. Pure: the time comes in, statements are made elsewhere.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use fleetprof_proto::ids::ObjectId;
use fleetprof_symbolizer::identity::SymbolLevel;

/// Until somebody else's claim is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long nothing may be done about an upload: from its end to the conversion it is nobody's.
const IDLE: Duration = Duration::from_secs(5);
/// The same of a look-up, which is asked for again as long as it is wanted.
const IDLE_LOOKUP: Duration = Duration::from_secs(30);
/// Claims that are remembered; those beyond are not for now.
const MAX_CLAIMS: usize = 100_000;

/// What is done about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::objects) enum Work {
    /// An agent is asked for it.
    Upload,
    /// Servers are.
    Lookup,
}

/// A piece of work that one collector does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Claim {
    pub(super) work: Work,
    pub(super) object: ObjectId,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::objects) enum Turn {
    /// This collector's.
    Ours,
    /// That is being found out.
    Soon,
    /// Somebody else's, or nobody knows.
    NotNow,
}

#[derive(Debug)]
pub(super) struct Claims {
    ttl: Duration,
    states: HashMap<Claim, State>,
    /// To be given back.
    over: Vec<Claim>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// To be taken in the next round, for what is offered.
    Wanted(Option<SymbolLevel>),
    /// A statement is under way.
    Asked,
    Held {
        until: Instant,
        /// When something was done about it.
        busy: Instant,
        was_busy: bool,
    },
    Others {
        until: Instant,
    },
}

/// What a round has to do about claims that are held.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Review {
    pub(super) renew: Vec<Claim>,
    pub(super) release: Vec<Claim>,
}

// === impl Claim ===

impl Claim {
    /// Of the lease.
    pub(super) fn name(&self) -> String {
        match self.work {
            Work::Upload => format!("object/{}", self.object),
            Work::Lookup => format!("debuginfod/{}", self.object),
        }
    }

    fn patience(&self) -> Duration {
        match self.work {
            Work::Upload => IDLE,
            Work::Lookup => IDLE_LOOKUP,
        }
    }
}

// === impl Claims ===

impl Claims {
    /// None yet; each lasts for `ttl` unless it is renewed.
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl, states: HashMap::new(), over: Vec::new() }
    }

    /// Whose turn it is; if nobody knows, it is found out in the next round.
    pub(super) fn take(&mut self, claim: Claim, offer: Option<SymbolLevel>, now: Instant) -> Turn {
        let is_lookup = claim.work == Work::Lookup;
        let is_full = self.states.len() >= MAX_CLAIMS;
        match self.states.get_mut(&claim) {
            Some(State::Held { until, busy, was_busy }) if *until > now => {
                if is_lookup {
                    (*busy, *was_busy) = (now, true);
                }
                return Turn::Ours;
            }
            Some(State::Wanted(_) | State::Asked) => return Turn::Soon,
            Some(State::Others { until }) if *until > now => return Turn::NotNow,
            Some(State::Held { .. } | State::Others { .. }) => {}
            None if is_full => return Turn::NotNow,
            None => {}
        }
        self.states.insert(claim, State::Wanted(offer));
        Turn::Soon
    }

    /// What is to be taken now, and for which offers.
    pub(super) fn wanted(&mut self, now: Instant) -> Vec<(Claim, Option<SymbolLevel>)> {
        self.states.retain(|_, state| !matches!(state, State::Others { until } if *until <= now));
        let mut wanted = Vec::new();
        for (claim, state) in &mut self.states {
            if let State::Wanted(offer) = *state {
                *state = State::Asked;
                wanted.push((claim.clone(), offer));
            }
        }
        wanted
    }

    /// What became of a claim that was wanted. One that was granted and is not needed any more is given
    /// back.
    pub(super) fn settle(&mut self, claim: Claim, granted: bool, is_needed: bool, now: Instant) {
        let state = match (granted, is_needed) {
            (true, true) => State::Held { until: now + self.ttl, busy: now, was_busy: false },
            (true, false) => {
                self.over.push(claim.clone());
                State::Others { until: now + RETRY }
            }
            (false, _) => State::Others { until: now + RETRY },
        };
        self.states.insert(claim, state);
    }

    /// The object is where it is to be.
    pub(super) fn done(&mut self, object: &ObjectId) {
        for work in [Work::Upload, Work::Lookup] {
            let claim = Claim { work, object: object.clone() };
            if matches!(self.states.get(&claim), Some(State::Held { .. })) {
                self.states.remove(&claim);
                self.over.push(claim);
            }
        }
    }

    /// Claims that are held.
    pub(super) fn held(&self) -> Vec<Claim> {
        let held = self.states.iter().filter(|(_, state)| matches!(state, State::Held { .. }));
        held.map(|(claim, _)| claim.clone()).collect()
    }

    /// What to renew and what to give back, when something is done about those that are `busy`.
    pub(super) fn review(&mut self, are_busy: &HashSet<Claim>, now: Instant) -> Review {
        let mut review = Review { release: std::mem::take(&mut self.over), ..Review::default() };
        self.states.retain(|claim, state| {
            let State::Held { until, busy, was_busy } = state else { return true };
            if are_busy.contains(claim) {
                (*busy, *was_busy) = (now, true);
            }
            if now.saturating_duration_since(*busy) >= claim.patience() {
                review.release.push(claim.clone());
                if *was_busy {
                    // It came to nothing here: somebody else may have more luck.
                    *state = State::Others { until: now + self.ttl };
                    return true;
                }
                return false;
            }
            if until.saturating_duration_since(now) < self.ttl / 2 {
                review.renew.push(claim.clone());
            }
            true
        });
        review
    }

    /// What became of a renewal.
    pub(super) fn renewed(&mut self, claim: &Claim, granted: bool, now: Instant) {
        match self.states.get_mut(claim) {
            Some(State::Held { until, .. }) if granted => *until = now + self.ttl,
            Some(state @ State::Held { .. }) => *state = State::Others { until: now + RETRY },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use fleetprof_proto::ids::{BuildId, BuildIdKind, ObjectKind};

    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn claim(byte: u8) -> Claim {
        let build_id = BuildId::new(BuildIdKind::Gnu, &[byte; 20]).expect("valid");
        Claim { work: Work::Upload, object: ObjectId { kind: ObjectKind::File, build_id } }
    }

    /// Wants a claim and gets it, or not.
    fn settled(claims: &mut Claims, byte: u8, granted: bool, now: Instant) -> Turn {
        assert_eq!(claims.take(claim(byte), None, now), Turn::Soon);
        assert_eq!(claims.wanted(now), [(claim(byte), None)]);
        claims.settle(claim(byte), granted, true, now);
        claims.take(claim(byte), None, now)
    }

    #[test]
    fn what_is_wanted_is_taken_once_and_tried_again() {
        let (mut claims, now) = (Claims::new(TTL), Instant::now());
        let offer = Some(SymbolLevel::DebugInfo);
        assert_eq!(claims.take(claim(1), offer, now), Turn::Soon);
        assert_eq!(claims.take(claim(1), None, now), Turn::Soon);
        assert_eq!(claims.wanted(now), [(claim(1), offer)]);
        assert_eq!(claims.wanted(now), [], "a statement is under way");
        claims.settle(claim(1), false, true, now);
        assert_eq!(claims.take(claim(1), None, now), Turn::NotNow);
        assert_eq!(claims.wanted(now), []);
        assert_eq!(settled(&mut claims, 1, true, now + RETRY), Turn::Ours);
        assert_eq!(claims.take(claim(1), None, now + RETRY + TTL), Turn::Soon, "it has ended");
    }

    #[test]
    fn what_is_not_needed_any_more_is_given_back() {
        let (mut claims, now) = (Claims::new(TTL), Instant::now());
        claims.take(claim(1), None, now);
        claims.wanted(now);
        claims.settle(claim(1), true, false, now);
        assert_eq!(claims.take(claim(1), None, now), Turn::NotNow);
        assert_eq!(settled(&mut claims, 2, true, now), Turn::Ours);
        claims.done(&claim(2).object);
        let review = claims.review(&HashSet::new(), now);
        assert_eq!((review.renew, review.release), (vec![], vec![claim(1), claim(2)]));
        assert_eq!(claims.review(&HashSet::new(), now), Review::default());
    }

    /// Check that a claim lasts while something is done about it, and that it then is somebody else's
    /// turn if that came to nothing.
    #[test]
    fn claims_last_while_something_is_done() {
        let (mut claims, start) = (Claims::new(TTL), Instant::now());
        for byte in [1, 2] {
            assert_eq!(settled(&mut claims, byte, true, start), Turn::Ours);
        }
        let busy = HashSet::from([claim(1)]);
        assert_eq!(claims.review(&busy, start + IDLE / 2), Review::default());
        let review = claims.review(&busy, start + IDLE);
        assert_eq!((review.renew, review.release), (vec![], vec![claim(2)]), "nobody was asked");
        assert_eq!(claims.held(), [claim(1)]);
        let late = start + TTL / 2 + Duration::from_secs(1);
        assert_eq!(claims.review(&busy, late).renew, [claim(1)]);
        claims.renewed(&claim(1), true, late);
        assert_eq!(claims.review(&busy, late), Review::default());
        let idle = late + IDLE;
        assert_eq!(claims.review(&HashSet::new(), idle).release, [claim(1)]);
        assert_eq!(claims.take(claim(1), None, idle + TTL / 2), Turn::NotNow);
        let later = idle + TTL;
        assert_eq!(settled(&mut claims, 1, true, later), Turn::Ours);
        claims.renewed(&claim(1), false, later);
        assert_eq!(claims.take(claim(1), None, later), Turn::NotNow, "somebody has taken it over");
    }
}
