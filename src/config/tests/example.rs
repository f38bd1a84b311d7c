//! What `config.toml.example` says, and that it is true.

use std::{collections::BTreeSet, path::Path, time::Duration};

use super::{
    super::{
        Channels, Config, Conversation, Database, Gateway, LogFormat, LogLevel, Memory, MetricsBackend,
        Model, Provider, ProviderKind, ProxyTrust, Retention, Source, Synchronous, WebhookChannel,
        environment::variable, load, reader::Reader, setting::Settings,
    },
    Folder, config, refusal,
};

const EXAMPLE: &str = include_str!("../../../config.toml.example");

/// The keys of the example, each with the comment above it and its value as written.
fn documented_keys() -> Vec<(String, String, &'static str)> {
    let (mut section, mut comment, mut keys) = ("", String::new(), Vec::new());
    for line in EXAMPLE.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            comment.push_str(text);
            comment.push('\n');
        } else if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, value)) = line.split_once(" = ") {
            keys.push((format!("{section}.{key}"), std::mem::take(&mut comment), value));
        } else {
            comment.clear();
        }
    }
    keys
}

#[test]
fn the_example_alone_is_the_default_configuration() {
    assert_eq!(load(&Folder::new().inputs(&[])).unwrap(), Config::default());
    let copied = config(EXAMPLE, &[]);
    assert_eq!(Config { file: None, ..copied }, Config::default());
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let default = Config::default();
    let gateway = Gateway {
        host: "127.0.0.1".to_owned(),
        port: 3000,
        require_pairing: true,
        paired_tokens: Vec::new(),
        allow_public_bind: false,
        proxies: ProxyTrust::default(),
        pair_rate_limit_per_minute: 10,
        webhook_rate_limit_per_minute: 60,
        rate_limit_max_keys: 10_000,
        pairing_code_ttl: Duration::from_hours(1),
        pairing_code_max_failures: 100,
        pair_lockout: Duration::from_mins(5),
        idempotency_ttl: Duration::from_mins(5),
        idempotency_max_keys: 10_000,
        request_timeout: Duration::from_secs(30),
        max_body_bytes: 65_536,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_mins(1),
        max_head_bytes: 131_072,
        max_headers: 100,
        max_connections: 4096,
        max_connections_per_address: 1024,
        http2_max_streams: None,
        operator_socket: None,
        operator_max_connections: 64,
        max_in_flight: 1024,
        shutdown_grace: Duration::from_secs(25),
    };
    assert_eq!(default.gateway, gateway);
    assert_eq!(default.database.path, Path::new("moorgate.db"));
    assert_eq!(default.database.synchronous, Synchronous::Full);
    assert_eq!(default.database.busy_timeout, Duration::from_secs(5));
    assert_eq!(default.database.read_connections, 2);
    let echo = Model {
        kind: ProviderKind::Echo,
        name: String::new(),
        base_url: String::new(),
        api_key: None,
        temperature: 0.7,
        max_tokens: None,
        timeout: Duration::from_mins(2),
        system_prompt: None,
    };
    let provider = Provider {
        model: echo,
        fallbacks: Vec::new(),
        timeout: Duration::from_mins(2),
        max_retries: 2,
        max_in_flight: 256,
        max_queued: 1024,
    };
    assert_eq!(default.provider, provider);
    assert_eq!(default.observability.backend, MetricsBackend::Prometheus);
    assert_eq!(default.observability.namespace, "zeroclaw");
    assert_eq!(default.observability.log_format, LogFormat::Text);
    assert_eq!(default.observability.log_level, LogLevel::Info);
    assert_eq!((default.file, default.warnings), (None, Vec::new()));
}

#[test]
fn finished_work_is_kept_for_90_days_and_up_to_a_million_by_default() {
    let kept = Retention { max_age: Some(Duration::from_hours(90 * 24)), max_rows: Some(1_000_000) };
    let Database { messages, answers, deliveries, .. } = Config::default().database;
    assert_eq!([messages, answers, deliveries], [kept; 3]);
}

#[test]
fn twenty_turns_are_told_again_and_what_users_say_is_kept_by_default() {
    let conversation = Conversation {
        history_turns: 20,
        history_max_chars: 40_000,
        max_waiting: 32,
        max_message_chars: 65_536,
        max_reply_chars: 100_000,
    };
    let retention = Retention { max_age: None, max_rows: Some(1_000_000) };
    let config = Config::default();
    assert_eq!((config.conversation, config.memory), (conversation, Memory { auto_save: true, retention }));
}

#[test]
fn no_backups_are_made_by_default() {
    let backups = crate::config::Backups { folder: None, every: Duration::from_hours(24), keep: 7 };
    assert_eq!(Config::default().database.backups, backups);
}

#[test]
fn no_chat_platform_is_used_by_default() {
    let channels = Channels {
        workers: 32,
        max_waiting_messages: 200_000,
        message_max_attempts: 5,
        delivery_max_attempts: 12,
        retry_first: Duration::from_secs(1),
        retry_longest: Duration::from_mins(15),
        send_timeout: Duration::from_secs(30),
        failure_reply: Some("Sorry, I couldn't process your message right now.".to_owned()),
        bad_signature_rate_limit_per_minute: 60,
        webhook: WebhookChannel { secret: None, signing_secret: None },
        whatsapp: None,
        linq: None,
        nextcloud_talk: None,
    };
    assert_eq!(Config::default().channels, channels);
}

#[test]
fn the_example_names_exactly_the_keys_that_are_read() {
    let echo = Settings::defaults();
    let mut openai = Settings::defaults();
    openai.give_text("provider.kind", "openai", Source::Flag("--test"));
    let mut asked = BTreeSet::new();
    for settings in [&echo, &openai] {
        let mut reader = Reader::new(settings, Path::new(""));
        Config::read(&mut reader);
        asked.extend(reader.asked().iter().cloned());
    }
    assert_eq!(asked, echo.keys().map(str::to_owned).collect());
}

#[test]
fn the_example_describes_every_key_with_its_default() {
    let keys = documented_keys();
    assert_eq!(keys.len(), Settings::defaults().keys().count());
    for (key, comment, value) in keys {
        assert!(comment.lines().count() >= 2, "{key} is not described");
        assert!(comment.ends_with(&format!("Default: {value}\n")), "{key} does not give its default");
    }
}

#[test]
fn the_example_gives_the_ranges_that_are_enforced() {
    let numbers = documented_keys().into_iter().filter(|(_, _, value)| value.parse::<f64>().is_ok());
    for (key, comment, _) in numbers {
        let words: Vec<_> = comment.lines().last().unwrap().split(['.', ' ']).collect();
        let to = words.iter().position(|word| *word == "to").unwrap();
        let [first, last] = [to - 1, to + 1].map(|at| words[at].parse::<i64>().unwrap());
        let name = variable(&key);
        for accepted in [first, last] {
            config("", &[(&name, &accepted.to_string())]);
        }
        for refused in [first - 1, last + 1] {
            let refusal = refusal(&Folder::new().inputs(&[(&name, &refused.to_string())]));
            assert!(refusal.contains(&format!(" from {first} to {last}, not {refused}")), "{refusal}");
        }
    }
}
