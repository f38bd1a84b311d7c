//! Which layer a value comes from.

use std::{ffi::OsStr, fs, path::Path, time::Duration};

use super::{
    super::{Config, Inputs, PairedToken, load},
    Folder, config, flag, refusal, refuses,
};
use crate::domain::secret::Secret;

#[test]
fn each_layer_wins_over_the_one_below() {
    let folder = Folder::new().with("config.toml", "[gateway]\nport = 1\nhost = 'file'\nmax_in_flight = 7\n");
    let mut inputs = folder.inputs(&[]);
    assert_eq!(load(&inputs).unwrap().gateway.port, 1);

    inputs.env.insert("ZEROCLAW_GATEWAY_PORT".into(), "2".into());
    assert_eq!(load(&inputs).unwrap().gateway.port, 2);

    inputs.env.insert("MOORGATE_GATEWAY__PORT".into(), "3".into());
    assert_eq!(load(&inputs).unwrap().gateway.port, 3);

    inputs.overrides =
        vec![flag("--port", "gateway.port", "4"), flag("--database", "database.path", "/d.db")];
    let config = load(&inputs).unwrap();
    assert_eq!(config.gateway.port, 4);
    assert_eq!(config.database.path, Path::new("/d.db"));
    assert_eq!((config.gateway.host.as_str(), config.gateway.max_in_flight), ("file", 7));
}

#[test]
fn a_value_of_the_wrong_kind_does_not_matter_once_a_higher_layer_gives_another() {
    assert_eq!(config("[gateway]\nport = 'x'\n", &[("MOORGATE_GATEWAY__PORT", "1")]).gateway.port, 1);
}

#[test]
fn the_first_file_there_is_is_read_alone() {
    let port = |port: u16| format!("[gateway]\nport = {port}\n");
    let folder = Folder::new()
        .with("flag.toml", port(1))
        .with("variable.toml", port(2))
        .with("config.toml", port(3))
        .with("xdg/moorgate/config.toml", port(4))
        .with("home/.config/moorgate/config.toml", port(5));
    let mut inputs =
        folder.inputs(&[("MOORGATE_CONFIG", "variable.toml"), ("XDG_CONFIG_HOME", "not/absolute")]);
    inputs.config_flag = Some("flag.toml".into());
    inputs.env.insert("HOME".into(), folder.0.join("home").into());
    let read = |inputs: &Inputs| load(inputs).map(|config| (config.gateway.port, config.file)).unwrap();
    let file = |name: &str| Some(folder.0.join(name));
    assert_eq!(read(&inputs), (1, file("flag.toml")));

    inputs.config_flag = None;
    assert_eq!(read(&inputs), (2, file("variable.toml")));

    inputs.env.remove(OsStr::new("MOORGATE_CONFIG"));
    assert_eq!(read(&inputs), (3, file("config.toml")));

    fs::remove_file(folder.0.join("config.toml")).unwrap();
    assert_eq!(read(&inputs), (5, file("home/.config/moorgate/config.toml")));

    inputs.env.insert("XDG_CONFIG_HOME".into(), folder.0.join("xdg").into());
    assert_eq!(read(&inputs), (4, file("xdg/moorgate/config.toml")));

    inputs.env.insert("XDG_CONFIG_HOME".into(), folder.0.join("flag.toml").into());
    assert_eq!(read(&inputs), (3000, None));
}

#[test]
fn a_named_file_must_be_there() {
    let folder = Folder::new();
    let mut inputs = folder.inputs(&[("MOORGATE_CONFIG", "gone.toml")]);
    assert!(refusal(&inputs).starts_with("MOORGATE_CONFIG: gone.toml cannot be read: No such file"));

    inputs.config_flag = Some("lost.toml".into());
    assert!(refusal(&inputs).starts_with("--config: lost.toml cannot be read: No such file"));

    refuses("", &[("MOORGATE_CONFIG", "")], "MOORGATE_CONFIG: must name a file, not be blank");
}

#[test]
fn a_file_that_is_there_must_be_readable() {
    let folder = Folder::new().with("config.toml", b"[gateway]\nhost = '\xff'\n");
    let problem = "config.toml: cannot be read: stream did not contain valid UTF-8";
    assert_eq!(refusal(&folder.inputs(&[])), problem);
}

#[test]
fn every_key_has_a_variable_that_takes_its_kind() {
    let hash = "ab".repeat(32);
    let env = [
        ("MOORGATE_GATEWAY__HOST", "[::1]"),
        ("MOORGATE_GATEWAY__PORT", " 0 "),
        ("MOORGATE_GATEWAY__REQUIRE_PAIRING", "0"),
        ("MOORGATE_GATEWAY__ALLOW_PUBLIC_BIND", "TRUE"),
        ("MOORGATE_GATEWAY__PAIRED_TOKENS", &format!("zc_1, {}", hash.to_uppercase())),
        ("MOORGATE_PROVIDER__TEMPERATURE", "1"),
        ("MOORGATE_PROVIDER__MAX_TOKENS", "512"),
        ("MOORGATE_PROVIDER__SYSTEM_PROMPT", "1"),
        ("MOORGATE_CHANNELS_CONFIG__WEBHOOK__SECRET", " hunter2\n"),
    ];
    let Config { gateway, provider, channels, .. } = config("", &env);
    assert_eq!((gateway.host.as_str(), gateway.port), ("[::1]", 0));
    assert_eq!((gateway.require_pairing, gateway.allow_public_bind), (false, true));
    assert_eq!(gateway.paired_tokens, [PairedToken::Plain(Secret::new("zc_1")), PairedToken::Hash(hash)]);
    assert_eq!(provider.model.temperature.to_bits(), 1_f64.to_bits());
    assert_eq!((provider.model.max_tokens, provider.model.system_prompt.as_deref()), (Some(512), Some("1")));
    assert_eq!(channels.webhook.secret, Some(Secret::new("hunter2")));
}

