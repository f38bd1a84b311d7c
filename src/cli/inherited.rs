//! Sockets that systemd opens before it starts the gateway (`LISTEN_FDS`, `LISTEN_PID`; see `sd_listen_fds(3)`).

use listenfd::ListenFd;

use super::Failure;
use crate::app::Inherited;

/// What was handed over: a TCP socket for clients, a Unix domain socket for the operator, or both. They are not handed on
/// to programs that the gateway starts.
pub(super) fn inherited() -> Result<Inherited, Failure> {
    let mut given = ListenFd::from_env();
    let mut inherited = Inherited::default();
    for index in 0..given.len() {
        let is_first = if let Ok(Some(listener)) = given.take_tcp_listener(index) {
            inherited.network.replace(listener).is_none()
        } else {
            let listener = given.take_unix_listener(index).ok().flatten();
            listener.is_some_and(|listener| inherited.operator.replace(listener).is_none())
        };
        if !is_first {
            let text = "of the sockets that are handed over (LISTEN_FDS), one may be of TCP and one a Unix domain socket";
            return Err(Failure::new(Failure::CONFIGURATION, text));
        }
    }
    Ok(inherited)
}
