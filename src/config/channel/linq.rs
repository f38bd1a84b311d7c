//! `[channels_config.linq]`: iMessage, RCS and SMS, through Linq.

use super::{
    super::reader::Reader,
    platform::{Platform, needed},
    signing_secret,
};
use crate::domain::secret::Secret;

static PLATFORM: Platform =
    Platform { title: "Linq", section: "channels_config.linq", starters: ["api_token", "from_phone"] };

/// `POST /linq`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinqChannel {
    /// The token that replies are sent with.
    pub api_token: Secret,
    /// The phone number that a new chat is begun from. Never shown.
    pub from_phone: Secret,
    /// What Linq signs with; `None` takes unsigned messages.
    pub signing_secret: Option<Secret>,
    /// The numbers and e-mail addresses that may write, as they were given, or `*`. Never shown: they are
    /// people's.
    pub allowed_senders: Vec<Secret>,
    /// Where the API is, with its version, without a slash at its end.
    pub api_base_url: String,
}

impl LinqChannel {
    /// `None` if it is not used.
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let (signing, file) =
            ("channels_config.linq.signing_secret", "channels_config.linq.signing_secret_file");
        let channel = Self {
            api_token: needed(
                r.secret("channels_config.linq.api_token", "channels_config.linq.api_token_file"),
            ),
            from_phone: needed(r.secret_text("channels_config.linq.from_phone")),
            signing_secret: signing_secret::read(r, signing, file),
            allowed_senders: r.secrets_that(
                "channels_config.linq.allowed_senders",
                "must be a phone number, an e-mail address or \"*\"",
                |entry| entry == "*" || entry.contains(|c: char| c.is_ascii_digit() || c == '@'),
            ),
            api_base_url: r.base_url("channels_config.linq.api_base_url"),
        };
        let allow_unsigned = r.flag("channels_config.linq.allow_unsigned");
        let used = PLATFORM.find_used(r)?;
        used.need(r, "api_token", "replies are sent with it");
        used.need(r, "from_phone", "replies are sent from it");
        used.need(r, "api_base_url", "replies are sent to it");
        used.need_signature(r, "signing_secret", allow_unsigned);
        used.warn_of_nobody(r, "allowed_senders", &channel.allowed_senders);
        Some(channel)
    }
}
