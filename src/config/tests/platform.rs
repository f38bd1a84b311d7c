//! When a chat platform is used, what it then needs, and what is a warning.

use super::{Folder, config, refusal, refuses};
use crate::{
    config::{Channels, LinqChannel, NextcloudTalkChannel, WhatsAppChannel, load},
    domain::secret::Secret,
};

const WHATSAPP: &str = "[channels_config.whatsapp]\naccess_token = 'token'\nphone_number_id = '123'\n\
                        app_secret = 'secret'\nallowed_numbers = ['+1 555']\n";
const LINQ: &str = "[channels_config.linq]\napi_token = 'token'\nfrom_phone = '+1555'\n\
                    signing_secret = 'secret'\nallowed_senders = ['*']\n";
const TALK: &str = "[channels_config.nextcloud_talk]\nbase_url = 'https://cloud.example.com/'\n\
                    webhook_secret = 'secret'\nallowed_users = ['alice']\n";

fn secrets(texts: &[&str]) -> Vec<Secret> {
    texts.iter().copied().map(Secret::new).collect()
}

/// The channels and warnings of `./config.toml`.
fn read(file: &str) -> (Channels, Vec<String>) {
    let config = config(file, &[]);
    (config.channels, config.warnings)
}

#[test]
fn whatsapp_is_used_with_what_it_needs() {
    let (channels, warnings) = read(WHATSAPP);
    let whatsapp = WhatsAppChannel {
        access_token: Secret::new("token"),
        phone_number_id: "123".to_owned(),
        verify_token: None,
        app_secret: Some(Secret::new("secret")),
        allowed_numbers: secrets(&["+1 555"]),
        api_base_url: "https://graph.facebook.com/v23.0".to_owned(),
        max_body_bytes: 3_145_728,
        reply_to_unsupported: true,
    };
    assert_eq!((channels.whatsapp, warnings), (Some(whatsapp), Vec::new()));
    assert_eq!((channels.linq, channels.nextcloud_talk), (None, None));
}

#[test]
fn linq_is_used_with_what_it_needs() {
    let (channels, warnings) = read(LINQ);
    let linq = LinqChannel {
        api_token: Secret::new("token"),
        from_phone: Secret::new("+1555"),
        signing_secret: Some(Secret::new("secret")),
        allowed_senders: secrets(&["*"]),
        api_base_url: "https://api.linqapp.com/api/partner/v3".to_owned(),
    };
    assert_eq!((channels.linq, warnings), (Some(linq), Vec::new()));
    assert_eq!((channels.whatsapp, channels.nextcloud_talk), (None, None));
}

#[test]
fn talk_is_used_with_what_it_needs_and_signs_replies_with_its_one_secret() {
    let (channels, warnings) = read(TALK);
    let talk = NextcloudTalkChannel {
        base_url: "https://cloud.example.com".to_owned(),
        webhook_secret: Some(Secret::new("secret")),
        app_token: Secret::new("secret"),
        allowed_users: secrets(&["alice"]),
    };
    assert_eq!((channels.nextcloud_talk, warnings), (Some(talk), Vec::new()));
    assert_eq!((channels.whatsapp, channels.linq), (None, None));
}

#[test]
fn talk_signs_replies_with_another_secret_if_one_is_given() {
    let talk = read(&format!("{TALK}app_token = 'other'\n")).0.nextcloud_talk.unwrap();
    assert_eq!((talk.webhook_secret, talk.app_token), (Some(Secret::new("secret")), Secret::new("other")));
}

#[test]
fn the_other_keys_of_whatsapp_are_read() {
    let more = "verify_token = 'mine'\napi_base_url = 'http://127.0.0.1:1/v1/'\nmax_body_bytes = 1024\n\
                reply_to_unsupported = false\n";
    let whatsapp = read(&format!("{WHATSAPP}{more}")).0.whatsapp.unwrap();
    assert_eq!(whatsapp.verify_token, Some(Secret::new("mine")));
    assert_eq!(whatsapp.api_base_url, "http://127.0.0.1:1/v1");
    assert_eq!((whatsapp.max_body_bytes, whatsapp.reply_to_unsupported), (1024, false));
}

