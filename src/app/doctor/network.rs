//! Where the gateway listens, who is there already, and what a running one says.

use std::{io, time::Duration};

use super::{Cause, Finding};
use crate::{
    app::readiness::{self, Readiness},
    config::{Config, TunnelProvider},
    http::bind::{self, BindError},
};

/// How long a running server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks at the address, and asks the server there. `runs` says whether one is at work on the database.
pub(super) async fn examine(config: &Config, runs: bool) -> Vec<Finding> {
    let gateway = &config.gateway;
    let url = bind::local_url(&gateway.host, gateway.port);
    let readiness = match gateway.port {
        0 => None,
        _ => readiness::ask(&url, PATIENCE).await.ok(),
    };
    vec![listening(config, &url, readiness.as_ref()).await, server(&url, runs, readiness)]
}

async fn listening(config: &Config, url: &str, readiness: Option<&Readiness>) -> Finding {
    let gateway = &config.gateway;
    let is_public = match bind::is_public(&gateway.host).await {
        Ok(is_public) => is_public,
        Err(error) => {
            let fix = "set gateway.host to an address of this machine, such as 127.0.0.1";
            return Finding::error("bind", Cause::Configuration, error.to_string(), fix);
        }
    };
    let has_tunnel = config.tunnel.provider != TunnelProvider::None;
    if is_public && !gateway.allow_public_bind && !has_tunnel {
        let text = format!("other machines could reach {}: the server refuses to start", gateway.host);
        let fix = "set host = \"127.0.0.1\" under [gateway], with a tunnel or reverse proxy in front if need be, \
                   or allow_public_bind = true";
        return Finding::error("bind", Cause::Configuration, text, fix);
    }
    match bind::probe(&gateway.host, gateway.port).await {
        Err(error) if is_in_use(&error) => in_use(url, gateway.port, is_public, readiness),
        Err(error) => {
            let fix = "set gateway.host and gateway.port to what this user may listen on";
            Finding::error("bind", Cause::Unavailable, error.to_string(), fix)
        }
        Ok(()) if is_public => public(url),
        Ok(()) if gateway.port == 0 => Finding::ok("bind", "the server will take any free port"),
        Ok(()) => Finding::ok("bind", format!("{url} is free")),
    }
}

fn is_in_use(error: &BindError) -> bool {
    matches!(error, BindError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
}

fn in_use(url: &str, port: u16, is_public: bool, readiness: Option<&Readiness>) -> Finding {
    match readiness {
        Some(Readiness::Ready | Readiness::NotReady(_)) if is_public => public(url),
        Some(Readiness::Ready | Readiness::NotReady(_)) => {
            Finding::ok("bind", format!("moorgate answers at {url}"))
        }
        _ => {
            let text = format!("port {port} is in use by something that is not moorgate");
            let fix = format!("find out what it is: ss -ltnp 'sport = :{port}'; or set another gateway.port");
            Finding::error("bind", Cause::Unavailable, text, fix)
        }
    }
}

fn public(url: &str) -> Finding {
    let text = format!("other machines can reach {url} and read what is sent: it is plain HTTP");
    Finding::warning("bind", text, "listen on 127.0.0.1 and put a reverse proxy with TLS in front")
}

fn server(url: &str, runs: bool, readiness: Option<Readiness>) -> Finding {
    match (runs, readiness) {
        (true, Some(Readiness::Ready)) => Finding::ok("server", "it runs and is ready"),
        (true, Some(Readiness::NotReady(reasons))) => not_ready(&reasons),
        (true, None) => Finding::ok("server", "it runs; its port is any, so it was not asked"),
        (true, Some(_)) => {
            let text = format!("one runs on the database, but does not answer at {url}");
            let fix = "ask it where it is, moorgate health --url; if it runs with other settings, name them here too";
            Finding::warning("server", text, fix)
        }
        (false, Some(Readiness::Ready | Readiness::NotReady(_))) => {
            let text = format!("the moorgate at {url} does not work on this database");
            Finding::warning("server", text, "see which database it has, or set another gateway.port here")
        }
        (false, _) => Finding::ok("server", "none runs"),
    }
}

fn not_ready(reasons: &[String]) -> Finding {
    let has = |reason| reasons.iter().any(|given| given == reason);
    let text = format!("it runs, but is not ready: {}", reasons.join(", "));
    let (cause, fix) = if has("storage") {
        (
            Cause::Database,
            "the database takes no writes: make room on its disk, or end who holds it; the server goes on by itself",
        )
    } else if has("provider") {
        (Cause::Unavailable, "no model answers: see the findings about the provider, and moorgate ask hello")
    } else {
        (Cause::Unavailable, "it is stopping: start it again when it has")
    };
    Finding::error("server", cause, text, fix)
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn what_keeps_a_server_from_being_ready_says_whose_fault_it_is() {
        let state = |reason: &str| not_ready(&[reason.to_owned()]).state;
        assert_eq!(state("storage"), State::Error(Cause::Database));
        assert_eq!(state("provider"), State::Error(Cause::Unavailable));
        assert_eq!(state("shutting_down"), State::Error(Cause::Unavailable));
    }
}
