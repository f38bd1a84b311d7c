//! WhatsApp through Meta's Cloud API (<https://developers.facebook.com/docs/whatsapp/cloud-api>).

use std::{fmt, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;

use super::{
    Accepted, BadSignature, Channel, NotJson, Outbound, SendError, SetupError, Verified,
    json::Object,
    response,
    signature::{Key, only},
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

/// The longest `text.body`, as Meta documents it.
const MAX_PART_CHARS: usize = 4096;

/// `error.code` of refusals that only say "too much": of the app, of the account, of its throughput, of messages taken for
/// spam, of messages to one recipient. Meta sends them with status 400 too, and wants the code to be heeded rather than the
/// status (<https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes>).
const RATE_LIMITS: [i64; 5] = [4, 80_007, 130_429, 131_048, 131_056];

/// How to reach Meta, and whom to answer.
#[derive(Debug, Clone)]
pub struct WhatsAppSettings {
    /// The address with the version, without a slash at its end: `https://graph.facebook.com/v23.0`.
    pub api_base_url: String,
    /// The bearer token of the app.
    pub access_token: Secret,
    /// Meta's id of our number; messages to other numbers of the same app are left alone.
    pub phone_number_id: String,
    /// What Meta signs with; without it every call passes as signed.
    pub app_secret: Option<Secret>,
    /// Who is answered, by [`AllowList::phone_numbers`].
    pub allowed_numbers: AllowList,
    /// Whether the sender of a picture or the like is told that only text is understood.
    pub reply_to_unsupported: bool,
    /// The time for sending one message.
    pub timeout: Duration,
}

/// One number on WhatsApp.
pub struct WhatsApp {
    client: Client,
    url: String,
    authorization: HeaderValue,
    key: Option<Key>,
    phone_number_id: String,
    allowed_numbers: AllowList,
    reply_to_unsupported: bool,
}

impl WhatsApp {
    /// Sets up the channel; Meta is not called.
    ///
    /// # Errors
    /// [`SetupError`] if the token cannot be sent in a header, the secret is blank, or the id of the number is.
    pub fn new(settings: WhatsAppSettings, client: &Client) -> Result<Self, SetupError> {
        let number = outbound::path_segment(&settings.phone_number_id).ok_or(SetupError::PhoneNumberId)?;
        Ok(Self {
            client: client.with_timeout(settings.timeout),
            url: format!("{}/{number}/messages", settings.api_base_url.trim_end_matches('/')),
            authorization: outbound::bearer(&settings.access_token)?,
            key: settings.app_secret.as_ref().map(Key::new).transpose()?,
            phone_number_id: settings.phone_number_id,
            allowed_numbers: settings.allowed_numbers,
            reply_to_unsupported: settings.reply_to_unsupported,
        })
    }
}

#[async_trait]
impl Channel for WhatsApp {
    fn kind(&self) -> ChannelKind {
        ChannelKind::WhatsApp
    }

    fn verify(&self, headers: &HeaderMap, body: &[u8], _: Millis) -> Result<Verified, BadSignature> {
        if let Some(key) = &self.key {
            let signature = only(headers, "x-hub-signature-256")?;
            key.check_hex(&[body], signature.strip_prefix("sha256=").ok_or(BadSignature)?)?;
        }
        Ok(Verified::default())
    }

    fn parse(&self, body: &[u8]) -> Result<Payload, NotJson> {
        Ok(self.read(&Object::read(body).ok_or(NotJson)?))
    }

    fn max_part_chars(&self) -> usize {
        MAX_PART_CHARS
    }

    async fn send(&self, part: &Outbound<'_>) -> Result<Accepted, SendError> {
        let body = Message {
            messaging_product: "whatsapp",
            recipient_type: "individual",
            to: part.to.sender.trim_start_matches('+'),
            context: part.reply_to.map(|message_id| Context { message_id }),
            kind: "text",
            text: Text { preview_url: false, body: part.text },
        };
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, self.authorization.clone())]);
        let response = self.client.post_json(&self.url, headers, &body).await?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        Ok(response::accepted(response, |body| body.objects("messages").next()?.ok()?.text("id")).await)
    }
}

/// Why Meta refused: by the code in the body if that is of a rate limit, else by the status.
async fn refusal(response: Response) -> SendError {
    let (status, pause) = (response.status(), response.retry_after());
    let body = response.body().await.unwrap_or_default();
    let code = Object::read(&body).and_then(|body| body.object("error")?.get("code"));
    if code.is_some_and(|code| RATE_LIMITS.contains(&code)) {
        SendError::later("rate_limited", pause)
    } else {
        SendError::of_status(status, pause)
    }
}

impl fmt::Debug for WhatsApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhatsApp").field("phone_number_id", &self.phone_number_id).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Message<'a> {
    messaging_product: &'static str,
    recipient_type: &'static str,
    to: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Context<'a>>,
    #[serde(rename = "type")]
    kind: &'static str,
    text: Text<'a>,
}

#[derive(Serialize)]
struct Context<'a> {
    message_id: &'a str,
}

#[derive(Serialize)]
struct Text<'a> {
    preview_url: bool,
    body: &'a str,
}
