//! When the requests of an open loop are due.
//!
//! A thread of its own sleeps from one due time to the next and wakes a task, which lets as many requests go as are due; the
//! runtime's clock is no use for it, since it ticks in whole milliseconds. What is due within a short while goes together, and
//! connections are woken by a task of their own thread: to wake a thread for each request took as much of the processors as
//! the server under test. A request goes to whichever connection is free, and takes its due time along, however late it goes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};

const SECOND_NS: u64 = 1_000_000_000;
/// The longest sleep, so that a stopped run does not wait for a slow rate.
const NAP: Duration = Duration::from_millis(50);

/// The shortest sleep: so late a request may go, which is in its latency.
const GRAIN: Duration = Duration::from_micros(200);

/// A fixed rate from `begin` to `end`.
pub(super) struct Pace {
    rate: u64,
    begin: Instant,
    end: Instant,
    /// One permit for each request that is due and not taken yet. Closed at the end.
    due: Semaphore,
    /// It is time to look what is due.
    tick: Notify,
    /// The next request to be taken.
    next: AtomicU64,
}

impl Pace {
    pub(super) fn new(rate: u32, begin: Instant, end: Instant) -> Self {
        Self {
            rate: u64::from(rate),
            begin,
            end,
            due: Semaphore::new(0),
            tick: Notify::new(),
            next: AtomicU64::new(0),
        }
    }

    /// Keeps the time, on a thread of its own, until the end or until `stop`.
    pub(super) fn keep(&self) {
        set_timer_slack();
        let (mut now, total) = (Instant::now(), self.total());
        while !self.due.is_closed() && now < self.end + NAP {
            self.tick.notify_one();
            thread::sleep(self.sleep_after(self.due_at(now - self.begin).min(total), now));
            now = Instant::now();
        }
    }

    /// Lets requests go, among the connections that wait for them, until the end or until `stop`.
    pub(super) async fn release(&self) {
        let (mut released, total) = (0, self.total());
        while !self.due.is_closed() {
            self.tick.notified().await;
            let now = Instant::now();
            let due = self.due_at(now - self.begin).min(total);
            self.due.add_permits(usize::try_from(due - released).unwrap_or(0));
            released = due;
            if now >= self.end {
                self.stop();
            }
        }
    }

    /// How long to sleep when so many requests have gone.
    fn sleep_after(&self, released: u64, now: Instant) -> Duration {
        let wake = if released < self.total() { self.time_of(released) } else { self.end };
        wake.saturating_duration_since(now).clamp(GRAIN, NAP)
    }

    /// Ends the run for every connection that waits for a request.
    pub(super) fn stop(&self) {
        self.due.close();
        self.tick.notify_one();
    }

    /// Waits for a request to be due; when it was due, or `None` at the end.
    pub(super) async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        Some(self.time_of(self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// Requests that were due and that no connection took.
    pub(super) fn unsent(&self) -> u64 {
        self.due.available_permits() as u64
    }

    fn time_of(&self, request: u64) -> Instant {
        self.begin + Duration::from_nanos(request.saturating_mul(SECOND_NS).div_ceil(self.rate))
    }

    /// How many requests are due when `elapsed` has passed: the first one is due at once.
    fn due_at(&self, elapsed: Duration) -> u64 {
        nanos(elapsed).saturating_mul(self.rate) / SECOND_NS + 1
    }

    /// How many requests are due before the end.
    fn total(&self) -> u64 {
        nanos(self.end - self.begin).saturating_mul(self.rate).div_ceil(SECOND_NS)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Asks Linux to wake this thread on time rather than up to 50 us later, which would be in every latency. Without the
/// file, or the permission, the latencies are that much longer.
fn set_timer_slack() {
    if let Ok(thread) = std::fs::read_link("/proc/thread-self")
        && let Some(id) = thread.file_name().and_then(|id| id.to_str())
    {
        drop(std::fs::write(format!("/proc/{id}/timerslack_ns"), "1"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_request_is_due_at_its_time_and_no_earlier() {
        let begin = Instant::now();
        for rate in [1, 3, 7, 1000, 999_983] {
            let pace = Pace::new(rate, begin, begin + Duration::from_secs(10));
            for request in [1, 2, 10, 12_345] {
                let time = pace.time_of(request) - begin;
                assert_eq!(pace.due_at(time), request + 1, "request {request} at {rate}/s");
                let before = time.saturating_sub(Duration::from_nanos(1));
                assert_eq!(pace.due_at(before), request, "request {request} at {rate}/s");
            }
            assert_eq!((pace.time_of(0), pace.due_at(Duration::ZERO)), (begin, 1));
            assert_eq!(pace.total(), u64::from(rate) * 10);
        }
    }

    #[test]
    fn what_is_due_within_a_fifth_of_a_millisecond_goes_together() {
        let begin = Instant::now();
        let sleep = |rate, released| {
            Pace::new(rate, begin, begin + Duration::from_secs(1)).sleep_after(released, begin)
        };
        assert_eq!(sleep(1_000_000, 1), Duration::from_micros(200));
        assert_eq!(sleep(1000, 1), Duration::from_millis(1));
        assert_eq!(sleep(1000, 3), Duration::from_millis(3));
        assert_eq!(sleep(1000, 1000), Duration::from_millis(50), "all have gone: a stop is seen soon");
    }

    #[tokio::test]
    async fn requests_that_nobody_took_are_unsent() {
        let begin = Instant::now();
        let pace = Arc::new(Pace::new(1000, begin, begin + Duration::from_millis(20)));
        let timer = Arc::clone(&pace);
        let timer = thread::spawn(move || timer.keep());
        pace.release().await;
        timer.join().unwrap();
        assert_eq!(pace.unsent(), 20);
        assert_eq!(pace.next().await, None);
    }

    #[tokio::test]
    async fn a_request_taken_late_keeps_its_time() {
        let begin = Instant::now();
        let pace = Pace::new(100, begin, begin + Duration::from_secs(1));
        pace.due.add_permits(2);
        assert_eq!(pace.next().await, Some(begin));
        assert_eq!(pace.next().await, Some(begin + Duration::from_millis(10)));
    }
}
