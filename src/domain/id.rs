//! Numbers that name rows, each of its own type so that they cannot be mixed up.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(/// A paired client's token: `token.id`, never given out twice.
    TokenId);
id!(/// An accepted message: `message.id`, in order of acceptance.
    MessageId);
id!(/// A pairing code: `pairing_code.id`.
    CodeId);
id!(/// A conversation on a channel: `conversation.id`, never given out twice.
    ConversationId);
id!(/// A part of a reply: `delivery.id`, in the order in which a conversation's are sent.
    DeliveryId);
