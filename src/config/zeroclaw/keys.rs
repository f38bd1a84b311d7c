//! Where each key of ZeroClaw goes.

/// Where a key goes.
pub(super) enum Place {
    /// To a key of ours, as it is.
    Same(&'static str),
    /// To a key of ours that holds a secret.
    Secret(&'static str),
    /// To a list of ours that names people.
    Private(&'static str),
    /// To a key of ours that is never 0; ZeroClaw took 0 for this number.
    Positive(&'static str, i64),
    /// To the database.
    Tokens,
    /// To `observability.backend`.
    Metrics,
    /// Read together with others, in [`provider`](super::provider).
    Provider,
    /// A table of which Moorgate has one as well.
    Section,
    /// Nowhere, for this reason.
    Left(&'static str),
    /// Nowhere, with all that is beside it.
    Unknown,
}

const UNSIGNED_PORT: &str = "the gateway does not use it: /webhook is on gateway.port";
const WEB_MODE: &str = "Moorgate speaks Meta's Cloud API only";
const FALLBACK: &str = "each needs a [[provider.fallback]] with its model and key";

/// Where `key` goes.
pub(super) fn place(key: &str) -> Place {
    gateway(key)
        .or_else(|| tunnel(key))
        .or_else(|| channel(key))
        .or_else(|| rest(key))
        .unwrap_or(Place::Unknown)
}

fn gateway(key: &str) -> Option<Place> {
    Some(match key {
        "gateway" => Place::Section,
        "gateway.host" => Place::Same("gateway.host"),
        "gateway.port" => Place::Same("gateway.port"),
        "gateway.require_pairing" => Place::Same("gateway.require_pairing"),
        "gateway.allow_public_bind" => Place::Same("gateway.allow_public_bind"),
        "gateway.paired_tokens" => Place::Tokens,
        "gateway.pair_rate_limit_per_minute" => Place::Same("gateway.pair_rate_limit_per_minute"),
        "gateway.webhook_rate_limit_per_minute" => Place::Same("gateway.webhook_rate_limit_per_minute"),
        "gateway.rate_limit_max_keys" => Place::Positive("gateway.rate_limit_max_keys", 10_000),
        "gateway.idempotency_ttl_secs" => Place::Positive("gateway.idempotency_ttl_secs", 1),
        "gateway.idempotency_max_keys" => Place::Positive("gateway.idempotency_max_keys", 10_000),
        "gateway.trust_forwarded_headers" => Place::Same("gateway.trust_forwarded_headers"),
        _ => return None,
    })
}

fn tunnel(key: &str) -> Option<Place> {
    Some(match key {
        "tunnel" | "tunnel.cloudflare" | "tunnel.tailscale" | "tunnel.ngrok" | "tunnel.custom" => {
            Place::Section
        }
        "tunnel.provider" => Place::Same("tunnel.provider"),
        "tunnel.cloudflare.token" => Place::Secret("tunnel.cloudflare.token"),
        "tunnel.tailscale.funnel" => Place::Same("tunnel.tailscale.funnel"),
        "tunnel.tailscale.hostname" => Place::Same("tunnel.tailscale.hostname"),
        "tunnel.ngrok.auth_token" => Place::Secret("tunnel.ngrok.auth_token"),
        "tunnel.ngrok.domain" => Place::Same("tunnel.ngrok.domain"),
        // There may be a secret among its arguments.
        "tunnel.custom.start_command" => Place::Secret("tunnel.custom.start_command"),
        "tunnel.custom.health_url" => Place::Same("tunnel.custom.health_url"),
        "tunnel.custom.url_pattern" => Place::Same("tunnel.custom.url_pattern"),
        _ => return None,
    })
}

fn channel(key: &str) -> Option<Place> {
    let (channel, name) = match key.strip_prefix("channels_config")?.strip_prefix('.') {
        None => return (key == "channels_config").then_some(Place::Section),
        Some(rest) => rest.split_once('.').unwrap_or((rest, "")),
    };
    Some(match (channel, name) {
        ("webhook" | "whatsapp" | "linq" | "nextcloud_talk", "") => Place::Section,
        ("webhook", "secret") => Place::Secret("channels_config.webhook.secret"),
        ("webhook", "port") => Place::Left(UNSIGNED_PORT),
        ("whatsapp", "access_token") => Place::Secret("channels_config.whatsapp.access_token"),
        ("whatsapp", "phone_number_id") => Place::Secret("channels_config.whatsapp.phone_number_id"),
        ("whatsapp", "verify_token") => Place::Secret("channels_config.whatsapp.verify_token"),
        ("whatsapp", "app_secret") => Place::Secret("channels_config.whatsapp.app_secret"),
        ("whatsapp", "allowed_numbers") => Place::Private("channels_config.whatsapp.allowed_numbers"),
        ("whatsapp", "session_path" | "pair_phone" | "pair_code") => Place::Left(WEB_MODE),
        ("linq", "api_token") => Place::Secret("channels_config.linq.api_token"),
        ("linq", "from_phone") => Place::Secret("channels_config.linq.from_phone"),
        ("linq", "signing_secret") => Place::Secret("channels_config.linq.signing_secret"),
        ("linq", "allowed_senders") => Place::Private("channels_config.linq.allowed_senders"),
        ("nextcloud_talk", "base_url") => Place::Same("channels_config.nextcloud_talk.base_url"),
        ("nextcloud_talk", "app_token") => Place::Secret("channels_config.nextcloud_talk.app_token"),
        ("nextcloud_talk", "webhook_secret") => {
            Place::Secret("channels_config.nextcloud_talk.webhook_secret")
        }
        ("nextcloud_talk", "allowed_users") => Place::Private("channels_config.nextcloud_talk.allowed_users"),
        _ => return None,
    })
}

fn rest(key: &str) -> Option<Place> {
    Some(match key {
        "api_key" | "api_url" | "default_provider" | "default_model" => Place::Provider,
        "default_temperature" => Place::Same("provider.temperature"),
        "reliability" | "observability" | "memory" => Place::Section,
        "reliability.provider_retries" => Place::Same("provider.max_retries"),
        "reliability.fallback_providers" => Place::Left(FALLBACK),
        "observability.backend" => Place::Metrics,
        "memory.auto_save" => Place::Same("memory.auto_save"),
        _ => return None,
    })
}

/// The outermost part of an unknown key that Moorgate has nothing like, and why it is left.
pub(super) fn unknown_part(key: &str) -> (&str, &'static str) {
    let known = |end: &usize| !matches!(place(&key[..*end]), Place::Unknown);
    let ends = key.match_indices('.').map(|(at, _)| at).chain([key.len()]);
    let end = ends.into_iter().find(|end| !known(end)).unwrap_or(key.len());
    let part = &key[..end];
    let why = match part.split('.').next() {
        Some("channels_config") if part.matches('.').count() == 1 => "Moorgate has no such channel or key",
        _ => "Moorgate has nothing like it",
    };
    (part, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_not_known_the_outermost_part_is_named() {
        for (key, part) in [
            ("tunnel.openvpn.config", "tunnel.openvpn"),
            ("channels_config.telegram.bot_token", "channels_config.telegram"),
            ("channels_config.message_timeout_secs", "channels_config.message_timeout_secs"),
            ("memory.backend", "memory.backend"),
            ("channels_config.linq.more", "channels_config.linq.more"),
            ("web_search", "web_search"),
        ] {
            assert_eq!(unknown_part(key).0, part);
        }
    }
}
