//! Numbers that are given out while writing: those of messages, and of each owner's answered keys.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sqlx::SqliteConnection;

use super::{BatchError, Context, Planned, Turn, TurnCommand, message};
use crate::{
    domain::{
        client::Owner,
        id::{ConversationId, MessageId},
    },
    sqlite::{gathered::Batch, remember, rows::Rows},
};

/// What the rows of a turn need beside it.
pub(super) struct Numbers {
    pub(super) id: MessageId,
    pub(super) owner: Arc<str>,
    /// The how-manyeth answered key of its owner it is, if it answers one.
    pub(super) number: Option<i64>,
    pub(super) conversation: Option<ConversationId>,
}

/// Numbers that are given out while writing, read when they are first needed.
#[derive(Default)]
pub(in crate::sqlite) struct BatchState {
    next_message: Option<i64>,          // None: to be read again
    highest_message: i64,               // no number is given out twice while work on the first one may go on
    answered: HashMap<Owner, Answered>, // of each owner seen lately
}

/// What is known of the answered keys of an owner.
#[derive(Debug, Clone, Copy, Default)]
struct Answered {
    /// The highest `answered_no`.
    highest: i64,
    /// The keys up to this one have been dropped; 0: perhaps some were.
    dropped_to: i64,
}

impl Answered {
    /// The number of the last key that has to go, so that `keep` are left at most, if any has to. A sixteenth of them goes at once:
    /// to drop one for each that comes would change as many pages again as it takes to write it.
    fn drop_to(&mut self, keep: u32) -> Option<i64> {
        let too_many = self.highest - i64::from(keep);
        if too_many <= self.dropped_to {
            return None;
        }
        let lot = i64::from(keep / 16).max(1);
        self.dropped_to = (too_many + lot - 1) / lot * lot;
        Some(self.dropped_to)
    }
}

/// Owners whose numbers are kept in memory; beyond, they are read again.
const OWNERS_KEPT: usize = 10_000;

impl BatchState {
    /// Forgets all numbers: they may be wrong after a rollback, or after an edit.
    pub(in crate::sqlite) fn forget_numbers(&mut self) {
        self.next_message = None;
        self.answered.clear();
    }

    /// Whether turns can be planned with what memory has.
    pub(in crate::sqlite) fn can_plan(&self, turns: &[Turn]) -> bool {
        turns.is_empty()
            || self.next_message.is_some()
                && self.unknown_owners(turns).is_empty()
                && !turns.iter().any(|turn| turn.begins_in_a_session())
    }

    /// Reads what the turns need and memory does not have, in the transaction in which they are written; and the conversation of
    /// each, if it has one.
    pub(in crate::sqlite) async fn read_for(
        &mut self,
        conn: &mut SqliteConnection,
        turns: &[Turn],
    ) -> Result<Vec<Option<ConversationId>>, sqlx::Error> {
        if turns.is_empty() {
            return Ok(Vec::new());
        }
        self.read_next_message(conn).await?;
        if self.answered.len() > OWNERS_KEPT {
            self.answered.clear();
        }
        let owners = self.unknown_owners(turns);
        self.load_numbers(conn, owners).await?;
        if turns.iter().any(|turn| turn.begins_in_a_session()) {
            return message::conversations_of(conn, turns).await;
        }
        Ok(Vec::new())
    }

