//! `[channels_config]`: a section for each channel.

use super::reader::Reader;
use crate::domain::secret::Secret;

/// The channels that messages come in through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channels {
    /// `POST /webhook`.
    pub webhook: WebhookChannel,
}

/// `POST /webhook`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookChannel {
    /// What callers must send as `X-Webhook-Secret`; `None` asks for none.
    pub secret: Option<Secret>,
}

impl Channels {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let secret = r.secret("channels_config.webhook.secret", "channels_config.webhook.secret_file");
        Self { webhook: WebhookChannel { secret } }
    }
}
