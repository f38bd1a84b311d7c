//! Tells the service manager how the service is doing: datagrams to the socket that it names, as `sd_notify(3)` describes.
//!
//! Without a service manager nothing is sent. What cannot be sent is logged and stops nothing.

use std::{
    ffi::OsStr,
    io,
    os::unix::{
        ffi::OsStrExt as _,
        net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

/// The longest wait for a service manager that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// A way to the socket that `NOTIFY_SOCKET` names: a path, or an abstract name after an `@`. `WATCHDOG_USEC` is how long
    /// the manager waits for a sign of life; it counts if `WATCHDOG_PID` is absent or this process.
    ///
    /// # Errors
    /// If there can be no such socket.
    pub fn new(
        notify_socket: &OsStr,
        watchdog_usec: Option<&OsStr>,
        watchdog_pid: Option<&OsStr>,
    ) -> io::Result<Self> {
        let address = match notify_socket.as_bytes() {
            [b'@', name @ ..] => abstract_address(name)?,
            _ => SocketAddr::from_pathname(notify_socket)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
        let is_ours = watchdog_pid.is_none_or(|pid| number(pid) == Some(std::process::id().into()));
        let watchdog = watchdog_usec.filter(|_| is_ours).and_then(number).filter(|usec| *usec > 0);
        Ok(Self { manager: Some((socket, address)), watchdog: watchdog.map(Duration::from_micros) })
    }

    /// How long the manager waits for a sign of life; `None`: it does not watch.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.manager.is_some())
    }

    /// It takes requests.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// It has begun to stop.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=Stopping: what is in flight is finished first");
    }

    /// It lives.
    pub fn alive(&self) {
        if self.watchdog().is_some() {
            self.send("WATCHDOG=1");
        }
    }

    fn send(&self, message: &str) {
        let Some((socket, address)) = &self.manager else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::warn!(%error, "the service manager could not be told how the service is doing");
        }
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_name: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;

    use super::*;

    fn received(manager: &UnixDatagram) -> String {
        let mut message = [0; 256];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_manager_is_told_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("moorgate-test-{}", std::process::id());
        let of_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (manager, named) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&of_name).unwrap(), format!("@{name}").into()),
        ] {
            let notifier = Notifier::new(&named, Some("2000000".as_ref()), None).unwrap();
            notifier.ready("listening");
            notifier.alive();
            notifier.stopping();
            assert_eq!(received(&manager), "READY=1\nSTATUS=listening");
            assert_eq!(received(&manager), "WATCHDOG=1");
            assert!(received(&manager).starts_with("STOPPING=1\n"));
        }
    }

    #[test]
    fn a_watchdog_of_another_process_is_none_of_ours() {
        let watchdog = |usec: &str, pid: Option<&str>| {
            let notifier = Notifier::new("/run/x".as_ref(), Some(usec.as_ref()), pid.map(OsStr::new));
            notifier.unwrap().watchdog()
        };
        let own = std::process::id().to_string();
        assert_eq!(watchdog("3000000", Some(&own)), Some(Duration::from_secs(3)));
        assert_eq!(watchdog("3000000", None), Some(Duration::from_secs(3)));
        assert_eq!(watchdog("3000000", Some("1")), None);
        assert_eq!(watchdog("0", None), None);
        assert_eq!(watchdog("soon", None), None);
        assert_eq!(Notifier::default().watchdog(), None);
    }
}
