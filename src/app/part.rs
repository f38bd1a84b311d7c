//! What the configuration says, as each part wants to hear it.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    channel::{
        Channel, Linq, LinqSettings, NextcloudTalk, NextcloudTalkSettings, SetupError, WhatsApp,
        WhatsAppSettings,
        signature::{BadSecret, StandardWebhooks},
    },
    config::{self, Config, PairedToken, Synchronous, TunnelProvider},
    domain::{
        allow_list::AllowList, channel::ChannelKind, conversation::HistoryLimit, delivery::Backoff,
        secret::Secret, token::TokenHash,
    },
    http::{ClientSource, HttpSettings, Proxies, RequestLog, TunnelUp, server::Limits},
    outbound::Client,
    service::inbox::InboxSettings,
    sqlite::{DatabaseSettings, Keep, Retention, Schedule, StoreLimits},
    system::Entropy,
    tunnel::{Tool, TunnelSettings},
};

pub(super) fn paired_tokens(config: &Config) -> Vec<TokenHash> {
    token_hashes(&config.gateway.paired_tokens)
}

/// What is kept of the tokens of an older gateway.
#[must_use]
pub fn token_hashes(tokens: &[PairedToken]) -> Vec<TokenHash> {
    let hash = |token: &PairedToken| match token {
        PairedToken::Hash(hex) => TokenHash::from_hex(hex),
        PairedToken::Plain(token) => Some(TokenHash::of(token.expose().as_bytes())),
    };
    tokens.iter().filter_map(hash).collect()
}

/// Where the database is and how it is opened.
#[must_use]
pub fn database_settings(config: &Config) -> DatabaseSettings {
    DatabaseSettings {
        path: config.database.path.clone(),
        full_sync: config.database.synchronous == Synchronous::Full,
        busy_timeout: config.database.busy_timeout,
        read_connections: config.database.read_connections,
    }
}

/// When backups are made; `None`: never.
#[must_use]
pub fn backup_schedule(config: &Config) -> Option<Schedule> {
    let backups = &config.database.backups;
    let folder = backups.folder.clone()?;
    Some(Schedule { folder, every: backups.every, keep: backups.keep as usize })
}

pub(super) fn store_limits(config: &Config) -> StoreLimits {
    let gateway = &config.gateway;
    StoreLimits {
        pair_per_minute: gateway.pair_rate_limit_per_minute,
        webhook_per_minute: gateway.webhook_rate_limit_per_minute,
        rate_clients: gateway.rate_limit_max_keys as usize,
        lockout: gateway.pair_lockout,
        code_failures: gateway.pairing_code_max_failures,
        key_ttl: gateway.idempotency_ttl,
        keys_per_owner: gateway.idempotency_max_keys,
        signature_per_minute: config.channels.bad_signature_rate_limit_per_minute,
        channels: served(&config.channels),
        waiting_messages: config.channels.max_waiting_messages.into(),
        saves_memory: config.memory.auto_save,
        retention: retention(config),
    }
}

pub(super) fn http_settings(config: &Config, tunnel_up: &TunnelUp) -> Result<HttpSettings, BadSecret> {
    let whatsapp = config.channels.whatsapp.as_ref();
    let webhook_signature = config.channels.webhook.signing_secret.as_ref();
    let webhook_signature = webhook_signature.map(|secret| StandardWebhooks::new(secret).map(Arc::new));
    Ok(HttpSettings {
        client_source: client_source(config, tunnel_up),
        require_pairing: config.gateway.require_pairing,
        webhook_secret: config.channels.webhook.secret.clone(),
        webhook_signature: webhook_signature.transpose()?,
        max_body_bytes: config.gateway.max_body_bytes,
        // The larger limit is for what is signed: anyone may send the rest.
        whatsapp_max_body_bytes: whatsapp.filter(|it| it.app_secret.is_some()).map(|it| it.max_body_bytes),
        whatsapp_verify_token: whatsapp.and_then(|it| it.verify_token.clone()),
        request_timeout: config.gateway.request_timeout,
        request_log: match config.observability.request_log {
            config::RequestLog::All => RequestLog::All,
            config::RequestLog::Failed => RequestLog::Failed,
            config::RequestLog::Off => RequestLog::Off,
        },
    })
}

/// Whom a request is from.
pub(super) fn client_source(config: &Config, tunnel_up: &TunnelUp) -> ClientSource {
    let trust = &config.gateway.proxies;
    let introducers = if trust.protocol { trust.networks.clone() } else { Vec::new() };
    let proxies = match (trust.headers, &trust.networks) {
        (false, _) => Proxies::Nobody,
        (true, networks) if networks.is_empty() => Proxies::Anybody,
        (true, networks) => Proxies::Known(networks.clone(), trust.header),
    };
    let source = ClientSource::new(proxies).introduced_by(introducers);
    match config.tunnel.provider.client_header().and_then(|name| name.parse().ok()) {
        Some(header) => source.behind_tunnel(header, tunnel_up.clone()),
        None => source,
    }
}

pub(super) fn connection_limits(config: &Config) -> Limits {
    Limits {
        max_connections: config.gateway.max_connections as usize,
        max_connections_per_address: config.gateway.max_connections_per_address as usize,
        max_head_bytes: config.gateway.max_head_bytes,
        max_headers: config.gateway.max_headers,
        http2_max_streams: config.gateway.http2_max_streams,
        header_timeout: config.gateway.header_timeout,
        idle_timeout: config.gateway.idle_timeout,
        ..Limits::default()
    }
}

