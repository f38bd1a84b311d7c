//! Another program that holds the database.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

/// A `sqlite3` that is in the middle of a transaction until it is dropped.
pub struct Transaction(Child);

impl Transaction {
    pub fn begin(database: &Path) -> Self {
        let mut command = Command::new("sqlite3");
        let mut child = command.arg(database).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let statements = b".timeout 10000\nBEGIN IMMEDIATE;\nSELECT 'begun';\n";
        child.stdin.as_mut().unwrap().write_all(statements).unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "begun\n");
        Self(child)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
