//! Linq's payloads, in both versions: before 2026-02-03 the message is in `data.message`, since then it is `data`.

use super::{
    super::json::{Object, id_of_body},
    Linq,
};
use crate::domain::{
    channel::{Address, Content, Inbound, Skip},
    message::MessageText,
};

impl Linq {
    pub(super) fn read(&self, event: &Object<'_>, body: &[u8]) -> Result<Inbound, Skip> {
        if event.text("event_type").ok_or(Skip::Malformed)? != "message.received" {
            return Err(Skip::OtherKind);
        }
        let data = event.object("data").ok_or(Skip::Malformed)?;
        let handle = data.object("sender_handle");
        if is_own(&data, handle.as_ref()) {
            return Err(Skip::OwnMessage);
        }
        let sender = handle.map_or_else(|| data.text("from"), |handle| handle.text("handle"));
        let sender = sender.ok_or(Skip::Malformed)?.trim().to_owned();
        if !self.allowed_senders.allows(&sender) {
            return Err(Skip::NotAllowed);
        }
        let chat = data.object("chat").map_or_else(|| data.text("chat_id"), |chat| chat.text("id"));
        let message = data.object("message").unwrap_or(data);
        let id = event.text("event_id").or_else(|| message.text("id"));
        Ok(Inbound {
            sent_at: None,
            platform_id: id.unwrap_or_else(|| id_of_body(body)),
            address: Address { sender, room: chat.unwrap_or_default() },
            reply_to: None,
            content: Content::Text(text_of(&message)?),
        })
    }
}

fn is_own(data: &Object<'_>, handle: Option<&Object<'_>>) -> bool {
    data.get("is_from_me") == Some(true)
        || handle.is_some_and(|handle| handle.get("is_me") == Some(true))
        || data.text("direction").is_some_and(|direction| direction != "inbound")
}

/// The parts that a model can read, each on a line of its own.
fn text_of(message: &Object<'_>) -> Result<MessageText, Skip> {
    let parts: Vec<String> = message.objects("parts").filter_map(|part| part_of(&part.ok()?)).collect();
    MessageText::new(parts.join("\n")).ok_or(Skip::Blank)
}

fn part_of(part: &Object<'_>) -> Option<String> {
    match part.text("type")?.as_str() {
        "text" | "link" => part.get("value"),
        "media" | "image" => {
            let is_image = part.text("mime_type")?.to_ascii_lowercase().starts_with("image/");
            let url = part.text("url").or_else(|| part.text("value"))?;
            is_image.then(|| format!("[IMAGE:{url}]"))
        }
        _ => None,
    }
}
