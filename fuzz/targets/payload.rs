//! What platforms post, after its signature was found good: each payload is read or refused, and what is taken of it is
//! within its bounds. The first byte chooses the platform.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use moorgate::channel::Channel;
use moorgate_fuzz::channels;

static CHANNELS: LazyLock<[Arc<dyn Channel>; 3]> = LazyLock::new(|| channels(None));

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, body)) = bytes.split_first() else { return };
    let channel = &CHANNELS[usize::from(*choice) % CHANNELS.len()];
    let Ok(payload) = channel.parse(body) else { return };
    assert_eq!(channel.parse(body).as_ref(), Ok(&payload), "the same bytes are the same payload");
    let taken = payload.messages.len() + payload.statuses.len() + payload.skipped.len();
    assert!(taken <= body.len(), "more pieces than bytes");
});
