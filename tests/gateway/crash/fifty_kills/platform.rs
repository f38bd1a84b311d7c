//! A platform that hands messages over, and fails now and then when it gets a reply.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
};

use super::load::{Event, Load};
use crate::support::{
    client::Client,
    gateway::sqlite3,
    platform::{Behaviour, Platform},
    process::Process,
    random::Random,
    sender::{undated_message, whatsapp_call, whatsapp_payload},
    wait::until_query,
};

pub const SENDERS: usize = 20;
/// Tasks that hand over, each the messages of some of the senders.
pub const COURIERS: usize = 4;
/// Messages that each of them hands over first in a run, before it repeats any.
const NEW: usize = 3;

/// How many messages of each sender the gateway took. Their numbers rise, and each is handed over once those before it are.
#[derive(Default)]
pub struct HandedOver(Mutex<[usize; SENDERS]>);

impl HandedOver {
    fn of(&self, sender: usize) -> usize {
        self.0.lock().unwrap()[sender]
    }

    fn took(&self, sender: usize, nth: usize) {
        let taken = &mut self.0.lock().unwrap()[sender];
        *taken = (*taken).max(nth + 1);
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().iter().sum()
    }

    /// Every message that was taken is there, and none twice.
    pub fn check(&self, process: &Process) {
        let found = sqlite3(&process.database, "SELECT platform_id FROM message WHERE channel = 'whatsapp'");
        let ids: HashSet<_> = found.lines().collect();
        assert_eq!(ids.len(), found.lines().count(), "a message is there twice");
        for sender in 0..SENDERS {
            for nth in 0..self.of(sender) {
                assert!(ids.contains(platform_id(sender, nth).as_str()), "{nth} of {sender} is lost");
            }
        }
    }
}

fn phone(sender: usize) -> String {
    format!("1555{sender:04}")
}

fn platform_id(sender: usize, nth: usize) -> String {
    format!("wamid.{sender}.{nth}")
}

/// Hands some messages over; some of them twice at once, some again.
pub async fn hand_over(courier: usize, load: Arc<Load>, client: Client, mut random: Random) {
    for step in 0..NEW + random.below(4) {
        let sender = courier + COURIERS * random.below(SENDERS / COURIERS);
        let taken = load.handed_over.of(sender);
        let again = step >= NEW && taken > 0 && random.below(2) == 0;
        let nth = if again { random.below(taken) } else { taken };
        let post = || say(&load, &client, sender, nth);
        let twice = random.below(4) == 0;
        let (first, second) = tokio::join!(post(), async { !twice || post().await });
        if !first || !second {
            return;
        }
    }
}

/// Whether the gateway answered.
async fn say(load: &Load, client: &Client, sender: usize, nth: usize) -> bool {
    let text = format!("word {sender} {nth}");
    let message = undated_message(&platform_id(sender, nth), &phone(sender), &text);
    let call = whatsapp_call(client, &whatsapp_payload(&[message]));
    let Some((reply, _)) = load.send(client, call).await else { return false };
    assert_eq!(reply.status, 200, "{reply:?}");
    load.handed_over.took(sender, nth);
    load.happened(Event::Receipt);
    true
}

/// One call in three fails, in each way.
pub fn fail_one_in_three(platform: &Platform, load: &Arc<Load>, mut random: Random) {
    let load = Arc::clone(load);
    platform.behave(move |_| match random.below(12) {
        0 | 1 => Behaviour::Refuse(500, None),
        2 => Behaviour::Refuse(429, Some(0)),
        3 => Behaviour::HangUp,
        _ => {
            load.happened(Event::Reply);
            Behaviour::Take
        }
    });
}

/// Hands over what was cut, and waits until nothing is left to do.
pub async fn settle(load: &Load, process: &Process) {
    for sender in 0..SENDERS {
        say(load, &process.client, sender, load.handed_over.of(sender)).await;
    }
    let left = "SELECT (SELECT count(*) FROM message WHERE state IN ('accepted', 'running')) + (SELECT count(*) FROM delivery WHERE state = 'due')";
    until_query(&process.database, left, "0").await;
}

/// What was handed over was answered, once where nothing is in doubt, and in order.
pub fn check(load: &Load, process: &Process, platform: &Platform) {
    let (database, messages) = (&process.database, load.handed_over.count());
    load.handed_over.check(process);
    let counts =
        "SELECT count(*), count(*) FILTER (WHERE state = 'answered') FROM message WHERE channel = 'whatsapp'";
    assert_eq!(sqlite3(database, counts), format!("{messages}|{messages}"));
    assert_eq!(sqlite3(database, "SELECT count(*) FROM delivery WHERE state <> 'sent'"), "0");

    let in_doubt = sqlite3(database, "SELECT reply_to FROM delivery WHERE in_doubt > 0");
    let in_doubt: HashSet<_> = in_doubt.lines().collect();
    let mut seen: BTreeMap<usize, Vec<(usize, String)>> = BTreeMap::new(); // by sender, in the order of arrival
    let mut twice = 0;
    for call in platform.calls().into_iter().filter(|call| call.taken) {
        let (word, _) = call.text().split_once(':').unwrap();
        let numbers: Vec<usize> =
            word.strip_prefix("word ").unwrap().split(' ').map(|number| number.parse().unwrap()).collect();
        let (sender, nth) = (numbers[0], numbers[1]);
        assert_eq!(call.to(), phone(sender));
        let earlier = seen.entry(sender).or_default();
        if let Some((_, first)) = earlier.iter().find(|(other, _)| *other == nth) {
            let id = platform_id(sender, nth);
            assert!(in_doubt.contains(id.as_str()), "{id} was answered twice without a doubt");
            assert_eq!(first, call.text(), "{id} was answered in two ways");
            twice += 1;
            continue;
        }
        assert!(earlier.last().is_none_or(|(last, _)| *last < nth), "{nth} after {earlier:?}");
        earlier.push((nth, call.text().to_owned()));
    }
    assert_eq!(seen.values().map(Vec::len).sum::<usize>(), messages, "each was answered");
    println!(
        "{messages} messages of the platform, {} replies in doubt, {twice} of them there twice",
        in_doubt.len()
    );
}
