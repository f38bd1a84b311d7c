//! The messages that a benchmark sends to `POST /whatsapp`, signed as Meta signs them.

use std::io::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The number that the messages are for.
pub const PHONE_NUMBER_ID: &str = "106540352242922";
/// What they are signed with.
pub const APP_SECRET: &str = "bench-app-secret";
/// Senders that take turns.
const SENDERS: u64 = 500;

/// One text message from one of five hundred senders, with an id that no other message has.
pub fn whatsapp_request(seq: u64, out: &mut Vec<u8>) {
    let sender = 15_550_000_000 + seq % SENDERS;
    let body = format!(
        concat!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"field":"messages","value":"#,
            r#"{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"15550001111","phone_number_id":"{}"}},"#,
            r#""messages":[{{"from":"{}","id":"wamid.HBgLMTU1NTEyMzQ1NjcVAgASGBQzQTdC{:016x}","type":"text","#,
            r#""text":{{"body":"hello {}"}}}}]}}}}]}}]}}"#
        ),
        PHONE_NUMBER_ID, sender, seq, seq
    );
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(APP_SECRET.as_bytes()) else { return };
    mac.update(body.as_bytes());
    write!(
        out,
        "POST /whatsapp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Hub-Signature-256: sha256="
    )
    .ok();
    for byte in mac.finalize().into_bytes() {
        write!(out, "{byte:02x}").ok();
    }
    write!(out, "\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok(); // writing to a Vec does not fail
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signature was made with `printf %s "$body" | openssl dgst -sha256 -hmac bench-app-secret`.
    #[test]
    fn a_call_is_framed_and_signed() {
        let mut out = Vec::new();
        whatsapp_request(501, &mut out);
        let text = String::from_utf8_lossy(&out).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        assert!(
            body.contains(r#""from":"15550000001""#) && body.ends_with(r#""hello 501"}}]}}]}]}"#),
            "{body}"
        );
        assert!(
            head.contains(
                "X-Hub-Signature-256: sha256=083f02094014de2cb0a1b8538d8e087f16695622bd4057518c0b524bddf6224e"
            ),
            "{head}"
        );
    }
}
