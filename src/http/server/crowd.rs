//! A second runtime, for a part of many connections.

use std::sync::Arc;

use tokio::runtime::Handle;

/// So many connections are served on one runtime before the other one gets any: few are served best by one thread, whose commands
/// meet in a batch.
const ENOUGH: usize = 128;

/// Where the connections beyond those are served, up to half of all (`docs/decisions/0025-many-connections-have-two-threads.md`).
pub(super) struct Crowd {
    pub(super) runtime: Handle,
    seats: Arc<()>, // shared with each connection there
}

/// A connection's seat on the second runtime, until it is dropped.
pub(super) struct Seat {
    _one_of: Arc<()>,
}

impl Crowd {
    pub(super) fn new(runtime: Handle) -> Self {
        Self { runtime, seats: Arc::default() }
    }

    /// A seat for one more connection beside `open` on both runtimes; `None` if it belongs on the first one.
    pub(super) fn seat(&self, open: usize) -> Option<Seat> {
        let there = Arc::strong_count(&self.seats) - 1;
        let here = open.saturating_sub(there);
        (here >= ENOUGH && there < here).then(|| Seat { _one_of: Arc::clone(&self.seats) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_connections_are_divided_and_few_are_not() {
        let crowd = Crowd::new(Handle::current());
        let mut there = Vec::new();
        for all in 1..1000_usize {
            there.extend(crowd.seat(all - 1));
            assert_eq!(there.len(), all.saturating_sub(ENOUGH).min(all / 2));
        }
        // Those there have ended: the next ones take their seats.
        there.clear();
        assert!(crowd.seat(500).is_some());
        // Those on the first one have ended: the next ones fill that.
        there.extend((0..300).filter_map(|_| crowd.seat(1000)));
        assert_eq!(there.len(), 300);
        assert!(crowd.seat(310).is_none());
    }
}
