//! Conversations, as far as the model is told of them.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::{
    conversation::{Conversation, HistoryLimit},
    message::Exchange,
};

/// What was said before.
#[async_trait]
pub trait ConversationRepository: Send + Sync {
    /// The last answered turns of a conversation that fit, oldest first.
    async fn history(
        &self,
        conversation: &Conversation,
        limit: HistoryLimit,
    ) -> Result<Vec<Exchange>, StoreError>;
}
