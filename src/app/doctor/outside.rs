//! Who is asked and who asks: the models, and the chat platforms.

use std::time::Duration;

use super::{Cause, Finding};
use crate::{
    config::{Channels, Config, Model, ProviderKind},
    domain::secret::Secret,
    outbound::Client,
};

/// How long a model's server may take to say anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the models can be reached and have their keys. Only their address is asked for: that costs nothing.
pub(super) async fn providers(config: &Config) -> Vec<Finding> {
    let provider = &config.provider;
    let mut findings = Vec::new();
    for (index, model) in std::iter::once(&provider.model).chain(&provider.fallbacks).enumerate() {
        let check = if index == 0 { "provider" } else { "fallback" };
        findings.push(match model.kind {
            ProviderKind::Echo => echo(check),
            _ => real(check, model).await,
        });
    }
    findings
}

fn echo(check: &'static str) -> Finding {
    let text = "echo: messages are answered with themselves, no model is asked";
    Finding::warning(check, text, "set kind and model under [provider]: moorgate config init shows how")
}

async fn real(check: &'static str, model: &Model) -> Finding {
    let name = format!("{}, {} at {}", model.kind.as_str(), model.name, model.base_url);
    let answered = match Client::new(PATIENCE) {
        Ok(client) => client.get(&model.base_url).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match answered {
        Err(error) => {
            let text = format!("{name}: {error}");
            let fix =
                "see whether the server runs, and whether this machine may reach it (name, firewall, proxy)";
            // Where another one stands in, messages are answered all the same.
            if check == "provider" {
                Finding::error(check, Cause::Unavailable, text, fix)
            } else {
                Finding::warning(check, text, fix)
            }
        }
        Ok(_) if model.api_key.is_none() && needs_key(model) => {
            let fix = "set api_key or api_key_file there, then try it: moorgate ask hello";
            Finding::warning(check, format!("{name}: it can be reached, but there is no API key"), fix)
        }
        Ok(_) => Finding::ok(check, format!("{name}: it can be reached; try it with moorgate ask hello")),
    }
}

/// A server with TLS is somebody's who wants to know who asks; Ollama never does by itself.
fn needs_key(model: &Model) -> bool {
    model.kind != ProviderKind::Ollama && model.base_url.starts_with("https:")
}

/// Whether each channel is signed, and whether anybody may write.
pub(super) fn channels(config: &Config) -> Vec<Finding> {
    let Channels { whatsapp, linq, nextcloud_talk, .. } = &config.channels;
    let mut findings = Vec::new();
    if let Some(it) = whatsapp {
        findings.push(channel("WhatsApp", "app_secret", it.app_secret.as_ref(), &it.allowed_numbers));
        if it.verify_token.is_none() {
            let text = "WhatsApp: there is no verify_token, so Meta cannot be told that the address is yours";
            findings.push(Finding::warning("channel", text, "set verify_token, the same as entered at Meta"));
        }
    }
    if let Some(it) = linq {
        findings.push(channel("Linq", "signing_secret", it.signing_secret.as_ref(), &it.allowed_senders));
    }
    if let Some(it) = nextcloud_talk {
        findings.push(channel(
            "Nextcloud Talk",
            "webhook_secret",
            it.webhook_secret.as_ref(),
            &it.allowed_users,
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("channel", "none is configured"));
    }
    findings
}

/// Its other credentials are there: without them the configuration is none.
fn channel(title: &str, secret_key: &str, secret: Option<&Secret>, allowed: &[Secret]) -> Finding {
    if secret.is_none() {
        let text = format!("{title}: signatures are not checked, so anyone can post as {title}");
        return Finding::warning("channel", text, format!("set {secret_key}, and remove allow_unsigned"));
    }
    let who = match allowed {
        [] => {
            let text = format!("{title}: nobody may write, the list of senders is empty");
            return Finding::warning("channel", text, "name who may write, or \"*\" for everybody");
        }
        names if names.iter().any(|name| name.expose() == "*") => "everybody may write".to_owned(),
        [_] => "one sender may write".to_owned(),
        names => format!("{} senders may write", names.len()),
    };
    Finding::ok("channel", format!("{title}: its credentials are there, signatures are checked, {who}"))
}
