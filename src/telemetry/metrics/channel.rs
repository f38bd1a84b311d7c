//! Metrics of the chat channels: calls of the platforms, what was in them, and replies on their way out.

use opentelemetry::KeyValue;

use super::instrument::{Level, Meter, Total, TotalBy, counter};
use super::label::labels;
use crate::domain::channel::{ChannelKind, Skip};

labels! {
    /// Which way a message goes.
    Direction {
        /// To us.
        Inbound => "inbound",
        /// From us.
        Outbound => "outbound",
    }
}

labels! {
    /// What became of a call of a platform.
    CallOutcome {
        /// What it held is on disk.
        Accepted => "accepted",
        /// Its signature is bad.
        BadSignature => "bad_signature",
        /// Its signature was used before.
        Replayed => "replayed",
        /// It is not JSON.
        BadPayload => "bad_payload",
        /// The inbox is full.
        InboxFull => "inbox_full",
    }
}

labels! {
    /// What became of something that a call held.
    ItemOutcome {
        /// It was new, and is in the inbox.
        Accepted => "accepted",
        /// It had been received before.
        Known => "known",
        /// Its sender is not on the allow-list.
        NotAllowed => "not_allowed",
        /// It is for another number.
        OtherNumber => "other_number",
        /// It is our own, or a bot's.
        OwnMessage => "own_message",
        /// It says nothing.
        Blank => "blank",
        /// It is of a kind that nobody waits for an answer to.
        OtherKind => "other_kind",
        /// It is too old to be anything but a replay.
        TooOld => "too_old",
        /// It is not of the documented shape.
        Malformed => "malformed",
        /// It tells how far a sent message has come.
        Status => "status",
    }
}

impl From<Skip> for ItemOutcome {
    fn from(skip: Skip) -> Self {
        match skip {
            Skip::NotAllowed => Self::NotAllowed,
            Skip::OtherNumber => Self::OtherNumber,
            Skip::OwnMessage => Self::OwnMessage,
            Skip::Blank => Self::Blank,
            Skip::OtherKind => Self::OtherKind,
            Skip::TooOld => Self::TooOld,
            Skip::Malformed => Self::Malformed,
        }
    }
}

labels! {
    /// What became of a try to send a part of a reply.
    DeliveryOutcome {
        /// The platform has it.
        Sent => "sent",
        /// It failed, and is tried again.
        Retried => "retried",
        /// It failed for good.
        Dead => "dead",
        /// Whether the platform has it is not known: if it is sent again, it may be there twice.
        InDoubt => "in_doubt",
    }
}

/// Calls, what they held, and replies, by channel.
pub struct ChannelMetrics {
    messages: Box<[TotalBy<Direction>]>,
    calls: Box<[TotalBy<CallOutcome>]>,
    items: Box<[TotalBy<ItemOutcome>]>,
    deliveries: Box<[TotalBy<DeliveryOutcome>]>,
    waiting: Level,
    busy: Level,
    cut: Total,
}

impl ChannelMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            messages: by_channel(meter, ("channel_messages_total", "Total channel messages"), "direction"),
            calls: by_channel(
                meter,
                ("channel_calls_total", "Calls of chat platforms, by outcome"),
                "outcome",
            ),
            items: by_channel(
                meter,
                ("channel_items_total", "What calls of chat platforms held, by what became of it"),
                "outcome",
            ),
            deliveries: by_channel(
                meter,
                ("deliveries_total", "Tries to send a part of a reply, by outcome"),
                "outcome",
            ),
            waiting: Level::gauge(meter, "inbox_waiting", "Channel messages that wait for their answer"),
            busy: Level::gauge(meter, "inbox_workers_busy", "Conversations that are worked on now"),
            cut: Total::new(
                meter,
                "messages_cut_total",
                "Messages of channels that were longer than they may be",
            ),
        }
    }

    /// Counts a message to us or from us.
    pub fn message(&self, channel: ChannelKind, direction: Direction) {
        self.messages[channel as usize].increment(direction);
    }

    /// Counts a call of a platform.
    pub fn call(&self, channel: ChannelKind, outcome: CallOutcome) {
        self.calls[channel as usize].increment(outcome);
    }

    /// Counts something that a call held.
    pub fn item(&self, channel: ChannelKind, outcome: ItemOutcome) {
        self.items[channel as usize].increment(outcome);
    }

    /// Counts a try to send.
    pub fn delivery(&self, channel: ChannelKind, outcome: DeliveryOutcome) {
        self.deliveries[channel as usize].increment(outcome);
    }

    /// Counts a message that was cut.
    pub fn cut(&self) {
        self.cut.increment();
    }

    /// Messages that wait for their answer.
    #[must_use]
    pub fn waiting(&self) -> &Level {
        &self.waiting
    }

    /// Conversations that are worked on.
    #[must_use]
    pub fn busy(&self) -> &Level {
        &self.busy
    }
}

fn by_channel<L: super::label::Label>(
    meter: &Meter,
    (name, help): (&'static str, &'static str),
    key: &'static str,
) -> Box<[TotalBy<L>]> {
    let counter = counter(meter, name, help);
    let of =
        |channel: ChannelKind| TotalBy::new(&counter, key, &[KeyValue::new("channel", channel.as_str())]);
    ChannelKind::ALL.into_iter().map(of).collect()
}
