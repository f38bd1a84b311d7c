//! Talk's payloads: an activity of Activity Streams 2.0, or the older shape with `message.actorId`.

use super::{
    super::json::{Object, id_of_body},
    NextcloudTalk, number,
};
use crate::domain::{
    channel::{Address, Content, Inbound, Skip},
    message::MessageText,
};

/// A chat message of either shape.
struct Said {
    /// With its kind before it: `users/alice`, `guests/…`, `bots/…`.
    sender: String,
    room: String,
    id: Option<String>,
    content: Result<Content, Skip>,
}

impl NextcloudTalk {
    pub(super) fn read(&self, payload: &Object<'_>, body: &[u8]) -> Result<Inbound, Skip> {
        let said = match payload.text("type") {
            Some(kind) if kind == "Create" => read_activity(payload)?,
            Some(kind) if !kind.eq_ignore_ascii_case("message") => return Err(Skip::OtherKind),
            _ => read_older(payload)?,
        };
        if said.sender.starts_with("bots/") {
            return Err(Skip::OwnMessage);
        }
        if !self.allowed_users.allows(&said.sender) {
            return Err(Skip::NotAllowed);
        }
        let platform_id = said.id.as_ref().map(|id| format!("{}:{id}", said.room));
        Ok(Inbound {
            sent_at: None,
            platform_id: platform_id.unwrap_or_else(|| id_of_body(body)),
            address: Address { sender: said.sender, room: said.room },
            reply_to: said.id.filter(|id| number(id).is_some()),
            content: said.content?,
        })
    }
}

fn read_activity(activity: &Object<'_>) -> Result<Said, Skip> {
    let actor = activity.object("actor").ok_or(Skip::Malformed)?;
    if actor.text("type").as_deref() == Some("Application") {
        return Err(Skip::OwnMessage);
    }
    let object = activity.object("object").ok_or(Skip::Malformed)?;
    // Before version 23 Talk left the name of a message with a file blank.
    if object.text("name").is_some_and(|name| name != "message") {
        return Err(Skip::OtherKind);
    }
    let target = activity.object("target").ok_or(Skip::Malformed)?;
    Ok(Said {
        sender: actor.text("id").ok_or(Skip::Malformed)?,
        room: target.text("id").ok_or(Skip::Malformed)?,
        id: object.id("id"),
        content: object.get("content").ok_or(Skip::Malformed).and_then(|json: String| content_of_note(&json)),
    })
}

/// A note's content is JSON in a string. A file without a word to it is the text `{file}`.
fn content_of_note(json: &str) -> Result<Content, Skip> {
    let content = Object::read(json.as_bytes()).ok_or(Skip::Malformed)?;
    let text: String = content.get("message").ok_or(Skip::Malformed)?;
    let has_file = content.object("parameters").is_some_and(|them| them.object("file").is_some());
    if has_file && text.trim() == "{file}" { Ok(Content::NotText) } else { content_of_text(text) }
}

fn content_of_text(text: String) -> Result<Content, Skip> {
    MessageText::new(text).map(Content::Text).ok_or(Skip::Blank)
}

fn read_older(payload: &Object<'_>) -> Result<Said, Skip> {
    let message = payload.object("message").ok_or(Skip::Malformed)?;
    let of_either = |name| message.text(name).or_else(|| payload.text(name));
    let is_comment = message.text("messageType").is_none_or(|kind| kind == "comment");
    if !is_comment || message.text("systemMessage").is_some() {
        return Err(Skip::OtherKind);
    }
    let actor = of_either("actorId").ok_or(Skip::Malformed)?;
    let sender = match of_either("actorType") {
        Some(kind) if !actor.starts_with(&format!("{kind}/")) => format!("{kind}/{actor}"),
        None if !actor.contains('/') => format!("users/{actor}"),
        _ => actor,
    };
    let object = payload.object("object");
    let room = object.and_then(|object| object.text("token")).or_else(|| message.text("token"));
    Ok(Said {
        sender,
        room: room.ok_or(Skip::Malformed)?,
        id: message.id("id"),
        content: message.get("message").ok_or(Skip::Malformed).and_then(content_of_text),
    })
}
