//! `[channels_config]`: how messages of channels are worked on, and a section for each channel.
//!
//! Every value that is given must be valid, whether or not its channel is used. A platform is used once one of
//! the keys that start it is not blank; what is given for one that is not used is a warning.

use std::time::Duration;

use super::reader::Reader;

mod linq;
mod nextcloud_talk;
mod platform;
mod signing_secret;
mod webhook;
mod whatsapp;

pub use linq::LinqChannel;
pub use nextcloud_talk::NextcloudTalkChannel;
pub use webhook::WebhookChannel;
pub use whatsapp::WhatsAppChannel;

/// The channels that messages come in through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channels {
    /// Conversations that are worked on at once.
    pub workers: u32,
    /// Accepted channel messages that are not yet answered; one more is answered 503.
    pub max_waiting_messages: u32,
    /// How often a channel message is tried before it is given up.
    pub message_max_attempts: u32,
    /// How often a reply is sent before it is given up.
    pub delivery_max_attempts: u32,
    /// The first pause before another try; each further one is twice as long.
    pub retry_first: Duration,
    /// The longest pause before another try.
    pub retry_longest: Duration,
    /// How long one call of a platform's API may take.
    pub send_timeout: Duration,
    /// What the sender is told when a message is given up; `None` tells nothing.
    pub failure_reply: Option<String>,
    /// Requests with a bad signature per client within any 60 s; 0 is no limit.
    pub bad_signature_rate_limit_per_minute: u32,
    /// `POST /webhook`.
    pub webhook: WebhookChannel,
    /// `/whatsapp`; `None` if it is not configured.
    pub whatsapp: Option<WhatsAppChannel>,
    /// `POST /linq`; `None` if it is not configured.
    pub linq: Option<LinqChannel>,
    /// `POST /nextcloud-talk`; `None` if it is not configured.
    pub nextcloud_talk: Option<NextcloudTalkChannel>,
}

impl Channels {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        Self {
            workers: r.integer("channels_config.workers", 1..=1024),
            max_waiting_messages: r.integer("channels_config.max_waiting_messages", 1..=10_000_000),
            message_max_attempts: r.integer("channels_config.message_max_attempts", 1..=100),
            delivery_max_attempts: r.integer("channels_config.delivery_max_attempts", 1..=100),
            retry_first: r.millis("channels_config.retry_first_ms", 1..=3_600_000),
            retry_longest: r.seconds("channels_config.retry_longest_secs", 1..=86_400),
            send_timeout: r.seconds("channels_config.send_timeout_secs", 1..=600),
            failure_reply: r.optional_text("channels_config.failure_reply"),
            bad_signature_rate_limit_per_minute: r
                .integer("channels_config.bad_signature_rate_limit_per_minute", 0..=1_000_000),
            webhook: WebhookChannel::read(r),
            whatsapp: WhatsAppChannel::read(r),
            linq: LinqChannel::read(r),
            nextcloud_talk: NextcloudTalkChannel::read(r),
        }
    }
}
