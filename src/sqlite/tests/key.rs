//! What memory knows of the keys on record: before they have been read, after edits by hand, and when it forgets.

use std::{pin::pin, sync::Arc, time::Duration};

use sqlx::SqliteConnection;
use tempfile::TempDir;

use super::{Limit, NO_LIMIT, claim, id, limits, open, open_with, other, parts, poll_once, settings, turn};
use crate::{
    domain::{
        id::MessageId,
        idempotency::BodyHash,
        message::{Account, Answer, MessageText},
        time::Millis,
    },
    repository::{ClaimOutcome, NewTurn, StoreError, TurnEnd, TurnRepository as _},
    sqlite::{
        SqliteStore, StoreLimits,
        key_index::Places,
        memory::{KeyId, KeyState, Memory},
    },
};

/// A store that does not read the keys on record by itself.
async fn open_unread(folder: &TempDir) -> SqliteStore {
    SqliteStore::open_beside(&settings(folder), parts(limits())).await.unwrap()
}

/// A new database, on which no server runs.
async fn closed(folder: &TempDir) -> SqliteConnection {
    open(folder).await.close().await;
    other(folder).await
}

/// Messages with answers and keys, from the first number to the last, so many apart.
async fn fill(conn: &mut SqliteConnection, (first, last, apart): (i64, i64, i64)) {
    let messages = "WITH RECURSIVE n (i) AS (SELECT ?1 UNION ALL SELECT i + ?3 FROM n WHERE i + ?3 <= ?2)
        INSERT INTO message (id, received_at_ms, channel, sender, idempotency_key, text, state, attempts, run_id, answer, model,
                             finished_at_ms, provider, provider_calls, provider_ms)
        SELECT i, 1, 'webhook', 'token:1', 'key-' || i, 'hello', 'answered', 1, 1, 'answer ' || i, 'm', 1, 'echo', 1, 0 FROM n";
    sqlx::query(messages).bind(first).bind(last).bind(apart).execute(&mut *conn).await.unwrap();
    let keys = "INSERT INTO idempotency_key (message_id, owner, key, body_hash, state, answered_at_ms, answered_no)
        SELECT id, sender, idempotency_key, zeroblob(32), 'answered', 1, id FROM message WHERE id BETWEEN ?1 AND ?2";
    sqlx::query(keys).bind(first).bind(last).execute(conn).await.unwrap();
}

