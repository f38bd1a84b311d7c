//! Nextcloud Talk, as a bot (<https://nextcloud-talk.readthedocs.io/en/latest/bots/>).

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    Accepted, BadSignature, Channel, NotJson, Outbound, SendError, SetupError, Verified,
    json::Object,
    signature::{Key, only},
};
use crate::{
    domain::{
        allow_list::AllowList,
        channel::{ChannelKind, Payload},
        hex::Hex,
        secret::Secret,
        time::Millis,
    },
    outbound::{self, Client},
    system::{Entropy, random},
};

mod payload;
#[cfg(test)]
mod tests;

/// The longest message that Talk takes.
const MAX_PART_CHARS: usize = 32_000;
/// Talk's random has 64 characters.
const MAX_RANDOM_CHARS: usize = 256;

const RANDOM: HeaderName = HeaderName::from_static("x-nextcloud-talk-bot-random");
const SIGNATURE: HeaderName = HeaderName::from_static("x-nextcloud-talk-bot-signature");
const OCS_API_REQUEST: HeaderName = HeaderName::from_static("ocs-apirequest");

/// How to reach the Nextcloud, and whom to answer.
#[derive(Debug, Clone)]
pub struct NextcloudTalkSettings {
    /// The address of the Nextcloud, without a slash at its end.
    pub base_url: String,
    /// What Talk signs with; without it every call passes as signed.
    pub webhook_secret: Option<Secret>,
    /// What replies are signed with. Talk has one secret for both directions.
    pub reply_secret: Secret,
    /// Who is answered, by [`AllowList::talk_users`].
    pub allowed_users: AllowList,
    /// The time for sending one message.
    pub timeout: Duration,
}

/// A bot in one Nextcloud.
pub struct NextcloudTalk {
    client: Client,
    bot_url: String,
    key: Option<Key>,
    reply_key: Key,
    allowed_users: AllowList,
    entropy: Arc<dyn Entropy>,
}

impl NextcloudTalk {
    /// Sets up the channel; the Nextcloud is not called.
    ///
    /// # Errors
    /// [`SetupError`] if a secret is blank.
    pub fn new(
        settings: NextcloudTalkSettings,
        client: &Client,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, SetupError> {
        let base_url = settings.base_url.trim_end_matches('/');
        Ok(Self {
            client: client.with_timeout(settings.timeout),
            bot_url: format!("{base_url}/ocs/v2.php/apps/spreed/api/v1/bot"),
            key: settings.webhook_secret.as_ref().map(Key::new).transpose()?,
            reply_key: Key::new(&settings.reply_secret)?,
            allowed_users: settings.allowed_users,
            entropy,
        })
    }

    /// Talk checks the signature of the message, not of the body around it.
    fn sign(&self, text: &str) -> Result<HeaderMap, SendError> {
        let random: [u8; 32] = random(&*self.entropy).map_err(|_| SendError::later("no_entropy", None))?;
        let random = Hex(&random).to_string();
        let signature = Hex(&self.reply_key.sign(&[random.as_bytes(), text.as_bytes()])).to_string();
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| SendError::never("refused"));
        Ok(HeaderMap::from_iter([
            (RANDOM, value(&random)?),
            (SIGNATURE, value(&signature)?),
            (OCS_API_REQUEST, HeaderValue::from_static("true")),
        ]))
    }
}

#[async_trait]
impl Channel for NextcloudTalk {
    fn kind(&self) -> ChannelKind {
        ChannelKind::NextcloudTalk
    }

    fn verify(&self, headers: &HeaderMap, body: &[u8], _: Millis) -> Result<Verified, BadSignature> {
        let Some(key) = &self.key else { return Ok(Verified::default()) };
        let random = only(headers, "x-nextcloud-talk-random")?;
        let is_random =
            (1..=MAX_RANDOM_CHARS).contains(&random.len()) && random.bytes().all(|b| b.is_ascii_graphic());
        if !is_random {
            return Err(BadSignature);
        }
        key.check_hex(&[random.as_bytes(), body], only(headers, "x-nextcloud-talk-signature")?)?;
        Ok(Verified { nonce: Some(random.to_owned()) })
    }

    fn parse(&self, body: &[u8]) -> Result<Payload, NotJson> {
        Ok(self.read(&Object::read(body).ok_or(NotJson)?, body).into())
    }

    fn max_part_chars(&self) -> usize {
        MAX_PART_CHARS
    }

    async fn send(&self, part: &Outbound<'_>) -> Result<Accepted, SendError> {
        let room = outbound::path_segment(&part.to.room).ok_or(SendError::never("refused"))?;
        let body = Post {
            message: part.text,
            reply_to: part.reply_to.and_then(number),
            reference_id: Hex(&Sha256::digest(part.key)).to_string(),
        };
        let url = format!("{}/{room}/message", self.bot_url);
        let response = self.client.post_json(&url, self.sign(part.text)?, &body).await?;
        if !response.status().is_success() {
            return Err(SendError::of_status(response.status(), response.retry_after()));
        }
        Ok(Accepted { platform_id: None }) // Talk does not tell
    }
}

/// The id of a message in Talk, a PHP integer.
fn number(id: &str) -> Option<i64> {
    id.parse().ok().filter(|number| *number > 0)
}

impl fmt::Debug for NextcloudTalk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextcloudTalk").field("bot_url", &self.bot_url).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Post<'a> {
    message: &'a str,
    #[serde(rename = "replyTo", skip_serializing_if = "Option::is_none")]
    reply_to: Option<i64>,
    /// By which clients know the message again.
    #[serde(rename = "referenceId")]
    reference_id: String,
}
