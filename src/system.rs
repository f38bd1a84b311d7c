//! Clock and randomness, injected once at the start so that tests own them.

mod notify;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rand::{TryRng as _, rngs::SysRng};

use crate::domain::time::Millis;

pub use notify::Notifier;

/// The two clocks of the machine, apart.
pub trait Clock: Send + Sync {
    /// What the wall clock shows. It may step, also back.
    fn wall(&self) -> Millis;

    /// The time since some fixed moment. It never steps.
    fn monotonic(&self) -> Duration;
}

/// A source of random bytes that nobody can guess.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// If the system has none to give.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy>;
}

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the system gave no random bytes")]
pub struct NoEntropy;

/// The clocks of the system.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// The clocks as of now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place where time comes in")]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where time comes in")]
    fn wall(&self) -> Millis {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// The operating system's random number generator.
#[derive(Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        SysRng.try_fill_bytes(bytes).map_err(|_| NoEntropy)
    }
}

/// The time that everything is decided by: the wall clock, but one that never goes back. While the wall clock is behind
/// where it has been, time goes on at the pace of the monotonic clock.
pub struct SteadyClock {
    clock: Arc<dyn Clock>,
    offset_ms: AtomicI64, // the furthest that the wall clock was ever ahead of the monotonic one
}

impl SteadyClock {
    /// Starts with what the wall clock shows.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, offset_ms: AtomicI64::new(i64::MIN) }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Millis {
        let monotonic = i64::try_from(self.clock.monotonic().as_millis()).unwrap_or(i64::MAX);
        let offset = self.clock.wall().0.saturating_sub(monotonic);
        let furthest = self.offset_ms.fetch_max(offset, Ordering::Relaxed).max(offset);
        Millis(furthest.saturating_add(monotonic))
    }

    /// The time since some fixed moment.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

impl fmt::Debug for SteadyClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SteadyClock({:?})", self.now())
    }
}

/// A random array.
///
/// # Errors
/// [`NoEntropy`] if the system has none to give.
pub fn random<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N], NoEntropy> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}

/// A random number, for what need not be secret, such as the length of a pause. If the system has none to give it is 0, which
/// is no reason to stop.
#[must_use]
pub fn random_number(entropy: &dyn Entropy) -> u64 {
    random(entropy).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Script(Mutex<(i64, u64)>);

    impl Clock for Script {
        fn wall(&self) -> Millis {
            Millis(self.0.lock().unwrap().0)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.0.lock().unwrap().1)
        }
    }

    #[test]
    fn time_follows_the_wall_clock_ahead_but_never_back() {
        let script = Arc::new(Script(Mutex::new((1000, 0))));
        let steady = SteadyClock::new(Arc::clone(&script) as Arc<dyn Clock>);
        let at = |wall, monotonic| {
            *script.0.lock().unwrap() = (wall, monotonic);
            steady.now().0
        };
        assert_eq!(at(1000, 0), 1000);
        assert_eq!(at(1500, 500), 1500);
        assert_eq!(at(700, 600), 1600, "the wall clock was set back: time goes on");
        assert_eq!(at(9000, 700), 9000, "the machine was asleep: time jumps");
        assert_eq!(at(9100, 800), 9100);
    }
}
