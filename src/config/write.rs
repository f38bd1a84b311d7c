//! A configuration file that is written for its owner alone: it may hold secrets.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Writes a file of mode 0600 that is either whole or not there. With `replace` it takes the place of one that exists.
///
/// # Errors
/// That of the file system; [`io::ErrorKind::AlreadyExists`] if there is such a file and it is not to be replaced.
pub fn write_private(path: &Path, text: &str, replace: bool) -> io::Result<()> {
    let part = beside(path);
    let written = write_new(&part, text).and_then(|()| {
        // A link is made only where nothing is, which a rename does not promise.
        if replace { fs::rename(&part, path) } else { fs::hard_link(&part, path) }
    });
    fs::remove_file(&part).ok(); // gone already after a rename
    written
}

/// Where the file is until it is whole: in the same folder, under a name of this process.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    name.into()
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    fs::remove_file(path).ok(); // what a killed process of this number left
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
