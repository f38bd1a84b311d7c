//! Where the gateway listens, and how what connects there is served.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    net::{TcpListener, UnixListener},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Gateway, TunnelProvider},
    domain::health::Component,
    http::{
        Pipeline, TunnelUp,
        bind::{self, BindError},
        server::{self, Limits, Listener, OperatorSocket, ServerParts},
    },
    service::supervisor::{Pulse, Supervisor},
};

/// Sockets that whoever started the gateway has opened for it; they take the place of those in the configuration.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For clients.
    pub network: Option<std::net::TcpListener>,
    /// For the operator.
    pub operator: Option<std::os::unix::net::UnixListener>,
}

/// The listeners, before anything is served.
pub(super) struct Edge {
    network: TcpListener,
    operator: Option<Arc<OperatorSocket>>,
    operator_max_connections: usize,
    pub(super) address: SocketAddr,
    pub(super) tunnel_up: TunnelUp,
    /// Other machines may come in only as long as the tunnel is up.
    pub(super) only_while_up: bool,
}

/// What is open. It outlives the task that accepts, and is closed when the gateway begins to stop.
struct Open {
    network: std::net::TcpListener,
    operator: Option<Arc<OperatorSocket>>,
}

impl Edge {
    pub(super) async fn open(config: &Config, inherited: Inherited) -> Result<Self, BindError> {
        let gateway = &config.gateway;
        let has_tunnel = config.tunnel.provider != TunnelProvider::None;
        let may_be_public = gateway.allow_public_bind || has_tunnel;
        let network = match inherited.network {
            Some(listener) => bind::adopt(listener, may_be_public)?,
            None => bind::listen(&gateway.host, gateway.port, may_be_public).await?,
        };
        let failed = |source| BindError::Listen { address: gateway.host.clone(), source };
        let address = network.local_addr().map_err(failed)?;
        let operator = operator_socket(gateway, inherited.operator)?.map(Arc::new);
        let operator_max_connections = gateway.operator_max_connections as usize;
        let (tunnel_up, only_while_up) = (TunnelUp::default(), has_tunnel && !gateway.allow_public_bind);
        Ok(Self { network, operator, operator_max_connections, address, tunnel_up, only_while_up })
    }

    /// Serves all listeners until `stopping` is cancelled and the last connection has ended.
    pub(super) fn keep(
        self,
        supervisor: &Arc<Supervisor>,
        parts: ServerParts<Pipeline>,
        stopping: &CancellationToken,
    ) -> Result<JoinHandle<()>, BindError> {
        let failed = |source| BindError::Listen { address: self.address.to_string(), source };
        let network = self.network.into_std().map_err(failed)?;
        let open = Arc::new(Mutex::new(Some(Open { network, operator: self.operator })));
        let limits = Limits { max_connections: self.operator_max_connections, ..parts.limits };
        let operators = ServerParts { limits, only_while: None, ..parts.clone() };
        let stop = stopping.clone();
        Ok(supervisor.keep(Component::Gateway, stopping.clone(), move |pulse| {
            serve(Arc::clone(&open), (parts.clone(), operators.clone()), pulse, stop.clone())
        }))
    }
}

async fn serve(
    open: Arc<Mutex<Option<Open>>>,
    (parts, operators): (ServerParts<Pipeline>, ServerParts<Pipeline>),
    pulse: Pulse,
    stopping: CancellationToken,
) -> io::Result<()> {
    let lock = || open.lock().unwrap_or_else(PoisonError::into_inner);
    let both =
        lock().as_ref().map(|open| Ok::<_, io::Error>((open.network.try_clone()?, open.operator.clone())));
    let Some((network, operator)) = both.transpose()? else { return Ok(()) };
    let network = Listener::Network(TcpListener::from_std(network)?);
    pulse.is_well();
    let operator = async {
        if let Some(socket) = operator {
            server::serve(Listener::Operator(socket), operators, stopping.clone()).await;
        }
    };
    let close = async {
        stopping.cancelled().await;
        drop(lock().take());
    };
    tokio::join!(server::serve(network, parts, stopping.clone()), operator, close);
    Ok(())
}

fn operator_socket(
    gateway: &Gateway,
    inherited: Option<std::os::unix::net::UnixListener>,
) -> Result<Option<OperatorSocket>, BindError> {
    if let Some(listener) = inherited {
        let failed = |source| BindError::Listen { address: "the operator's socket".to_owned(), source };
        listener.set_nonblocking(true).map_err(failed)?;
        return Ok(Some(OperatorSocket::inherited(UnixListener::from_std(listener).map_err(failed)?)));
    }
    let Some(path) = &gateway.operator_socket else { return Ok(None) };
    let failed = |source| BindError::Listen { address: path.display().to_string(), source };
    OperatorSocket::listen(path).map(Some).map_err(failed)
}
