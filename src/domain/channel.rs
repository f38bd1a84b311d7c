//! Chat channels: what one delivers, and what goes back through it.

use std::{fmt, str::FromStr, time::Duration};

use super::{message::MessageText, time::Millis};

/// The chat platforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelKind {
    /// WhatsApp, through Meta's Cloud API.
    WhatsApp,
    /// Linq (iMessage, RCS, SMS).
    Linq,
    /// Nextcloud Talk, as a bot.
    NextcloudTalk,
}

impl ChannelKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::WhatsApp, Self::Linq, Self::NextcloudTalk];

    /// Its name in the database, in metrics and in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WhatsApp => "whatsapp",
            Self::Linq => "linq",
            Self::NextcloudTalk => "nextcloud_talk",
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::WhatsApp => "WhatsApp",
            Self::Linq => "Linq",
            Self::NextcloudTalk => "Nextcloud Talk",
        }
    }
}

impl fmt::Display for ChannelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no channel.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a channel")]
pub struct NotAChannel;

impl FromStr for ChannelKind {
    type Err = NotAChannel;

    fn from_str(text: &str) -> Result<Self, NotAChannel> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(NotAChannel)
    }
}

/// Who talks with us where. Messages of one conversation are answered in order.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Who sent it, as the platform names them: `+15551234567`, `users/alice`.
    pub sender: String,
    /// The chat or room it came from; blank where the channel has none.
    pub room: String,
}

/// Who they are stays out of logs.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[address]")
    }
}

/// A message as a channel delivered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The platform's id of it, by which a redelivery is recognised: unique within the channel.
    pub platform_id: String,
    /// Who sent it, and where.
    pub address: Address,
    /// What a reply to it refers to, as the platform names it.
    pub reply_to: Option<String>,
    /// When it was sent, where the platform tells.
    pub sent_at: Option<Millis>,
    /// What it says.
    pub content: Content,
}

/// What a message of a channel holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Something to answer.
    Text(MessageText),
    /// A picture, a voice message or the like. Its sender is told once that only text is understood.
    NotText,
}

/// How far a sent message has come, as the platform tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusUpdate {
    /// The platform's id of the message that we sent.
    pub platform_id: String,
    /// How far it is.
    pub status: SentStatus,
    /// Since when, if the platform tells.
    pub at: Option<Millis>,
}

/// How far a sent message has come. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SentStatus {
    /// The platform has it.
    Sent,
    /// It is on the recipient's device.
    Delivered,
    /// It was read.
    Read,
    /// It will not arrive.
    Failed,
}

impl SentStatus {
    /// Its name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
        }
    }
}

/// Why a part of a payload is no message to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skip {
    /// Its sender is not on the allow-list.
    NotAllowed,
    /// It is for another number on the same app.
    OtherNumber,
    /// It is our own, or a bot's.
    OwnMessage,
    /// It says nothing.
    Blank,
    /// It is of a kind that nobody waits for an answer to: a reaction, a system message, another event.
    OtherKind,
    /// It was sent so long ago that it can only be a replay.
    TooOld,
    /// It is not of the shape that the platform documents.
    Malformed,
}

/// How long the platforms' ids are remembered, so that a redelivery is recognised: Meta redelivers for up to 7 days.
pub const ID_MEMORY: Duration = Duration::from_hours(9 * 24);

/// A message that was sent longer ago may be a replay of one whose id is forgotten soon.
pub const OLDEST_MESSAGE: Duration = Duration::from_hours(8 * 24);

const _: () = assert!(OLDEST_MESSAGE.as_secs() < ID_MEMORY.as_secs());

impl Inbound {
    /// Whether it can only be a replay: so old that its id may have been forgotten, but not so old that this gateway, which has
    /// been there since `began`, cannot have received it before.
    #[must_use]
    pub fn is_replay(&self, began: Millis, now: Millis) -> bool {
        self.sent_at.is_some_and(|sent| now.since(sent) > OLDEST_MESSAGE && sent >= began)
    }
}

/// What one webhook call of a platform holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload {
    /// Messages to answer, in order.
    pub messages: Vec<Inbound>,
    /// News of messages that we sent.
    pub statuses: Vec<StatusUpdate>,
    /// What else was in it, to be counted.
    pub skipped: Vec<Skip>,
}

/// What one message makes of a payload that holds no other.
impl From<Result<Inbound, Skip>> for Payload {
    fn from(message: Result<Inbound, Skip>) -> Self {
        match message {
            Ok(message) => Self { messages: vec![message], ..Self::default() },
            Err(skip) => Self { skipped: vec![skip], ..Self::default() },
        }
    }
}
