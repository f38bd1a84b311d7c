//! `[channels_config.whatsapp]`: `WhatsApp`, through Meta's Cloud API.

use super::{
    super::reader::Reader,
    platform::{Platform, needed},
};
use crate::domain::secret::Secret;

static PLATFORM: Platform = Platform {
    title: "WhatsApp",
    section: "channels_config.whatsapp",
    starters: ["access_token", "phone_number_id"],
};

/// `GET` and `POST /whatsapp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhatsAppChannel {
    /// The token that replies are sent with.
    pub access_token: Secret,
    /// Meta's id of the number that messages come in for and replies are sent from: digits.
    pub phone_number_id: String,
    /// What Meta must know when it asks whether the address is ours; `None` knows nobody.
    pub verify_token: Option<Secret>,
    /// What Meta signs with; `None` takes unsigned messages.
    pub app_secret: Option<Secret>,
    /// The numbers that may write, as they were given, or `*`. Never shown: they are people's.
    pub allowed_numbers: Vec<Secret>,
    /// Where the API is, with its version, without a slash at its end.
    pub api_base_url: String,
    /// The longest request body, in bytes.
    pub max_body_bytes: usize,
    /// Whether the sender of something that is not text is told that only text is understood.
    pub reply_to_unsupported: bool,
}

impl WhatsAppChannel {
    /// `None` if it is not used.
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let access_token =
            r.secret("channels_config.whatsapp.access_token", "channels_config.whatsapp.access_token_file");
        let channel = Self {
            access_token: needed(access_token),
            phone_number_id: read_phone_number_id(r),
            verify_token: r.secret(
                "channels_config.whatsapp.verify_token",
                "channels_config.whatsapp.verify_token_file",
            ),
            app_secret: r
                .secret("channels_config.whatsapp.app_secret", "channels_config.whatsapp.app_secret_file"),
            allowed_numbers: r.secrets_that(
                "channels_config.whatsapp.allowed_numbers",
                "must be a phone number or \"*\"",
                |entry| entry == "*" || entry.contains(|c: char| c.is_ascii_digit()),
            ),
            api_base_url: r.base_url("channels_config.whatsapp.api_base_url"),
            max_body_bytes: r.integer("channels_config.whatsapp.max_body_bytes", 1024..=16 * 1024 * 1024),
            reply_to_unsupported: r.flag("channels_config.whatsapp.reply_to_unsupported"),
        };
        let allow_unsigned = r.flag("channels_config.whatsapp.allow_unsigned");
        let used = PLATFORM.find_used(r)?;
        used.need(r, "access_token", "replies are sent with it");
        used.need(r, "phone_number_id", "replies are sent from it");
        used.need(r, "api_base_url", "replies are sent to it");
        used.need_signature(r, "app_secret", allow_unsigned);
        used.warn_of_nobody(r, "allowed_numbers", &channel.allowed_numbers);
        Some(channel)
    }
}

/// Never shows it: the phone number itself, which must not be shown, is easily given instead.
fn read_phone_number_id(r: &mut Reader<'_>) -> String {
    let key = "channels_config.whatsapp.phone_number_id";
    let id = r.private_text(key).trim().to_owned();
    if !id.bytes().all(|byte| byte.is_ascii_digit()) {
        r.problem(key, format!("{key} must be the id that Meta gives the number: digits alone"));
    }
    id
}
