//! The operator's socket: a file that the user of the gateway alone can open.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixSocket};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 64;

/// A listening Unix domain socket. Its file is removed when this is dropped, if this made it.
#[derive(Debug)]
pub struct OperatorSocket {
    listener: UnixListener,
    file: Option<(PathBuf, FileId)>,
}

type FileId = (u64, u64);

impl OperatorSocket {
    /// Listens at `path`, for this user alone. What a server left there that was killed is removed first.
    ///
    /// # Errors
    /// Something else is there, or somebody listens there, or it cannot be made.
    pub fn listen(path: &Path) -> io::Result<Self> {
        remove_if_dead(path)?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        // Nobody can connect before it listens.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let id = file_id(path)?;
        let listener = socket.listen(BACKLOG)?;
        Ok(Self { listener, file: Some((path.to_owned(), id)) })
    }

    /// Takes over a listener that whoever started the gateway has made; its file stays.
    #[must_use]
    pub fn inherited(listener: UnixListener) -> Self {
        Self { listener, file: None }
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for OperatorSocket {
    fn drop(&mut self) {
        let Some((path, id)) = &self.file else { return };
        if file_id(path).is_ok_and(|found| found == *id)
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(%error, "cannot remove the operator's socket");
        }
    }
}

fn file_id(path: &Path) -> io::Result<FileId> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

fn remove_if_dead(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "something else has that name"));
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another program listens there")),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_is_for_its_owner_alone_and_goes_with_the_socket() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("moorgate.sock");
        let socket = OperatorSocket::listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(OperatorSocket::listen(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert!(path.exists(), "who listens keeps its file");
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_nobody_listens_to_is_replaced_and_any_other_is_left() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("moorgate.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "as after kill -9");
        let socket = OperatorSocket::listen(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(socket);
        assert_eq!(OperatorSocket::listen(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
