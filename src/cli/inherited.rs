//! Sockets that systemd opens before it starts the gateway (`LISTEN_FDS`, `LISTEN_PID`; see `sd_listen_fds(3)`).

use std::os::fd::AsFd;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use super::Failure;
use crate::app::Inherited;

/// What was handed over: a TCP socket for clients, a Unix domain socket for the operator, or both. They are not handed on
/// to programs that the gateway starts.
pub(super) fn inherited() -> Result<Inherited, Failure> {
    let mut given = ListenFd::from_env();
    let mut inherited = Inherited::default();
    for index in 0..given.len() {
        let is_first = if let Ok(Some(listener)) = given.take_tcp_listener(index) {
            check_listening(&listener)?;
            inherited.network.replace(listener).is_none()
        } else if let Ok(Some(listener)) = given.take_unix_listener(index) {
            check_listening(&listener)?;
            inherited.operator.replace(listener).is_none()
        } else {
            false
        };
        if !is_first {
            return Err(refused("one may be of TCP and one a Unix domain socket"));
        }
    }
    Ok(inherited)
}

/// A socket that was bound alone, or that is a connection, would be waited at for ever.
fn check_listening(socket: &impl AsFd) -> Result<(), Failure> {
    if socket_acceptconn(socket).unwrap_or(false) {
        return Ok(());
    }
    Err(refused("each must listen already, as those of a .socket unit with Accept=no do"))
}

fn refused(rule: &str) -> Failure {
    let text = format!("of the sockets that are handed over (LISTEN_FDS), {rule}");
    Failure::new(Failure::CONFIGURATION, text)
}