async fn answer_to(store: &SqliteStore, key: &str) -> Option<String> {
    match store.claim(turn(key), Millis(2)).outcome().await.unwrap() {
        ClaimOutcome::Answered(answer) => Some(answer.text.to_string()),
        ClaimOutcome::Claimed(_) => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_with_a_key_waits_until_the_keys_on_record_have_been_read_however_many() {
    let folder = TempDir::new().unwrap();
    let mut conn = closed(&folder).await;
    // Parts that are full, parts with one key, a gap, and numbers that only a hand gives.
    for keys in [(-2000, -1000, 1000), (1, 3000, 1), (10_000, 200_000, 1024), (1 << 50, (1 << 50) + 5, 1)] {
        fill(&mut conn, keys).await;
    }
    let store = open_unread(&folder).await;
    let mut known = pin!(store.claim(turn("key-3000"), Millis(2)).outcome());
    let mut new = pin!(store.claim(turn("new"), Millis(2)).outcome());
    // Both have begun before the keys are read.
    assert!(poll_once(known.as_mut()).await.is_pending());
    assert!(poll_once(new.as_mut()).await.is_pending());
    let keeper = Arc::clone(&store.shared);
    let keeper = tokio::spawn(async move { keeper.keep_keys().await });
    assert!(matches!(known.await, Ok(ClaimOutcome::Answered(_))));
    assert!(matches!(new.await, Ok(ClaimOutcome::Claimed(_))));
    let numbers = [-2000, -1000, 1, 1023, 1024, 2048, 10_000, 11_024, 1_i64 << 50, (1 << 50) + 5];
    for number in numbers {
        assert_eq!(answer_to(&store, &format!("key-{number}")).await, Some(format!("answer {number}")));
    }
    assert_eq!(answer_to(&store, "key-3001").await, None);
    store.close().await;
    keeper.await.unwrap();
}

#[tokio::test]
async fn a_request_with_a_key_does_not_wait_for_ever_until_the_keys_on_record_have_been_read() {
    let folder = TempDir::new().unwrap();
    let store = open_unread(&folder).await;
    tokio::time::pause();
    let refused = store.claim(turn("key"), Millis(2)).outcome().await;
    assert!(matches!(refused, Err(StoreError::Busy)), "{refused:?}");
    tokio::time::resume();
    store.shared.memory.keys_are_read();
    assert_eq!(answer_to(&store, "key").await, None, "it was not kept for the one that gave up");
    store.close().await;
}

#[tokio::test]
async fn a_key_that_is_put_in_by_hand_is_known_like_any_other_edit() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let insert = "INSERT INTO idempotency_key (message_id, owner, key, body_hash, state) VALUES (1, 'token:1', 'key', x'00', 'running')";
    let id = id("key");
    let until = |holds: fn(&Memory, &KeyId) -> bool| {
        let (memory, id) = (&store.shared.memory, &id);
        let known = async move {
            while !holds(memory, id) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), known)
    };
    until(|memory, _| memory.keys_have_been_read()).await.unwrap(); // there are none
    let mut other = other(&folder).await;
    sqlx::query(insert).execute(&mut other).await.unwrap();
    until(|memory, id| memory.places_of(id) == Some(Places::Messages(vec![1]))).await.unwrap();
    store.close().await;
}

/// What nobody can have posted as a key hides no other one.
#[tokio::test]
async fn keys_that_are_none_are_passed_over() {
    let folder = TempDir::new().unwrap();
    let mut conn = closed(&folder).await;
    let odd = "INSERT INTO idempotency_key (message_id, owner, key, body_hash, state)
               VALUES (2, 'token:1', CAST(x'ff0a00' AS TEXT), x'', 'running'), (4, 'nobody', 'key-4', x'', 'running'),
                      (6, CAST(x'ff' AS TEXT), '', x'', 'running'), (8, '', char(10), x'', 'running')";
    sqlx::query(odd).execute(&mut conn).await.unwrap();
    fill(&mut conn, (1, 9, 2)).await;
    let store = open(&folder).await;
    for number in [1, 3, 5, 7, 9] {
        assert_eq!(answer_to(&store, &format!("key-{number}")).await, Some(format!("answer {number}")));
    }
    assert_eq!(answer_to(&store, "key-4").await, None);
    store.close().await;
}

#[tokio::test]
async fn memory_forgets_the_parts_of_which_nothing_is_on_record_any_more() {
    let folder = TempDir::new().unwrap();
    let mut conn = closed(&folder).await;
    fill(&mut conn, (0, 5000, 1)).await;
    let store = open_unread(&folder).await;
    let (shared, memory) = (&store.shared, &store.shared.memory);
    shared.read_keys().await.unwrap();
    memory.keys_are_read();
    sqlx::query("DELETE FROM idempotency_key WHERE message_id BETWEEN 1024 AND 3071 AND message_id <> 2500")
        .execute(&mut conn)
        .await
        .unwrap();
    let places = |key: &str| memory.places_of(&id(key));
    shared.forget_keys().await.unwrap();
    assert_eq!(
        places("key-1024"),
        Some(Places::Messages(vec![1024])),
        "it may have been written after the parts were read"
    );
    memory.give_back_keys([(&id("written"), Some(MessageId(3000)))].into_iter());
    shared.forget_keys().await.unwrap();
    assert_eq!(places("key-1024"), None);
    assert_eq!(places("key-2047"), None);
    for message in [1, 1023, 2048, 2500, 3072] {
        assert_eq!(places(&format!("key-{message}")), Some(Places::Messages(vec![message])), "{message}");
    }
    assert_eq!(places("written"), Some(Places::Messages(vec![3000])));
    store.close().await;
}

