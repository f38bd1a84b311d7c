//! The provider that says what it was told: no key, no network, always the same. The default, so that a gateway runs
//! before it is configured.

use async_trait::async_trait;

use super::{Kind, Provider, ProviderError};
use crate::domain::message::{Answer, Completion, Prompt, Usage};

/// Answers with the message.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

#[async_trait]
impl Provider for Echo {
    fn kind(&self) -> Kind {
        Kind::Echo
    }

    fn model(&self) -> &'static str {
        "echo"
    }

    async fn answer(&self, prompt: &Prompt) -> Result<Completion, ProviderError> {
        let answer = Answer { text: prompt.message.as_str().into(), model: "echo".into() };
        Ok(Completion { answer, usage: Usage::default() })
    }
}
