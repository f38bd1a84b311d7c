//! What all channels share, the secrets of `/webhook`, and how long finished work is kept.

use std::time::Duration;

use super::{Folder, config, refusal, refuses};
use crate::{
    config::{Retention, load},
    domain::secret::Secret,
};

#[test]
fn how_channel_messages_are_worked_on_can_be_set() {
    let file = "[channels_config]\nworkers = 1\nmax_waiting_messages = 2\nmessage_max_attempts = 3\n\
                delivery_max_attempts = 4\nretry_first_ms = 5\nretry_longest_secs = 6\nsend_timeout_secs = 7\n\
                failure_reply = 'Later.'\nbad_signature_rate_limit_per_minute = 0\n";
    let channels = config(file, &[]).channels;
    assert_eq!((channels.workers, channels.max_waiting_messages), (1, 2));
    assert_eq!((channels.message_max_attempts, channels.delivery_max_attempts), (3, 4));
    assert_eq!(channels.retry_first, Duration::from_millis(5));
    assert_eq!(
        (channels.retry_longest, channels.send_timeout),
        (Duration::from_secs(6), Duration::from_secs(7))
    );
    assert_eq!(channels.failure_reply.as_deref(), Some("Later."));
    assert_eq!(channels.bad_signature_rate_limit_per_minute, 0);
}

#[test]
fn a_blank_failure_reply_tells_nothing() {
    let env = [("MOORGATE_CHANNELS_CONFIG__FAILURE_REPLY", " ")];
    assert_eq!(config("", &env).channels.failure_reply, None);
}

#[test]
fn zero_keeps_finished_work_whatever_its_age_or_number() {
    let file = "[database]\nmessage_retention_days = 0\nanswer_max_rows = 0\n\
                delivery_retention_days = 1\ndelivery_max_rows = 2\n";
    let database = config(file, &[]).database;
    let day = |days: u64| Some(Duration::from_hours(24 * days));
    assert_eq!(database.messages, Retention { max_age: None, max_rows: Some(1_000_000) });
    assert_eq!(database.answers, Retention { max_age: day(90), max_rows: None });
    assert_eq!(database.deliveries, Retention { max_age: day(1), max_rows: Some(2) });
}

#[test]
fn a_signing_secret_is_the_base64_of_a_key_or_text() {
    for secret in [
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw7Jxx2Oll+OE=",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw7Jxx2Oll+OE",
        "whsec_AAAAAAAAAAAAAAAAAAAAAA==",
        "swordfish",
    ] {
        let env = [("MOORGATE_CHANNELS_CONFIG__WEBHOOK__SIGNING_SECRET", secret)];
        assert_eq!(config("", &env).channels.webhook.signing_secret, Some(Secret::new(secret)));
    }
    assert_eq!(config("", &[]).channels.webhook.signing_secret, None);
}

#[test]
fn a_signing_secret_that_is_no_key_is_refused() {
    let key = "channels_config.webhook.signing_secret";
    let problem =
        format!("config.toml:2: {key} must have base64 of at least 16 bytes behind whsec_, or no whsec_");
    for secret in [
        "whsec_",
        "whsec_AAAAAAAAAAAAAAAAAAAA",
        "whsec_not base64 of a key!",
        "whsec_-_-_AAAAAAAAAAAAAAAAAAAAAA",
    ] {
        refuses(&format!("[channels_config.webhook]\nsigning_secret = '{secret}'\n"), &[], &problem);
    }
}

#[test]
fn a_signing_secret_can_come_from_a_file_that_is_named_when_it_is_wrong() {
    let folder = Folder::new().with("right", "swordfish\n").with("wrong", "whsec_AAAA\n");
    let inputs = |file| folder.inputs(&[("MOORGATE_CHANNELS_CONFIG__WEBHOOK__SIGNING_SECRET_FILE", file)]);
    let webhook = load(&inputs("right")).unwrap().channels.webhook;
    assert_eq!(webhook.signing_secret, Some(Secret::new("swordfish")));
    let problem = "MOORGATE_CHANNELS_CONFIG__WEBHOOK__SIGNING_SECRET_FILE: channels_config.webhook.signing_secret_file \
                   must have base64 of at least 16 bytes behind whsec_, or no whsec_";
    assert_eq!(refusal(&inputs("wrong")), problem);
}