#[tokio::test]
async fn a_key_that_is_looked_up_is_nobody_elses_until_the_database_has_answered() {
    let folder = TempDir::new().unwrap();
    let store = open_unread(&folder).await;
    let memory = &store.shared.memory;
    let id = id("key");
    let take = |body| memory.take_key(&id, BodyHash([body; 32]), Millis(1));
    assert!(matches!(take(0), KeyState::NotRead));
    memory.keys_are_read();
    assert!(matches!(take(1), KeyState::Taken));
    assert!(matches!(take(2), KeyState::Running(BodyHash([1, ..]), _)));
    memory.give_back_keys([(&id, Some(MessageId(5000)))].into_iter());
    assert!(matches!(take(3), KeyState::AskTheDatabase(Places::Messages(messages)) if messages == [5000]));
    assert!(matches!(take(4), KeyState::LookedUp));
    memory.looked_up(&id, false);
    assert!(matches!(take(5), KeyState::AskTheDatabase(_)));
    memory.looked_up(&id, true);
    assert!(matches!(take(6), KeyState::Running(BodyHash([5, ..]), _)));
    store.close().await;
}

#[tokio::test]
async fn a_key_whose_claim_found_no_room_on_the_disk_is_new() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let large = || {
        let text = Arc::new(MessageText::new("x".repeat(50_000)).unwrap());
        Box::new(NewTurn { text, ..*turn("key") })
    };
    store.shared.step(None, Limit(1)).await.unwrap();
    let mut lease = claim(&store, large(), Millis(2)).await;
    assert_eq!(store.begin(&mut lease, Millis(2)).await, Err(StoreError::Full));
    drop(lease);
    assert_eq!(store.shared.memory.places_of(&id("key")), None);
    store.shared.step(None, Limit(NO_LIMIT)).await.unwrap();
    assert_eq!(answer_to(&store, "key").await, None);
    store.close().await;
}

#[tokio::test]
async fn a_key_that_is_used_again_and_again_is_known_with_few_messages() {
    let folder = TempDir::new().unwrap();
    let store = open_with(&settings(&folder), StoreLimits { keys_per_owner: 1, ..limits() }).await;
    let answer = Answer { text: "answer".into(), model: "m".into() };
    let end = TurnEnd::Answered(answer, Account::default());
    for number in 0..60 {
        let key = ["a", "b"][number % 2];
        let mut lease = claim(&store, turn(key), Millis(2)).await; // the other one took its place
        store.settle(&mut lease, &end, Millis(3)).await.unwrap();
    }
    let Some(Places::Messages(messages)) = store.shared.memory.places_of(&id("b")) else {
        panic!("it is on record");
    };
    assert!(messages.len() <= 9, "{messages:?}");
    assert_eq!(answer_to(&store, "b").await.as_deref(), Some("answer"));
    store.close().await;
}

#[tokio::test]
async fn a_key_that_is_given_back_is_new_unless_its_claim_may_be_on_record() {
    let folder = TempDir::new().unwrap();
    let store = open_unread(&folder).await;
    let memory = &store.shared.memory;
    memory.keys_are_read();
    let id = id("key");
    let take = || memory.take_key(&id, BodyHash([0; 32]), Millis(1));
    assert!(matches!(take(), KeyState::Taken));
    memory.give_back_keys([(&id, None)].into_iter()); // its work failed
    assert!(matches!(take(), KeyState::Taken));
    memory.give_back_lost_key(&id); // nobody wrote it
    assert!(matches!(take(), KeyState::Taken));
    memory.queue_claim(&id, || Err(StoreError::Busy)).unwrap_err();
    memory.give_back_lost_key(&id); // it did not come so far
    assert!(matches!(take(), KeyState::Taken));
    memory.queue_claim(&id, || Ok(())).unwrap();
    memory.give_back_lost_key(&id);
    assert!(matches!(take(), KeyState::AskTheDatabase(Places::Anywhere)));
    store.close().await;
}
