//! What an operator sees in the database, through one `sqlite3` that stays open.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

/// Everything that is visible at the moment `:now`, a line each.
pub const QUERY: &str = "
SELECT 'tokens ' || count(*) FILTER (WHERE revoked_at_ms IS NULL) || ' ' || count(revoked_at_ms) FROM token
WHERE label <> 'marker';
SELECT 'code ' || failed_attempts FROM pairing_code WHERE state = 'live' AND expires_at_ms > :now ORDER BY id;
SELECT 'failures ' || client || ' ' || count(*) FROM pairing_failure WHERE failed_at_ms > :now - 900000
GROUP BY client ORDER BY client;
SELECT 'lockouts ' || client || ' ' || count(*) || ' ' || max(max(locked_until_ms) - :now, 0) FROM pairing_lockout
WHERE locked_at_ms > :now - 86400000 GROUP BY client ORDER BY client;
SELECT 'hits ' || scope || ' ' || token_id || ' ' || address || ' ' || sum(hits) FROM rate_hit
WHERE at_ms > :now - 60000 AND address IN ('127.0.0.1', '127.0.0.2', '127.0.0.3')
GROUP BY scope, token_id, address ORDER BY scope, token_id, address;
SELECT 'key ' || owner || ' ' || key || ' ' || state FROM idempotency_key
WHERE state = 'running' OR answered_at_ms > :now - 300000 ORDER BY owner, key;
SELECT 'messages ' || state || ' ' || count(*) FROM message GROUP BY state ORDER BY state;
SELECT 'deliveries ' || state || ' ' || count(*) FROM delivery GROUP BY state ORDER BY state;
";

/// An open `sqlite3`.
pub struct Look {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Look {
    pub fn at(database: &Path) -> Self {
        let mut command = Command::new("sqlite3");
        let mut child = command.arg(database).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut look = Self { child, lines };
        look.sql(".timeout 10000\n");
        look
    }

    /// Runs statements. What they print.
    pub fn sql(&mut self, statements: &str) -> String {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(format!("{statements}\nSELECT 'end';\n").as_bytes()).unwrap();
        let mut printed = String::new();
        loop {
            let start = printed.len();
            assert_ne!(
                self.lines.read_line(&mut printed).unwrap(),
                0,
                "sqlite3 ended at {statements}: {printed}"
            );
            if &printed[start..] == "end\n" {
                printed.truncate(start);
                return printed;
            }
        }
    }

    /// What is visible now.
    pub fn visible(&mut self, now: i64) -> String {
        self.sql(&QUERY.replace(":now", &now.to_string()))
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