    /// Decides in which rows hits and turns are written. What memory does not have must have been read.
    pub(in crate::sqlite) fn plan<'b>(
        &mut self,
        context: &Context<'_>,
        batch: &'b mut Batch,
        conversations: Vec<Option<ConversationId>>,
    ) -> Result<Planned<'b>, BatchError> {
        let Batch { hits, turns, remembering, .. } = batch;
        let new = turns.iter().filter(|turn| turn.id.is_none()).count();
        let mut new_ids = self.next_message_ids(new)?.into_iter();
        let mut names = OwnerName::default();
        let mut conversations = conversations.into_iter();
        let numbers = turns.iter().filter_map(|turn| {
            let id = turn.id.or_else(|| new_ids.next())?;
            let (owner, number) = (names.of(turn.owner), self.next_number(turn));
            Some(Numbers { id, owner, number, conversation: conversations.next().flatten() })
        });
        let numbers: Vec<_> = numbers.collect();
        let last_to_go = self.drop_too_many(context.limits.keys_per_owner, turns, &numbers);
        Ok(Planned {
            hits,
            turns,
            numbers,
            last_to_go,
            remembering,
            run_id: context.run_id,
            saves_memory: context.limits.saves_memory,
        })
    }

    /// The numbers of the next `count` messages.
    pub(in crate::sqlite) async fn take_message_ids(
        &mut self,
        conn: &mut SqliteConnection,
        count: usize,
    ) -> Result<Vec<MessageId>, sqlx::Error> {
        self.read_next_message(conn).await?;
        self.next_message_ids(count)
    }

    async fn read_next_message(&mut self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if self.next_message.is_none() {
            // A key keeps the number of its message, also of one that was deleted by hand.
            let newest = sqlx::query!(
                r#"SELECT max(coalesce((SELECT max(id) FROM message), 0),
                              coalesce((SELECT max(message_id) FROM idempotency_key), 0)) AS "id!: i64""#
            );
            let newest = newest.fetch_one(&mut *conn).await?.id.max(self.highest_message);
            remember::go_back_to(conn, newest).await?;
            self.next_message = Some(newest.saturating_add(1));
        }
        Ok(())
    }

    fn next_message_ids(&mut self, count: usize) -> Result<Vec<MessageId>, sqlx::Error> {
        let next = self.next_message.unwrap_or(i64::MAX);
        let ids: Vec<MessageId> = (next..i64::MAX).take(count).map(MessageId).collect();
        if ids.len() < count {
            return Err(sqlx::Error::Protocol("no numbers are left for messages".into()));
        }
        if let Some(last) = ids.last() {
            (self.next_message, self.highest_message) = (Some(last.0 + 1), last.0);
        }
        Ok(ids)
    }

    fn next_number(&mut self, turn: &TurnCommand) -> Option<i64> {
        if !turn.answers_a_key() {
            return None;
        }
        let answered = self.answered.entry(turn.owner).or_default();
        answered.highest += 1;
        Some(answered.highest)
    }

    /// The owners of answered keys whose numbers are not in memory.
    fn unknown_owners(&self, turns: &[Turn]) -> HashSet<Owner> {
        let answered = turns.iter().filter(|turn| turn.answers_a_key()).map(|turn| turn.owner);
        answered.filter(|owner| !self.answered.contains_key(owner)).collect()
    }

    /// Reads the highest `answered_no` of these owners.
    async fn load_numbers(
        &mut self,
        conn: &mut SqliteConnection,
        owners: HashSet<Owner>,
    ) -> Result<(), sqlx::Error> {
        if owners.is_empty() {
            return Ok(());
        }
        let owners: Vec<Owner> = owners.into_iter().collect();
        let mut rows = Rows::default();
        for owner in &owners {
            rows.push(|row| _ = row.display(owner));
        }
        let (json, blob) = rows.finish();
        let found = sqlx::query!(
            r#"SELECT coalesce((SELECT max(k.answered_no) FROM idempotency_key AS k
                                WHERE k.owner = CAST(substr(?2, r.value ->> 0, r.value ->> 1) AS TEXT)
                                  AND k.answered_no IS NOT NULL), 0) AS "number!: i64"
               FROM jsonb_each(?1) AS r ORDER BY r.key"#,
            json,
            blob
        )
        .fetch_all(conn)
        .await?;
        let found = found.into_iter().map(|row| Answered { highest: row.number, dropped_to: 0 });
        self.answered.extend(owners.into_iter().zip(found));
        Ok(())
    }

    /// For each owner that answered a key now and has too many, the number of the last that has to go. They count as dropped
    /// from then on, so that each owner is named once; [`forget_numbers`](Self::forget_numbers) takes it back if the batch is.
    fn drop_too_many(&mut self, keep: u32, turns: &[Turn], numbers: &[Numbers]) -> Vec<(Arc<str>, i64)> {
        let answered = turns.iter().zip(numbers).filter(|(turn, _)| turn.answers_a_key());
        let last = answered.filter_map(|(turn, numbers)| {
            let last = self.answered.get_mut(&turn.owner)?.drop_to(keep)?;
            Some((Arc::clone(&numbers.owner), last))
        });
        last.collect()
    }
}

/// The names of owners, of which mostly the same one comes again and again.
#[derive(Default)]
struct OwnerName(Option<(Owner, Arc<str>)>);

impl OwnerName {
    fn of(&mut self, owner: Owner) -> Arc<str> {
        match &self.0 {
            Some((last, name)) if *last == owner => Arc::clone(name),
            _ => {
                let name: Arc<str> = owner.to_string().into();
                self.0 = Some((owner, Arc::clone(&name)));
                name
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_many_keys_are_left_as_may_be_kept_or_a_sixteenth_less(
            keep in 1_u32..200,
            batches in prop::collection::vec(1_i64..80, 1..40),
        ) {
            let mut answered = Answered::default();
            let mut dropped_to = 0;
            for batch in batches {
                answered.highest += batch;
                if let Some(last) = answered.drop_to(keep) {
                    prop_assert!(last > dropped_to);
                    dropped_to = last;
                }
                let (left, keep) = (answered.highest - dropped_to, i64::from(keep));
                prop_assert!(left <= keep);
                prop_assert!(left > keep - (keep / 16).max(1) || dropped_to == 0);
                let mut read_again = Answered { dropped_to: 0, ..answered };
                prop_assert_eq!(read_again.drop_to(u32::try_from(keep).unwrap()).unwrap_or(0), dropped_to);
            }
        }
    }
}
