//! What the kinds of providers need.

use std::time::Duration;

use super::{
    super::{Model, ProviderKind, load},
    Folder, config, refuses,
};
use crate::domain::secret::Secret;

#[test]
fn plain_http_to_another_machine_is_a_warning() {
    let read =
        |url: &str| config(&format!("[provider]\nkind = 'openai'\nmodel = 'm'\nbase_url = '{url}'\n"), &[]);
    let far = read("http://10.0.0.7/v1/");
    assert_eq!(far.provider.model.base_url, "http://10.0.0.7/v1");
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
    let provider =
        config("[provider]\nmodel = 'm'\nbase_url = '?'\napi_key_file = 'gone'\n", &[]).provider.model;
    assert_eq!((provider.kind, provider.name.as_str()), (ProviderKind::Echo, "m"));
    assert_eq!((provider.base_url.as_str(), provider.api_key), ("", None));
}

#[test]
fn every_kind_but_echo_needs_a_model_and_has_an_address_of_its_own() {
    for (kind, address) in [
        ("openai", "https://api.openai.com/v1"),
        ("anthropic", "https://api.anthropic.com"),
        ("ollama", "http://127.0.0.1:11434"),
    ] {
        let problem =
            format!("config.toml:2: provider.model must not be blank while provider.kind is \"{kind}\"");
        refuses(&format!("[provider]\nkind = '{kind}'\n"), &[], &problem);
        let read = config(&format!("[provider]\nkind = '{kind}'\nmodel = 'm'\n"), &[]).provider.model;
        assert_eq!((read.kind.as_str(), read.base_url.as_str()), (kind, address));
    }
}

#[test]
fn anthropic_takes_a_temperature_of_at_most_one() {
    let file = "[provider]\nkind = 'anthropic'\nmodel = 'm'\ntemperature = 1.5\n";
    refuses(file, &[], "config.toml:4: provider.temperature must be a number from 0 to 1, not 1.5");
}

const FALLBACKS: &str = "\
[provider]
kind = 'openai'
model = 'm'
api_key = 'k'
temperature = 0.25
max_tokens = 7
timeout_secs = 90
system_prompt = 'be brief'

[[provider.fallback]]
kind = 'anthropic'
model = 'a'
api_key_file = 'key'
max_tokens = 9

[[provider.fallback]]
kind = 'ollama'
model = 'o'
base_url = 'http://localhost:1/'
temperature = 0.5
timeout_secs = 10
system_prompt = ''
";

#[test]
fn fallbacks_say_what_they_are_and_take_the_rest_from_the_provider() {
    let folder = Folder::new().with("config.toml", FALLBACKS).with("key", "key-in-a-file\n");
    let provider = load(&folder.inputs(&[("MOORGATE_PROVIDER__TIMEOUT_SECS", "80")])).unwrap().provider;
    let anthropic = Model {
        kind: ProviderKind::Anthropic,
        name: "a".into(),
        base_url: "https://api.anthropic.com".into(),
        api_key: Some(Secret::new("key-in-a-file")),
        temperature: 0.25,
        max_tokens: Some(9),
        timeout: Duration::from_secs(80),
        system_prompt: Some("be brief".into()),
    };
    let ollama = Model {
        kind: ProviderKind::Ollama,
        name: "o".into(),
        base_url: "http://localhost:1".into(),
        api_key: None,
        temperature: 0.5,
        max_tokens: Some(7),
        timeout: Duration::from_secs(10),
        system_prompt: None,
    };
    assert_eq!(provider.fallbacks, [anthropic, ollama]);
}

#[test]
fn there_may_be_more_than_ten_fallbacks_and_they_keep_their_order() {
    let table = |n: usize| format!("[[provider.fallback]]\nkind = 'ollama'\nmodel = 'm{n}'\n");
    let fallbacks = config(&(0..12).map(table).collect::<String>(), &[]).provider.fallbacks;
    let names: Vec<_> = fallbacks.into_iter().map(|model| model.name).collect();
    assert_eq!(names, (0..12).map(|n| format!("m{n}")).collect::<Vec<_>>());
}

#[test]
fn what_is_wrong_in_a_fallback_is_said_with_its_line() {
    let file = "\
[[provider.fallback]]
kind = 'ollama'
modle = 'm'
[[provider.fallback]]
model = 'm'
[[provider.fallback]]
kind = 'openai'
model = 'm'
temperature = 3
max_retries = 1
[provider.fallback.more]
x = 1
";
    let problems = "\
config.toml:2: provider.fallback[0].model must not be blank while provider.fallback[0].kind is \"ollama\"
config.toml:3: provider.fallback[0].modle is not a known key; did you mean provider.fallback[0].model?
config.toml:4: provider.fallback[1] needs a kind
config.toml:9: provider.fallback[2].temperature must be a number from 0 to 2, not 3
config.toml:10: provider.fallback[2].max_retries is not a known key; did you mean provider.max_retries?
config.toml:11: [provider.fallback[2].more] is not a known section";
    refuses(file, &[], problems);
}

#[test]
fn fallbacks_are_a_list_of_tables_and_the_files_alone() {
    let list = "provider.fallback is a list of tables: [[provider.fallback]] in the configuration file";
    for file in
        ["[provider.fallback]\nkind = 'echo'\n", "provider.fallback = 3\n", "provider.fallback = ['x']\n"]
    {
        refuses(file, &[], &format!("config.toml:1: {list}"));
    }
    refuses("", &[("MOORGATE_PROVIDER__FALLBACK", "x")], &format!("MOORGATE_PROVIDER__FALLBACK: {list}"));
    let name = "MOORGATE_PROVIDER__FALLBACK[0]__MODEL";
    let file = "[[provider.fallback]]\nkind = 'echo'\n";
    refuses(file, &[(name, "m")], &format!("{name}: {list}"));
}
