//! `[channels_config.nextcloud_talk]`: Nextcloud Talk, as a bot.

use super::{
    super::reader::Reader,
    platform::{Platform, needed},
};
use crate::domain::secret::Secret;

static PLATFORM: Platform = Platform {
    title: "Nextcloud Talk",
    section: "channels_config.nextcloud_talk",
    starters: ["base_url", "app_token"],
};

/// `POST /nextcloud-talk`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextcloudTalkChannel {
    /// Where the Nextcloud is, without a slash at its end.
    pub base_url: String,
    /// What Talk signs with; `None` takes unsigned messages.
    pub webhook_secret: Option<Secret>,
    /// What replies are signed with: the same as `webhook_secret` unless another was given.
    pub app_token: Secret,
    /// The users that may write, as they were given, or `*`. Never shown: they are people's.
    pub allowed_users: Vec<Secret>,
}

impl NextcloudTalkChannel {
    /// `None` if it is not used.
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let webhook_secret = r.secret(
            "channels_config.nextcloud_talk.webhook_secret",
            "channels_config.nextcloud_talk.webhook_secret_file",
        );
        let app_token = r.secret(
            "channels_config.nextcloud_talk.app_token",
            "channels_config.nextcloud_talk.app_token_file",
        );
        let channel = Self {
            base_url: r.base_url("channels_config.nextcloud_talk.base_url"),
            app_token: needed(app_token.or_else(|| webhook_secret.clone())),
            webhook_secret,
            allowed_users: r.secrets("channels_config.nextcloud_talk.allowed_users"),
        };
        let allow_unsigned = r.flag("channels_config.nextcloud_talk.allow_unsigned");
        let used = PLATFORM.find_used(r)?;
        used.need(r, "base_url", "replies are sent to it");
        used.need_signature(r, "webhook_secret", allow_unsigned);
        if allow_unsigned && r.find_given("channels_config.nextcloud_talk.webhook_secret").is_none() {
            used.need(r, "app_token", "replies are signed with it where there is no webhook_secret");
        }
        used.warn_of_nobody(r, "allowed_users", &channel.allowed_users);
        Some(channel)
    }
}