pub(super) fn history_limit(config: &Config) -> HistoryLimit {
    HistoryLimit { turns: config.conversation.history_turns, chars: config.conversation.history_max_chars }
}

pub(super) fn inbox_settings(config: &Config) -> InboxSettings {
    let channels = &config.channels;
    InboxSettings {
        workers: channels.workers as usize,
        message_attempts: channels.message_max_attempts,
        delivery_attempts: channels.delivery_max_attempts,
        backoff: Backoff { first: channels.retry_first, longest: channels.retry_longest },
        apology: channels.failure_reply.clone(),
        max_message_chars: config.conversation.max_message_chars,
    }
}

/// How the tunnel is run to the gateway at `target`; `None`: there is none.
pub(super) fn tunnel_settings(config: &Config, target: SocketAddr) -> Option<TunnelSettings> {
    let tunnel = &config.tunnel;
    Some(TunnelSettings {
        tool: tunnel_tool(config)?,
        target,
        start_timeout: tunnel.start_timeout,
        check_interval: tunnel.check_interval,
        stop_grace: tunnel.stop_grace,
    })
}

/// The program that makes the tunnel; `None`: there is none.
pub(super) fn tunnel_tool(config: &Config) -> Option<Tool> {
    Some(match config.tunnel.provider.clone() {
        TunnelProvider::None => return None,
        TunnelProvider::Cloudflare { token } => Tool::Cloudflare { token },
        TunnelProvider::Tailscale { funnel, hostname } => Tool::Tailscale { funnel, hostname },
        TunnelProvider::Ngrok { auth_token, domain } => Tool::Ngrok { auth_token, domain },
        TunnelProvider::Custom { command, health_url, url_pattern, .. } => {
            Tool::Custom { command, health_url, url_pattern }
        }
    })
}

fn served(channels: &config::Channels) -> Vec<ChannelKind> {
    let configured =
        [channels.whatsapp.is_some(), channels.linq.is_some(), channels.nextcloud_talk.is_some()];
    ChannelKind::ALL.into_iter().zip(configured).filter_map(|(kind, is)| is.then_some(kind)).collect()
}

fn retention(config: &Config) -> Retention {
    let database = &config.database;
    let keep = |kept: config::Retention| Keep { age: kept.max_age, rows: kept.max_rows.map(u64::from) };
    Retention {
        messages: keep(database.messages),
        answers: keep(database.answers),
        deliveries: keep(database.deliveries),
        memories: keep(config.memory.retention),
    }
}

pub(super) fn channels(
    config: &Config,
    client: &Client,
    entropy: &Arc<dyn Entropy>,
) -> Result<Vec<Arc<dyn Channel>>, SetupError> {
    let configured = &config.channels;
    let timeout = configured.send_timeout;
    let mut channels: Vec<Arc<dyn Channel>> = Vec::new();
    if let Some(it) = &configured.whatsapp {
        let settings = WhatsAppSettings {
            api_base_url: it.api_base_url.clone(),
            access_token: it.access_token.clone(),
            phone_number_id: it.phone_number_id.clone(),
            app_secret: it.app_secret.clone(),
            allowed_numbers: AllowList::phone_numbers(it.allowed_numbers.iter().map(Secret::expose)),
            reply_to_unsupported: it.reply_to_unsupported,
            timeout,
        };
        channels.push(Arc::new(WhatsApp::new(settings, client)?));
    }
    if let Some(it) = &configured.linq {
        let senders = it.allowed_senders.iter().map(Secret::expose);
        let settings = LinqSettings {
            api_base_url: it.api_base_url.clone(),
            api_token: it.api_token.clone(),
            from_phone: it.from_phone.expose().to_owned(),
            signing_secret: it.signing_secret.clone(),
            allowed_senders: AllowList::phone_numbers_and_emails(senders),
            timeout,
        };
        channels.push(Arc::new(Linq::new(settings, client)?));
    }
    if let Some(it) = &configured.nextcloud_talk {
        let settings = NextcloudTalkSettings {
            base_url: it.base_url.clone(),
            webhook_secret: it.webhook_secret.clone(),
            reply_secret: it.app_token.clone(),
            allowed_users: AllowList::talk_users(it.allowed_users.iter().map(Secret::expose)),
            timeout,
        };
        channels.push(Arc::new(NextcloudTalk::new(settings, client, Arc::clone(entropy))?));
    }
    Ok(channels)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Inputs, Override, load};

    /// The time itself would show it, too, if a busy machine kept to it.
    #[test]
    fn a_connection_has_the_time_that_is_configured() {
        let given = |key, value: &str| Override { flag: key, key, value: value.to_owned() };
        let overrides =
            vec![given("gateway.header_timeout_secs", "3"), given("gateway.idle_timeout_secs", "4")];
        let limits = connection_limits(&load(&Inputs { overrides, ..Inputs::default() }).unwrap());
        assert_eq!(limits.header_timeout, Duration::from_secs(3));
        assert_eq!(limits.idle_timeout, Duration::from_secs(4));
    }
}