#[test]
fn what_a_platform_needs_is_a_problem_where_it_was_begun() {
    let problems = "\
config.toml:2: channels_config.whatsapp.phone_number_id must not be blank while channels_config.whatsapp.access_token is given: replies are sent from it
config.toml:2: channels_config.whatsapp.app_secret must not be blank while channels_config.whatsapp.access_token is given: it is needed so that nobody else can post as WhatsApp; channels_config.whatsapp.allow_unsigned = true does without
config.toml:4: channels_config.linq.api_token must not be blank while channels_config.linq.from_phone is given: replies are sent with it
config.toml:4: channels_config.linq.signing_secret must not be blank while channels_config.linq.from_phone is given: it is needed so that nobody else can post as Linq; channels_config.linq.allow_unsigned = true does without
config.toml:6: channels_config.nextcloud_talk.base_url must not be blank while channels_config.nextcloud_talk.app_token is given: replies are sent to it
config.toml:6: channels_config.nextcloud_talk.webhook_secret must not be blank while channels_config.nextcloud_talk.app_token is given: it is needed so that nobody else can post as Nextcloud Talk; channels_config.nextcloud_talk.allow_unsigned = true does without";
    let file = "[channels_config.whatsapp]\naccess_token = 'token'\n[channels_config.linq]\nfrom_phone = '+1'\n\
                [channels_config.nextcloud_talk]\napp_token = 'token'\n";
    refuses(file, &[], problems);
}

#[test]
fn what_is_needed_and_given_as_blank_is_a_problem_where_that_was_done() {
    let file = WHATSAPP.replace("'secret'", "' '").replace("'token'", "''");
    let env = [("MOORGATE_CHANNELS_CONFIG__WHATSAPP__API_BASE_URL", "")];
    let problems = "\
config.toml:2: channels_config.whatsapp.access_token must not be blank while channels_config.whatsapp.phone_number_id is given: replies are sent with it
config.toml:4: channels_config.whatsapp.app_secret must not be blank while channels_config.whatsapp.phone_number_id is given: it is needed so that nobody else can post as WhatsApp; channels_config.whatsapp.allow_unsigned = true does without
MOORGATE_CHANNELS_CONFIG__WHATSAPP__API_BASE_URL: channels_config.whatsapp.api_base_url must not be blank while channels_config.whatsapp.phone_number_id is given: replies are sent to it";
    refuses(&file, &env, problems);
}

#[test]
fn every_secret_can_come_from_a_file() {
    let file = "[channels_config.whatsapp]\naccess_token_file = 'a'\nphone_number_id = '1'\nverify_token_file = 'b'\n\
                app_secret_file = 'c'\n[channels_config.linq]\napi_token_file = 'a'\nfrom_phone = '+1'\n\
                signing_secret_file = 'b'\n[channels_config.nextcloud_talk]\napp_token_file = 'a'\n\
                webhook_secret_file = 'b'\nbase_url = 'http://[::1]:1'\n";
    let folder = Folder::new().with("a", "A\n").with("b", "B\n").with("c", "C\n").with("config.toml", file);
    let Channels { whatsapp, linq, nextcloud_talk, .. } = load(&folder.inputs(&[])).unwrap().channels;
    let (whatsapp, linq, talk) = (whatsapp.unwrap(), linq.unwrap(), nextcloud_talk.unwrap());
    assert_eq!([whatsapp.access_token, linq.api_token, talk.app_token], ["A"; 3].map(Secret::new));
    let b = || Some(Secret::new("B"));
    assert_eq!([whatsapp.verify_token, linq.signing_secret, talk.webhook_secret], [b(), b(), b()]);
    assert_eq!(whatsapp.app_secret, Some(Secret::new("C")));
}

#[test]
fn a_file_that_holds_no_secret_is_one_problem_not_two() {
    let folder = Folder::new()
        .with("blank", "\n")
        .with("config.toml", WHATSAPP.replace("app_secret = 'secret'", "app_secret_file = 'blank'"));
    let problem = "config.toml:4: channels_config.whatsapp.app_secret_file: blank must not be blank";
    assert_eq!(refusal(&folder.inputs(&[])), problem);
}

#[test]
fn a_file_alone_begins_a_platform() {
    let folder = Folder::new().with("token", "T\n");
    let problems = refusal(&folder.inputs(&[("MOORGATE_CHANNELS_CONFIG__LINQ__API_TOKEN_FILE", "token")]));
    let beginning = "MOORGATE_CHANNELS_CONFIG__LINQ__API_TOKEN_FILE: channels_config.linq.from_phone must not be \
                     blank while channels_config.linq.api_token_file is given";
    assert!(problems.starts_with(beginning), "{problems}");
}

