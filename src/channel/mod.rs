//! Chat platforms: each verifies and reads what its platform posts, and sends replies through the platform's API. None of
//! them knows the store: what is received and what is sent is remembered by others.

mod json;
mod linq;
mod nextcloud_talk;
mod response;
pub mod signature;
mod whatsapp;

#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use http::HeaderMap;

pub use linq::{Linq, LinqSettings};
pub use nextcloud_talk::{NextcloudTalk, NextcloudTalkSettings};
pub use signature::BadSignature;
pub use whatsapp::{WhatsApp, WhatsAppSettings};

use crate::{
    domain::{
        channel::{Address, ChannelKind, Payload},
        time::Millis,
    },
    outbound,
};

/// One chat platform.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Which.
    fn kind(&self) -> ChannelKind;

    /// Checks the signature over the raw body, in constant time. Without a secret (`allow_unsigned`) everything passes.
    ///
    /// # Errors
    /// [`BadSignature`] if it is missing, malformed, wrong, or too old.
    fn verify(&self, headers: &HeaderMap, body: &[u8], now: Millis) -> Result<Verified, BadSignature>;

    /// Reads a payload whose signature was verified. A part of it that is odd is skipped, never its neighbours.
    ///
    /// # Errors
    /// [`NotJson`] if it is not a JSON object.
    fn parse(&self, body: &[u8]) -> Result<Payload, NotJson>;

    /// The most characters that one sent message may have.
    fn max_part_chars(&self) -> usize;

    /// Sends one part of a reply. It keeps its own deadline.
    ///
    /// # Errors
    /// [`SendError`] if the platform does not say that it has it.
    async fn send(&self, part: &Outbound<'_>) -> Result<Accepted, SendError>;
}

/// A signature that holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// What the platform promises never to send twice (Talk's random): a second call with it is a replay.
    pub nonce: Option<String>,
}

/// A channel could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The access token cannot be sent.
    #[error(transparent)]
    Client(#[from] outbound::SetupError),
    /// The secret cannot check signatures.
    #[error(transparent)]
    Secret(#[from] signature::BadSecret),
    /// The phone number id is no name that an address can hold.
    #[error("the phone number id cannot be part of an address")]
    PhoneNumberId,
}

/// The payload is not a JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload is not a JSON object")]
pub struct NotJson;

/// One part of a reply.
#[derive(Debug, Clone, Copy)]
pub struct Outbound<'a> {
    /// Whom it is for, and where.
    pub to: &'a Address,
    /// What it replies to; only the first part of a reply says so.
    pub reply_to: Option<&'a str>,
    /// The text, of at most [`Channel::max_part_chars`].
    pub text: &'a str,
    /// The same at each try of the same part, and of no other: 1 to 64 visible ASCII characters.
    pub key: &'a str,
}

/// The platform has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    /// The platform's id of it, where it tells.
    pub platform_id: Option<String>,
}

/// The platform does not have it, or may not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sending failed: {class}")]
pub struct SendError {
    /// Why, in one word, for the database and the log. Nothing that the platform sent is in it.
    pub class: &'static str,
    /// Whether and when to try again.
    pub retry: Retry,
    /// Whether the platform may have accepted it all the same: the request was sent, and no answer was read.
    pub in_doubt: bool,
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It would fail again.
    Never,
    /// Yes, after the usual pause, or after the one that the platform asked for if that is longer.
    After(Option<Duration>),
}
