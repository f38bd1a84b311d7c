//! `kill -9` at random moments while messages come in and replies go out through a platform that fails.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tempfile::TempDir;
use tokio::{sync::watch, task::JoinSet};

use crate::support::{
    client::Client,
    gateway::sqlite3,
    model_server::ModelServer,
    platform::{Behaviour, Platform},
    process::{LONGEST_WAIT, Process},
    random::{Random, seed},
    sender::{env_of, undated_message, whatsapp, whatsapp_call, whatsapp_payload},
    wait::until_query,
};

const KILLS: usize = 50;
const MESSAGES: usize = 500;
const SENDERS: usize = 20;

/// What the platform knows: which messages it handed over, and what it was told.
struct Meta {
    accepted: Mutex<HashSet<usize>>,
    count: watch::Sender<usize>,
    cut: AtomicBool,
}

impl Meta {
    /// The numbers of the messages of a sender rise, and each is handed over once those before it are.
    fn sender_of(number: usize) -> String {
        format!("1555{:04}", number % SENDERS)
    }

    fn accept(&self, number: usize) {
        let mut accepted = self.accepted.lock().unwrap();
        accepted.insert(number);
        self.count.send_replace(accepted.len());
    }
}

/// Hands messages over until the gateway is gone: each until it is taken, some twice at once, some again.
async fn hand_over(meta: Arc<Meta>, client: Client, sender: usize, mut random: Random) {
    let mine = || (sender..MESSAGES).step_by(SENDERS);
    loop {
        let next = mine().find(|number| !meta.accepted.lock().unwrap().contains(number));
        let redelivered: Vec<_> =
            mine().filter(|number| meta.accepted.lock().unwrap().contains(number)).collect();
        let again = random.below(4) == 0 && !redelivered.is_empty();
        let number = match next {
            Some(_) | None if again => redelivered[random.below(redelivered.len())],
            Some(number) => number,
            None => return,
        };
        let post = || say_numbered(&client, number);
        let twice = random.below(4) == 0;
        let (first, second) = tokio::join!(post(), async { if twice { post().await } else { Some(0) } });
        for status in [first, second] {
            match status {
                Some(200) => meta.accept(number),
                Some(0) => {}
                None => {
                    assert!(meta.cut.load(Ordering::SeqCst), "the gateway cut a call unasked");
                    return;
                }
                Some(status) => panic!("{number} was answered {status}"),
            }
        }
    }
}

async fn say_numbered(client: &Client, number: usize) -> Option<u16> {
    let message =
        undated_message(&format!("wamid.{number}"), &Meta::sender_of(number), &format!("message {number}"));
    let request = whatsapp_call(client, &whatsapp_payload(&[message]));
    client.try_send(request).await.ok().map(|reply| reply.status)
}

fn start(folder: &TempDir, model: &ModelServer, platform: &Platform) -> Process {
    let mut settings = whatsapp(platform);
    settings.push(("channels_config.retry_first_ms", "1"));
    settings.push(("channels_config.retry_longest_secs", "1"));
    settings.push(("channels_config.delivery_max_attempts", "100"));
    settings.push(("channels_config.message_max_attempts", "100"));
    let env = env_of(&settings);
    let mut env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    env.extend(model.env("model"));
    Process::start(folder.path(), &env)
}

/// One call in three fails, in each way.
fn fail_one_in_three(platform: &Platform, mut random: Random) {
    platform.behave(move |_| match random.below(12) {
        0 | 1 => Behaviour::Refuse(500, None),
        2 => Behaviour::Refuse(429, Some(0)),
        3 => Behaviour::HangUp,
        _ => Behaviour::Take,
    });
}

