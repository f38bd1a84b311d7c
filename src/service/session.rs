//! Turns of one session, one after the other: each is to know the one before it.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::domain::conversation::Session;

/// The sessions with a turn at work, and who waits for it to end.
#[derive(Default)]
pub(super) struct Sessions {
    waiting: Mutex<HashMap<Session, VecDeque<oneshot::Sender<()>>>>,
}

/// A turn's place in its session. Dropped, it lets the next one go on.
pub(super) struct Place {
    sessions: Arc<Sessions>,
    session: Session,
    before: Option<oneshot::Receiver<()>>, // None: it has its turn
}

impl Sessions {
    /// Takes the next place of a session, if no more than `most` wait then. Places get their turn in the order in which they were
    /// taken.
    pub(super) fn enter(self: &Arc<Self>, session: Session, most: usize) -> Option<Place> {
        let before = match self.waiting().entry(session.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(VecDeque::new());
                None
            }
            Entry::Occupied(entry) if entry.get().len() >= most => return None,
            Entry::Occupied(mut entry) => {
                let (next, before) = oneshot::channel();
                entry.get_mut().push_back(next);
                Some(before)
            }
        };
        Some(Place { sessions: Arc::clone(self), session, before })
    }

    fn leave(&self, session: &Session) {
        let mut waiting = self.waiting();
        let Some(queue) = waiting.get_mut(session) else { return };
        while let Some(next) = queue.pop_front() {
            if next.send(()).is_ok() {
                return; // one that gave up meanwhile takes nothing
            }
        }
        waiting.remove(session);
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Session, VecDeque<oneshot::Sender<()>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until the turns before have ended.
    pub(super) async fn turn(&mut self) {
        if let Some(before) = &mut self.before {
            before.await.ok();
            self.before = None;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let has_turn = self.before.take().is_none_or(|mut before| {
            before.close();
            before.try_recv().is_ok() // it got its turn and did not look
        });
        if has_turn {
            self.sessions.leave(&self.session);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::domain::{client::Owner, conversation::SessionId, id::TokenId};

    fn session(name: &str) -> Session {
        (Owner::Token(TokenId(1)), SessionId::parse(name.as_bytes()).unwrap())
    }

    fn has_turn(place: &mut Place) -> bool {
        place.turn().now_or_never().is_some()
    }

    #[test]
    fn turns_come_in_order_and_sessions_do_not_wait_for_each_other() {
        let sessions = Arc::new(Sessions::default());
        let [mut a, mut b, mut c] = std::array::from_fn(|_| sessions.enter(session("one"), 9).unwrap());
        let mut other = sessions.enter(session("two"), 0).unwrap();
        assert!(has_turn(&mut a) && has_turn(&mut other));
        assert!(!has_turn(&mut b) && !has_turn(&mut c));
        drop(a);
        assert!(!has_turn(&mut c) && has_turn(&mut b));
        drop(b);
        assert!(has_turn(&mut c));
        drop((c, other));
        assert!(sessions.waiting().is_empty());
    }

    #[test]
    fn no_more_wait_than_may() {
        let sessions = Arc::new(Sessions::default());
        let _places: [Place; 3] = std::array::from_fn(|_| sessions.enter(session("one"), 2).unwrap());
        assert!(sessions.enter(session("one"), 2).is_none());
        assert!(sessions.enter(session("one"), 3).is_some());
    }

    #[test]
    fn who_gives_up_holds_nobody_up() {
        let sessions = Arc::new(Sessions::default());
        let [a, b, c, mut d] = std::array::from_fn(|_| sessions.enter(session("one"), 9).unwrap());
        drop(b); // while it waits
        drop(a); // c has its turn now
        drop(c); // and does not know it
        assert!(has_turn(&mut d));
        drop(d);
        assert!(sessions.waiting().is_empty());
    }
}
