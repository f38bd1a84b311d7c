//! The variables that give values.
//!
//! Every key has one, `MOORGATE_<SECTION>__<KEY>`. A few names of the gateways that Moorgate replaces are
//! honoured too, but are weaker. Bare `HOST` and `PORT` are not read: too many other programs set them.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

use super::{
    error::{Problem, Source},
    setting::Settings,
};

/// Names the configuration file.
pub(super) const CONFIG_VARIABLE: &str = "MOORGATE_CONFIG";

const PREFIX: &str = "MOORGATE_";

/// The names of other gateways and their keys, weakest first. A blank one counts as unset.
const LEGACY: [(&str, &str); 8] = [
    ("CONSTRUCT_GATEWAY_TIMEOUT_SECS", "gateway.request_timeout_secs"),
    ("RANTAICLAW_ALLOW_PUBLIC_BIND", "gateway.allow_public_bind"),
    ("ZEROCLAW_ALLOW_PUBLIC_BIND", "gateway.allow_public_bind"),
    ("ZEROCLAW_GATEWAY_HOST", "gateway.host"),
    ("ZEROCLAW_GATEWAY_PORT", "gateway.port"),
    ("ZEROCLAW_LINQ_SIGNING_SECRET", "channels_config.linq.signing_secret"),
    ("ZEROCLAW_NEXTCLOUD_TALK_WEBHOOK_SECRET", "channels_config.nextcloud_talk.webhook_secret"),
    ("ZEROCLAW_WHATSAPP_APP_SECRET", "channels_config.whatsapp.app_secret"),
];

/// Puts what the variables say over the layers below.
pub(super) fn apply(env: &BTreeMap<OsString, OsString>, settings: &mut Settings) {
    for (name, key) in LEGACY {
        let value = env.get(OsStr::new(name)).filter(|value| !value.to_string_lossy().trim().is_empty());
        if let Some(value) = value {
            give(name, key, value, settings);
        }
    }
    for (name, value) in env {
        let Some(name) = name.to_str() else { continue };
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        if rest.contains("__") {
            give_named(name, &rest.to_ascii_lowercase().replace("__", "."), value, settings);
        } else {
            warn_if_meant(name, settings);
        }
    }
}

/// The variable of a key: `MOORGATE_GATEWAY__PORT` for `gateway.port`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

fn give_named(name: &str, key: &str, value: &OsStr, settings: &mut Settings) {
    if variable(key) == name {
        give(name, key, value, settings);
    } else {
        let source = Source::Variable(name.to_owned());
        let text = settings.unknown_key(key, &source);
        settings.problem(source, text);
    }
}

fn give(name: &str, key: &str, value: &OsStr, settings: &mut Settings) {
    let source = Source::Variable(name.to_owned());
    match value.to_str() {
        Some(text) => settings.give_text(key, text, source),
        None => settings.problem(source, format!("{key} must be UTF-8 text")),
    }
}

/// `MOORGATE_GATEWAY_PORT` may be a slip, or what Kubernetes sets for a service of that name: only a warning.
fn warn_if_meant(name: &str, settings: &mut Settings) {
    let meant = settings.keys().map(variable).find(|variable| variable.replace("__", "_") == name);
    if let Some(meant) = meant {
        let text = format!("is not read; did you mean {meant}?");
        settings.warnings.push(Problem { source: Source::Variable(name.to_owned()), text });
    }
}
