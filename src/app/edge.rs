//! Where the gateway listens, and how what connects there is served.

use std::net::SocketAddr;

use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Gateway},
    http::{
        bind::{self, BindError},
        server::{self, Limits, Listener, OperatorSocket, ServerParts},
    },
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
    operator: Option<OperatorSocket>,
    operator_max_connections: usize,
    pub(super) address: SocketAddr,
}

impl Edge {
    pub(super) async fn open(config: &Config, inherited: Inherited) -> Result<Self, BindError> {
        let gateway = &config.gateway;
        let network = match inherited.network {
            Some(listener) => bind::adopt(listener, gateway.allow_public_bind)?,
            None => bind::listen(&gateway.host, gateway.port, gateway.allow_public_bind).await?,
        };
        let failed = |source| BindError::Listen { address: gateway.host.clone(), source };
        let address = network.local_addr().map_err(failed)?;
        let operator = operator_socket(gateway, inherited.operator)?;
        let operator_max_connections = gateway.operator_max_connections as usize;
        Ok(Self { network, operator, operator_max_connections, address })
    }

    /// Serves all listeners until `stopping` is cancelled and the last connection has ended.
    pub(super) async fn serve(self, parts: ServerParts, stopping: CancellationToken) {
        let limits = Limits { max_connections: self.operator_max_connections, ..parts.limits };
        let operator = self.operator.map(|socket| {
            let parts = ServerParts { limits, ..parts.clone() };
            server::serve(Listener::Operator(socket), parts, stopping.clone())
        });
        let operator = async {
            if let Some(operator) = operator {
                operator.await;
            }
        };
        tokio::join!(server::serve(Listener::Network(self.network), parts, stopping), operator);
    }
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
