//! Conversations in the requests that a model's server receives, over `kill -9`.

use tempfile::TempDir;

use super::LONGEST_WAIT;
use crate::support::{
    client::Client,
    model_server::ModelServer,
    platform::Platform,
    process::Process,
    sender::{env_of, undated_message, whatsapp, whatsapp_call, whatsapp_payload},
};

struct Set {
    folder: TempDir,
    model: ModelServer,
    platform: Platform,
}

impl Set {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), model: ModelServer::start(), platform: Platform::start() }
    }

    fn start(&self) -> Process {
        let mut settings = whatsapp(&self.platform);
        settings.push(("gateway.require_pairing", "false"));
        settings.push(("provider.system_prompt", "be brief"));
        let env = env_of(&settings);
        let mut env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        env.extend(self.model.env("model"));
        Process::start(self.folder.path(), &env)
    }
}

async fn say(client: &Client, id: &str, text: &str) {
    let payload = whatsapp_payload(&[undated_message(id, "1555", text)]);
    assert_eq!(client.send(whatsapp_call(client, &payload)).await.status, 200);
}

#[tokio::test]
async fn a_whatsapp_chat_shows_in_the_models_requests_also_after_a_kill() {
    let set = Set::new();
    let process = set.start();
    say(&process.client, "wamid.1", "one").await;
    set.platform.wait_for_texts(1).await;
    set.model.hold();
    say(&process.client, "wamid.2", "two").await;
    set.model.wait_for_calls("two", 1).await;
    say(&process.client, "wamid.3", "three").await;
    process.kill();
    set.model.release();
    let _process = set.start();
    set.platform.wait_for_texts(3).await;
    assert_eq!(
        set.model.told("two"),
        ["system: be brief", "user: one", "assistant: one: answer 1", "user: two"]
    );
    assert_eq!(
        set.model.told("three"),
        [
            "system: be brief",
            "user: one",
            "assistant: one: answer 1",
            "user: two",
            "assistant: two: answer 2",
            "user: three"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_shows_in_the_models_requests_and_what_a_kill_cut_goes_on_in_order() {
    let set = Set::new();
    let process = set.start();
    let post = |process: &Process, text: &'static str| {
        let (client, request) = (process.client.clone(), process.client.message("", Some(text), text));
        let request = request.header("X-Session-Id", "main");
        tokio::spawn(async move { client.try_send(request).await })
    };
    assert_eq!(post(&process, "one").await.unwrap().unwrap().status, 200);
    set.model.hold();
    let _cut = post(&process, "two");
    process.wait_for_state("two", "running").await;
    let _waiting = post(&process, "three");
    process.wait_for_state("three", "running").await;
    assert_eq!(set.model.calls("three"), 0);
    process.kill();

    let process = set.start();
    set.model.wait_for_calls("two", 2).await;
    assert_eq!(set.model.calls("three"), 0, "it waits for the turn before it");
    let fourth = post(&process, "four");
    process.wait_for_state("four", "running").await;
    set.model.release();
    let reply = tokio::time::timeout(LONGEST_WAIT, fourth).await.unwrap().unwrap().unwrap();
    assert_eq!(reply.json()["response"], "four: answer 1");
    let told: Vec<String> = [("one", 1), ("two", 2), ("three", 1)]
        .into_iter()
        .flat_map(|(text, number)| [format!("user: {text}"), format!("assistant: {text}: answer {number}")])
        .collect();
    let told = |turns: usize, last: &str| {
        let start = ["system: be brief".to_owned()].into_iter().chain(told[..turns * 2].iter().cloned());
        start.chain([format!("user: {last}")]).collect::<Vec<_>>()
    };
    assert_eq!(set.model.told("two"), told(1, "two"));
    assert_eq!(set.model.told("three"), told(2, "three"));
    assert_eq!(set.model.told("four"), told(3, "four"));
    let again = process.client.post_until_done("", "three", "three").await;
    assert_eq!(again.json()["response"], "three: answer 1");
}

/// What only waited for its turn was not begun, however often the gateway was killed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_waits_for_another_is_not_given_up_with_it() {
    let set = Set::new();
    set.model.hold();
    let mut process = set.start();
    for text in ["first", "second"] {
        let (client, request) = (process.client.clone(), process.client.message("", Some(text), text));
        tokio::spawn(async move { client.try_send(request.header("X-Session-Id", "main")).await });
        process.wait_for_state(text, "running").await;
    }
    for kill in 1..=5 {
        set.model.wait_for_calls("first", kill).await;
        process.kill();
        process = set.start();
    }
    process.wait_for_state("first", "failed").await;
    set.model.wait_for_calls("second", 1).await;
    assert_eq!(set.model.calls("first"), 5);
    set.model.release();
    let answered = process.client.post_until_done("", "second", "second").await;
    assert_eq!(answered.json()["response"], "second: answer 1");
}