#[test]
fn a_list_in_a_variable_may_be_a_toml_array() {
    let name = "MOORGATE_GATEWAY__PAIRED_TOKENS";
    let tokens = |text| config("", &[(name, text)]).gateway.paired_tokens;
    assert_eq!(tokens("['a,b', \"c\"]"), ["a,b", "c"].map(|token| PairedToken::Plain(Secret::new(token))));
    assert_eq!(tokens(""), []);
    refuses("", &[(name, "['a'")], &format!("{name}: gateway.paired_tokens must be a list of text"));
    refuses("", &[(name, "a,,b")], &format!("{name}: gateway.paired_tokens[1] must not be blank"));
    refuses("", &[(name, "[1]")], &format!("{name}: gateway.paired_tokens[0] must be text"));
}

#[test]
fn the_names_of_other_gateways_are_honoured() {
    let env = [
        ("ZEROCLAW_GATEWAY_HOST", "0.0.0.0"),
        ("ZEROCLAW_GATEWAY_PORT", "8080"),
        ("ZEROCLAW_ALLOW_PUBLIC_BIND", "1"),
        ("CONSTRUCT_GATEWAY_TIMEOUT_SECS", "90"),
    ];
    let gateway = config("", &env).gateway;
    assert_eq!((gateway.host.as_str(), gateway.port), ("0.0.0.0", 8080));
    assert_eq!((gateway.allow_public_bind, gateway.request_timeout), (true, Duration::from_secs(90)));
    assert!(config("", &[("RANTAICLAW_ALLOW_PUBLIC_BIND", "true")]).gateway.allow_public_bind);
}

#[test]
fn each_name_of_another_gateway_is_weaker_than_the_own_name() {
    let env = [
        ("ZEROCLAW_GATEWAY_HOST", "a"),
        ("MOORGATE_GATEWAY__HOST", "b"),
        ("ZEROCLAW_GATEWAY_PORT", "1"),
        ("MOORGATE_GATEWAY__PORT", "2"),
        ("RANTAICLAW_ALLOW_PUBLIC_BIND", "1"),
        ("ZEROCLAW_ALLOW_PUBLIC_BIND", "1"),
        ("MOORGATE_GATEWAY__ALLOW_PUBLIC_BIND", "0"),
        ("CONSTRUCT_GATEWAY_TIMEOUT_SECS", "1"),
        ("MOORGATE_GATEWAY__REQUEST_TIMEOUT_SECS", "2"),
    ];
    let gateway = config("", &env).gateway;
    assert_eq!((gateway.host.as_str(), gateway.port), ("b", 2));
    assert_eq!((gateway.allow_public_bind, gateway.request_timeout), (false, Duration::from_secs(2)));
}

#[test]
fn a_blank_variable_is_unset_only_under_the_name_of_another_gateway() {
    let file = "[gateway]\nhost = '10.0.0.1'\n";
    assert_eq!(config(file, &[("ZEROCLAW_GATEWAY_HOST", " ")]).gateway.host, "10.0.0.1");
    let problem = "MOORGATE_GATEWAY__HOST: gateway.host must be text that is not blank, not \" \"";
    refuses(file, &[("MOORGATE_GATEWAY__HOST", " ")], problem);
}

#[test]
fn bare_host_and_port_are_not_read() {
    let config = config("", &[("HOST", "0.0.0.0"), ("PORT", "80"), ("GATEWAY__PORT", "80")]);
    assert_eq!(config.gateway, Config::default().gateway);
}

#[test]
fn a_variable_with_one_underscore_too_few_is_a_warning() {
    // Kubernetes sets names like these for a service `moorgate` or `moorgate-gateway`.
    let env = [("MOORGATE_GATEWAY_PORT", "tcp://10.0.0.1:80"), ("MOORGATE_SERVICE_HOST", "10.0.0.1")];
    let config = config("", &env);
    assert_eq!(config.gateway.port, 3000);
    assert_eq!(config.warnings, ["MOORGATE_GATEWAY_PORT: is not read; did you mean MOORGATE_GATEWAY__PORT?"]);
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_a_problem_only_if_it_is_read() {
    use std::os::unix::ffi::OsStrExt as _;

    let junk = OsStr::from_bytes(b"\xff");
    let folder = Folder::new();
    let mut inputs = folder.inputs(&[]);
    for name in [OsStr::new("PATH"), OsStr::new("MOORGATE_GATEWAY_PORT"), junk] {
        inputs.env.insert(name.into(), junk.into());
    }
    assert!(load(&inputs).is_ok());

    for name in ["ZEROCLAW_GATEWAY_PORT", "MOORGATE_GATEWAY__HOST"] {
        inputs.env.insert(name.into(), junk.into());
    }
    let problems = "MOORGATE_GATEWAY__HOST: gateway.host must be UTF-8 text\n\
                    ZEROCLAW_GATEWAY_PORT: gateway.port must be UTF-8 text";
    assert_eq!(refusal(&inputs), problems);
}
