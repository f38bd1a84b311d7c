//! Where secrets come from, and where they must not go.

use super::{super::load, Folder, config, refusal};
use crate::domain::secret::Secret;

#[test]
fn a_secret_can_come_from_a_file() {
    let folder = Folder::new()
        .with("webhook", "hunter2 \r\n")
        .with("key", "sk-1")
        .with("config.toml", "[channels_config.webhook]\nsecret_file = \"webhook\"\n");
    let key = folder.0.join("key");
    let inputs = folder.inputs(&[
        ("MOORGATE_PROVIDER__KIND", "openai"),
        ("MOORGATE_PROVIDER__MODEL", "gpt"),
        ("MOORGATE_PROVIDER__API_KEY_FILE", key.to_str().unwrap()),
    ]);
    let config = load(&inputs).unwrap();
    assert_eq!(config.channels.webhook.secret, Some(Secret::new("hunter2")));
    assert_eq!(config.provider.model.api_key, Some(Secret::new("sk-1")));
}

#[test]
fn a_secret_file_must_hold_one_secret_and_be_the_only_source() {
    let folder =
        Folder::new().with("blank", " \n").with("two", "hunter2\nhunter3\n").with("one", "hunter2\n");
    let problem = |file: &str, secret: &str| {
        let inputs = folder.inputs(&[
            ("MOORGATE_CHANNELS_CONFIG__WEBHOOK__SECRET_FILE", file),
            ("MOORGATE_CHANNELS_CONFIG__WEBHOOK__SECRET", secret),
        ]);
        let source = "MOORGATE_CHANNELS_CONFIG__WEBHOOK__SECRET_FILE: channels_config.webhook.secret_file";
        refusal(&inputs).strip_prefix(source).unwrap().to_owned()
    };
    assert_eq!(problem("blank", ""), ": blank must not be blank");
    assert_eq!(problem("two", ""), ": two must be one line without control characters");
    assert_eq!(problem("one", "hunter2"), " and channels_config.webhook.secret must not both be given");
    assert!(problem("gone", "").starts_with(": gone cannot be read: No such file"));
    assert!(problem(".", "").starts_with(": . cannot be read: "));
}

#[test]
fn a_blank_secret_is_none() {
    let config = config("[channels_config.webhook]\nsecret = \" \\n\"\n", &[]);
    assert_eq!(config.channels.webhook.secret, None);
}

#[test]
fn a_secret_shows_itself_neither_in_problems_nor_in_debug() {
    let kind = ("MOORGATE_PROVIDER__KIND", "openai");
    for file in [
        "[channels_config.webhook]\nsecret = [\"hunter2\"]",
        "[channels_config.webhook]\nsecret = \"hunter2\\nhunter2\"",
        "[channels_config.webhook]\nsecret = hunter2",
        "[channels_config.webhook]\nsecret = 'hunter2",
        "[channels_config.webhook]\nsecret = \"\\qhunter2\"",
        "[channels_config.webhook]\nsecrett = \"hunter2\"",
        "[provider]\nmodel = \"m\"\napi_key = { hunter2 = 1 }",
        "[provider]\nmodel = \"m\"\nbase_url = \"https://u:hunter2@host\"",
        "[gateway]\npaired_tokens = \"hunter2\"",
        "[gateway]\npaired_tokens = [\"\", \"hunter2\"]",
        "[channels_config.webhook]\nsigning_secret = \"whsec_hunter2\"",
        "[channels_config.whatsapp]\nphone_number_id = \"hunter2\"",
        "[channels_config.whatsapp]\nallowed_numbers = [\"hunter2\", \"hunter\"]",
        "[channels_config.linq]\nfrom_phone = \"hunter2\"",
        "[channels_config.nextcloud_talk]\nbase_url = \"https://u:hunter2@host\"",
        "[channels_config.nextcloud_talk]\napp_token = \"hunter2\"",
    ] {
        let folder = Folder::new().with("config.toml", file);
        let error = load(&folder.inputs(&[kind])).unwrap_err();
        assert!(!format!("{error} {error:?} {error:#?}").contains("hunter2"), "{error}");
    }
    let file = "[gateway]\npaired_tokens = [\"hunter2\"]\n[channels_config.webhook]\nsecret = \"hunter2\"\n\
                [provider]\nmodel = \"m\"\napi_key = \"hunter2\"\n";
    assert!(!format!("{:?}", config(file, &[kind])).contains("hunter2"));
}
