//! Any bytes on a connection to the whole gateway: each answer is HTTP, none is a failure of ours, and the next client is
//! served as before.

#![no_main]

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::LazyLock,
    time::Duration,
};

use libfuzzer_sys::fuzz_target;
use moorgate::{
    app::{App, Parts},
    config::{Inputs, Override, load},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Longer than anything that a test of this takes, so a hang is found.
const PATIENCE: Duration = Duration::from_secs(20);

struct Gateway {
    address: SocketAddr,
    _parts: (Runtime, App, TempDir),
}

static GATEWAY: LazyLock<Gateway> = LazyLock::new(|| {
    let folder = TempDir::new().unwrap();
    let key = |key: &'static str, value: &str| Override { flag: key, key, value: value.to_owned() };
    let overrides = vec![
        key("gateway.port", "0"),
        key("gateway.require_pairing", "false"),
        key("gateway.webhook_rate_limit_per_minute", "0"),
        key("gateway.pair_rate_limit_per_minute", "0"),
        key("channels_config.bad_signature_rate_limit_per_minute", "0"),
        key("database.path", &folder.path().join("moorgate.db").display().to_string()),
        key("database.message_max_rows", "1000"),
        key("memory.auto_save", "false"),
    ];
    let inputs = Inputs { cwd: folder.path().to_owned(), overrides, ..Inputs::default() };
    let config = load(&inputs).unwrap();
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(App::start(&config, Parts::default())).unwrap();
    Gateway { address: app.address(), _parts: (runtime, app, folder) }
});

/// All that comes back for these bytes and the end of the sending side.
fn exchange(bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(GATEWAY.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The gateway may have hung up on the first half of it.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
            panic!("no end after {PATIENCE:?}")
        }
        _ => answer,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let answer = exchange(bytes);
    if !answer.is_empty() {
        let head = String::from_utf8_lossy(&answer[..answer.len().min(32)]).into_owned();
        let status = head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "));
        let status: u16 = status.and_then(|rest| rest.get(..3)).and_then(|it| it.parse().ok()).expect(&head);
        assert!((100..500).contains(&status) || status == 503, "{head}");
    }
    let health = exchange(b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(health.is_empty() || health.starts_with(b"HTTP/1.1 200 OK\r\n"), "{:?}", String::from_utf8_lossy(&health));
});
