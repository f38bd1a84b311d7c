//! The messages of a chat, as every vendor's API takes them.

use serde::Serialize;

use crate::domain::message::Prompt;

/// One message, and who says it.
#[derive(Serialize)]
pub(super) struct ChatMessage<'a> {
    role: &'static str,
    content: &'a str,
}

/// What the model is told, the conversation before the message, and the message.
pub(super) fn chat<'a>(system: Option<&'a str>, prompt: &'a Prompt) -> Vec<ChatMessage<'a>> {
    let said = |role, content| ChatMessage { role, content };
    let history =
        prompt.history.iter().flat_map(|it| [said("user", &it.user), said("assistant", &it.assistant)]);
    let system = system.map(|text| said("system", text));
    system.into_iter().chain(history).chain([said("user", prompt.message.as_str())]).collect()
}
