//! Operators who mend what is not broken, while the server is at work.

use super::{message::Chat, shape::command, sqlite3, until_query};
use crate::support::{
    platform::Behaviour,
    random::{Random, seed},
};

const MESSAGES: usize = 60;
const SENDERS: usize = 6;
const COMMANDS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_at_work_is_not_confused_by_any_retry_or_discard() {
    let seed = seed();
    println!("MOORGATE_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    // Most replies are refused and given up at once, so that there is always something to mend.
    let chat = Chat::start_with(&[("channels_config.delivery_max_attempts", "1")]);
    chat.model.delay(random.fork(), 200);
    let mut refuse = random.fork();
    chat.platform.behave(move |_| match refuse.below(3) {
        0 => Behaviour::Take,
        _ => Behaviour::Refuse(500, None),
    });
    for number in 0..MESSAGES {
        let sender = format!("1555{:04}", number % SENDERS);
        chat.say_as(&sender, &format!("wamid.{number}"), &format!("message {number}")).await;
    }
    let (mut done, mut refused) = (0, 0);
    for _ in 0..COMMANDS {
        let what = ["message", "delivery"][random.below(2)];
        let id = (1 + random.below(MESSAGES)).to_string();
        let ended = match random.below(2) {
            0 => command(&chat.folder, &[what, "retry", &id]),
            _ => command(&chat.folder, &[what, "discard", &id, "--yes"]),
        };
        match ended.code {
            Some(0) => done += 1,
            Some(64) => refused += 1,
            _ => panic!("{ended:?}"),
        }
    }
    assert!(done > 0 && refused > 0, "{done} done, {refused} refused");
    check_all_is_well(&chat).await;
}

/// Everything comes to its end; what was sent was sent once, and what has an answer was answered by the model once.
async fn check_all_is_well(chat: &Chat) {
    let database = &chat.process.database;
    let unfinished = "SELECT (SELECT count(*) FROM message WHERE state IN ('accepted', 'running'))
                           + (SELECT count(*) FROM delivery WHERE state = 'due')";
    until_query(database, unfinished, "0").await;
    let sent = sqlite3(database, "SELECT count(*) FROM delivery WHERE state = 'sent'");
    assert_eq!(chat.platform.texts().len().to_string(), sent, "each was sent once");
    let states = sqlite3(
        database,
        "SELECT DISTINCT state || coalesce(':' || error_class, '') FROM message ORDER BY 1",
    );
    assert!(states == "answered" || states == "answered\nfailed:discarded", "{states}");
    for number in 0..MESSAGES {
        let text = format!("message {number}");
        let answered =
            sqlite3(database, &format!("SELECT state = 'answered' FROM message WHERE text = '{text}'"));
        assert_eq!(chat.model.calls(&text).to_string(), answered, "{text}");
    }
    assert_eq!(sqlite3(database, "PRAGMA integrity_check"), "ok");
}