#[test]
fn unsigned_messages_are_taken_only_with_a_warning() {
    let unsigned =
        |file: &str| file.replace("app_secret = 'secret'\n", "").replace("signing_secret = 'secret'\n", "");
    let (channels, warnings) = read(&format!("{}allow_unsigned = true\n", unsigned(WHATSAPP)));
    assert_eq!(channels.whatsapp.unwrap().app_secret, None);
    let warning =
        "config.toml:5: channels_config.whatsapp.allow_unsigned is true: anyone can post as WhatsApp";
    assert_eq!(warnings, [warning]);

    let (channels, warnings) = read(&format!("{}allow_unsigned = true\n", unsigned(LINQ)));
    assert_eq!(channels.linq.unwrap().signing_secret, None);
    assert_eq!(
        warnings,
        ["config.toml:5: channels_config.linq.allow_unsigned is true: anyone can post as Linq"]
    );

    let file = TALK.replace("webhook_secret", "allow_unsigned = true\napp_token");
    let (channels, warnings) = read(&file);
    let talk = channels.nextcloud_talk.unwrap();
    assert_eq!((talk.webhook_secret, talk.app_token), (None, Secret::new("secret")));
    let key = "channels_config.nextcloud_talk.allow_unsigned";
    assert_eq!(warnings, [format!("config.toml:3: {key} is true: anyone can post as Nextcloud Talk")]);
}

#[test]
fn talk_needs_a_secret_for_replies_even_where_messages_are_unsigned() {
    let file = TALK.replace("webhook_secret = 'secret'", "allow_unsigned = true");
    let problem = "config.toml:2: channels_config.nextcloud_talk.app_token must not be blank while \
                   channels_config.nextcloud_talk.base_url is given: replies are signed with it where there is no \
                   webhook_secret";
    refuses(&file, &[], problem);
}

#[test]
fn a_secret_is_used_whether_or_not_unsigned_messages_are_allowed() {
    for (file, key, secret) in [
        (WHATSAPP, "whatsapp", "app_secret"),
        (LINQ, "linq", "signing_secret"),
        (TALK, "nextcloud_talk", "webhook_secret"),
    ] {
        let lines = file.lines().count() + 1;
        let (channels, warnings) = read(&format!("{file}allow_unsigned = true\n"));
        let key = format!("channels_config.{key}");
        let warning = format!(
            "config.toml:{lines}: {key}.allow_unsigned has no effect: signatures are checked, since {key}.{secret} is given"
        );
        assert_eq!(warnings, [warning]);
        let secrets = [
            channels.whatsapp.and_then(|channel| channel.app_secret),
            channels.linq.and_then(|channel| channel.signing_secret),
            channels.nextcloud_talk.and_then(|channel| channel.webhook_secret),
        ];
        assert_eq!(secrets.into_iter().flatten().collect::<Vec<_>>(), [Secret::new("secret")]);
    }
}

#[test]
fn what_is_given_for_a_platform_that_is_not_used_is_a_warning() {
    let file = "[channels_config.whatsapp]\naccess_token = ''\napp_secret = 'secret'\nmax_body_bytes = 3145728\n\
                allowed_numbers = []\nreply_to_unsupported = false\n[channels_config.nextcloud_talk]\n\
                allowed_users = ['alice']\n";
    let env =
        [("ZEROCLAW_LINQ_SIGNING_SECRET", "secret"), ("MOORGATE_CHANNELS_CONFIG__LINQ__API_TOKEN", " ")];
    let config = config(file, &env);
    let channels = config.channels;
    assert_eq!((channels.whatsapp, channels.linq, channels.nextcloud_talk), (None, None, None));
    let warnings = [
        "config.toml:3: channels_config.whatsapp.app_secret is not used: WhatsApp is off while access_token and phone_number_id are blank",
        "config.toml:6: channels_config.whatsapp.reply_to_unsupported is not used: WhatsApp is off while access_token and phone_number_id are blank",
        "ZEROCLAW_LINQ_SIGNING_SECRET: channels_config.linq.signing_secret is not used: Linq is off while api_token and from_phone are blank",
        "config.toml:8: channels_config.nextcloud_talk.allowed_users is not used: Nextcloud Talk is off while base_url and app_token are blank",
    ];
    assert_eq!(config.warnings, warnings);
}

#[test]
fn what_is_wrong_is_refused_even_for_a_platform_that_is_not_used() {
    let file = "[channels_config.whatsapp]\nmax_body_bytes = 1\nallow_unsigned = 1\n";
    let problems = "\
config.toml:2: channels_config.whatsapp.max_body_bytes must be a whole number from 1024 to 16777216, not 1
config.toml:3: channels_config.whatsapp.allow_unsigned must be true or false, not 1";
    refuses(file, &[], problems);
}

#[test]
fn an_allow_list_that_is_empty_is_a_warning() {
    let (_, warnings) = read(&WHATSAPP.replace("['+1 555']", "[]"));
    let empty = "channels_config.whatsapp.allowed_numbers is empty: nobody can write to WhatsApp";
    assert_eq!(warnings, [format!("config.toml:5: {empty}")]);

    let (_, warnings) = read(&TALK.replace("allowed_users = ['alice']\n", ""));
    let empty = "channels_config.nextcloud_talk.allowed_users is empty: nobody can write to Nextcloud Talk";
    assert_eq!(warnings, [format!("config.toml:2: {empty}")]);

    let (_, warnings) = read(&LINQ.replace("['*']", "[]"));
    let empty = "channels_config.linq.allowed_senders is empty: nobody can write to Linq";
    assert_eq!(warnings, [format!("config.toml:5: {empty}")]);
}

