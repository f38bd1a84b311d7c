//! A clock that only tests move.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use moorgate::{domain::time::Millis, system::Clock};

/// An hour by which a test sets the wall clock.
pub const HOUR_MS: i64 = 3_600_000;

/// Wall and monotonic milliseconds, moved by hand.
#[derive(Clone)]
pub struct TestClock(Arc<Mutex<(i64, u64)>>);

impl TestClock {
    /// Starts at a round moment in 2026.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new((1_790_000_000_000, 0))))
    }

    /// Time goes on.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        let ms = u64::try_from(by.as_millis()).unwrap();
        now.0 += i64::try_from(ms).unwrap();
        now.1 += ms;
    }

    /// Somebody sets the wall clock, by so many milliseconds; no time goes by.
    pub fn step_wall(&self, by_ms: i64) {
        self.0.lock().unwrap().0 += by_ms;
    }
}

impl Clock for TestClock {
    fn wall(&self) -> Millis {
        Millis(self.0.lock().unwrap().0)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.lock().unwrap().1)
    }
}
