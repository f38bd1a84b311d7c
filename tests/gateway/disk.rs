//! The real program on a disk that fails, and on what is left of a disk when the power is cut: `tests/shim/disk.c` stands
//! between the program and its database.

mod fault;
mod power;
mod record;
mod restore;

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use crate::support::tool::shim;

/// What every test here sets: no limits in the way.
const OPEN: [(&str, &str); 3] = [
    ("MOORGATE_GATEWAY__REQUIRE_PAIRING", "false"),
    ("MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", "0"),
    ("MOORGATE_GATEWAY__PAIR_RATE_LIMIT_PER_MINUTE", "0"),
];

/// The shim, compiled, and the files through which it is told what to do.
struct Shim {
    library: PathBuf,
    record: PathBuf,
    fail: PathBuf,
    _folder: TempDir,
}

impl Shim {
    /// Compiles it; `None` where there is no C compiler, which is said.
    fn build() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let library = folder.path().join("disk.so");
        shim("tests/shim/disk.c", &library)?;
        let (record, fail) = (folder.path().join("record"), folder.path().join("fail"));
        fs::write(&fail, [0; 12]).unwrap();
        Some(Self { library, record, fail, _folder: folder })
    }

    /// The variables for a program that is to be recorded, or to fail.
    fn env(&self, which: &'static str) -> Vec<(&'static str, &str)> {
        let file = if which == "MOORGATE_SHIM_RECORD" { &self.record } else { &self.fail };
        let library = self.library.to_str().unwrap();
        let shim = [
            ("LD_PRELOAD", library),
            ("MOORGATE_SHIM_MATCH", "moorgate.db"),
            (which, file.to_str().unwrap()),
        ];
        OPEN.into_iter().chain(shim).collect()
    }
}
