//! The tunnel under supervision: what it is made of, what follows from its being up, and what its first failure means.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{StartError, part};
use crate::{
    config::Config,
    domain::health::{Component, State},
    http::TunnelUp,
    outbound::SetupError,
    repository::StoreStatusRepository,
    service::supervisor::{Pulse, Supervisor},
    tunnel::{Tunnel, TunnelError},
};

/// What is known of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Status {
    /// It has not been up yet.
    Starting,
    /// It is up, and reached there if that is known.
    Up(Option<String>),
    /// It is down, for this reason.
    Down(String),
}

/// A tunnel that is kept running.
pub(super) struct KeptTunnel {
    task: JoinHandle<()>,
    follower: JoinHandle<()>,
    stop: CancellationToken,
    status: watch::Receiver<Status>,
}

/// What runs a tunnel once.
struct Runner {
    tunnel: Tunnel,
    stop: CancellationToken,
    status: watch::Sender<Status>,
    up: TunnelUp,
}

/// The tunnel that is configured, to the gateway at `address`. It does not run yet.
pub(super) fn configured(config: &Config, address: SocketAddr) -> Result<Option<Tunnel>, SetupError> {
    part::tunnel_settings(config, as_seen_from_here(address)).map(Tunnel::new).transpose()
}

impl KeptTunnel {
    /// Starts a tunnel. `up` tells others whether it is.
    pub(super) fn start(
        tunnel: Tunnel,
        supervisor: &Arc<Supervisor>,
        store: Arc<dyn StoreStatusRepository>,
        up: TunnelUp,
    ) -> Self {
        let stop = CancellationToken::new();
        let (status, watched) = watch::channel(Status::Starting);
        let runner = Arc::new(Runner { tunnel, stop: stop.clone(), status, up });
        let task = supervisor
            .keep(Component::Tunnel, stop.clone(), move |pulse| Arc::clone(&runner).run_once(pulse));
        let follower = tokio::spawn(keep_on_record(store, watched.clone()));
        Self { task, follower, stop, status: watched }
    }

    /// Waits until it is up for the first time.
    ///
    /// # Errors
    /// [`StartError::Tunnel`] if it does not come up.
    pub(super) async fn first_up(&mut self) -> Result<(), StartError> {
        let first = self.status.wait_for(|status| *status != Status::Starting).await;
        match first.as_deref() {
            Ok(Status::Down(reason)) => Err(StartError::Tunnel(reason.clone())),
            Ok(_) => Ok(()),
            Err(_) => Err(StartError::Tunnel("it is not run any more".into())),
        }
    }

    /// Where the gateway is reached through it just now.
    pub(super) fn url(&self) -> Option<String> {
        if let Status::Up(url) = &*self.status.borrow() { url.clone() } else { None }
    }

    /// Stops it: its processes have ended when this returns.
    pub(super) async fn stop(self) {
        self.follower.abort();
        self.stop.cancel();
        self.task.await.ok();
    }
}

/// Makes what follows from a tunnel's being up end with it, however it ends.
struct WhileUp<'a>(&'a Runner);

impl Drop for WhileUp<'_> {
    fn drop(&mut self) {
        self.0.up.set(false);
        self.0.status.send_if_modified(|status| {
            let was_up = matches!(status, Status::Up(_));
            if was_up {
                *status = Status::Down("it is down".into());
            }
            was_up
        });
    }
}

impl Runner {
    async fn run_once(self: Arc<Self>, pulse: Pulse) -> Result<(), TunnelError> {
        let _while_up = WhileUp(&self);
        let report = |state: State, url: Option<&str>| {
            self.up.set(true);
            pulse.say(state);
            let status = Status::Up(url.map(str::to_owned));
            self.status.send_if_modified(|before| {
                let is_new = *before != status;
                if is_new {
                    tracing::info!(url, "the tunnel is up");
                    *before = status;
                }
                is_new
            });
        };
        let ended = self.tunnel.run(&self.stop, &report).await;
        if let Err(error) = &ended {
            self.status.send_replace(Status::Down(error.to_string()));
        }
        ended
    }
}

/// Writes where the gateway is reached into its run's row, for the operator and for `moorgate doctor`.
async fn keep_on_record(store: Arc<dyn StoreStatusRepository>, mut status: watch::Receiver<Status>) {
    while status.changed().await.is_ok() {
        let url = if let Status::Up(url) = &*status.borrow_and_update() { url.clone() } else { None };
        if let Err(error) = store.set_public_url(url).await {
            tracing::warn!(%error, "the tunnel's address could not be put on record");
        }
    }
}

/// The address at which this machine reaches a listener.
fn as_seen_from_here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
