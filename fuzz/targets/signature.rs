//! Headers of signed calls: hostile times, lists and encodings are refused, and never anything but refused, since nobody
//! here knows the secret. Each line of the input is a header's value, the rest is the body.

#![no_main]

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use moorgate::{
    channel::{Channel, signature::StandardWebhooks},
    domain::{secret::Secret, time::Millis},
};
use moorgate_fuzz::channels;

const NAMES: [&str; 8] = [
    "x-hub-signature-256",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "x-webhook-timestamp",
    "x-webhook-signature",
    "x-nextcloud-talk-random",
    "x-nextcloud-talk-signature",
];
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

static CHANNELS: LazyLock<[Arc<dyn Channel>; 3]> = LazyLock::new(|| channels(Some(SECRET)));
static WEBHOOK: LazyLock<StandardWebhooks> =
    LazyLock::new(|| StandardWebhooks::new(&Secret::new(SECRET)).unwrap());

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.splitn(NAMES.len() + 1, |byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for name in NAMES {
        let Some(value) = lines.next().and_then(|line| HeaderValue::from_bytes(line).ok()) else { continue };
        if !value.is_empty() {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let body = lines.next().unwrap_or_default();
    for now in [0, 1_700_000_000_000, i64::MAX / 2] {
        for channel in &*CHANNELS {
            let forged = channel.verify(&headers, body, Millis(now)).is_ok();
            assert!(!forged, "a signature was forged: {:?}", channel.kind());
        }
        assert!(WEBHOOK.verify(&headers, body, Millis(now)).is_err(), "a signature was forged");
    }
});
