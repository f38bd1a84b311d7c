//! Rate limits: an exact sliding window of 60 seconds for each client.
//!
//! In no 60 seconds are more hits admitted than the limit. A hit is `pending` from when it is admitted until its row is
//! on disk; both kinds count. The table of clients is bounded: the client whose last hit is the oldest gives way once its
//! window is empty, and when no window is empty a new client is refused. No call costs more than the hits it forgets.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

use super::{client::ClientAddress, id::TokenId, time::Millis};

/// The length of the window.
pub const WINDOW: Duration = Duration::from_mins(1);

/// Which limit a hit counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `POST /pair`.
    Pair,
    /// `POST /webhook`.
    Webhook,
    /// Calls of platforms whose signature is bad.
    Signature,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pair, Self::Webhook, Self::Signature];

    /// The name in the database and in the `RateLimit` fields.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Webhook => "webhook",
            Self::Signature => "signature",
        }
    }
}

/// Whom a hit counts against: a valid token from its address, or an address alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RateClient {
    /// The valid token that the request carried.
    pub token: Option<TokenId>,
    /// Where it came from.
    pub address: ClientAddress,
}

/// What a window says about one more hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The hit is admitted and pending.
    Admitted {
        /// When it counts from: `now`, or a moment later if the clock was set back.
        at: Millis,
        /// How many more would be admitted now.
        left: u32,
        /// The time until the oldest hit leaves the window.
        reset: Duration,
    },
    /// The window is full.
    Refused {
        /// The time until the next hit is admitted.
        wait: Duration,
    },
    /// The client is new and there is no room for it.
    TableFull {
        /// The time until a client may give way.
        wait: Duration,
    },
}

/// Hits of one millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    at: Millis,
    stored: u32,
    pending: u32,
}

#[derive(Debug, Default)]
struct Window {
    slots: VecDeque<Slot>, // oldest first
    hits: u32,             // the sum over the slots
}

impl Window {
    fn forget_before(&mut self, start: Millis) {
        while let Some(slot) = self.slots.front().filter(|slot| slot.at <= start) {
            self.hits -= slot.stored + slot.pending;
            self.slots.pop_front();
        }
    }

    fn slot_at(&mut self, at: Millis) -> Option<&mut Slot> {
        self.slots.binary_search_by_key(&at, |slot| slot.at).ok().and_then(|i| self.slots.get_mut(i))
    }

    fn last(&self) -> Option<Millis> {
        self.slots.back().map(|slot| slot.at)
    }
}

/// The windows of all clients of one [`Scope`].
#[derive(Debug)]
pub struct RateTable<K> {
    windows: HashMap<K, Window>,
    by_last_hit: VecDeque<(Millis, K)>, // oldest first; an entry is stale if its client was hit again later
    limit: u32,
    max_clients: usize,
    newest: Millis, // no hit is admitted before the newest one, so that the slots stay in order
}

impl<K: Copy + Eq + Hash> RateTable<K> {
    /// An empty table that admits `limit` hits (0: any number, none of them counted) for each of `max_clients` clients.
    #[must_use]
    pub fn new(limit: u32, max_clients: usize) -> Self {
        Self {
            windows: HashMap::new(),
            by_last_hit: VecDeque::new(),
            limit,
            max_clients,
            newest: Millis(i64::MIN),
        }
    }

    /// Hits that a client may have in a window; 0: no limit.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Decides over one hit of `client` and counts it if it is admitted.
    pub fn hit(&mut self, client: K, now: Millis) -> Decision {
        let now = now.max(self.newest);
        let start = now.minus(WINDOW);
        self.forget_idle(start);
        if self.windows.len() >= self.max_clients && !self.windows.contains_key(&client) {
            let first = self.by_last_hit.front().map_or(now, |&(at, _)| at);
            return Decision::TableFull { wait: first.since(start) };
        }
        let window = self.windows.entry(client).or_default();
        window.forget_before(start);
        let oldest = window.slots.front().map_or(now, |slot| slot.at);
        let reset = oldest.since(start);
        if window.hits >= self.limit {
            return Decision::Refused { wait: reset };
        }
        window.hits += 1;
        let left = self.limit - window.hits;
        if let Some(slot) = window.slots.back_mut().filter(|slot| slot.at == now) {
            slot.pending += 1;
        } else {
            window.slots.push_back(Slot { at: now, stored: 0, pending: 1 });
            self.by_last_hit.push_back((now, client));
        }
        self.newest = now;
        Decision::Admitted { at: now, left, reset }
    }

    /// Lets clients go whose last hit has left the window; then the first entry is the last hit of its client.
    fn forget_idle(&mut self, start: Millis) {
        while let Some(&(at, client)) = self.by_last_hit.front() {
            if self.windows.get(&client).and_then(Window::last) == Some(at) {
                if at > start {
                    return;
                }
                self.windows.remove(&client);
            }
            self.by_last_hit.pop_front();
        }
    }

    /// `hits` of `client` at `at` are on disk.
    pub fn stored(&mut self, client: K, at: Millis, hits: u32) {
        if let Some(slot) = self.windows.get_mut(&client).and_then(|w| w.slot_at(at)) {
            let hits = hits.min(slot.pending);
            slot.pending -= hits;
            slot.stored += hits;
        }
    }

    /// `hits` of `client` at `at` could not be written, and are not counted.
    pub fn undo(&mut self, client: K, at: Millis, hits: u32) {
        if let Some(window) = self.windows.get_mut(&client)
            && let Some(slot) = window.slot_at(at)
        {
            let hits = hits.min(slot.pending);
            slot.pending -= hits;
            window.hits -= hits;
        }
    }

    /// Replaces what is stored by what the database says, `(client, at, hits)` in the order of time. Pending hits stay. A
    /// hit that lies ahead of `now`, because the clock was set back, counts from `now`.
    pub fn reload(&mut self, rows: impl IntoIterator<Item = (K, Millis, u32)>, now: Millis) {
        let now = now.max(self.newest);
        let mut merged: Vec<(Millis, K, u32, u32)> =
            rows.into_iter().map(|(client, at, hits)| (at.min(now), client, hits, 0)).collect();
        for (client, window) in self.windows.drain() {
            let pending = window.slots.iter().filter(|slot| slot.pending > 0);
            merged.extend(pending.map(|slot| (slot.at, client, 0, slot.pending)));
        }
        merged.sort_by_key(|(at, ..)| *at);
        self.by_last_hit.clear();
        for (at, client, stored, pending) in merged {
            let window = self.windows.entry(client).or_default();
            window.hits = window.hits.saturating_add(stored + pending);
            if let Some(slot) = window.slots.back_mut().filter(|slot| slot.at == at) {
                slot.stored += stored;
                slot.pending += pending;
            } else {
                window.slots.push_back(Slot { at, stored, pending });
                self.by_last_hit.push_back((at, client));
            }
            self.newest = self.newest.max(at);
        }
    }

    /// How many clients are tracked.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.windows.len()
    }
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
