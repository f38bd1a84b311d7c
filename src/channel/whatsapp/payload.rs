//! Meta's payloads: `entry[].changes[].value`, with `messages[]` and `statuses[]`
//! (<https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components>).

use super::{super::json::Object, WhatsApp};
use crate::domain::{
    channel::{Address, Content, Inbound, Payload, SentStatus, Skip, StatusUpdate},
    message::MessageText,
    time::Millis,
};

impl WhatsApp {
    pub(super) fn read(&self, payload: &Object<'_>) -> Payload {
        let mut read = Payload::default();
        for entry in payload.objects("entry") {
            match entry {
                Ok(entry) => entry.objects("changes").for_each(|change| {
                    if let Err(skip) = self.read_change(change, &mut read) {
                        read.skipped.push(skip);
                    }
                }),
                Err(skip) => read.skipped.push(skip),
            }
        }
        read
    }

    fn read_change(&self, change: Result<Object<'_>, Skip>, read: &mut Payload) -> Result<(), Skip> {
        let change = change?;
        if change.text("field").ok_or(Skip::Malformed)? != "messages" {
            return Err(Skip::OtherKind);
        }
        let value = change.object("value").ok_or(Skip::Malformed)?;
        let number = value.object("metadata").and_then(|metadata| metadata.id("phone_number_id"));
        let is_ours = number.as_ref() == Some(&self.phone_number_id);
        let of_ours = |object| if is_ours { object } else { Err(Skip::OtherNumber) };
        for message in value.objects("messages").map(of_ours) {
            match message.and_then(|message| self.read_message(&message)) {
                Ok(message) => read.messages.push(message),
                Err(skip) => read.skipped.push(skip),
            }
        }
        for status in value.objects("statuses").map(of_ours) {
            match status.and_then(|status| read_status(&status)) {
                Ok(status) => read.statuses.push(status),
                Err(skip) => read.skipped.push(skip),
            }
        }
        Ok(())
    }

    fn read_message(&self, message: &Object<'_>) -> Result<Inbound, Skip> {
        let id = message.text("id").ok_or(Skip::Malformed)?;
        let from = message.id("from").ok_or(Skip::Malformed)?;
        let digits: String = from.chars().filter(char::is_ascii_digit).collect();
        if digits.is_empty() {
            return Err(Skip::Malformed);
        }
        let sender = format!("+{digits}");
        if !self.allowed_numbers.allows(&sender) {
            return Err(Skip::NotAllowed);
        }
        let content = match content_of(message)? {
            Content::NotText if !self.reply_to_unsupported => return Err(Skip::OtherKind),
            content => content,
        };
        let address = Address { sender, room: String::new() };
        Ok(Inbound {
            platform_id: id.clone(),
            address,
            reply_to: Some(id),
            sent_at: time_of(message),
            content,
        })
    }
}

fn content_of(message: &Object<'_>) -> Result<Content, Skip> {
    let text = match message.get::<String>("type").ok_or(Skip::Malformed)?.as_str() {
        "text" => message.object("text").and_then(|text| text.get("body")),
        "button" => message.object("button").and_then(|button| button.get("text")),
        "interactive" => {
            let interactive = message.object("interactive").ok_or(Skip::Malformed)?;
            let reply = interactive.object("button_reply").or_else(|| interactive.object("list_reply"));
            let Some(reply) = reply else { return Ok(Content::NotText) };
            reply.get("title")
        }
        "reaction" | "system" | "request_welcome" | "ephemeral" => return Err(Skip::OtherKind),
        _ => return Ok(Content::NotText),
    };
    let text = MessageText::new(text.ok_or(Skip::Malformed)?);
    text.map(Content::Text).ok_or(Skip::Blank)
}

fn read_status(status: &Object<'_>) -> Result<StatusUpdate, Skip> {
    let platform_id = status.text("id").ok_or(Skip::Malformed)?;
    let word = status.text("status").ok_or(Skip::Malformed)?;
    let known = [SentStatus::Sent, SentStatus::Delivered, SentStatus::Read, SentStatus::Failed];
    let known = known.into_iter().find(|known| known.as_str() == word);
    let at = time_of(status);
    known.map(|status| StatusUpdate { platform_id, status, at }).ok_or(Skip::Malformed)
}

/// `timestamp`: seconds since 1970, in a string.
fn time_of(object: &Object<'_>) -> Option<Millis> {
    let secs: i64 = object.id("timestamp")?.parse().ok()?;
    Some(Millis(secs.saturating_mul(1000)))
}
