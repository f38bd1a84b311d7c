//! What several targets need.

use std::{sync::Arc, time::Duration};

use moorgate::{
    channel::{Channel, Linq, LinqSettings, NextcloudTalk, NextcloudTalkSettings, WhatsApp, WhatsAppSettings},
    domain::{allow_list::AllowList, secret::Secret},
    outbound::Client,
    system::SystemEntropy,
};

/// Every chat platform, open to all senders; with `secret` it is what they sign with, without one all calls pass as signed.
///
/// # Panics
/// If the secret is no key.
#[must_use]
pub fn channels(secret: Option<&str>) -> [Arc<dyn Channel>; 3] {
    let timeout = Duration::from_secs(1);
    let client = Client::direct(timeout).unwrap();
    let api = "http://127.0.0.1:1".to_owned();
    let whatsapp = WhatsAppSettings {
        api_base_url: api.clone(),
        access_token: Secret::new("token"),
        phone_number_id: "1".into(),
        app_secret: secret.map(Secret::new),
        allowed_numbers: AllowList::phone_numbers(["*"]),
        reply_to_unsupported: true,
        timeout,
    };
    let linq = LinqSettings {
        api_base_url: api.clone(),
        api_token: Secret::new("token"),
        from_phone: "+15550001111".into(),
        signing_secret: secret.map(Secret::new),
        allowed_senders: AllowList::phone_numbers_and_emails(["*"]),
        timeout,
    };
    let talk = NextcloudTalkSettings {
        base_url: api,
        webhook_secret: secret.map(Secret::new),
        reply_secret: Secret::new("reply"),
        allowed_users: AllowList::talk_users(["*"]),
        timeout,
    };
    [
        Arc::new(WhatsApp::new(whatsapp, &client).unwrap()),
        Arc::new(Linq::new(linq, &client).unwrap()),
        Arc::new(NextcloudTalk::new(talk, &client, Arc::new(SystemEntropy)).unwrap()),
    ]
}
