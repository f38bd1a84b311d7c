//! What operators see and mend, beside a running server: what is on record, as entries, and changes that are one guarded
//! step each. A change that comes too late changes nothing and says why.
//!
//! States and sources are words as they are on record: somebody may have written others.

mod client;
mod key;
mod limit;
mod message;

pub use client::{TokenAdminRepository, TokenChange, TokenEntry};
pub use key::{KeyAdminRepository, KeyChange, KeyEntry};
pub use limit::{LimitAdminRepository, LockoutEntry, WindowEntry};
pub use message::{
    Change, ConversationEntry, DeliveryEntry, Filter, MessageAdminRepository, MessageEntry, MessageMark,
    Refusal, WEBHOOK,
};