#[test]
fn an_entry_that_can_match_nobody_is_refused_by_its_place() {
    let file = "[channels_config.whatsapp]\nallowed_numbers = [\n'+1 (555) 123',\n'*',\n'alice@example.com',\n' ',\n3,\n]\n\
                [channels_config.linq]\nallowed_senders = ['+1', '*', 'alice@example.com', 'alice', '**']\n\
                [channels_config.nextcloud_talk]\nallowed_users = ['alice', 'users/bob', '*', ' ']\n";
    let problems = "\
config.toml:5: channels_config.whatsapp.allowed_numbers[2] must be a phone number or \"*\"
config.toml:6: channels_config.whatsapp.allowed_numbers[3] must not be blank
config.toml:7: channels_config.whatsapp.allowed_numbers[4] must be text
config.toml:10: channels_config.linq.allowed_senders[3] must be a phone number, an e-mail address or \"*\"
config.toml:10: channels_config.linq.allowed_senders[4] must be a phone number, an e-mail address or \"*\"
config.toml:12: channels_config.nextcloud_talk.allowed_users[3] must not be blank";
    refuses(file, &[], problems);
}

#[test]
fn the_id_of_the_number_at_meta_is_not_the_number() {
    let problem = "config.toml:3: channels_config.whatsapp.phone_number_id must be the id that Meta gives the number: \
                   digits alone";
    refuses(&WHATSAPP.replace("'123'", "'+1 555 123'"), &[], problem);
}

#[test]
fn an_api_must_be_an_address_that_nobody_can_read_along_the_way_to() {
    for (section, key) in
        [("whatsapp", "api_base_url"), ("linq", "api_base_url"), ("nextcloud_talk", "base_url")]
    {
        let name = format!("MOORGATE_CHANNELS_CONFIG__{}__{}", section.to_uppercase(), key.to_uppercase());
        let files = [WHATSAPP, LINQ, TALK].concat();
        let key = format!("{name}: channels_config.{section}.{key}");
        let plain =
            format!("{key} must not be plain http to another machine: messages could be read on the way");
        refuses(&files, &[(&name, "http://10.0.0.7/v1")], &plain);
        let other = format!("{key} must be an http or https address without user, query or fragment");
        refuses(&files, &[(&name, "cloud.example.com")], &other);
        config(&files, &[(&name, "http://localhost:1/")]);
    }
}

#[test]
fn the_names_of_another_gateway_for_the_secrets_are_honoured_but_weaker_than_the_own() {
    let names = [
        ("ZEROCLAW_WHATSAPP_APP_SECRET", "MOORGATE_CHANNELS_CONFIG__WHATSAPP__APP_SECRET"),
        ("ZEROCLAW_LINQ_SIGNING_SECRET", "MOORGATE_CHANNELS_CONFIG__LINQ__SIGNING_SECRET"),
        (
            "ZEROCLAW_NEXTCLOUD_TALK_WEBHOOK_SECRET",
            "MOORGATE_CHANNELS_CONFIG__NEXTCLOUD_TALK__WEBHOOK_SECRET",
        ),
    ];
    let secrets = |env: &[(&str, &str)]| {
        let Channels { whatsapp, linq, nextcloud_talk, .. } =
            config(&[WHATSAPP, LINQ, TALK].concat(), env).channels;
        [whatsapp.unwrap().app_secret, linq.unwrap().signing_secret, nextcloud_talk.unwrap().webhook_secret]
            .map(Option::unwrap)
    };
    let theirs = names.map(|(theirs, _)| (theirs, "theirs"));
    assert_eq!(secrets(&theirs), ["theirs"; 3].map(Secret::new));
    let ours = names.map(|(_, ours)| (ours, "ours"));
    assert_eq!(secrets(&[theirs, ours].concat()), ["ours"; 3].map(Secret::new));
    let blank = names.map(|(theirs, _)| (theirs, " "));
    assert_eq!(secrets(&blank), ["secret"; 3].map(Secret::new));
}

#[test]
fn neither_a_secret_nor_who_may_write_shows_in_debug() {
    let file =
        [WHATSAPP, LINQ, TALK].concat().replace("'secret'", "'hunter2'").replace("'token'", "'hunter2'");
    let file =
        file.replace("'+1 555'", "'hunter2'").replace("'+1555'", "'hunter2'").replace("'alice'", "'hunter2'");
    let text = format!("{:?}", config(&file, &[]));
    assert!(text.contains("whatsapp: Some") && !text.contains("hunter2"), "{text}");
}
