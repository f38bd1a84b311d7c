//! Which conversation is worked on next: in memory, by numbers alone. What there is to do in it is on record.
//!
//! A conversation is worked on by one worker at a time. Those that are ready wait in the queue of their channel; the
//! channels take turns, and none may take the last workers that are kept for each of the others. A conversation that waits
//! for its next try stays away until then, also if more comes in: what came first is answered first.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::{
    domain::{channel::ChannelKind, id::ConversationId, time::Millis},
    repository::Next,
};

const CHANNELS: usize = ChannelKind::ALL.len();

/// What is known about a conversation that has something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is in its channel's queue.
    Ready,
    /// A worker has it; `again` if more came in since then.
    Running { again: bool },
    /// It waits for its next try.
    Waiting(Millis),
}

/// The conversations that have something to do.
#[derive(Debug)]
pub(super) struct Schedule {
    ready: [VecDeque<ConversationId>; CHANNELS],
    known: HashMap<ConversationId, (ChannelKind, State)>,
    waiting: BTreeSet<(Millis, ConversationId)>,
    running: [usize; CHANNELS],
    workers: usize,
    most_each: usize,
    turn: usize, // the channel that is asked first
}

impl Schedule {
    /// An empty schedule for `workers` workers and so many channels. Each channel may take all of them but an eighth for each
    /// other one, and at least one.
    pub(super) fn new(workers: usize, channels: usize) -> Self {
        let kept = (workers / 8).max(1) * channels.saturating_sub(1);
        Self {
            ready: Default::default(),
            known: HashMap::new(),
            waiting: BTreeSet::new(),
            running: [0; CHANNELS],
            workers,
            most_each: workers.saturating_sub(kept).max(1),
            turn: 0,
        }
    }

    /// Something came in for a conversation.
    pub(super) fn wake(&mut self, conversation: ConversationId, channel: ChannelKind) {
        match self.known.get_mut(&conversation) {
            None => self.make_ready(conversation, channel),
            Some((_, State::Running { again })) => *again = true,
            Some((_, State::Ready | State::Waiting(_))) => {}
        }
    }

    /// Something is there for a conversation, as the store says, and is due then. A worker that has it will find it by itself;
    /// a wait becomes shorter, not longer.
    pub(super) fn find(&mut self, conversation: ConversationId, channel: ChannelKind, due_at: Millis) {
        match self.known.get(&conversation) {
            None => self.make_ready(conversation, channel),
            Some((_, State::Waiting(at))) if due_at < *at => {
                self.waiting.remove(&(*at, conversation));
                self.waiting.insert((due_at, conversation));
                self.known.insert(conversation, (channel, State::Waiting(due_at)));
            }
            Some(_) => {}
        }
    }

    fn make_ready(&mut self, conversation: ConversationId, channel: ChannelKind) {
        self.known.insert(conversation, (channel, State::Ready));
        self.ready[channel as usize].push_back(conversation);
    }

    /// A conversation for a worker, if one is ready and a worker is free for it.
    pub(super) fn take(&mut self, now: Millis) -> Option<(ConversationId, ChannelKind)> {
        self.end_waits(now);
        if self.running.iter().sum::<usize>() >= self.workers {
            return None;
        }
        for step in 0..CHANNELS {
            let place = (self.turn + step) % CHANNELS;
            if self.running[place] >= self.most_each {
                continue;
            }
            let Some(conversation) = self.ready[place].pop_front() else { continue };
            let channel = ChannelKind::ALL[place];
            self.known.insert(conversation, (channel, State::Running { again: false }));
            self.running[place] += 1;
            self.turn = place + 1;
            return Some((conversation, channel));
        }
        None
    }

    /// A worker is done with a conversation for now.
    pub(super) fn done(&mut self, conversation: ConversationId, next: &Next) {
        let Some((channel, State::Running { again })) = self.known.remove(&conversation) else { return };
        self.running[channel as usize] -= 1;
        match next {
            Next::WaitUntil(at) => {
                self.known.insert(conversation, (channel, State::Waiting(*at)));
                self.waiting.insert((*at, conversation));
            }
            Next::Idle if !again => {}
            _ => self.make_ready(conversation, channel),
        }
    }

    /// The moment at which the next wait ends.
    pub(super) fn next_wait(&self) -> Option<Millis> {
        self.waiting.first().map(|(at, _)| *at)
    }

