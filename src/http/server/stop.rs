//! Asking the connections to stop.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use tokio_util::sync::CancellationToken;

/// Whether the connections of a server are asked to stop.
#[derive(Default)]
pub(super) struct Stop {
    is_asked: AtomicBool,
    token: CancellationToken,
}

impl Stop {
    /// Asks them to.
    pub(super) fn ask(&self) {
        self.is_asked.store(true, Ordering::Release); // before anybody is woken
        self.token.cancel();
    }

    /// What comes of work that ends when they are asked; `None` then.
    pub(super) async fn ends<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.token.run_until_cancelled(work).await
    }

    /// Waits until they are asked, polled by one task alone, the connection's, at each of its turns. To poll the token is to take two
    /// locks that all connections share: that is done once, so that it wakes the task, and then when it is going to say yes.
    pub(super) async fn asked(&self) {
        let mut token = pin!(self.token.cancelled());
        let mut is_registered = false;
        poll_fn(|cx| {
            if is_registered && !self.is_asked.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            is_registered = true;
            token.as_mut().poll(cx)
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn who_waits_is_woken_also_after_it_has_looked_often() {
        let stop = Arc::new(Stop::default());
        let other = Arc::clone(&stop);
        let mut asked = pin!(stop.asked());
        let mut looks = 0;
        poll_fn(|cx| {
            looks += 1;
            let answer = asked.as_mut().poll(cx);
            match looks {
                1 | 2 => cx.waker().wake_by_ref(), // something else goes on
                3 => {
                    let other = Arc::clone(&other);
                    tokio::spawn(async move { other.ask() });
                }
                _ => {}
            }
            answer
        })
        .await;
        assert_eq!(looks, 4);
        stop.asked().await;
        assert_eq!(stop.ends(std::future::pending::<()>()).await, None);
    }
}