/// Failures 7, 8, 9 and 13 under `kill -9`: what was acknowledged is answered once, and in order.
#[tokio::test(flavor = "multi_thread")]
async fn after_fifty_kills_every_acknowledged_message_was_answered_once_and_in_order() {
    let seed = seed();
    println!("MOORGATE_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    let (folder, model, platform) = (TempDir::new().unwrap(), ModelServer::start(), Platform::start());
    model.delay(random.fork(), 5);
    fail_one_in_three(&platform, random.fork());
    let meta = Arc::new(Meta {
        accepted: Mutex::default(),
        count: watch::Sender::new(0),
        cut: AtomicBool::new(false),
    });
    for kill in 1..=KILLS {
        let process = start(&folder, &model, &platform);
        meta.cut.store(false, Ordering::SeqCst);
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            senders.spawn(hand_over(Arc::clone(&meta), process.client.clone(), sender, random.fork()));
        }
        let accepted = MESSAGES * kill / KILLS;
        let mut count = meta.count.subscribe();
        let enough = count.wait_for(|count| *count >= accepted);
        tokio::time::timeout(LONGEST_WAIT, enough).await.expect("messages are accepted").unwrap();
        let replied = platform.texts().len();
        let owed = accepted.saturating_sub(replied).min(MESSAGES / KILLS);
        platform.wait_for_texts(replied + random.below(owed + 1)).await;
        meta.cut.store(true, Ordering::SeqCst);
        process.kill();
        senders.join_all().await;
    }
    assert_eq!(meta.accepted.lock().unwrap().len(), MESSAGES);
    let process = start(&folder, &model, &platform);
    settle(&process).await;
    check(&process, &platform);
}

/// Waits until nothing is left to do.
async fn settle(process: &Process) {
    let left = "SELECT (SELECT count(*) FROM message WHERE state IN ('accepted', 'running')) + (SELECT count(*) FROM delivery WHERE state = 'due')";
    until_query(&process.database, left, "0").await;
}

fn check(process: &Process, platform: &Platform) {
    let database = &process.database;
    assert_eq!(sqlite3(database, "PRAGMA integrity_check"), "ok");
    let counts = sqlite3(database, "SELECT count(*), count(DISTINCT platform_id) FROM message");
    assert_eq!(counts, format!("{MESSAGES}|{MESSAGES}"));
    assert_eq!(sqlite3(database, "SELECT count(*) FROM message WHERE state <> 'answered'"), "0");
    assert_eq!(sqlite3(database, "SELECT count(*) FROM delivery WHERE state <> 'sent'"), "0");

    // Failure 14: each was remembered once, with the message.
    let remembered = "SELECT count(*), count(DISTINCT content) FROM memory AS r JOIN message AS m
                      ON r.key = 'whatsapp_' || m.sender || '_' || m.platform_id AND r.content = m.text";
    assert_eq!(sqlite3(database, remembered), format!("{MESSAGES}|{MESSAGES}"));
    assert_eq!(sqlite3(database, "SELECT count(*) FROM memory"), MESSAGES.to_string());

    let doubtful: HashSet<String> = sqlite3(database, "SELECT reply_to FROM delivery WHERE in_doubt > 0")
        .lines()
        .map(str::to_owned)
        .collect();
    let mut seen: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new(); // by sender, in the order of arrival
    let mut twice = 0;
    for call in platform.calls().into_iter().filter(|call| call.taken) {
        let text = call.text();
        let number: usize =
            text.strip_prefix("message ").unwrap().split(':').next().unwrap().parse().unwrap();
        assert_eq!(call.to(), Meta::sender_of(number));
        let earlier = seen.entry(call.to().to_owned()).or_default();
        if let Some((_, first)) = earlier.iter().find(|(other, _)| *other == number) {
            assert!(
                doubtful.contains(&format!("wamid.{number}")),
                "{number} was answered twice without a doubt"
            );
            assert_eq!(first, text, "{number} was answered in two ways");
            twice += 1;
            continue;
        }
        assert!(earlier.last().is_none_or(|(last, _)| *last < number), "{number} after {earlier:?}");
        earlier.push((number, text.to_owned()));
    }
    let answered: usize = seen.values().map(Vec::len).sum();
    assert_eq!(answered, MESSAGES);
    println!("{} replies in doubt, {twice} of them there twice", doubtful.len());
}
