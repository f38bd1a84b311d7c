//! Linq: iMessage, RCS and SMS through its partner API, version 3 (<https://docs.linqapp.com>; the shapes are those of its
//! SDK, `@linqapp/sdk` 0.28.2).

use std::{fmt, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{
    Accepted, BadSignature, Channel, NotJson, Outbound, SendError, SetupError, Verified,
    json::Object,
    response,
    signature::{Key, StandardWebhooks, check_time, only},
};
use crate::{
    domain::{
        allow_list::AllowList,
        channel::{ChannelKind, Payload},
        secret::Secret,
        time::Millis,
    },
    outbound::{self, Client, Response},
};

mod payload;
#[cfg(test)]
mod tests;

/// Linq documents no limit. This is within what phones show as one message.
const MAX_PART_CHARS: usize = 10_000;

/// How to reach Linq, and whom to answer.
#[derive(Clone)]
pub struct LinqSettings {
    /// The address before `/chats`, without a slash at its end: `https://api.linqapp.com/api/partner/v3`.
    pub api_base_url: String,
    /// The bearer token.
    pub api_token: Secret,
    /// Our phone number, from which a new chat is begun.
    pub from_phone: String,
    /// What Linq signs with, usually `whsec_…`; without it every call passes as signed.
    pub signing_secret: Option<Secret>,
    /// Who is answered, by [`AllowList::phone_numbers_and_emails`].
    pub allowed_senders: AllowList,
    /// The time for one call of the API; a message may take two.
    pub timeout: Duration,
}

/// Phone numbers stay out of logs.
impl fmt::Debug for LinqSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinqSettings").field("api_base_url", &self.api_base_url).finish_non_exhaustive()
    }
}

/// One number at Linq.
pub struct Linq {
    client: Client,
    chats_url: String,
    authorization: HeaderValue,
    keys: Option<Keys>,
    from_phone: String,
    allowed_senders: AllowList,
}

/// The same secret for both schemes: the older one takes it as it is.
struct Keys {
    standard: StandardWebhooks,
    older: Key,
}

impl Linq {
    /// Sets up the channel; Linq is not called.
    ///
    /// # Errors
    /// [`SetupError`] if the token cannot be sent in a header, or the secret is no key.
    pub fn new(settings: LinqSettings, client: &Client) -> Result<Self, SetupError> {
        let keys = settings.signing_secret.as_ref().map(|secret| {
            Ok::<_, SetupError>(Keys { standard: StandardWebhooks::new(secret)?, older: Key::new(secret)? })
        });
        Ok(Self {
            client: client.with_timeout(settings.timeout),
            chats_url: format!("{}/chats", settings.api_base_url.trim_end_matches('/')),
            authorization: outbound::bearer(&settings.api_token)?,
            keys: keys.transpose()?,
            from_phone: settings.from_phone,
            allowed_senders: settings.allowed_senders,
        })
    }

    async fn post(&self, url: &str, body: &(impl Serialize + Sync)) -> Result<Response, SendError> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, self.authorization.clone())]);
        Ok(self.client.post_json(url, headers, body).await?)
    }

    /// Sends into a chat; `None` if it does not exist.
    async fn send_to_chat(&self, chat: &str, message: Message<'_>) -> Result<Option<Accepted>, SendError> {
        let url = format!("{}/{chat}/messages", self.chats_url);
        let response = self.post(&url, &InChat { message }).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        accepted(response, |body| body.object("message")?.text("id")).await.map(Some)
    }

    async fn begin_chat(&self, to: &str, message: Message<'_>) -> Result<Accepted, SendError> {
        let body = NewChat { from: &self.from_phone, to: [to], message };
        let response = self.post(&self.chats_url, &body).await?;
        accepted(response, |body| body.object("chat")?.object("message")?.text("id")).await
    }
}

async fn accepted(response: Response, id: fn(&Object<'_>) -> Option<String>) -> Result<Accepted, SendError> {
    if !response.status().is_success() {
        return Err(SendError::of_status(response.status(), response.retry_after()));
    }
    Ok(response::accepted(response, id).await)
}

#[async_trait]
impl Channel for Linq {
    fn kind(&self) -> ChannelKind {
        ChannelKind::Linq
    }

    fn verify(&self, headers: &HeaderMap, body: &[u8], now: Millis) -> Result<Verified, BadSignature> {
        let Some(keys) = &self.keys else { return Ok(Verified::default()) };
        if headers.contains_key("webhook-signature") {
            keys.standard.verify(headers, body, now)?;
        } else {
            let timestamp = only(headers, "x-webhook-timestamp")?;
            let signature = only(headers, "x-webhook-signature")?;
            let signature = signature.strip_prefix("sha256=").unwrap_or(signature);
            check_time(timestamp, now)?;
            keys.older.check_hex(&[timestamp.as_bytes(), b".", body], signature)?;
        }
        Ok(Verified::default())
    }

    fn parse(&self, body: &[u8]) -> Result<Payload, NotJson> {
        Ok(self.read(&Object::read(body).ok_or(NotJson)?, body).into())
    }

    fn max_part_chars(&self) -> usize {
        MAX_PART_CHARS
    }

    async fn send(&self, part: &Outbound<'_>) -> Result<Accepted, SendError> {
        let parts = [Part { kind: "text", value: part.text }];
        let message = Message { parts, idempotency_key: part.key };
        if let Some(chat) = outbound::path_segment(&part.to.room)
            && let Some(accepted) = self.send_to_chat(&chat, message).await?
        {
            return Ok(accepted);
        }
        self.begin_chat(&part.to.sender, message).await
    }
}

impl fmt::Debug for Linq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linq").field("chats_url", &self.chats_url).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct InChat<'a> {
    message: Message<'a>,
}

#[derive(Serialize)]
struct NewChat<'a> {
    from: &'a str,
    to: [&'a str; 1],
    message: Message<'a>,
}

#[derive(Clone, Copy, Serialize)]
struct Message<'a> {
    parts: [Part<'a>; 1],
    /// By which Linq knows a message that it was sent before.
    idempotency_key: &'a str,
}

#[derive(Clone, Copy, Serialize)]
struct Part<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    value: &'a str,
}
