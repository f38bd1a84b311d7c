//! Memory: what users said, found again by its words.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::memory::Memory;

/// What is remembered. It is there soon after the message that it comes from.
#[async_trait]
pub trait MemoryRepository: Send + Sync {
    /// What holds all of the words, whatever their case and accents; what fits best comes first. Words are what white space
    /// separates, and have no other meaning; without a word nothing is found. What was said last may not be found yet while very
    /// much is said.
    async fn search(&self, words: &str, limit: u32) -> Result<Vec<Memory>, StoreError>;
}