    fn end_waits(&mut self, now: Millis) {
        while let Some(&(at, conversation)) = self.waiting.first().filter(|(at, _)| *at <= now) {
            self.waiting.remove(&(at, conversation));
            if let Some(&(channel, _)) = self.known.get(&conversation) {
                self.make_ready(conversation, channel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = Millis(1000);

    fn id(number: i64) -> ConversationId {
        ConversationId(number)
    }

    #[test]
    fn channels_take_turns() {
        let mut schedule = Schedule::new(100, 3);
        (0..10).for_each(|n| schedule.wake(id(n), ChannelKind::WhatsApp));
        schedule.wake(id(50), ChannelKind::Linq);
        schedule.wake(id(60), ChannelKind::NextcloudTalk);
        let order: Vec<i64> = (0..4).filter_map(|_| schedule.take(NOW)).map(|(c, _)| c.0).collect();
        assert_eq!(order, [0, 50, 60, 1]);
    }

    #[test]
    fn a_busy_channel_leaves_workers_for_the_others() {
        let mut schedule = Schedule::new(8, 2);
        (0..20).for_each(|n| schedule.wake(id(n), ChannelKind::WhatsApp));
        let taken = std::iter::from_fn(|| schedule.take(NOW)).count();
        assert_eq!(taken, 7);
        schedule.wake(id(50), ChannelKind::Linq);
        assert_eq!(schedule.take(NOW), Some((id(50), ChannelKind::Linq)));
        assert_eq!(schedule.take(NOW), None);
    }

    #[test]
    fn one_worker_serves_all_channels() {
        let mut schedule = Schedule::new(1, 3);
        schedule.wake(id(1), ChannelKind::Linq);
        assert_eq!(schedule.take(NOW), Some((id(1), ChannelKind::Linq)));
    }

    #[test]
    fn what_waits_for_its_next_try_stays_away_until_then() {
        let mut schedule = Schedule::new(4, 1);
        schedule.wake(id(1), ChannelKind::Linq);
        assert!(schedule.take(NOW).is_some());
        schedule.done(id(1), &Next::WaitUntil(Millis(2000)));
        schedule.wake(id(1), ChannelKind::Linq);
        assert_eq!((schedule.take(Millis(1999)), schedule.next_wait()), (None, Some(Millis(2000))));
        assert_eq!(schedule.take(Millis(2000)), Some((id(1), ChannelKind::Linq)));
        assert_eq!(schedule.next_wait(), None);
    }

    #[test]
    fn what_came_in_meanwhile_is_not_forgotten() {
        let mut schedule = Schedule::new(4, 1);
        schedule.wake(id(1), ChannelKind::Linq);
        assert!(schedule.take(NOW).is_some());
        schedule.wake(id(1), ChannelKind::Linq);
        assert_eq!(schedule.take(NOW), None, "one worker at a time");
        schedule.done(id(1), &Next::Idle);
        assert!(schedule.take(NOW).is_some());
        schedule.done(id(1), &Next::Idle);
        assert_eq!(schedule.take(NOW), None);
        assert!(schedule.known.is_empty());
    }

    proptest! {
        #[test]
        fn no_conversation_has_two_workers_and_none_is_forgotten(
            steps in prop::collection::vec((0_u8..3, 0_i64..6, 0_i64..100), 1..200)
        ) {
            let mut schedule = Schedule::new(3, 3);
            let mut running: HashSet<ConversationId> = HashSet::new();
            let mut owed: HashSet<ConversationId> = HashSet::new();
            let mut now = 0;
            for (step, number, by) in steps {
                let conversation = id(number);
                match step {
                    0 => {
                        schedule.wake(conversation, ChannelKind::ALL[usize::try_from(number % 3).unwrap()]);
                        owed.insert(conversation);
                    }
                    1 => {
                        now += by;
                        if let Some((taken, channel)) = schedule.take(Millis(now)) {
                            prop_assert!(running.insert(taken) && running.len() <= 3);
                            prop_assert_eq!(channel as i64, taken.0 % 3);
                            owed.remove(&taken);
                        }
                    }
                    _ => {
                        if running.remove(&conversation) {
                            let next = if by % 2 == 0 { Next::Idle } else { Next::WaitUntil(Millis(now + by)) };
                            schedule.done(conversation, &next);
                        }
                    }
                }
            }
            for conversation in std::mem::take(&mut running) {
                schedule.done(conversation, &Next::Idle);
            }
            while let Some((taken, _)) = schedule.take(Millis(i64::MAX)) {
                owed.remove(&taken);
                schedule.done(taken, &Next::Idle);
            }
            prop_assert!(owed.is_empty() && schedule.known.is_empty());
        }
    }
}
