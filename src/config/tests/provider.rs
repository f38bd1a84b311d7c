//! What the kinds of providers need.

use super::{super::ProviderKind, config, refuses};

#[test]
fn openai_needs_a_model_and_has_an_address_of_its_own() {
    let problem = "config.toml:2: provider.model must not be blank while provider.kind is \"openai\"";
    refuses("[provider]\nkind = 'openai'\n", &[], problem);
    let provider = config("[provider]\nkind = 'openai'\nmodel = 'gpt'\n", &[]).provider;
    assert_eq!(provider.base_url, "https://api.openai.com/v1");
    assert_eq!((provider.model.as_str(), provider.api_key), ("gpt", None));
}

#[test]
fn plain_http_to_another_machine_is_a_warning() {
    let read =
        |url: &str| config(&format!("[provider]\nkind = 'openai'\nmodel = 'm'\nbase_url = '{url}'\n"), &[]);
    let far = read("http://10.0.0.7/v1/");
    assert_eq!(far.provider.base_url, "http://10.0.0.7/v1");
    assert_eq!(
        far.warnings,
        [
            "config.toml:4: provider.base_url is plain http: the API key and every message can be read on the way"
        ]
    );
    assert!(read("http://localhost:11434/v1").warnings.is_empty());
}

#[test]
fn echo_leaves_what_other_kinds_use_alone() {
    let provider = config("[provider]\nmodel = 'm'\nbase_url = '?'\napi_key_file = 'gone'\n", &[]).provider;
    assert_eq!((provider.kind, provider.model.as_str()), (ProviderKind::Echo, "m"));
    assert_eq!((provider.base_url.as_str(), provider.api_key), ("", None));
}
