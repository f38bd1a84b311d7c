//! `[channels_config.webhook]`: what a caller of `/webhook` must know besides its token.

use super::{super::reader::Reader, signing_secret};
use crate::domain::secret::Secret;

/// `POST /webhook`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookChannel {
    /// What callers must send as `X-Webhook-Secret`; `None` asks for none.
    pub secret: Option<Secret>,
    /// What callers may sign with instead (Standard Webhooks); `None` checks no signatures.
    pub signing_secret: Option<Secret>,
}

impl WebhookChannel {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let (signing, file) =
            ("channels_config.webhook.signing_secret", "channels_config.webhook.signing_secret_file");
        Self {
            secret: r.secret("channels_config.webhook.secret", "channels_config.webhook.secret_file"),
            signing_secret: signing_secret::read(r, signing, file),
        }
    }
}
